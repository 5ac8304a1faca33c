"""A plugin as an outsider would write it: public names only; registers its classes when it is imported."""

from __future__ import annotations

from typing import Literal

import torch

from nncf_mcq import ACTIVATION_RANGE_INITIALIZERS, PRECISION_INITIALIZERS, RANGE_INITIALIZERS
from nncf_mcq.precision_init import PrecisionInitializer, PrecisionResult, PrecisionTask
from nncf_mcq.range_init import Grid, RangeInitializer, RangeTask, SingleRule, grid_from_range
from nncf_mcq.range_init.activation import ActivationRangeInitializer, ActivationRangeTask


@RANGE_INITIALIZERS.register
class FixedRange(SingleRule):
    """The same threshold for every weight."""

    class Parameters(RangeInitializer.Parameters):
        type: Literal["fixed"] = "fixed"
        threshold: float = 1.0

    parameters: Parameters

    def find_grid(self, task: RangeTask) -> Grid:
        high = task.weights.new_full(task.weights.shape[:2], self.parameters.threshold)
        return grid_from_range(-high, high, task.bits, task.mode)


@ACTIVATION_RANGE_INITIALIZERS.register
class FixedActivationRange(ActivationRangeInitializer):
    """The same threshold for every activation."""

    class Parameters(ActivationRangeInitializer.Parameters):
        type: Literal["fixed"] = "fixed"
        limit: float = 1.0

    parameters: Parameters

    def find_threshold(self, task: ActivationRangeTask) -> torch.Tensor:
        return torch.full_like(task.largest[0], self.parameters.limit)


@PRECISION_INITIALIZERS.register
class LargestLayerPrecision(PrecisionInitializer):
    """Few bits for the layer with the most weights, many for the others."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["largest_layer"] = "largest_layer"
        few: int = 2
        many: int = 8

    parameters: Parameters

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        bits = dict.fromkeys(task.quantizable.groups, self.parameters.many)
        largest = max(task.quantizable.layers, key=lambda layer: layer.weights)
        bits[largest.group] = self.parameters.few
        policy = task.policy(bits)
        return PrecisionResult(policy, {"score": task.evaluator.score(policy)})
