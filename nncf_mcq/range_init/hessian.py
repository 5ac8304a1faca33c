"""A threshold search by the error that the network's answer would show."""

from __future__ import annotations

from typing import Literal

import torch

from nncf_mcq.errors import QuantizationError
from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeTask
from nncf_mcq.range_init.search import SearchParameters, ThresholdSearch


@RANGE_INITIALIZERS.register
class HessianRange(ThresholdSearch):
    """The range of least squared error of the weights, each weighted by its Fisher information.

    That is the second-order term of the KL divergence to the float outputs, without the terms of two weights. What
    shares a range counts unweighted where the Fisher information of all of it is zero.

    Source: Li et al., "BRECQ", ICLR 2021, weigh the errors of layers' outputs so; see `collect_fisher`.
    """

    class Parameters(SearchParameters):
        """See `SearchParameters`."""

        type: Literal["hessian"] = "hessian"

    needs_fisher = True

    def errors(self, quantized: torch.Tensor, task: RangeTask) -> torch.Tensor:
        """Sum of squared differences times Fisher information.

        Raises:
            QuantizationError: The task has no Fisher information.
        """
        if task.fisher is None:
            raise QuantizationError(
                "the range initializer hessian needs the Fisher information of the weights: give `fisher`, e.g. from "
                "`collect_fisher`"
            )
        difference = (quantized - task.weights).square_()
        return torch.einsum("kgrc,grc->kgr", difference, _importance(task.fisher, task.per_channel))


def _importance(fisher: torch.Tensor, per_channel: bool) -> torch.Tensor:
    """Relative to the largest of what shares a range: its own scale may be too small for products in float32."""
    largest = fisher.amax(dim=2, keepdim=True)
    if not per_channel:
        largest = largest.amax().expand_as(largest)
    return torch.where(largest > 0, fisher / largest, 1.0)
