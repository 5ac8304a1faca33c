"""Where a compiled model changes between integers and floating point, and which layers are not worth it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import openvino as ov
from scipy.cluster.hierarchy import DisjointSet

from nncf_mcq.ir import runtime_layers, text_of
from nncf_mcq.model import INT8_PRECISIONS

_FLOATS = frozenset({"f32", "f16", "bf16"})

WORTH: Final = 32
"""Multiplications for each converted value from which on int8 saves about what the conversion costs.

Measured with a 1x1 convolution of 64 and of 256 input channels behind a softmax, one thread of a Xeon with VNNI: in
int8 it takes longer or as long at 16 multiplications a value, and less at 32.
"""


@dataclass(frozen=True)
class PrecisionConversion:
    """A step of an inference that does nothing but change the precision.

    Attributes:
        name: The plugin's name of it.
        source: Precision of its input, e.g. `f32`.
        target: Precision of its output, e.g. `u8`.
        values: How many values it converts; None where the shape is not known.
        after: Names of the steps that it reads: a layer's is that of the model, others have the plugin's.
        before: Those of the steps that read it.
    """

    name: str
    source: str
    target: str
    values: int | None
    after: tuple[str, ...]
    before: tuple[str, ...]


@dataclass(frozen=True)
class Island:
    """Layers that hand integers to one another, and the conversions on the way to them and from them.

    Attributes:
        layers: Names of the layers in the model.
        conversions: What they cost.
        multiplications: What the layers compute; None where a shape is not known.
    """

    layers: tuple[str, ...]
    conversions: tuple[PrecisionConversion, ...]
    multiplications: int | None

    @property
    def is_worth_it(self) -> bool:
        """Whether the layers gain from int8 what the conversions cost, by a rough estimate."""
        values = [conversion.values for conversion in self.conversions]
        if self.multiplications is None or None in values:
            return True
        return self.multiplications >= WORTH * sum(value or 0 for value in values)


def find_islands(compiled: ov.CompiledModel, model: ov.Model) -> tuple[list[Island], list[PrecisionConversion]]:
    """Find what of a model runs on integers, and its conversions.

    Args:
        compiled: The compiled model.
        model: The model that was compiled.

    Returns:
        The islands that hold a layer, and all conversions in the order of the inference. A step that computes something
        besides, and what is converted once when the model is compiled, does not count.
    """
    runtime = compiled.get_runtime_model()
    kinds = {node.get_friendly_name(): node.get_type_name() for node in model.get_ops()}
    constant = _constants(runtime)
    nodes = [node for node in runtime.get_ordered_ops() if node.get_name() not in constant]
    layers = runtime_layers(runtime, model)
    names = {node.get_name(): name for name, node in layers.items()}
    connected = DisjointSet([node.get_name() for node in nodes])
    conversions: dict[str, PrecisionConversion] = {}
    for node in nodes:
        sources = [value for value in node.input_values() if value.get_node().get_name() not in constant]
        for value in sources:
            if _output_precision(value) in INT8_PRECISIONS:
                connected.merge(value.get_node().get_name(), node.get_name())
        conversion = _conversion(node, sources, kinds, names)
        if conversion is not None:
            conversions[node.get_name()] = conversion
    islands = _islands(connected, layers, conversions, model)
    return list(islands), list(conversions.values())


def _conversion(
    node: ov.Node, sources: list[ov.Output], kinds: Mapping[str, str], names: Mapping[str, str]
) -> PrecisionConversion | None:
    if not sources or not node.outputs() or not _only_converts(node, kinds):
        return None
    precisions, target = [_output_precision(value) for value in sources], _output_precision(node.output(0))
    enters = _FLOATS.issuperset(precisions) and target in INT8_PRECISIONS
    leaves = INT8_PRECISIONS.issuperset(precisions) and target in _FLOATS
    if not (enters or leaves):
        return None
    shape = node.get_output_partial_shape(0)
    return PrecisionConversion(
        name=node.get_friendly_name(),
        source=precisions[0],
        target=target,
        values=math.prod(shape.to_shape()) if shape.is_static else None,
        after=tuple(_name(value.get_node(), names) for value in sources),
        before=tuple(dict.fromkeys(_readers(node, names))),
    )


def _name(node: ov.Node, names: Mapping[str, str]) -> str:
    name: str = node.get_friendly_name()
    return names.get(node.get_name(), name)


def _readers(node: ov.Node, names: Mapping[str, str]) -> Iterator[str]:
    """Names of what reads a node, through changes of the memory layout."""
    for reader in (target.get_node() for target in node.output(0).get_target_inputs()):
        if text_of(reader.get_rt_info(), "layerType") == "Reorder":
            yield from _readers(reader, names)
        else:
            yield _name(reader, names)


def _islands(
    connected: DisjointSet,
    layers: Mapping[str, ov.Node],
    conversions: Mapping[str, PrecisionConversion],
    model: ov.Model,
) -> Iterator[Island]:
    operations = {node.get_friendly_name(): node for node in model.get_ops()}
    for members in connected.subsets():
        inside = [
            name
            for name, node in layers.items()
            if node.get_name() in members and text_of(node.get_rt_info(), "runtimePrecision") in INT8_PRECISIONS
        ]
        if inside:
            crossed = tuple(conversion for name, conversion in conversions.items() if name in members)
            counts = [_multiplications(operations[name]) for name in inside]
            known = None if None in counts else sum(count or 0 for count in counts)
            yield Island(tuple(inside), crossed, known)


def _multiplications(layer: ov.Node) -> int | None:
    shapes = [layer.get_input_partial_shape(0), layer.get_input_partial_shape(1), layer.get_output_partial_shape(0)]
    if any(shape.is_dynamic for shape in shapes):
        return None
    data, weights, output = ([int(size) for size in shape.to_shape()] for shape in shapes)
    kind = layer.get_type_name()
    if kind == "MatMul":
        return math.prod(output) * data[-2 if layer.get_attributes()["transpose_a"] else -1]
    # Of a transposed convolution each input meets all weights of its channel, of others each output does.
    positions = data if kind.endswith("BackpropData") else output
    return math.prod(positions) * math.prod(weights[2 if kind.startswith("Group") else 1 :])


def _constants(runtime: ov.Model) -> set[str]:
    """Unique names of constants and of what is computed from constants alone, when the model is compiled."""
    found: set[str] = set()
    for node in runtime.get_ordered_ops():
        sources = {value.get_node().get_name() for value in node.input_values()}
        if text_of(node.get_rt_info(), "layerType") == "Const" or (sources and sources <= found):
            found.add(node.get_name())
    return found


def _output_precision(value: ov.Output) -> str:
    precisions = text_of(value.get_node().get_rt_info(), "outputPrecisions").split(",")
    index: int = value.get_index()
    return precisions[min(index, len(precisions) - 1)]


def _only_converts(node: ov.Node, kinds: Mapping[str, str]) -> bool:
    """Whether a node was made of nothing but quantizers, dequantization and conversions.

    Args:
        node: Of the compiled graph.
        kinds: Name of an operation of the model to its type.
    """
    if text_of(node.get_rt_info(), "layerType") in ("Reorder", "Convert", "FakeQuantize"):
        return True
    names = [name for name in text_of(node.get_rt_info(), "originalLayersNames").split(",") if name]
    return bool(names) and all(
        "Dequantization" in name or kinds.get(name) in ("FakeQuantize", "Convert") for name in names
    )
