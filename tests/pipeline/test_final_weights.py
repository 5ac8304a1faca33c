from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nncf_mcq.config.source import RuntimeConfig
from nncf_mcq.metrics.output_scores import OutputScores
from nncf_mcq.metrics.scores import ImageScore
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.pipeline.final_weights import FinalWeights, make_final_weights
from nncf_mcq.pipeline.preparation import Preparation, SearchFold
from nncf_mcq.policy import Policy
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights.weight_table import WeightTable
from tests.models import make_evaluator, small_calibrated_model

STAGES = Stages(SilentProgress())


def policy_of(calibrated: CalibratedModel) -> Policy:
    return Policy({layer.name: 2 for layer in calibrated.quantizable.layers}, calibrated.activation_bits)


def prepared(calibrated: CalibratedModel, search_model: CalibratedModel, table: WeightTable) -> Preparation:
    fold = SearchFold(search_model, table, Samples([np.empty((0, 0), dtype=np.float32)]), ())
    return Preparation(calibrated, (fold,), OutputScores([]), search_model.costs(table), True, RuntimeConfig())


def score_of(values: Sequence[float]) -> ImageScore:
    scores = iter(values)
    return ImageScore(lambda outputs, reference: np.full(len(outputs), next(scores)))


@pytest.mark.parametrize("wins", [True, False])
def test_the_pass_is_kept_only_where_its_score_is_lower(wins: bool) -> None:
    calibrated, table = small_calibrated_model()
    evaluator = make_evaluator(score_of([0.5, 0.25 if wins else 0.75]))
    final = make_final_weights(policy_of(calibrated), prepared(calibrated, calibrated, table), evaluator, STAGES)
    assert (final.table_score, final.sequential_score, final.sequential) == (0.5, 0.25 if wins else 0.75, wins)
    assert (final.table is table) != wins
    assert final.report.kept == ("sequential" if wins else "table")
    assert evaluator.evaluations == 1


@pytest.mark.parametrize("wins", [True, False])
def test_what_won_on_one_half_is_repeated_with_all_images(wins: bool) -> None:
    calibrated, _ = small_calibrated_model()
    half = calibrated.observe(calibrated.calibration[:6], STAGES, " for search")
    table = half.weight_table((2,), STAGES)
    evaluator = make_evaluator(score_of([0.5, 0.25 if wins else 0.75]), build=lambda policy: half.build(policy, table))
    final = make_final_weights(policy_of(half), prepared(calibrated, half, table), evaluator, STAGES)
    expected = calibrated.weight_table(policy_of(half).weight_bits, STAGES)
    if wins:
        expected = calibrated.requantize_sequentially(policy_of(half), expected, STAGES)
    for name in table.entries:
        np.testing.assert_array_equal(final.table[name, 2].levels, expected[name, 2].levels)
        np.testing.assert_allclose(final.table[name, 2].scale, expected[name, 2].scale, rtol=1e-5)


def test_without_scores_the_weights_are_those_of_the_table() -> None:
    _, table = small_calibrated_model()
    final = FinalWeights(table)
    assert not final.sequential
    assert final.report.to_dict() == {"table_score": None, "sequential_score": None, "kept": "table"}


def test_a_score_that_is_not_a_number_does_not_win() -> None:
    _, table = small_calibrated_model()
    assert not FinalWeights(table, 0.1, float("nan")).sequential
