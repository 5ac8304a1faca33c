"""Values of single images for what is no mean over images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_GROUPS = 32


class Jackknife(NamedTuple):
    """What leaving out some of the images tells of a statistic.

    Attributes:
        values: (N,) pseudovalues, whose mean is the statistic and whose standard error over the images is its own.
        bias: By how much the statistic of so few images is larger than that of many.
    """

    values: NDArray[np.float64]
    bias: float


def jackknife(statistic: Callable[[NDArray[np.intp]], float], total: float, images: int) -> Jackknife:
    """Pseudovalues of the delete-a-group jackknife, one for each image, and the bias.

    The images of a group share a value, and are no independent draws of it: values are spread so that their standard
    error is the jackknife's.

    Args:
        statistic: From indices of images to what only these images give.
        total: The statistic of all images.
        images: Their number N.

    Returns:
        The statistic for every image, and no bias, where there are too few images, or where one is not finite.

    Source: Quenouille, "Notes on bias in estimation", Biometrika 43, 1956; Tukey, "Bias and confidence in not-quite
    large samples", Annals of Mathematical Statistics 29, 1958.
    """
    groups = np.arange(images) % min(images, _GROUPS)
    count = int(groups.max()) + 1 if images else 0
    if count < 2 or not np.isfinite(total):
        return Jackknife(np.full(images, total, dtype=np.float64), 0.0)
    without = np.array([statistic(np.flatnonzero(groups != group)) for group in range(count)])
    if not np.isfinite(without).all():
        return Jackknife(np.full(images, total, dtype=np.float64), 0.0)
    pseudovalues = (count * total - (count - 1) * without)[groups]
    spread = np.sqrt((images - 1) / (count - 1))
    values: NDArray[np.float64] = total + spread * (pseudovalues - pseudovalues.mean())
    return Jackknife(values, float((count - 1) * (without.mean() - total)))
