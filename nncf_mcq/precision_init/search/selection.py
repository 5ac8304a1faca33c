"""Which of the scored policies a search returns, and what it may expect on other images."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from nncf_mcq.policy import Policy
from nncf_mcq.precision_init.base import PrecisionTask
from nncf_mcq.precision_init.estimate import Difference, paired_difference
from nncf_mcq.utils.json_values import JsonObject

ERRORS = 3.0
"""Standard errors by which a policy must be better than the warm start: of a hundred policies that are equal to it, the
luckiest is better by about two and a half on the images that they are scored on."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The policy that a search returns.

    Attributes:
        policy: The policy.
        gain: By how much the best score is lower than that of the warm start, on the same images; None where there is
            no better one.
        kept_start: Whether the warm start is returned, since no other policy is clearly better.
    """

    policy: Policy
    gain: Difference | None = None
    kept_start: bool = False

    def to_dict(self) -> JsonObject:
        """JSON values for the report."""
        if self.gain is None or not math.isfinite(self.gain.mean):
            return {"gain": None, "kept_warm_start": self.kept_start}
        error = self.gain.error if math.isfinite(self.gain.error) else None
        return {"gain": {"mean": self.gain.mean, "standard_error": error}, "kept_warm_start": self.kept_start}


def select_policy(task: PrecisionTask, best: Policy, start: Policy | None, tried: int) -> Selection:
    """Leaves the warm start only for a policy that is better by a paired test on the images.

    The lowest of many scores is low by luck too: what the search gains on its own images is lost on others unless it is
    large beside the standard error of the difference.

    Args:
        task: Its evaluator knows both policies.
        best: The policy of the lowest score.
        start: The warm start, None without one.
        tried: Trials of the search, for the message.
    """
    start_values = None if start is None else task.evaluator.known_values(start)
    if start is None or start_values is None:
        return Selection(best)
    if best.key == start.key:
        return Selection(best, kept_start=True)
    found = paired_difference(start_values, task.evaluator.values(best))
    if not math.isfinite(found.mean) or not math.isfinite(found.error) or found.mean > ERRORS * found.error:
        return Selection(best, found)
    _logger.warning(
        "search: the best of %d policies is better than the warm start by %.3g, with a standard error of %.3g: that is "
        "not expected to hold on other images, and the warm start is used",
        tried,
        found.mean,
        found.error,
    )
    return Selection(start, found, kept_start=True)
