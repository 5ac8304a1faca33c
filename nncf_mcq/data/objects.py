"""The objects in an image: the target of a detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nncf_mcq.data.letterbox import Placement


@dataclass(frozen=True)
class Objects:
    """The objects in one image: the target of a detector.

    Attributes:
        boxes: float64 (objects, 4), corners x, y, x, y in pixels of the image as stored.
        classes: int64 (objects,), class indices.
        crowd: bool (objects,), COCO's `iscrowd`: a group, in which detections are neither right nor wrong.
        placement: Where the image lies in the network's input.
    """

    boxes: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    placement: Placement
