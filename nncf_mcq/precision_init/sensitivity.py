"""How much the network's output changes when one group of layers alone gets fewer bits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.precision_init.base import PrecisionTask

Sensitivities = Mapping[str, Mapping[int, float]]
"""Group name and width to the score that the width adds to the network whose other layers have the largest width."""


def measure_sensitivities(task: PrecisionTask, measured_widths: int | None = None) -> Sensitivities:
    """Scores the network once per group and width, all other groups at the largest width.

    At many bits a single group changes the score less than the scoring images can tell. There the score at the next
    smaller measured width is scaled by the error of the layer's output, or of the activation, which is known exactly.

    What a layer gains in floating point, with its input not quantized either, is always measured: by leaving it alone
    float in the network whose layers have the largest width. Its widths lose that much.

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
    uniform = task.widest_quantized
    measured = _measured(task, measured_widths)
    trials = [(group, width) for group, widths in measured.items() for width in widths]
    policies = [task.policy({**uniform, group: width}) for group, width in trials]
    total = len(policies) + 1
    base = task.evaluator.score(task.policy(uniform))
    done = 1 + sum(task.evaluator.is_scored(policy) for policy in policies)
    task.progress(done, total)

    def advance() -> None:
        nonlocal done
        done += 1
        task.progress(done, total)

    scores = task.evaluator.score_many(policies, advance)
    found: dict[str, dict[int, float]] = {group: {} for group in task.choices}
    for (group, width), score in zip(trials, scores, strict=True):
        found[group][width] = max(base - score, 0.0) if width == FLOAT_CHOICE else max(score - base, 0.0)
    for group, widths in task.choices.items():
        gain = found[group].pop(FLOAT_CHOICE, 0.0)
        _complete(found[group], _quantized(widths), task.errors[group])
        if FLOAT_CHOICE in widths:
            found[group] = {width: loss + gain for width, loss in found[group].items()} | {FLOAT_CHOICE: 0.0}
    return found


def to_dict(sensitivities: Sensitivities) -> dict[str, dict[str, float]]:
    """JSON values for the report."""
    return {group: {str(bits): value for bits, value in values.items()} for group, values in sensitivities.items()}


def count_sensitivity_passes(task: PrecisionTask, measured_widths: int | None = None) -> int:
    """How many unique policies `measure_sensitivities` scores."""
    return 1 + sum(map(len, _measured(task, measured_widths).values()))


def _measured(task: PrecisionTask, measured_widths: int | None) -> dict[str, tuple[int, ...]]:
    return {
        group: _quantized(widths)[:-1][:measured_widths] + widths[len(_quantized(widths)) :]
        for group, widths in task.choices.items()
    }


def _quantized(widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(width for width in widths if width != FLOAT_CHOICE)


def _complete(scores: dict[int, float], widths: Sequence[int], errors: Mapping[int, float]) -> None:
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
