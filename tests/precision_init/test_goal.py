"""A goal in the place of a budget."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import nncf
import numpy as np
import pytest
from pydantic import JsonValue

from nncf_mcq import ConfigError, quantize
from nncf_mcq.config.goal import Goal
from nncf_mcq.metrics.metrics import METRICS, SampleMetric, kl_divergence, top1
from nncf_mcq.metrics.recognition import RecognizedOutputs
from nncf_mcq.model.samples import Arrays, Samples
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionResult
from nncf_mcq.precision_init.evaluator import Fold
from nncf_mcq.precision_init.goal import Estimate, find_quantity
from nncf_mcq.precision_init.goal.search import TRIALS
from nncf_mcq.testing.networks import IMAGES, image_dataset, small_config, small_network
from tests.models import make_evaluator, make_task, run, small_calibrated_model

CLASSES = 4


def fold(logits: np.ndarray, targets: list[int] | None = None) -> Fold:
    def build(policy: object) -> Any:
        raise NotImplementedError

    return Fold(build, Samples(np.zeros((len(logits), 1))), (logits,), targets)


def two_folds(count: int = 60) -> tuple[list[Fold], list[Arrays]]:
    """Float logits in two folds of unequal size, and those of a policy that differs from them."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(count, CLASSES)).astype(np.float32)
    found = logits + random.normal(scale=0.4, size=logits.shape).astype(np.float32)
    targets = logits.argmax(axis=1).tolist()
    targets[::7] = [(target + 1) % CLASSES for target in targets[::7]]
    cut = count // 3
    folds = [fold(logits[:cut], targets[:cut]), fold(logits[cut:], targets[cut:])]
    return folds, [(found[:cut],), (found[cut:],)]


