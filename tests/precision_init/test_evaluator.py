from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq import Policy
from nncf_mcq.metrics.output_scores import choose_scores, default_score
from nncf_mcq.metrics.scores import squared_error
from nncf_mcq.model.outputs import ModelOutput, describe_outputs
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Samples
from nncf_mcq.policy import PolicyKey
from nncf_mcq.precision_init.estimate import ImageScores, mean_score
from nncf_mcq.precision_init.evaluator import Evaluator, Fold
from nncf_mcq.precision_init.study import StudyStorage, Subject
from tests.models import make_evaluator, make_model, make_task, random_images, small_calibrated_model

TASK = make_task()
GROUPS = list(TASK.quantizable.groups)


OUTPUT = ModelOutput("output")


def uniform(bits: int) -> Policy:
    return TASK.policy(dict.fromkeys(GROUPS, bits))


def test_a_policy_is_built_and_scored_once() -> None:
    built: list[Policy] = []

    def build(policy: Policy) -> ov.Model:
        built.append(policy)
        calibrated, table = small_calibrated_model()
        return calibrated.build(policy, table)

    evaluator = make_evaluator(build=build)
    score = evaluator.score(uniform(4))
    same = uniform(4)
    reordered = Policy(*(dict(reversed(list(bits.items()))) for bits in (same.weight_bits, same.activation_bits)))
    assert evaluator.score(reordered) == score
    assert evaluator.score_many([same, reordered, same]) == [score] * 3
    assert (evaluator.evaluations, len(built)) == (1, 1)
    evaluator.score_many([uniform(2), same, uniform(2)])
    assert (evaluator.evaluations, len(built)) == (2, 2)


def test_what_another_search_scored_is_not_run_again_but_counts() -> None:
    built: list[Policy] = []

    def build(policy: Policy) -> ov.Model:
        built.append(policy)
        calibrated, table = small_calibrated_model()
        return calibrated.build(policy, table)

    shared_scores: dict[PolicyKey, ImageScores] = {}
    first, second = (make_evaluator(build=build, shared_scores=shared_scores) for _ in range(2))
    score = first.score(uniform(4))
    assert (second.score(uniform(4)), len(built)) == (score, 1)
    assert (first.evaluations, second.evaluations) == (1, 1)
    assert {key: mean_score(values) for key, values in shared_scores.items()} == {uniform(4).key: score}


def test_other_activation_bits_are_another_policy() -> None:
    evaluator = make_evaluator()
    weights = uniform(8).weight_bits
    scores = [evaluator.score(make_task(bits).policy({group: weights[group] for group in GROUPS})) for bits in (8, 3)]
    assert evaluator.evaluations == 2
    assert scores[0] < scores[1]


def test_many_are_scored_as_one_by_one_and_in_order() -> None:
    policies = [uniform(8), *(TASK.policy({**dict.fromkeys(GROUPS, 8), group: 2}) for group in GROUPS), uniform(2)]
    steps = []
    together = make_evaluator(threads=2).score_many(policies, lambda: steps.append(1))
    alone = [make_evaluator().score(policy) for policy in policies]
    assert together == pytest.approx(alone, rel=1e-6)
    assert len(set(alone)) == len(policies)
    assert len(steps) == len(policies)
    assert min(alone) == alone[0]


def test_fewer_bits_score_worse() -> None:
    evaluator = make_evaluator()
    scores = [evaluator.score(uniform(bits)) for bits in (8, 4, 2)]
    assert 0 <= scores[0] < scores[1] < scores[2]


