"""An image of any shape in the middle of a network's input, its aspect ratio kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, model_validator

from nncf_mcq.data.decoding import WHITE, Channels, decode, to_array
from nncf_mcq.data.image_memory import check_image
from nncf_mcq.data.splits import Count, DatasetParameters

Interpolation = Literal["bilinear", "bicubic"]
Layout = Literal["NCHW", "NHWC"]
ChannelOrder = Literal["RGB", "BGR"]
Scale = Literal["0-1", "0-255"]

UNITS: Final[dict[Scale, float]] = {"0-1": 1.0, "0-255": WHITE}
"""What white is in each."""

INTERPOLATIONS: Final[dict[Interpolation, Image.Resampling]] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class LetterboxParameters(DatasetParameters):
    """Resize to fit, pad with grey."""

    size: list[Count] = Field(
        min_length=2, max_length=2, description="Height and width of the network's input in pixels."
    )
    interpolation: Interpolation = Field(
        default="bilinear", description="Interpolation of the resize, antialiased as torchvision does for PIL images."
    )
    fill: Annotated[float, Field(ge=0, le=1)] = Field(default=0.5, description="Grey of the padding, 0 to 1.")
    channels: Channels = Field(
        default=3,
        description="Number of channels that images are read with: 1 grey, 3 red, green, blue, 4 these and alpha.",
    )
    scale: Scale = Field(default="0-1", description="Range of the pixels that the network takes.")
    layout: Layout = Field(
        default="NCHW", description="Order of the dimensions of the model's input: channels first or last."
    )
    channel_order: ChannelOrder = Field(
        default="RGB", description="Order of the colours that the network takes; OpenCV and Caffe have BGR."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_order(self.channel_order, self.channels)
        return self


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the input.

    Attributes:
        image_size: Height and width of the image as stored, in pixels.
        resized: Height and width that it has in the input.
        offset: Rows above and columns left of it.
        input_size: Height and width of the input in pixels.
    """

    image_size: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    input_size: tuple[int, int]

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
        offset = ((input_size[0] - height) // 2, (input_size[1] - width) // 2)
        return cls(image_size, (height, width), offset, input_size)

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
        self._parameters = parameters

    def __call__(self, image: Image.Image) -> tuple[npt.NDArray[np.float32], Placement]:
        """Input of the network and where the image lies in it.

        The input is float32 (channels, height, width), or (height, width, channels) for NHWC.

        Raises:
            ConfigError: The range of the pixels cannot be told, or the input does not fit into memory.
        """
        parameters = self._parameters
        height, width = parameters.size
        check_image("size", parameters.size, parameters.size, parameters.channels)
        decoded = decode(image, parameters.channels)
        pixels, placement = letterboxed(
            decoded, parameters.channels, (height, width), parameters.interpolation, WHITE * parameters.fill
        )
        scaled = in_order(pixels, parameters.channel_order) / np.float32(WHITE / UNITS[parameters.scale])
        return arrange(scaled, parameters.layout), placement


def letterboxed(
    image: Image.Image, channels: Channels, size: tuple[int, int], interpolation: Interpolation, fill: float
) -> tuple[npt.NDArray[np.float32], Placement]:
    """Image in the middle of a canvas, its aspect ratio kept.

    Args:
        image: As `decode` returns it.
        channels: How many the network reads.
        size: Height and width of the canvas.
        interpolation: Of the resize.
        fill: Pixels around the image, 0 to 255.

    Returns:
        float32 (channels, height, width) from 0 to 255, and where the image lies in it.
    """
    placement = Placement.fit((image.height, image.width), size)
    (top, left), (height, width) = placement.offset, placement.resized
    resized = image.resize((width, height), INTERPOLATIONS[interpolation])
    canvas = np.full((channels, *size), fill, dtype=np.float32)
    canvas[:, top : top + height, left : left + width] = to_array(resized, channels)
    return canvas, placement


def in_order(pixels: npt.NDArray[np.float32], order: ChannelOrder) -> npt.NDArray[np.float32]:
    """Pixels (channels, ...) of red, green and blue in another order of the colours."""
    return pixels if order == "RGB" else pixels[::-1]


def check_order(order: ChannelOrder, channels: int) -> None:
    """Refuses an order of colours for images without them.

    Raises:
        ValueError: The order is not that of so many channels.
    """
    if order == "BGR" and channels != len(order):
        raise ValueError(f"channel_order BGR for three channels; there are {channels}")


def arrange(pixels: npt.NDArray[np.float32], layout: Layout) -> npt.NDArray[np.float32]:
    """Pixels (channels, height, width) in the order of a layout, contiguous."""
    return np.ascontiguousarray(pixels if layout == "NCHW" else pixels.transpose(1, 2, 0))
