from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from nncf_mcq import Policy
from nncf_mcq.metrics.output_scores import default_score
from nncf_mcq.model.outputs import ModelOutput
from nncf_mcq.policy import PolicyKey
from tests.models import make_evaluator, make_task, small_calibrated_model

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

    shared_scores: dict[PolicyKey, float] = {}
    first, second = (make_evaluator(build=build, shared_scores=shared_scores) for _ in range(2))
    score = first.score(uniform(4))
    assert (second.score(uniform(4)), len(built)) == (score, 1)
    assert (first.evaluations, second.evaluations) == (1, 1)
    assert shared_scores == {uniform(4).key: score}


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
    ((outputs, reference),) = seen
    assert outputs.shape == reference.shape == (6, 5)
    np.testing.assert_allclose(outputs, reference, atol=0.2 * np.abs(reference).max())


def test_an_error_while_scoring_many_is_raised() -> None:
    with pytest.raises(KeyError):
        make_evaluator().score_many([TASK.policy(dict.fromkeys(GROUPS, 5))])


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
