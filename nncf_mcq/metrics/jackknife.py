"""Values of single images for what is no mean over images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_GROUPS = 32


def jackknife_values(statistic: Callable[[NDArray[np.intp]], float], total: float, images: int) -> NDArray[np.float64]:
    """Pseudovalues of the delete-a-group jackknife, one for each image.

    They are moved so that their mean is the statistic, and spread so that their standard error over the images is the
    jackknife's: the images of a group share a value, and are no independent draws of it.

    Args:
        statistic: From indices of images to what only these images give.
        total: The statistic of all images.
        images: Their number N.

    Returns:
        (N,); the statistic for every image where there are too few, or where one is not finite.

    Source: Tukey, "Bias and confidence in not-quite large samples", Annals of Mathematical Statistics 29, 1958.
    """
    groups = np.arange(images) % min(images, _GROUPS)
    count = int(groups.max()) + 1 if images else 0
    if count < 2 or not np.isfinite(total):
        return np.full(images, total, dtype=np.float64)
    without = np.array([statistic(np.flatnonzero(groups != group)) for group in range(count)])
    if not np.isfinite(without).all():
        return np.full(images, total, dtype=np.float64)
    pseudovalues = (count * total - (count - 1) * without)[groups]
    spread = np.sqrt((images - 1) / (count - 1))
    values: NDArray[np.float64] = total + spread * (pseudovalues - pseudovalues.mean())
    return values
