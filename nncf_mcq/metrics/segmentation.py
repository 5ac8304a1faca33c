"""Mean intersection over union of the classes of pixels."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.metrics.metrics import Outputs, SampleMetric, register_metric

IGNORED: Final = 255
"""Label of pixels that do not count, as of Pascal VOC and Cityscapes."""


class PixelCounts(NamedTuple):
    """Pixels of each class in an image: found rightly, in the union of those found and labelled, and labelled."""

    common: NDArray[np.int64]
    union: NDArray[np.int64]
    labelled: NDArray[np.int64]


def pixel_counts(classes: NDArray[np.integer], labels: NDArray[np.integer]) -> PixelCounts:
    """Counts the pixels of each class.

    Args:
        classes: Found, of any shape, 0 or more.
        labels: Of the same number of pixels.
    """
    found, wanted = classes.reshape(-1), labels.reshape(-1)
    count = int(max(found.max(initial=0), wanted.max(initial=0))) + 1
    common = np.bincount(wanted[found == wanted], minlength=count)
    labelled = np.bincount(wanted, minlength=count)
    union = np.bincount(found, minlength=count) + labelled - common
    return PixelCounts(common, union, labelled)


def added(first: PixelCounts, second: PixelCounts) -> PixelCounts:
    """The counts of both."""
    return PixelCounts(*(_padded_sum(one, other) for one, other in zip(first, second, strict=True)))


def intersection_over_union(counts: PixelCounts) -> float:
    """Mean over the classes that have a pixel, found or labelled; 0 where there is none.

    Args:
        counts: Of all images together.
    """
    seen = counts.union > 0
    return float((counts.common[seen] / counts.union[seen]).mean()) if seen.any() else 0.0


def equal_share(counts: PixelCounts) -> float:
    """Share of the pixels that are found rightly; 0 where there is none.

    Args:
        counts: Of one image, or of several together.
    """
    common = int(counts.common.sum())
    # A pixel that is found wrongly is in two unions.
    wrong = (int(counts.union.sum()) - common) // 2
    return common / max(common + wrong, 1)


NO_PIXELS: Final = PixelCounts(*np.zeros((3, 0), dtype=np.int64))


def _summarize(output: Outputs, target: Any) -> PixelCounts:
    labels = np.asarray(target)
    if output.ndim == 4:
        axis = 1 if output.shape[2:] == labels.shape[-2:] else 3
        classes = (output > 0.5).astype(np.int64) if output.shape[axis] == 1 else output.argmax(axis=axis)
    else:
        classes = output.astype(np.int64)
    if classes.size != labels.size or labels.dtype.kind not in "biu":
        raise ValueError(
            f"outputs of shape {output.shape} and labels of shape {labels.shape} and type {labels.dtype}, needed: "
            "(N, classes, height, width) and a whole number for each pixel"
        )
    labels = labels.reshape(-1).astype(np.int64)
    counted = (labels != IGNORED) & (labels >= 0)
    return pixel_counts(np.maximum(classes.reshape(-1), 0)[counted], labels[counted])


def _finish(images: list[PixelCounts]) -> float:
    total = NO_PIXELS
    for image in images:
        total = added(total, image)
    return intersection_over_union(total)


def _padded_sum(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    size = max(len(first), len(second))
    return np.pad(first, (0, size - len(first))) + np.pad(second, (0, size - len(second)))


mean_intersection_over_union = register_metric("miou")(SampleMetric(_summarize, _finish))
"""mIoU of outputs (N, classes, height, width), or channels last, and labels (N, height, width); 255 does not count."""
