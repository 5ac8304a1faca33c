"""The rule of activations with 8 bits is chosen by what the outputs lose on images that it did not see."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq import load_config
from nncf_mcq.calibration.statistics import collect_statistics
from nncf_mcq.metrics.output_scores import choose_scores
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.activation_choice import MARGIN, _choose, choose_activation_rule
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.utils.progress import SilentProgress, Stages
from tests.models import convolution, make_model, random_constant

SHAPE = (1, 4, 12, 12)
STAGES = Stages(SilentProgress())


def network(*, largest: bool) -> ov.Model:
    """Its output is the largest value of each channel of an activation, or their mean."""

    def build(data: ov.Node) -> ov.Node:
        values = opset.relu(convolution(data, random_constant(6, 4, 1, 1), "first"))
        axes = opset.constant(np.array([2, 3]))
        values = opset.reduce_max(values, axes, True) if largest else opset.reduce_mean(values, axes, True)
        return convolution(values, random_constant(5, 6, 1, 1, seed=1), "last")

    return make_model(build, SHAPE)


def heavy_tailed(count: int) -> NDArray[np.float32]:
    """Few values are many times as large as all others, so that the least squared error clips them."""
    random = np.random.default_rng(0)
    return (random.standard_t(2.2, (count, *SHAPE[1:]))).astype(np.float32)


def chosen(model: ov.Model, arrays: NDArray[np.float32], stages: Stages = STAGES, **activations: Any) -> str | None:
    config = load_config({"compression": {"weights": {"bits": [8]}, "activations": activations}}).compression
    images = Samples(arrays)
    calibrated = CalibratedModel.prepare(model, images, config, 1, STAGES)
    run = functools.partial(ModelRunner.compile, threads=1, batch_size=1)
    scores = choose_scores(describe_outputs(model), run(model)(images.arrays))
    rule = choose_activation_rule(calibrated, scores, run, stages)
    return None if rule is None else rule.type


class Steps(SilentProgress):
    """The last progress of each stage."""

    def __init__(self) -> None:
        self.last: dict[str, tuple[int, int]] = {}
        self._stage = ""

    def start(self, stage: str, total: int) -> None:
        self._stage = stage

    def update(self, done: int, total: int) -> None:
        self.last[self._stage] = (done, total)


def test_progress_ends_at_the_end_where_runs_are_left_out() -> None:
    steps = Steps()
    same = [{"type": "percentile", "percentile": 100.0}, "percentile"]
    automatic = {"type": "automatic", "candidates": same}

    assert chosen(network(largest=True), heavy_tailed(16), Stages(steps), range=automatic) == "percentile"

    assert steps.last["activation ranges"] == (4, 4)


def test_what_hangs_on_the_largest_values_is_not_clipped() -> None:
    candidates = [{"type": "percentile", "percentile": 95.0}, "max"]
    images = heavy_tailed(16)
    assert chosen(network(largest=True), images, range={"type": "automatic", "candidates": candidates}) == "max"
    # The first one stays where there is nothing to gain.
    same = [{"type": "percentile", "percentile": 100.0}, "percentile"]
    assert chosen(network(largest=True), images, range={"type": "automatic", "candidates": same}) == "percentile"


@pytest.mark.parametrize(
    "activations", [{"range": "mse"}, {"bits": 6}, {"range": {"type": "automatic", "candidates": ["max"]}}]
)
def test_there_is_nothing_to_choose_elsewhere(activations: dict[str, Any]) -> None:
    assert chosen(network(largest=True), heavy_tailed(8), **activations) is None


def test_a_single_image_decides_nothing() -> None:
    assert chosen(network(largest=True), heavy_tailed(1)) is None


@pytest.mark.parametrize(
    ("scores", "expected", "asked"),
    [
        ([[1.0, 0.5, 2.0], [1.0, 0.5, 2.0]], 1, [3, 2]),
        # Better in one half only, or by less than the margin.
        ([[1.0, 0.1], [1.0, 1.1]], 0, [2, 2]),
        ([[1.0, 1 - MARGIN / 2], [1.0, 0.2]], 0, [2]),
        ([[1.0, 0.7, 0.6], [1.0, 0.7, 0.7]], 2, [3, 3]),
        ([[float("inf"), 1.0], [float("inf"), 1.0]], 1, [2, 2]),
    ],
)
def test_another_rule_must_be_clearly_better_in_both_halves(
    scores: list[list[float]], expected: int, asked: list[int]
) -> None:
    """What the first half leaves out is not computed in the other."""
    calls: list[list[int]] = []

    def in_half(row: list[float]) -> Callable[[int], float]:
        calls.append([])

        def score_of(index: int) -> float:
            calls[-1].append(index)
            return row[index]

        return score_of

    assert _choose(len(scores[0]), (in_half(row) for row in scores)) == expected
    assert [len(half) for half in calls] == asked


def test_statistics_of_some_images_are_those_that_they_show() -> None:
    quantizable = find_layers(network(largest=True))
    images = heavy_tailed(6)
    some = np.array([1, 3, 4])
    whole = collect_statistics(quantizable, (image[None] for image in images), threads=1).activations
    part = collect_statistics(quantizable, (image[None] for image in images[some]), threads=1).activations
    for name, values in whole.items():
        found = values.of_images(some)
        assert (found.minima == part[name].minima).all()
        assert (found.maxima == part[name].maxima).all()
        assert found.samples.shape == part[name].samples.shape
        low, high = found.minima.min(), found.maxima.max()
        assert ((found.samples >= low) & (found.samples <= high)).all()