def joined(folds: list[Fold], outputs: list[Arrays]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found, reference = (
        np.concatenate([arrays[0] for arrays in parts]) for parts in (outputs, [item.reference for item in folds])
    )
    return found, reference, np.array([target for item in folds for target in item.targets or ()])


def unrecognized() -> RecognizedOutputs:
    raise NotImplementedError


def estimate_of(goal: dict[str, float], folds: list[Fold], outputs: list[Arrays]) -> Estimate:
    return find_quantity(Goal.model_validate(goal), folds, unrecognized).estimate(outputs)


def test_the_values_are_those_of_all_images_and_the_bounds_on_the_worse_side() -> None:
    folds, outputs = two_folds()
    found, reference, targets = joined(folds, outputs)
    agreement = estimate_of({"agreement": 0.9}, folds, outputs)
    assert agreement.value == np.mean(found.argmax(axis=1) == reference.argmax(axis=1))
    assert agreement.bound < agreement.value < 1
    kl = estimate_of({"kl": 0.1}, folds, outputs)
    assert kl.value == pytest.approx(kl_divergence(found, reference))
    assert kl.bound > kl.value + kl.error
    drop = estimate_of({"top1_drop": 1}, folds, outputs)
    assert drop.value == pytest.approx(100 * (top1(reference, targets) - top1(found, targets)))
    assert drop.bound > drop.value + drop.error > drop.value


@pytest.mark.parametrize("goal", [{"agreement": 0.9}, {"kl": 0.1}, {"top1_drop": 1}, {"top5_drop": 1}])
def test_more_confidence_moves_the_bound_away(goal: dict[str, float]) -> None:
    folds, outputs = two_folds()
    distances = [
        abs((estimate := estimate_of({**goal, "confidence": confidence}, folds, outputs)).bound - estimate.value)
        for confidence in (0.8, 0.95, 0.999)
    ]
    assert distances == sorted(distances)
    assert distances[0] < distances[2]


@pytest.fixture(params=["summaries", "all outputs"])
def ratio_metric(request: pytest.FixtureRequest) -> Iterator[str]:
    """A metric that is no mean over images, in its own unit."""

    def finish(rows: list[tuple[float, float]]) -> float:
        largest, spread = np.mean(rows, axis=0)
        return float(largest / spread)

    summarized = SampleMetric(lambda output, target: (float(output.max()), float(np.ptp(output))), finish)
    METRICS["ratio"] = summarized if request.param == "summaries" else lambda found, targets: summarized(found, targets)
    yield "ratio"
    del METRICS["ratio"]


def test_the_drop_of_a_metric_that_is_no_mean(ratio_metric: str) -> None:
    folds, outputs = two_folds(400)
    found, reference, targets = joined(folds, outputs)
    metric = METRICS[ratio_metric]
    drop = estimate_of({"ratio_drop": 0.1}, folds, outputs)
    assert drop.value == pytest.approx(metric(reference, targets) - metric(found, targets))
    random = np.random.default_rng(1)
    resampled = []
    for _ in range(300):
        rows = random.integers(len(targets), size=len(targets))
        resampled.append(metric(reference[rows], targets[rows]) - metric(found[rows], targets[rows]))
    assert drop.error == pytest.approx(np.std(resampled), rel=0.4)
    assert drop.bound > drop.value + drop.error


def test_goals_that_are_not_for_the_outputs_or_labels() -> None:
    no_classifier = fold(np.zeros((3, 4, 5), np.float32), [0, 1, 2])
    for goal in ({"agreement": 0.9}, {"kl": 1}):
        with pytest.raises(ConfigError, match=r"precision\.goal: .*the model is no classifier"):
            find_quantity(Goal.model_validate(goal), [no_classifier], unrecognized)
    with pytest.raises(ConfigError, match=r"goal: found '(top1|map50)_drop', allowed: the drop of a metric for the"):
        find_quantity(Goal.model_validate({"top1_drop": 1}), [no_classifier], unrecognized)
    with pytest.raises(ConfigError, match=r"goal: found '6 outputs for 2 labels'"):
        find_quantity(Goal.model_validate({"top1_drop": 1}), [fold(np.zeros((6, 4), np.float32), [0, 1])], unrecognized)


def test_outputs_count_as_a_score_which_they_give() -> None:
    calibrated, table = small_calibrated_model()
    policy = make_task().policy(make_task().widest)
    built: list[object] = []
    evaluator = make_evaluator(build=lambda policy: built.append(policy) or calibrated.build(policy, table))  # type: ignore[func-returns-value]
    (outputs,) = evaluator.outputs(policy)
    images = evaluator.folds[0].images
    np.testing.assert_array_equal(outputs[0], run(calibrated.build(policy, table), images, threads=1, batch_size=4))
    assert evaluator.evaluations == 1
    assert evaluator.score(policy) == make_evaluator().score(policy)
    assert len(built) == 1


def find(goal: dict[str, float], method: str = "ilp") -> PrecisionResult:
    section = {"type": method, "measured_widths": 1, "goal": goal}
    parameters = PRECISION_INITIALIZERS[method].Parameters.model_validate(section)
    return PRECISION_INITIALIZERS.create(parameters).find_policy(make_task())


@pytest.mark.parametrize("method", ["ilp", "greedy"])
def test_the_smallest_policy_whose_bound_keeps_the_goal(method: str) -> None:
    missed = find({"kl": 1e-12}, method).goal
    assert missed is not None
    bounds = sorted(trial.bound for trial in missed.tried if trial.bound is not None)
    result = find({"kl": bounds[-1]}, method)
    goal, task = result.goal, make_task()
    assert goal is not None
    assert goal.kept
    assert goal.bound is not None
    assert goal.value is not None
    assert goal.value < goal.bound <= goal.limit
    assert goal.average_bits == pytest.approx(task.costs.average_bits(result.policy))
    assert goal.average_bits == min(trial.average_bits for trial in goal.tried if trial.kept)
    assert 2 <= goal.average_bits < 8
    assert len(goal.tried) <= TRIALS
    # What the report says is what the policy's model gives.
    (outputs,) = task.evaluator.outputs(result.policy)
    assert goal.value == pytest.approx(kl_divergence(outputs[0], task.evaluator.folds[0].reference[0]))


def test_a_goal_out_of_reach_gives_the_nearest_policy_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        goal = find({"kl": 1e-12}).goal
    assert goal is not None
    assert not goal.kept
    assert goal.bound == min(trial.bound for trial in goal.tried if trial.bound is not None)
    assert goal.tried[-1].average_bits == 8
    (record,) = caplog.records
    assert f"goal: kl of 1e-12 is missed by {goal.bound - goal.limit:.3g}" in record.getMessage()


def test_ctrl_c_returns_the_smallest_policy_so_far() -> None:
    goal = find({"kl": 1e9}).goal
    assert goal is not None
    whole = len(goal.tried)
    section = {"type": "ilp", "measured_widths": 1, "goal": {"kl": 1e9}}
    parameters = PRECISION_INITIALIZERS["ilp"].Parameters.model_validate(section)
    task = make_task()

    def interrupt(done: int, total: int) -> None:
        if total == TRIALS and done == 2:
            raise KeyboardInterrupt

    object.__setattr__(task, "progress", interrupt)
    result = PRECISION_INITIALIZERS.create(parameters).find_policy(task)
    assert result.goal is not None
    assert result.ended_by == "interrupted"
    assert len(result.goal.tried) == 2 < whole
    assert result.goal.kept


def test_labels_are_asked_for_before_any_work() -> None:
    def no_work(index: int) -> np.ndarray:
        raise AssertionError

    images = nncf.Dataset([0], no_work)
    config = small_config(precision={"type": "ilp", "goal": {"top1_drop": 1}})
    with pytest.raises(
        ConfigError, match=r"goal: found 'top1_drop', allowed: agreement, kl, .* or pixel_agreement: .* no labels"
    ):
        quantize(small_network(), images, config)
    config = small_config(precision={"type": "ilp", "goal": {"nothing_drop": 1}})
    with pytest.raises(ConfigError, match=r"goal: found 'nothing_drop', allowed: agreement, kl, .*top1_drop"):
        quantize(small_network(), images, config, search_targets=[0])


@pytest.mark.parametrize("own_images", [False, True])
def test_a_drop_is_that_of_the_labels_that_are_given(own_images: bool) -> None:
    """Labels that are the float model's predictions, in the order of the images: the drop is what does not agree."""
    search = image_dataset(12) if own_images else None
    count = 12 if own_images else IMAGES
    inputs = np.concatenate(list(image_dataset(count).get_inference_data()))
    labels = run(small_network(), inputs, threads=1, batch_size=1).argmax(axis=1).tolist()
    found = {}
    goals: list[dict[str, JsonValue]] = [{"top1_drop": 100}, {"agreement": 1e-9}]
    for goal in goals:
        config = small_config(precision={"type": "ilp", "measured_widths": 1, "goal": goal})
        result = quantize(small_network(), image_dataset(IMAGES), config, search_dataset=search, search_targets=labels)
        assert result.search.goal is not None
        found[result.search.goal.quantity] = result.search.goal
    drop, agreement = found["top1_drop"], found["agreement"]
    assert drop.images == agreement.images == count
    shares = [trial.value for trial in agreement.tried if trial.value is not None]
    assert [100 * (1 - share) for share in shares] == pytest.approx([trial.value for trial in drop.tried])
    assert min(shares) < 1
    config = small_config(precision={"type": "ilp", "measured_widths": 1, "goal": {"top1_drop": 1}})
    with pytest.raises(ConfigError, match=rf"search_targets: found '{count - 1} targets', allowed: one for each of"):
        quantize(small_network(), image_dataset(IMAGES), config, search_dataset=search, search_targets=labels[:-1])