def test_a_score_of_the_callers_own_sees_outputs_and_reference() -> None:
    seen: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def score(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
        seen.append((outputs, reference))
        return 7.0

    assert make_evaluator(score).score(uniform(8)) == 7.0
    # The others are the jackknife's, each without an image.
    (outputs, reference), *others = seen
    assert [len(outputs) for outputs, _ in others] == [5] * 6
    assert outputs.shape == reference.shape == (6, 5)
    np.testing.assert_allclose(outputs, reference, atol=0.2 * np.abs(reference).max())


def recording(built: list[Policy]) -> Callable[[Policy], ov.Model]:
    """Builds the model of a policy and keeps in mind which."""
    calibrated, table = small_calibrated_model()

    def build(policy: Policy) -> ov.Model:
        built.append(policy)
        return calibrated.build(policy, table)

    return build


def test_outputs_give_the_score_on_the_way() -> None:
    built: list[Policy] = []
    shared_scores: dict[PolicyKey, ImageScores] = {}
    evaluator = make_evaluator(build=recording(built), shared_scores=shared_scores)
    ((outputs,),) = evaluator.outputs(uniform(4))
    assert (len(built), evaluator.evaluations) == (1, 1)
    calibrated, table = small_calibrated_model()
    model = calibrated.build(uniform(4), table)
    np.testing.assert_array_equal(outputs, ModelRunner.compile(model, 1, batch_size=4)([random_images(6, seed=1)])[0])
    expected = make_evaluator().values(uniform(4))
    np.testing.assert_array_equal(evaluator.values(uniform(4)), expected)
    np.testing.assert_array_equal(shared_scores[uniform(4).key], expected)
    assert len(built) == 1
    # What has a score keeps it.
    shared_scores[uniform(2).key] = np.full(6, 9, np.float32)
    evaluator.outputs(uniform(2))
    assert evaluator.score(uniform(2)) == 9
    assert (evaluator.evaluations, len(built)) == (2, 2)
    assert evaluator.origins == {"resumed": 0, "this_process": 2, "workers": 0}


def each_lower(bits: int) -> list[Policy]:
    """One group at a time has fewer bits."""
    return [TASK.policy({**dict.fromkeys(GROUPS, 8), group: bits}) for group in GROUPS]


def test_policies_are_run_in_their_order_unless_several_processes_share_them() -> None:
    built: list[Policy] = []
    policies = [*each_lower(2), *each_lower(4)]
    evaluator = make_evaluator(build=recording(built))
    evaluator.score_many(policies)
    assert built == policies
    orders = []
    for _ in range(2):
        built.clear()
        fold = Fold(recording(built), evaluator.folds[0].images, evaluator.folds[0].reference)
        scores = choose_scores(describe_outputs(small_calibrated_model()[0].quantizable.model), fold.reference, None)
        shuffled = Evaluator([fold], scores, threads=1, batch_size=4, random_order=True)
        assert shuffled.score_many(policies) == evaluator.score_many(policies)
        orders.append(list(built))
    assert orders[0] != orders[1] or orders[0] != policies
    assert {policy.key for policy in orders[0]} == {policy.key for policy in policies}


@pytest.mark.parametrize("known", [False, True])
def test_a_search_that_is_over_scores_no_more(known: bool) -> None:
    policies, steps, asked = each_lower(2), [], itertools.count()
    evaluator = make_evaluator()
    if known:
        evaluator.score(policies[3])
    found = evaluator.score_many(policies, lambda: steps.append(1), lambda: next(asked) >= 2)
    assert [math.isnan(score) for score in found] == [False, False, True, not known]
    assert len(steps) == 2
    assert evaluator.evaluations == 2 + known


def test_an_error_while_scoring_many_is_raised_and_the_rest_is_left() -> None:
    built: list[Policy] = []
    build = recording(built)

    def fail_first(policy: Policy) -> ov.Model:
        if not built:
            built.append(policy)
            raise KeyError
        time.sleep(0.1)
        return build(policy)

    evaluator = make_evaluator(build=fail_first, threads=1)
    many = [
        TASK.policy(dict(zip(GROUPS, (a, b, c, 8), strict=True))) for a in (2, 4, 8) for b in (2, 4) for c in (2, 4)
    ]
    with pytest.raises(KeyError):
        evaluator.score_many(many)
    assert len(built) < len(many) / 2
    # What comes later is not left.
    assert len(evaluator.score_many(many[:2])) == 2
    assert evaluator.is_scored(many[0])


def test_a_batch_is_the_last_that_is_run_after_an_error() -> None:
    """As after Ctrl-C: the other thread does not run all of its images first."""
    images = np.tile(random_images(6, seed=1), (400, 1, 1, 1))
    calibrated, table = small_calibrated_model()
    reference = ModelRunner.compile(calibrated.quantizable.model, 1, batch_size=4)([images])
    scores = choose_scores(describe_outputs(calibrated.quantizable.model), reference, None)
    started = threading.Event()

    def build(policy: Policy) -> ov.Model:
        if policy.key == uniform(2).key:
            started.wait(60)
            raise KeyError
        model = calibrated.build(policy, table)
        started.set()
        return model

    evaluator = Evaluator([Fold(build, Samples([images]), reference)], scores, threads=2, batch_size=1)
    with pytest.raises(KeyError):
        evaluator.score_many([uniform(2), uniform(4)])
    assert not evaluator.is_scored(uniform(4))


def test_what_another_process_is_at_comes_last_and_is_not_run(tmp_path: Path) -> None:
    subject, place = Subject("model", "images", {}), tmp_path / "study.journal"
    built: list[Policy] = []
    evaluator = make_evaluator(memo=StudyStorage(place).start(subject).memo, build=recording(built))
    other = StudyStorage(place, mode="join").start(subject).memo
    policies = each_lower(2)
    assert other.claim(policies[0])

    def finish() -> None:
        end = time.monotonic() + 20
        while len(built) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        # By now it is waited for.
        time.sleep(0.3)
        other.put(policies[0], np.full(6, 9, np.float32))

    thread = threading.Thread(target=finish)
    thread.start()
    steps: list[int] = []
    scores = evaluator.score_many(policies, lambda: steps.append(1))
    thread.join()
    assert (scores[0], built, len(steps)) == (9, policies[1:], 4)
    assert [key for key, _ in evaluator.scores_from(3)] == [policies[0].key]
    assert evaluator.origins == {"resumed": 0, "this_process": 3, "workers": 1}


def test_a_process_that_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, place = Subject("model", "images", {}), tmp_path / "study.journal"
    evaluator = make_evaluator(memo=StudyStorage(place).start(subject).memo)
    assert StudyStorage(place, mode="join").start(subject).memo.claim(uniform(4))
    monkeypatch.setattr("nncf_mcq.precision_init.evaluator._CLAIM_SECONDS", 0.5)
    begun = time.monotonic()
    assert evaluator.score(uniform(4)) == make_evaluator().score(uniform(4))
    assert time.monotonic() - begun > 0.5
    assert evaluator.origins["this_process"] == 1


def test_the_default_score_is_zero_for_equal_outputs_and_grows_with_the_difference() -> None:
    random = np.random.default_rng(0)
    for shape in ((4, 5), (4, 1), (4, 3, 2, 2)):
        reference = random.normal(size=shape).astype(np.float32)
        noise = random.normal(size=shape).astype(np.float32)
        scores = [default_score(OUTPUT, reference)(reference + size * noise, reference) for size in (0, 0.1, 1.0)]
        assert scores[0] == pytest.approx(0, abs=1e-7)
        assert scores[0] < scores[1] < scores[2]


def test_the_default_score_of_a_map_is_the_relative_squared_error() -> None:
    reference = np.full((2, 1, 2, 2), 2.0, dtype=np.float32)
    assert default_score(OUTPUT, reference)(reference * 1.5, reference) == pytest.approx(0.25)
    assert np.isfinite(default_score(OUTPUT, np.zeros_like(reference))(reference, np.zeros_like(reference)))


def test_the_score_is_the_mean_over_the_images_of_all_folds_each_with_its_own_weights() -> None:
    calibrated, table = small_calibrated_model()
    model = calibrated.quantizable.model
    images = [random_images(count, seed=count) for count in (5, 3)]
    references = [ModelRunner.compile(model, 1, batch_size=4)([part]) for part in images]
    built: list[list[Policy]] = [[], []]

    def builder(index: int) -> Callable[[Policy], ov.Model]:
        def build(policy: Policy) -> ov.Model:
            built[index].append(policy)
            # The second fold's weights are others: two bits fewer.
            bits = {name: bits if index == 0 else bits // 2 for name, bits in policy.weight_bits.items()}
            return calibrated.build(Policy(bits, policy.activation_bits), table)

        return build

    folds = [Fold(builder(index), Samples([part]), references[index]) for index, part in enumerate(images)]
    scores = choose_scores(describe_outputs(model), references[0], None)
    for threads in (1, 2):
        evaluator = Evaluator(folds, scores, threads=threads, batch_size=4)
        policy = uniform(4)
        values = evaluator.values(policy)
        alone = [
            Evaluator([Fold(fold.build, fold.images, fold.reference)], scores, threads=1, batch_size=4).values(policy)
            for fold in folds
        ]
        np.testing.assert_allclose(values, np.concatenate(alone), rtol=1e-4, atol=1e-7)
        assert evaluator.score(policy) == mean_score(values) == evaluator.known_score(policy)
        assert alone[1].mean() > 2 * alone[0].mean()
        np.testing.assert_array_equal(evaluator.fold_values(policy), values[:5])
        np.testing.assert_array_equal(evaluator.fold_values(policy, 1), values[5:])
        int4 = calibrated.build(policy, table)
        np.testing.assert_allclose(evaluator.score_model(int4, 0), alone[0], rtol=1e-4, atol=1e-7)
        assert len(evaluator.score_model(int4, 1)) == 3
        assert len(evaluator.score_model(int4)) == 5
        # Asked for again they are run again, and are no other evaluation.
        for outputs, part in zip(evaluator.outputs(policy), images, strict=True):
            assert outputs[0].shape == (len(part), 5)
        assert (evaluator.images, evaluator.evaluations, evaluator.image_passes) == (8, 1, 8)
        evaluator.score(uniform(8))
        assert evaluator.image_passes == 16
        assert evaluator.known_values(uniform(2)) is None
    assert len(built[0]) == len(built[1]) == 2 * (2 + 2)


def test_a_resumed_search_has_the_same_values(tmp_path: Path) -> None:
    subject = Subject("model", "images", {})
    first = make_evaluator(memo=StudyStorage(tmp_path / "study.journal").start(subject).memo)
    policies = [uniform(bits) for bits in (2, 4, 8)]
    first.score_many(policies)
    assert first.values(policies[0]).dtype == np.float32

    def fail(policy: Policy) -> ov.Model:
        raise AssertionError

    memo = StudyStorage(tmp_path / "study.journal", mode="resume").start(subject).memo
    second = make_evaluator(memo=memo, build=fail)
    for policy in policies:
        assert second.values(policy).dtype == np.float32
        np.testing.assert_array_equal(second.values(policy), first.values(policy))
        assert second.score(policy) == first.score(policy)
    assert len(second.values(policies[0])) == 6
    assert second.evaluations == len(policies)
    assert second.origins == {"resumed": 3, "this_process": 0, "workers": 0}


def test_a_model_of_several_rows_has_one_value_for_each_sample() -> None:
    model = make_model(lambda data: opset.multiply(data, np.float32(1.5)), (2, 4))
    images = Samples([np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)])
    reference = (images.arrays[0].reshape(6, 4),)
    scores = choose_scores((OUTPUT,), reference, squared_error)
    evaluator = Evaluator([Fold(lambda policy: model, images, reference)] * 2, scores, threads=1, batch_size=1)
    policy = Policy({"layer": 4})
    assert len(evaluator.values(policy)) == 6
    assert evaluator.score(policy) == pytest.approx(0.25)
    assert mean_score(evaluator.fold_values(policy)) == pytest.approx(0.25)
