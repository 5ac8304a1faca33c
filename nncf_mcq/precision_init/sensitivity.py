"""How much the network's output changes when one group of layers alone gets fewer bits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from nncf_mcq.precision_init.base import PrecisionTask

Sensitivities = Mapping[str, Mapping[int, float]]
"""Group name and width to the score that the width adds to the network whose other layers have the largest width."""


def measure_sensitivities(task: PrecisionTask, measured_widths: int | None = None) -> Sensitivities:
    """Scores the network once per group and width, all other groups at the largest width.

    At many bits a single group changes the score less than the scoring images can tell. There the score at the next
    smaller measured width is scaled by what the weight table says of the layer's output error, which is known exactly.

    Args:
        task: The model, the widths and the evaluator.
        measured_widths: How many of the smallest widths are scored; the others are scaled. None scores all but the
            largest.

    Returns:
        For each group and width the score above that of the network with the largest width everywhere, at least 0,
        and falling with the width.

    Source: the separable sensitivity of Dong et al., "HAWQ-V2", NeurIPS 2020, with the measured divergence in the place
    of the Hessian trace, as in Cai et al., "ZeroQ", CVPR 2020.
    """
    largest = max(task.bits)
    measured = _measured(task, measured_widths)
    groups = list(task.quantizable.groups)
    uniform = dict.fromkeys(groups, largest)
    trials = [(group, width) for group in groups for width in measured]
    policies = [task.policy({**uniform, group: width}) for group, width in trials]
    total = len(policies) + 1
    base = task.evaluator.score(task.policy(uniform))
    done = 1 + sum(task.evaluator.is_scored(policy) for policy in policies)
    task.progress(done, total, "sensitivity")

    def advance() -> None:
        nonlocal done
        done += 1
        task.progress(done, total, "sensitivity")

    scores = task.evaluator.score_many(policies, advance)
    found: dict[str, dict[int, float]] = {group: {} for group in groups}
    for (group, width), score in zip(trials, scores, strict=True):
        found[group][width] = max(score - base, 0.0)
    for group in groups:
        _complete(found[group], sorted(task.bits), task.weight_errors[group])
    return found


def count_sensitivity_passes(task: PrecisionTask, measured_widths: int | None = None) -> int:
    """How many unique policies `measure_sensitivities` scores."""
    return 1 + len(task.quantizable.groups) * len(_measured(task, measured_widths))


def _measured(task: PrecisionTask, measured_widths: int | None) -> list[int]:
    widths = sorted(task.bits)[:-1]
    return widths if measured_widths is None else widths[:measured_widths]


def _complete(scores: dict[int, float], widths: list[int], errors: Mapping[int, float]) -> None:
    """Scales the score of the widest measured width to the wider ones, and takes noise out of what must fall.

    Scores are relative to the largest width, and so are the errors that they are scaled by.
    """
    base = errors[widths[-1]]
    scores.setdefault(widths[0], 0.0)
    for narrower, wider in itertools.pairwise(widths):
        if wider not in scores:
            share = (errors[wider] - base) / max(errors[narrower] - base, 1e-20)
            scores[wider] = scores[narrower] * max(share, 0.0)
        scores[wider] = min(scores[wider], scores[narrower])
