"""A small network with every kind of layer, and its quantization."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset
from pydantic import JsonValue

from nncf_mcq.api import quantize
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.result import QuantizationResult

SAMPLE_SIZE = (1, 3, 8, 8)
CLASSES = 5
IMAGES = 8
"""Images for calibration; a search scores the weights of each half of them on the other half."""


@functools.cache
def small_network() -> ov.Model:
    """The network, not to be edited.

    A convolution, two that share their weights, a depthwise one, an addition, a pointwise convolution and a MatMul.
    """
    random = np.random.default_rng(0)

    def weights(*shape: int) -> ov.Node:
        deviation = np.prod(shape[1:]) ** -0.5
        return opset.constant((random.normal(size=shape) * deviation).astype(np.float32))

    def convolution(values: ov.Node, kernel: ov.Node, name: str, stride: int = 1) -> ov.Node:
        grouped = len(kernel.shape) == 5
        operation = opset.group_convolution if grouped else opset.convolution
        pad = kernel.shape[-1] // 2
        return operation(values, kernel, [stride, stride], [pad, pad], [pad, pad], [1, 1], name=name)

    def relu(values: ov.Node) -> ov.Node:
        return opset.relu(values, name=f"{values.get_friendly_name()}_relu")

    image = opset.parameter(list(SAMPLE_SIZE), ov.Type.f32, name="image")
    values = relu(convolution(image, weights(6, 3, 3, 3), "stem", stride=2))
    shared = weights(6, 6, 3, 3)
    inner = relu(convolution(values, shared, "first"))
    inner = relu(convolution(inner, shared, "second"))
    inner = relu(convolution(inner, weights(6, 1, 1, 3, 3), "depthwise"))
    values = opset.add(values, inner, name="sum")
    values = relu(convolution(values, weights(8, 6, 1, 1), "pointwise"))
    pooled = opset.squeeze(opset.reduce_mean(values, [2, 3], keep_dims=True, name="mean"), [2, 3])
    output = opset.matmul(pooled, weights(CLASSES, 8), False, True, name="head")
    return ov.Model([output], [image], "small")


@functools.cache
def images(count: int) -> NDArray[np.float32]:
    """(count, channels, height, width) standard normal images; not to be edited."""
    return np.random.default_rng(1).normal(size=(count, *SAMPLE_SIZE[1:])).astype(np.float32)


def image_dataset(count: int) -> nncf.Dataset:
    """Batches of one image each."""
    return nncf.Dataset([image[None] for image in images(count)])


def small_config(
    *,
    weight_range: JsonValue = "max",
    activation_range: JsonValue = "mse",
    precision: JsonValue = "uniform",
    weight_bits: Sequence[int] = (2, 4, 8),
    activation_bits: int | Sequence[int] = 8,
) -> Config:
    """A configuration that few images and one thread are enough for.

    Args:
        weight_range: `compression.initializer.range`.
        activation_range: `compression.activations.range`.
        precision: `compression.initializer.precision`.
        weight_bits: Bit-widths to choose from.
        activation_bits: Bit-width of activations, or several to choose from.
    """
    activations = activation_bits if isinstance(activation_bits, int) else list(activation_bits)
    return load_config(
        {
            "input_info": {"sample_size": list(SAMPLE_SIZE)},
            "compression": {
                "weights": {"bits": list(weight_bits)},
                "activations": {"bits": activations, "range": activation_range},
                "correction": {"rounding": "nearest", "sequential": False},
                "initializer": {"range": weight_range, "precision": precision, "num_init_samples": IMAGES},
            },
            "runtime": {"threads": 1, "batch_size": 4},
        }
    )


def quantize_small_network(config: Config) -> QuantizationResult:
    """Quantizes the network, and checks that the result runs and is not the float model."""
    network = small_network()
    result = quantize(network, image_dataset(IMAGES), config)
    outputs, expected = (
        ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images(1))[0]
        for model in (result.model, network)
    )
    assert outputs.shape == expected.shape
    assert np.isfinite(outputs).all()
    assert not np.array_equal(outputs, expected)
    return result
