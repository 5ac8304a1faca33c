"""How much the network's output changes when one group of layers alone gets fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.precision_init.base import PrecisionTask
from nncf_mcq.precision_init.estimate import Difference, paired_difference
from nncf_mcq.precision_init.shrinkage import Sensitivities, shrink_sensitivities


def measure_sensitivities(
    task: PrecisionTask, measured_widths: int | None = None, is_over: Callable[[], bool] = lambda: False
) -> Sensitivities:
    """Scores the network once per group and width, all other groups at the largest width.

    What the images tell of a single group is noisy: `shrink_sensitivities` draws it towards what the errors of the
    layer's output, or of the activation, predict.

    What a layer gains in floating point, with its input not quantized either, is always measured: by leaving it alone
    float in the network whose layers have the largest width. Its widths lose that much.

    Args:
        task: The model, the widths and the evaluator.
        measured_widths: How many of the smallest widths are scored; the others are predicted. None scores all but the
            largest.
        is_over: Whether the time for it is over; what is not measured by then is predicted.

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
    task.evaluator.score(task.policy(uniform))
    done = 1 + sum(task.evaluator.is_scored(policy) for policy in policies)
    task.progress(done, total)

    def advance() -> None:
        nonlocal done
        done += 1
        task.progress(done, total)

    task.evaluator.score_many(policies, advance, is_over)
    reference = task.evaluator.values(task.policy(uniform))
    found: dict[str, dict[int, Difference]] = {group: {} for group in task.choices}
    for (group, width), policy in zip(trials, policies, strict=True):
        if task.evaluator.is_scored(policy):
            found[group][width] = paired_difference(task.evaluator.values(policy), reference)
    gains = {
        group: max(-values.pop(FLOAT_CHOICE).mean, 0.0) for group, values in found.items() if FLOAT_CHOICE in values
    }
    widths = {group: _quantized(choices) for group, choices in task.choices.items()}
    sensitivities = shrink_sensitivities(
        found, {group: _above_widest(task.errors[group], widths[group]) for group in found}
    )
    for group, gain in gains.items():
        sensitivities[group] = {width: loss + gain for width, loss in sensitivities[group].items()} | {
            FLOAT_CHOICE: 0.0
        }
    return sensitivities


def to_dict(sensitivities: Sensitivities) -> dict[str, dict[str, float]]:
    """JSON values for the report."""
    return {group: {str(bits): value for bits, value in values.items()} for group, values in sensitivities.items()}


def count_sensitivity_passes(task: PrecisionTask, measured_widths: int | None = None) -> int:
    """How many unique policies `measure_sensitivities` scores."""
    return 1 + sum(map(len, _measured(task, measured_widths).values()))


def affordable_widths(task: PrecisionTask, measured_widths: int | None, evaluations: int) -> int:
    """The number of bit-widths to measure, so that a search has evaluations left; at least 1.

    Args:
        task: The groups and their widths.
        measured_widths: As asked for; None for all.
        evaluations: Of the whole search.
    """
    most = max(len(_quantized(widths)) - 1 for widths in task.choices.values())
    wanted = max(most if measured_widths is None else min(measured_widths, most), 1)
    return next(
        (count for count in range(wanted, 1, -1) if count_sensitivity_passes(task, count) < evaluations),
        1,
    )


def _measured(task: PrecisionTask, measured_widths: int | None) -> dict[str, tuple[int, ...]]:
    return {
        group: _quantized(widths)[:-1][:measured_widths] + widths[len(_quantized(widths)) :]
        for group, widths in task.choices.items()
    }


def _quantized(widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(width for width in widths if width != FLOAT_CHOICE)


def _above_widest(errors: Mapping[int, float], widths: Sequence[int]) -> dict[int, float]:
    """Bit-width to the relative error above that of the largest one: what sensitivities are measured against."""
    return {width: max(errors[width] - errors[widths[-1]], 0.0) for width in widths}
