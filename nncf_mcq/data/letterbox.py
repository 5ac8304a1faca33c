"""An image of any shape in the middle of a network's input, its aspect ratio kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field
from torchvision.transforms import v2

from nncf_mcq.data.preprocessing import INTERPOLATIONS
from nncf_mcq.data.splits import Count, DatasetParameters

WHITE = 255


class LetterboxParameters(DatasetParameters):
    """Resize to fit, pad with grey; pixels are scaled to 0 to 1."""

    size: list[Count] = Field(
        min_length=2, max_length=2, description="Height and width of the network's input in pixels."
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        default="bilinear", description="Interpolation of the resize, antialiased as torchvision does for PIL images."
    )
    fill: Annotated[float, Field(ge=0, le=1)] = Field(default=0.5, description="Grey of the padding, 0 to 1.")


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the input.

    Attributes:
        image_size: Height and width of the image as stored, in pixels.
        resized: Height and width that it has in the input.
        offset: Rows above and columns left of it.
    """

    image_size: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]

    @classmethod
    def fit(cls, image_size: tuple[int, int], input_size: tuple[int, int]) -> Placement:
        """The largest placement that fits, in the middle.

        Args:
            image_size: Height and width of the image.
            input_size: Height and width of the input.
        """
        scale = min(input_size[0] / image_size[0], input_size[1] / image_size[1])
        # An image of extreme shape keeps one pixel.
        height, width = (
            max(1, min(limit, round(side * scale))) for side, limit in zip(image_size, input_size, strict=True)
        )
        return cls(image_size, (height, width), ((input_size[0] - height) // 2, (input_size[1] - width) // 2))

    def to_input(self, boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Boxes (N, 4) of corners x, y, x, y in image pixels -> in input pixels."""
        return boxes * self._scale + self._shift

    def to_image(self, boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """The inverse of `to_input`, cut to the image."""
        height, width = self.image_size
        found = (boxes - self._shift) / self._scale
        return np.clip(found, 0.0, np.array([width, height, width, height], dtype=np.float64))

    @property
    def _scale(self) -> npt.NDArray[np.float64]:
        # Rounding to whole pixels makes the two factors differ a little.
        vertical, horizontal = (new / old for new, old in zip(self.resized, self.image_size, strict=True))
        return np.array([horizontal, vertical, horizontal, vertical], dtype=np.float64)

    @property
    def _shift(self) -> npt.NDArray[np.float64]:
        top, left = self.offset
        return np.array([left, top, left, top], dtype=np.float64)


class Letterbox:
    """Applies `LetterboxParameters` to PIL images."""

    def __init__(self, parameters: LetterboxParameters) -> None:
        height, width = parameters.size
        self._size = (height, width)
        self._interpolation = INTERPOLATIONS[parameters.interpolation]
        self._fill = parameters.fill

    def __call__(self, image: Image.Image) -> tuple[npt.NDArray[np.float32], Placement]:
        """Returns the input, float32 (3, height, width), and where the image lies in it."""
        placement = Placement.fit((image.height, image.width), self._size)
        resize = v2.Resize(list(placement.resized), self._interpolation, antialias=True)
        pixels = np.asarray(resize(image.convert("RGB")), dtype=np.float32) / WHITE
        (top, left), (height, width) = placement.offset, placement.resized
        result = np.full((3, *self._size), self._fill, dtype=np.float32)
        result[:, top : top + height, left : left + width] = pixels.transpose(2, 0, 1)
        return result, placement
