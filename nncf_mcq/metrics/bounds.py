"""One-sided confidence bounds on what other images of the same kind would give."""

from __future__ import annotations

import numpy as np

# SciPy loads its packages when they are first used, and its distributions take half a second.
import scipy
from numpy.typing import NDArray


def share_lower_bound(hits: int, count: int, confidence: float) -> float:
    """Lower bound on a share, exact for any share and number of images.

    Args:
        hits: Images that have it.
        count: All images.
        confidence: Probability, at least, that the bound is not above the true share.

    Source: Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial",
    Biometrika 26(4), 1934.
    """
    return float(scipy.stats.beta.ppf(1 - confidence, hits, count - hits + 1)) if hits else 0.0


def paired_drop_upper_bound(lost: int, won: int, count: int, confidence: float) -> float:
    """Upper bound on how much smaller a share is than another on the same images; above 0 also where nothing changed.

    Args:
        lost: Images that only the second of them has.
        won: Images that only the first has.
        count: All images.
        confidence: Probability that the bound is not below the true drop.

    Source: the score interval of Tango, "Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design", Statistics in Medicine 17, 1998.
    """
    if lost == count:
        return 1.0
    quantile = float(scipy.stats.norm.ppf(confidence))

    def excess(drop: float) -> float:
        linear = -lost - won + (2 * count - lost + won) * drop
        constant = -won * drop * (1 - drop)
        winning = (np.sqrt(max(linear**2 - 8 * count * constant, 0.0)) - linear) / (4 * count)
        variance = count * (2 * winning + drop * (1 - drop))
        return float(count * drop - (lost - won) - quantile * np.sqrt(max(variance, 0.0)))

    # Where all images agree, the drop that was found is a root as well, at which the variance vanishes.
    return float(scipy.optimize.brentq(excess, (lost - won) / count + 1e-12, 1.0))


def mean_upper_bound(values: NDArray[np.floating], confidence: float) -> float:
    """Upper bound on a mean: Student's, larger where values are skewed to the right, as divergences are.

    The images at hand then tend to miss the rare large values, so that both their mean and their deviation are small.

    Args:
        values: (N,) of the images.
        confidence: Probability, nearly, that the bound is not below the true mean.

    Returns:
        Infinite for fewer than two images, or where a value is not finite.

    Source: the first term of the Cornish-Fisher expansion, as in Johnson, "Modified t Tests and Confidence Intervals
    for Asymmetrical Populations", JASA 73, 1978.
    """
    count = len(values)
    if count < 2 or not np.isfinite(values).all():
        return float("inf")
    deviation = values.std(ddof=1, dtype=np.float64)
    if deviation == 0:
        return float(values[0])
    skewness = max(float(scipy.stats.skew(values.astype(np.float64))), 0.0)
    quantile = float(scipy.stats.t.ppf(confidence, count - 1))
    correction = skewness * (2 * quantile**2 + 1) / (6 * np.sqrt(count))
    return float(values.mean(dtype=np.float64) + (quantile + correction) * deviation / np.sqrt(count))
