"""Writes a part of the plugin's graph as a graph of its own, with inputs and outputs where it was cut."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from nncf_mcq.model.plugin_graph import CONSTANT_ALIGNMENT, NotSupportedError, PluginGraph

_INTEGER_BYTES = 4
"""Of the type of axes; the plugin takes no other in a graph that is imported."""


@dataclass(frozen=True)
class CutTensor:
    """An 8-bit tensor where the graph is cut.

    Attributes:
        name: Of the operation that computes it, and the number of the output.
        shape: As it is passed on, with the channels last: that is how the kernels read and write it.
        precision: As in the XML.
    """

    name: str
    shape: tuple[int, ...]
    precision: str

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape)


class Port(NamedTuple):
    """An output, by the ids of the XML."""

    node: str
    port: str


class Edge(NamedTuple):
    """A connection of an output and an input, by the ids of the XML."""

    source: Port
    target: Port


def precision_and_shape(node: Element, port: str) -> tuple[str, tuple[int, ...]]:
    """Precision and shape of an output; lengths that are open are -1."""
    for element in node.findall("output/port"):
        if element.attrib["id"] == port:
            return element.attrib.get("precision", ""), tuple(int(length.text or -1) for length in element.iter("dim"))
    raise NotSupportedError("an edge begins at no output")


def channels_last(rank: int) -> list[int]:
    """The axes in the order in which a tensor is passed on."""
    return [0, *range(2, rank), 1] if rank > 2 else list(range(rank))


class SegmentWriter:
    """A new graph, which is filled part by part.

    Args:
        graph: Where the nodes come from.
        nodes: Its nodes by their ids.
    """

    def __init__(self, graph: PluginGraph, nodes: Mapping[str, Element]) -> None:
        self._graph = graph
        self._nodes = nodes
        self._network = Element("net", {"name": "segment", "version": "11"})
        self._layers, self._links = SubElement(self._network, "layers"), SubElement(self._network, "edges")
        self._constants = bytearray()
        self._places: dict[Port, Port] = {}

    def add_inputs(self, tensors: Mapping[Port, CutTensor]) -> None:
        """Inputs of the new graph, in the place of outputs of the old one."""
        for port, tensor in tensors.items():
            data = {"shape": ",".join(map(str, tensor.shape)), "element_type": tensor.precision.lower()}
            place = Port(self._add("Parameter", tensor.name, data, [], [(tensor.precision, tensor.shape)]), "0")
            self._places[port] = self._transposed(place, tensor, tensor.shape, np.argsort(_order(tensor)))

    def add_nodes(self, nodes: Sequence[str], edges: Collection[Edge]) -> None:
        """Nodes as they are, with the constants that they read.

        Args:
            nodes: Their ids, parameters and results in the order of the new graph's.
            edges: All those that end at them.
        """
        constants = [edge.source.node for edge in edges if self._nodes[edge.source.node].attrib["type"] == "Const"]
        for node in (*dict.fromkeys(constants), *nodes):
            copied = self._copy(node)
            for output in self._nodes[node].findall("output/port"):
                self._places[Port(node, output.attrib["id"])] = Port(copied, output.attrib["id"])
            self._places[Port(node, "")] = Port(copied, "")
        for edge in edges:
            target = self._places[Port(edge.target.node, "")].node
            self._link(self._places[edge.source], Port(target, edge.target.port))

    def add_outputs(self, tensors: Mapping[Port, CutTensor]) -> None:
        """Outputs of the old graph that become results of the new one."""
        for port, tensor in tensors.items():
            _, shape = precision_and_shape(self._nodes[port.node], port.port)
            place = self._transposed(self._places[port], tensor, shape, np.array(_order(tensor)))
            self._link(place, Port(self._add("Result", tensor.name, None, [(tensor.precision, tensor.shape)], []), "0"))

    def file(self) -> bytes:
        """The new graph, for `import_graph`."""
        return self._graph.file(self._network, bytes(self._constants))

    def _copy(self, node: str) -> str:
        element = copy.deepcopy(self._nodes[node])
        element.set("id", str(len(self._layers)))
        # Operations with a graph inside have constants there.
        for data in element.iter("data"):
            if "offset" in data.attrib:
                place, size = int(data.attrib["offset"]), int(data.attrib["size"])
                data.set("offset", str(self._add_constant(self._graph.constants[place : place + size])))
        self._layers.append(element)
        return element.attrib["id"]

    def _transposed(self, place: Port, tensor: CutTensor, shape: Sequence[int], axes: np.ndarray) -> Port:
        """The plugin makes nothing of it, as its kernels have the channels last anyway."""
        if len(axes) < 3:
            return place
        length, size = ("I32", (len(axes),)), _INTEGER_BYTES * len(axes)
        offset = self._add_constant(axes.astype(np.int32).tobytes())
        data = {"element_type": "i32", "shape": str(len(axes)), "offset": str(offset), "size": str(size)}
        constant = self._add("Const", f"{tensor.name}/axes", data, [], [length])
        turned = tensor.precision, tuple(shape[axis] for axis in axes)
        node = self._add("Transpose", f"{tensor.name}/turned", None, [(tensor.precision, shape), length], [turned])
        self._link(place, Port(node, "0"))
        self._link(Port(constant, "0"), Port(node, "1"))
        return Port(node, "2")

    def _add(
        self,
        kind: str,
        name: str,
        data: dict[str, str] | None,
        inputs: Sequence[tuple[str, Sequence[int]]],
        outputs: Sequence[tuple[str, Sequence[int]]],
    ) -> str:
        number = str(len(self._layers))
        layer = SubElement(self._layers, "layer", {"id": number, "name": name, "type": kind, "version": "opset1"})
        if data is not None:
            SubElement(layer, "data", data)
        index = 0
        for side, ports in (("input", inputs), ("output", outputs)):
            parent = SubElement(layer, side) if ports else layer
            for precision, shape in ports:
                port = SubElement(parent, "port", {"id": str(index), "precision": precision})
                for length in shape:
                    SubElement(port, "dim").text = str(length)
                index += 1
        return number

    def _link(self, source: Port, target: Port) -> None:
        keys = ("from-layer", "from-port", "to-layer", "to-port")
        SubElement(self._links, "edge", dict(zip(keys, (*source, *target), strict=True)))

    def _add_constant(self, values: bytes) -> int:
        self._constants += bytes(-len(self._constants) % CONSTANT_ALIGNMENT)
        offset = len(self._constants)
        self._constants += values
        return offset


def _order(tensor: CutTensor) -> list[int]:
    return channels_last(len(tensor.shape))
