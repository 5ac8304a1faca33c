"""The weights of the policy found: from all calibration images, with the sequential pass where it wins."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from nncf_mcq.config.search_report import FinalWeightsReport
from nncf_mcq.pipeline.preparation import Preparation
from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.estimate import mean_score
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.weight_table import WeightTable


@dataclass(frozen=True)
class FinalWeights:
    """The weights that ship.

    Attributes:
        table: Holds the policy's weights.
        table_score: Score of the policy with the weights of the search's own table, or None where nothing was scored.
        sequential_score: The same after the sequential pass.
    """

    table: WeightTable
    table_score: float | None = None
    sequential_score: float | None = None

    @property
    def sequential(self) -> bool:
        """True if the weights are those of the sequential pass."""
        return (
            self.table_score is not None
            and self.sequential_score is not None
            and self.sequential_score < self.table_score
        )

    @property
    def report(self) -> FinalWeightsReport:
        """Entry of result.json."""
        return FinalWeightsReport(
            table_score=self.table_score,
            sequential_score=self.sequential_score,
            kept="sequential" if self.sequential else "table",
        )


def make_final_weights(
    policy: Policy, prepared: Preparation, evaluator: Evaluator, stages: Stages, *, sequential: bool = True
) -> FinalWeights:
    """Tries the sequential pass on what the search used, and repeats what won with all calibration images.

    A policy is tuned to the table that it was found with, so the pass may lose: its score decides, for all layers at
    once. Deciding layer by layer only fits the images that it is decided on.

    Args:
        policy: Bits of every layer.
        prepared: The preparation of the search.
        evaluator: Scores on images that the weights of the search were not made from.
        stages: Reports the progress.
        sequential: Whether there is time for the sequential pass.
    """
    fold, calibrated = prepared.folds[0], prepared.calibrated
    table, search_model = fold.table, fold.calibrated
    found = FinalWeights(table)
    if sequential and prepared.sequential:
        table_score = mean_score(evaluator.fold_values(policy))
        tried = search_model.requantize_sequentially(policy, table, stages)
        sequential_score = mean_score(evaluator.score_model(search_model.build(policy, tried)))
        found = FinalWeights(table, table_score, sequential_score)
        if found.sequential:
            found = dataclasses.replace(found, table=tried)
    if search_model is calibrated:
        return found
    final = calibrated.weight_table(policy.weight_bits, stages)
    if found.sequential:
        final = calibrated.requantize_sequentially(policy, final, stages)
    return dataclasses.replace(found, table=final)
