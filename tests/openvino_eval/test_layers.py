from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset13 as ops

from openvino_eval.layers import RuntimeLayer, count_integer_layers, count_precisions, runtime_layers
from openvino_eval.runtime import read_and_compile


def test_a_float_model_has_no_integer_layer(float_ir: Path) -> None:
    layers = runtime_layers(float_ir)
    assert count_integer_layers(layers) == (0, 3)
    assert count_precisions(layers) == {"Convolution": {"f32": 2}, "FullyConnected": {"f32": 1}}


def test_an_int8_model_runs_on_integers(int8_ir: Path) -> None:
    layers = runtime_layers(read_and_compile(int8_ir))
    assert count_integer_layers(layers) == (3, 3)
    convolutions = [layer for layer in layers if layer.layer_type == "Convolution"]
    assert any("conv0" in layer.original_names for layer in convolutions)
    assert not any(layer.layer_type in {"Input", "Output", "Const"} for layer in layers)


def test_a_width_that_the_plugin_does_not_know_is_exposed() -> None:
    """Fake quantization of weights at 16 levels looks quantized in the file and runs in float."""
    generator = np.random.default_rng(0)
    image = ops.parameter([1, 8, 12, 12], np.float32)
    activation = ops.fake_quantize(image, *[ops.constant(np.float32(value)) for value in (-1, 1, -1, 1)], 256)
    weights = ops.constant(generator.uniform(-1, 1, (16, 8, 3, 3)).astype(np.float32))
    quantized = ops.fake_quantize(weights, *[ops.constant(np.float32(value)) for value in (-1, 1, -1, 1)], 16)
    convolution = ops.convolution(activation, quantized, [1, 1], [0, 0], [0, 0], [1, 1])
    layers = runtime_layers(ov.Model([convolution], [image], "trap"))
    assert count_integer_layers(layers) == (0, 1)


def test_only_layers_with_weights_count() -> None:
    layers = [
        RuntimeLayer("a", "Convolution", "u8", "kernel", ("a",)),
        RuntimeLayer("b", "FullyConnected", "bf16", "kernel", ("b",)),
        RuntimeLayer("c", "Pooling", "i8", "kernel", ("c",)),
        RuntimeLayer("d", "Convolution", "i8", "kernel", ("d",)),
    ]
    assert count_integer_layers(layers) == (2, 3)
    assert count_precisions(layers) == {"Convolution": {"i8": 1, "u8": 1}, "FullyConnected": {"bf16": 1}}
