"""Cuts the plugin's graph at its 8-bit tensors into segments that are compiled and run one after another.

A tensor of 8-bit integers is what one kernel hands to the next: nothing that the plugin computes in one piece is cut
apart, and the segments compute what the whole computes, bit for bit.

What lies between such tensors, most often a single layer, is a segment. Two models whose layers differ in some segments
share all the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nncf_mcq.model.plugin_graph import NotSupportedError, PluginGraph
from nncf_mcq.model.segment_writer import CutTensor, Edge, Port, SegmentWriter, channels_last, precision_and_shape

_CUT_PRECISIONS = frozenset({"U8", "I8"})


@dataclass(frozen=True)
class Segment:
    """A part of the graph without its weights: it is the same in models that differ in these alone.

    Attributes:
        layers: Names of its layers, of those that were asked for.
        inputs: Tensors of other segments: its first inputs.
        parameters: Numbers of the model's inputs that it reads: its further inputs.
        results: Numbers of the model's outputs that it computes: its first outputs.
        outputs: Tensors that other segments read: its further outputs.
    """

    layers: tuple[str, ...]
    inputs: tuple[CutTensor, ...]
    parameters: tuple[int, ...]
    results: tuple[int, ...]
    outputs: tuple[CutTensor, ...]


class SegmentedGraph:
    """The segments of a graph.

    Args:
        graph: Of a compiled model with static shapes.
        layers: Names of layers, each of which has to be in one segment.

    Raises:
        NotSupportedError: A layer is not there, or names are not unique.
    """

    def __init__(self, graph: PluginGraph, layers: Collection[str]) -> None:
        self._graph = graph
        self._nodes = {node.attrib["id"]: node for node in graph.network.findall("layers/layer")}
        self._edges = [
            Edge(*(Port(*(edge.attrib[f"{end}-{key}"] for key in ("layer", "port"))) for end in ("from", "to")))
            for edge in graph.network.findall("edges/edge")
        ]
        wanted, names = set(layers), self._layer_names(set(layers))
        numbers = {
            kind: {node: number for number, node in enumerate(self._of(kind))} for kind in ("Parameter", "Result")
        }
        labels = self._label()
        self._cut = [edge for edge in self._cuttable if labels[edge.source.node] != labels[edge.target.node]]
        self._members: dict[Segment, list[str]] = {}
        for label in self._order(labels):
            members = [node for node, found in labels.items() if found == label]
            segment = Segment(
                layers=tuple(sorted(name for node in members for name in names.get(node, ()))),
                inputs=tuple(
                    self._tensors(edge.source for edge in self._cut if labels[edge.target.node] == label).values()
                ),
                parameters=tuple(numbers["Parameter"][node] for node in members if node in numbers["Parameter"]),
                results=tuple(numbers["Result"][node] for node in members if node in numbers["Result"]),
                outputs=tuple(
                    self._tensors(edge.source for edge in self._cut if labels[edge.source.node] == label).values()
                ),
            )
            self._members[segment] = members
        found = [name for segment in self._members for name in segment.layers]
        if len(self._members) != len(set(labels.values())) or sorted(found) != sorted(wanted):
            raise NotSupportedError("layers are not in the plugin's graph, or several times")
        tensors = [tensor.name for segment in self._members for tensor in segment.outputs]
        if len(tensors) != len(set(tensors)):
            raise NotSupportedError("two operations have the same name")

    @property
    def segments(self) -> list[Segment]:
        """The segments, each behind those that it reads from."""
        return list(self._members)

    def file(self, segment: Segment) -> bytes:
        """A segment with its weights, for `import_graph`."""
        members = self._members[segment]
        inside = set(members)
        entering = [edge for edge in self._edges if edge.target.node in inside]
        writer = SegmentWriter(self._graph, self._nodes)
        writer.add_inputs(self._tensors(edge.source for edge in self._cut if edge.target.node in inside))
        writer.add_nodes(members, entering)
        writer.add_outputs(self._tensors(edge.source for edge in self._cut if edge.source.node in inside))
        return writer.file()

    def _name(self, node: str) -> str:
        return self._nodes[node].attrib["name"]

    def _layer_names(self, wanted: set[str]) -> dict[str, set[str]]:
        """The layers that nodes are: by their names, or by those of what the plugin has put in one node."""
        found = {node: {self._name(node)} & wanted for node in self._nodes}
        missing = wanted.difference(*found.values())
        for node, element in self._nodes.items():
            for attribute in element.iterfind("rt_info/attribute"):
                if attribute.attrib["name"] == "fused_names":
                    found[node] |= missing.intersection(attribute.attrib["value"].split(","))
        return found

    def _of(self, kind: str) -> list[str]:
        return [node for node, element in self._nodes.items() if element.attrib["type"] == kind]

    def _label(self) -> dict[str, int]:
        """The segment of each node that is no constant."""
        nodes = [node for node, element in self._nodes.items() if element.attrib["type"] != "Const"]
        place = {node: index for index, node in enumerate(nodes)}
        edges = [edge for edge in self._edges if edge.source.node in place]
        self._cuttable = [edge for edge in edges if self._is_cuttable(edge)]
        # What is not cut leads both ways: nodes that hang together, or depend on one another, are one component.
        pairs = [(place[edge.source.node], place[edge.target.node]) for edge in edges]
        uncut = set(edges).difference(self._cuttable)
        pairs += [(place[edge.target.node], place[edge.source.node]) for edge in uncut]
        rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        matrix = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(nodes), len(nodes)))
        _, labels = connected_components(matrix, directed=True, connection="strong")
        return {node: int(labels[index]) for node, index in place.items()}

    def _is_cuttable(self, edge: Edge) -> bool:
        source = self._nodes[edge.source.node]
        return (
            source.attrib["type"] != "Parameter" and precision_and_shape(source, edge.source.port)[0] in _CUT_PRECISIONS
        )

    def _order(self, labels: dict[str, int]) -> list[int]:
        sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(labels.values(), ()))
        for edge in self._cut:
            sorter.add(labels[edge.target.node], labels[edge.source.node])
        return list(sorter.static_order())

    def _tensors(self, ports: Iterable[Port]) -> dict[Port, CutTensor]:
        """The tensors of outputs, in the order of their names."""
        tensors = {}
        for port in set(ports):
            precision, shape = precision_and_shape(self._nodes[port.node], port.port)
            if min(shape, default=1) < 1:
                raise NotSupportedError("a tensor has an open shape")
            order = tuple(shape[axis] for axis in channels_last(len(shape)))
            tensors[port] = CutTensor(f"{self._name(port.node)}:{port.port}", order, precision)
        if len({tensor.name for tensor in tensors.values()}) != len(tensors):
            raise NotSupportedError("two operations have the same name")
        return dict(sorted(tensors.items(), key=lambda item: item[1].name))
