"""Weights and activations that break naive arithmetic go through the whole way: every rule, rounding and the pass."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq import ConfigError, QuantizationError, quantize
from nncf_mcq.config.schema import load_config
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.range_init.base import RANGE_INITIALIZERS
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights.scheme import WeightScheme
from tests.models import as_dataset, convolution, make_model, random_constant, random_images, run

SHAPE = (1, 4, 6, 6)
RULES = sorted(name for name in RANGE_INITIALIZERS if not name.startswith("third"))
ROUNDINGS = ("nearest", "error_compensated", "coordinate_descent")


def edited(*shape: int, change: Callable[[np.ndarray], None]) -> ov.Node:
    values = np.array(random_constant(*shape).get_data())
    change(values)
    return opset.constant(values)


def two_layers(first: ov.Node, pad: int = 1) -> ov.Model:
    """A convolution with the given weights and a 1 x 1 convolution with unremarkable ones."""

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, first, "first", pad=pad), name="relu")
        return convolution(values, random_constant(3, first.shape[0], 1, 1, seed=1), "last")

    return make_model(build, SHAPE)


def zero_channels(values: np.ndarray) -> None:
    values[1] = 0


def all_zero(values: np.ndarray) -> None:
    values[:] = 0


def huge_outlier(values: np.ndarray) -> None:
    values[2, 1, 1, 1] = 1e4


def tiny(values: np.ndarray) -> None:
    values *= 1e-20


def one_sided(values: np.ndarray) -> None:
    np.abs(values, out=values)


def equal(values: np.ndarray) -> None:
    values[:] = 0.25


MODELS: dict[str, Callable[[], ov.Model]] = {
    "zero channels": lambda: two_layers(edited(5, 4, 3, 3, change=zero_channels)),
    "all zero": lambda: two_layers(edited(5, 4, 3, 3, change=all_zero)),
    "huge outlier": lambda: two_layers(edited(5, 4, 3, 3, change=huge_outlier)),
    "tiny": lambda: two_layers(edited(5, 4, 3, 3, change=tiny)),
    "one sided": lambda: two_layers(edited(5, 4, 3, 3, change=one_sided)),
    "equal": lambda: two_layers(edited(5, 4, 3, 3, change=equal)),
    "1 x 1 maps": lambda: two_layers(random_constant(5, 4, 6, 6), pad=0),
    "one weight": lambda: make_model(
        lambda data: opset.reduce_mean(
            convolution(data, random_constant(1, 1, 1, 1), "only"), opset.constant(np.array([2, 3])), True
        ),
        (1, 1, 6, 6),
    ),
}


def settings(
    rule: str, rounding: str, bits: int, *, per_channel: bool = True, sequential: bool = False
) -> dict[str, Any]:
    return {
        "compression": {
            "weights": {"per_channel": per_channel},
            "correction": {"rounding": rounding, "sequential": sequential},
            "initializer": {"range": rule, "precision": {"type": "uniform", "bits": bits}},
        },
        "runtime": {"threads": 1, "batch_size": 4},
    }


def check(model: ov.Model, config: dict[str, Any], images: np.ndarray, folder: Path | None = None) -> float:
    """Mean squared difference of the outputs, relative to the mean square of the float outputs."""
    result = quantize(model, as_dataset(images), config)
    if folder is not None:
        result.save(folder)
    found, expected = (run(item, images, threads=1, batch_size=1) for item in (result.model, model))
    assert np.isfinite(found).all()
    for layer in result.layers:
        assert layer.relative_error is not None
        assert np.isfinite(layer.relative_error)
        assert layer.relative_error >= 0
    # The first layer may yield next to nothing: what it should yield then is zero.
    return float(np.square(found - expected).mean() / max(float(np.square(expected).mean()), 1e-12))


@pytest.mark.parametrize("name", MODELS)
def test_the_default_saves_a_verified_file_that_is_close(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    images = random_images(8, tuple(model.input(0).get_shape()))
    error = check(model, settings("mixed_clipping", "coordinate_descent", 6, sequential=True), images, tmp_path)
    assert error < 0.02


@pytest.mark.parametrize("name", MODELS)
def test_every_rule_and_rounding_stays_finite_at_two_bits(name: str) -> None:
    model = MODELS[name]()
    stages = Stages(SilentProgress())
    images = random_images(4, tuple(model.input(0).get_shape()))
    calibrated = CalibratedModel.prepare(
        model, images, load_config(settings("max", "nearest", 2)).compression, 1, stages
    )
    for rule in RULES:
        initializer = RANGE_INITIALIZERS.create(RANGE_INITIALIZERS[rule].Parameters(type=rule))
        for rounding, per_channel in itertools.product(ROUNDINGS, (True, False)):
            section = load_config(settings(rule, rounding, 2, per_channel=per_channel)).compression
            scheme = WeightScheme(section.weights, section.correction, initializer)
            table = dataclasses.replace(calibrated, scheme=scheme).weight_table((2,), stages)
            for layer in calibrated.quantizable.layers:
                entry = table[layer.name, 2]
                assert np.isfinite(entry.scale).all()
                assert (entry.scale > 0).all()
                assert np.isfinite(entry.bias_shift).all()
                assert 0 <= entry.relative_error < 10


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_constant_activations_are_kept(value: float, tmp_path: Path) -> None:
    model = MODELS["one sided"]()
    images = np.full((4, *SHAPE[1:]), value, dtype=np.float32)
    for activation in ("mse", "max", "mean_max", "moving_max", "percentile"):
        config = settings("mixed_clipping", "coordinate_descent", 8, sequential=True)
        config["compression"]["activations"] = {"range": activation}
        assert check(model, config, images, tmp_path) < 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    def spoil(values: np.ndarray) -> None:
        values[0, 0, 0, 0] = value

    model = two_layers(edited(5, 4, 3, 3, change=spoil))
    with pytest.raises(QuantizationError, match="first: its weights hold values that are not finite"):
        quantize(model, as_dataset(random_images(2, SHAPE)), settings("max", "nearest", 4))


def test_images_that_are_not_finite_are_refused() -> None:
    images = random_images(3, SHAPE)
    images[1, 0, 0, 0] = np.nan
    with pytest.raises((QuantizationError, ConfigError), match="finite"):
        quantize(two_layers(random_constant(5, 4, 3, 3)), as_dataset(images), settings("max", "nearest", 4))
