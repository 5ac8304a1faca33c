"""Each cause is provoked in a small model; that the layer does run in floating point there is measured too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.ir.float_causes import WEIGHTS_NOT_QUANTIZED, float_cause
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.policy import INT8_PRECISIONS
from tests.ir.networks import fake_quantize
from tests.models import convolution, make_model, random_constant

Build = Callable[[ov.Node], ov.Node]
SHAPE = (1, 8, 8, 8)


def quantized(node: ov.Node | ov.Output, levels: int = 256, name: str = "quantizer") -> ov.Node:
    result = fake_quantize(node, np.array(0.0), np.array(4.0), levels)
    result.set_friendly_name(name)
    return result


def weights(*shape: int, levels: int = 255) -> ov.Node:
    return fake_quantize(random_constant(*shape), np.array(-3.0), np.array(3.0), levels)


def integer_weights(scale_shape: tuple[int, ...], zero_point: float | None = None) -> ov.Node:
    integers = np.random.default_rng(0).integers(-100, 100, (4, 8, 1, 1)).astype(np.int8)
    values = opset.convert(opset.constant(integers), "f32")
    if zero_point is not None:
        values = opset.subtract(values, opset.constant(np.float32(zero_point)))
    scales = np.random.default_rng(1).uniform(0.1, 1, scale_shape).astype(np.float32)
    return opset.multiply(values, opset.constant(scales))


def layer(data: ov.Node, weight: ov.Node | None = None) -> ov.Node:
    return convolution(data, weights(4, 8, 1, 1) if weight is None else weight, "layer")


def behind(operation: Callable[[ov.Node], ov.Node]) -> Build:
    def build(data: ov.Node) -> ov.Node:
        return layer(operation(quantized(data)))

    return build


def named(node: ov.Node, name: str = "between") -> ov.Node:
    node.set_friendly_name(name)
    return node


def in_the_middle_of_a_chain(data: ov.Node) -> ov.Node:
    ones = [opset.constant(np.array(values)) for values in ((0, 0, 1, 1), (0, 0, 1, 1))]
    padded = named(opset.pad(quantized(data), *ones, "constant", opset.constant(np.float32(1.0))))
    pooled = opset.max_pool(padded, [1, 1], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
    return layer(opset.concat([pooled, pooled], 2))


def per_channel(data: ov.Node) -> ov.Node:
    high = np.linspace(1, 4, 8).reshape(1, 8, 1, 1)
    quantizer = named(fake_quantize(opset.relu(data), np.zeros_like(high), high, 256), "quantizer")
    return layer(quantizer)


def transposed_groups(data: ov.Node) -> ov.Node:
    pads = {"pads_begin": [0, 0], "pads_end": [0, 0], "dilations": [1, 1], "auto_pad": "explicit"}
    weight = weights(2, 4, 4, 2, 2)
    return named(opset.group_convolution_backprop_data(quantized(data), weight, [2, 2], **pads), "layer")


CAUSES: dict[str, tuple[Build, str]] = {
    "float weights": (lambda data: layer(quantized(data), random_constant(4, 8, 1, 1)), WEIGHTS_NOT_QUANTIZED),
    "float input": (
        lambda data: layer(named(opset.relu(data), "activation")),
        "its input is not quantized: it comes from Relu 'activation' without a FakeQuantize",
    ),
    "model input": (layer, "its input is not quantized: it comes from Parameter 'image' without a FakeQuantize"),
    "float input behind a layer": (
        lambda data: layer(convolution(quantized(data), weights(8, 8, 1, 1), "before")),
        "its input is not quantized: it comes from Convolution 'before' without a FakeQuantize",
    ),
    "weight levels": (
        lambda data: layer(quantized(data), weights(4, 8, 1, 1, levels=16)),
        "a FakeQuantize of 16 levels quantizes its weights, the plugin knows 255 and 256",
    ),
    "activation levels": (
        lambda data: layer(quantized(data, levels=64)),
        "FakeQuantize 'quantizer' has 64 levels, the plugin knows 15, 16, 255 and 256",
    ),
    "range per channel": (per_channel, "FakeQuantize 'quantizer' has a range for each channel of its input"),
    "scale per input": (
        lambda data: layer(quantized(data), integer_weights((1, 8, 1, 1))),
        "its weights have more scales than one for each output channel",
    ),
    "zero point": (
        lambda data: layer(quantized(data), integer_weights((4, 1, 1, 1), 3.0)),
        "its weights have a zero point",
    ),
    "no kernel": (
        transposed_groups,
        "the plugin has no int8 kernel for it, GroupConvolutionBackpropData 'layer' of [1,8,8,8] and [2,4,4,2,2]",
    ),
    "nonlinearity": (
        behind(lambda node: named(opset.sigmoid(node))),
        "the plugin does not run Sigmoid 'between' on integers, which hands it its input",
    ),
    "repetition": (
        behind(lambda node: named(opset.tile(node, [1, 1, 2, 1]))),
        "the plugin does not run Tile 'between' on integers, which hands it its input",
    ),
    "middle of a chain": (
        in_the_middle_of_a_chain,
        "the plugin does not run Pad 'between' on integers, which hands it its input",
    ),
}


@pytest.mark.parametrize("case", CAUSES)
def test_names_the_cause(case: str) -> None:
    build, cause = CAUSES[case]
    model = make_model(build, SHAPE)
    operations = operations_by_name(model)
    precisions = runtime_precisions(compile_model(model, 1), model)
    assert precisions["layer"] not in INT8_PRECISIONS
    assert float_cause(model, operations["layer"]) == cause
