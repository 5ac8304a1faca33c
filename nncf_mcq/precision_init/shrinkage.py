"""Sensitivities drawn towards what the errors of the weight table predict, as far as the images do not tell them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nncf_mcq.precision_init.estimate import Difference

Sensitivities = Mapping[str, Mapping[int, float]]
"""Group name and width to the score that the width adds to the network whose other layers have the largest width."""

PRIOR_SPREAD = 0.5
"""Standard deviation of a sensitivity around its prediction, relative to it."""

SMALLEST_SHARE = 0.05
"""Share of its prediction that a sensitivity keeps, whatever was measured: no layer is free."""

_FIT_SPREAD = 0.05
"""Variance of the logarithm of a measured sensitivity beside that of its sampling error."""


def shrink_sensitivities(
    measured: Mapping[str, Mapping[int, Difference]], errors: Mapping[str, Mapping[int, float]]
) -> dict[str, dict[int, float]]:
    """The posterior means of sensitivities whose prior is a multiple of the layer's error.

    The divergence of two close distributions is a quadratic form of the error in the network's output, so what a
    group's bit-widths add to it is in proportion to the variances of the errors that they cause in the group's own
    output, which the weight table knows almost exactly. The factor of a group is fitted to all its measured bit-widths;
    each measurement then counts as much as its standard error and the spread of the prior say.

    Args:
        measured: Group name and width to the difference of the network's score on the same images.
        errors: Group name and width, for all widths, to the relative error above that of the largest width.

    Returns:
        Group name and width to a sensitivity, for all widths: at least 0, falling with the width, 0 for the largest.

    Source: empirical Bayes estimation: Efron and Morris, "Stein's Estimation Rule and Its Competitors", JASA 68, 1973.
    """
    factors = {group: _factor(values, errors[group]) for group, values in measured.items()}
    known = [factor for factor in factors.values() if factor is not None]
    typical = float(np.median(known)) if known else 1.0
    found = {}
    for group, values in measured.items():
        factor = factors[group]
        if factor is None:
            factor = typical
        widths = sorted(errors[group])
        found[group] = _falling(
            {width: _posterior(values.get(width), factor * errors[group][width]) for width in widths[:-1]}
        ) | {widths[-1]: 0.0}
    return found


def _factor(values: Mapping[int, Difference], errors: Mapping[int, float]) -> float | None:
    """The factor of a group's errors, the weighted mean in logarithms; None where nothing tells it."""
    total = weights = 0.0
    for width, value in values.items():
        if 0 < value.mean < np.inf and errors[width] > 0:
            relative = value.error / value.mean if np.isfinite(value.error) else 1.0
            weight = 1 / (relative**2 + _FIT_SPREAD)
            total += weight * float(np.log(value.mean / errors[width]))
            weights += weight
    return float(np.exp(total / weights)) if weights else None


def _posterior(value: Difference | None, predicted: float) -> float:
    if value is None or np.isnan(value.mean) or value.mean == -np.inf:
        return predicted
    if value.mean == np.inf:
        return value.mean
    if not np.isfinite(value.error):
        # A single image: its value is all there is.
        return max(value.mean, SMALLEST_SHARE * predicted)
    prior, noise = (PRIOR_SPREAD * predicted) ** 2, value.error**2
    share = prior / (prior + noise) if prior + noise > 0 else 1.0
    return max(share * value.mean + (1 - share) * predicted, SMALLEST_SHARE * predicted, 0.0)


def _falling(losses: Mapping[int, float]) -> dict[int, float]:
    """A bit more never makes it worse: what says so is noise."""
    found: dict[int, float] = {}
    smallest = float("inf")
    for width, loss in losses.items():
        smallest = min(smallest, loss)
        found[width] = smallest
    return found
