"""From a decoded image to the input of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, field_validator, model_validator

from nncf_mcq.data.decoding import MODES, WHITE, Channels, decode, to_array
from nncf_mcq.data.image_memory import check_image
from nncf_mcq.data.letterbox import (
    INTERPOLATIONS,
    UNITS,
    ChannelOrder,
    Interpolation,
    Layout,
    Scale,
    arrange,
    check_order,
    in_order,
    letterboxed,
)
from nncf_mcq.data.splits import Count, DatasetParameters, Size

FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
PositiveNumber = Annotated[float, Field(allow_inf_nan=False, gt=0)]


class PreprocessingParameters(DatasetParameters):
    """Resize, centre crop or letterbox, then `(pixel - mean) / std` for each channel.

    One mean and deviation read the images as grey, three as colours in the order of `channel_order`, four as red,
    green, blue and alpha.
    """

    resize: Size = Field(
        default=None,
        description="Length of the shorter side in pixels, or height and width; null keeps the size.",
    )
    crop: Size = Field(
        default=None,
        description="Side of the square centre crop in pixels, or its height and width; null crops nothing.",
    )
    letterbox: list[Count] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="Height and width that each image is resized to fit into, its aspect ratio kept, and padded to, in "
        "the place of `resize` and `crop`.",
    )
    fill: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="Grey of the letterbox's padding: 0 is black, 1 is white."
    )
    interpolation: Interpolation = Field(
        default="bilinear", description="Interpolation of the resize, antialiased as torchvision does for PIL images."
    )
    scale: Scale = Field(description="Range of the pixels that `mean` and `std` are meant for.")
    mean: list[FiniteNumber] = Field(
        min_length=1,
        max_length=4,
        description="Mean of each channel, in the unit of `scale`: 1, 3 or 4 numbers. ImageNet's is "
        '[0.485, 0.456, 0.406] for the scale "0-1" and [123.675, 116.28, 103.53] for "0-255".',
    )
    std: list[PositiveNumber] = Field(
        min_length=1,
        max_length=4,
        description="Standard deviation of each channel, in the same unit. ImageNet's is "
        '[0.229, 0.224, 0.225] for the scale "0-1" and [58.395, 57.12, 57.375] for "0-255".',
    )
    layout: Layout = Field(
        default="NCHW", description="Order of the dimensions of the model's input: channels first or last."
    )
    channel_order: ChannelOrder = Field(
        default="RGB",
        description="Order of the colours that the network takes, and that `mean` and `std` are in; OpenCV and Caffe "
        "have BGR.",
    )

    @field_validator("mean", "std")
    @classmethod
    def _channels(cls, values: list[float]) -> list[float]:
        if len(values) not in MODES:
            raise ValueError("a number for each of 1, 3 or 4 channels")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"as many numbers in std as in mean; there are {len(self.std)} and {len(self.mean)}")
        if self.letterbox is not None and (self.resize is not None or self.crop is not None):
            raise ValueError("either letterbox, or resize and crop")
        check_order(self.channel_order, len(self.mean))
        return self

    @property
    def channels(self) -> Channels:
        """How many channels the network reads."""
        return {1: 1, 3: 3, 4: 4}[len(self.mean)]  # type: ignore[return-value]

    @property
    def normalization(self) -> Normalization:
        """What becomes of pixels from 0 to 255."""
        return Normalization.of(self.mean, self.std, UNITS[self.scale])


class Normalization(NamedTuple):
    """What becomes of pixels from 0 to 255: `pixels * factor - offset`.

    Attributes:
        factor: float32 (channels,).
        offset: float32 (channels,).
    """

    factor: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float], white: float) -> Normalization:
        """One multiplication and one subtraction, folded in float64.

        Args:
            mean: Of each channel.
            std: Standard deviation of each channel, same unit.
            white: What 255 is in that unit: 1 or 255.
        """
        deviations = np.asarray(std, dtype=np.float64)
        factor, offset = white / (WHITE * deviations), np.asarray(mean, dtype=np.float64) / deviations
        return cls(factor.astype(np.float32), offset.astype(np.float32))


class Preprocessor:
    """Applies `PreprocessingParameters` to PIL images."""

    def __init__(self, parameters: PreprocessingParameters) -> None:
        self._parameters = parameters
        normalization = parameters.normalization
        self._factor, self._offset = (values[:, None, None] for values in normalization)

    def __call__(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Preprocessed image, float32 (channels, height, width), or (height, width, channels) for NHWC.

        Raises:
            ConfigError: The range of the pixels cannot be told, or the image does not fit into memory.
        """
        channels, size = self._parameters.channels, self._parameters.letterbox
        decoded = decode(image, channels)
        if size is not None:
            height, width = size
            check_image("letterbox", size, size, channels)
            pixels, _ = letterboxed(
                decoded, channels, (height, width), self._parameters.interpolation, WHITE * self._parameters.fill
            )
        else:
            pixels = to_array(self._resized_and_cropped(decoded), channels)
        colours = in_order(pixels, self._parameters.channel_order)
        return arrange(colours * self._factor - self._offset, self._parameters.layout)

    def _resized_and_cropped(self, image: Image.Image) -> Image.Image:
        """The image as torchvision's Resize and CenterCrop leave it, which resize by Pillow too.

        PyTorch, which they need, takes a second to import.
        """
        resize, crop = self._parameters.resize, self._parameters.crop
        if resize is not None:
            size = resized_size((image.height, image.width), resize)
            check_image("resize", resize, size, self._parameters.channels)
            image = image.resize((size[1], size[0]), INTERPOLATIONS[self._parameters.interpolation])
        if crop is not None:
            height, width = (crop, crop) if isinstance(crop, int) else crop
            check_image("crop", crop, (height, width), self._parameters.channels)
            top, left = _middle(image.height, height), _middle(image.width, width)
            # What lies outside of the image is black.
            image = image.crop((left, top, left + width, top + height))
        return image


def resized_size(size: tuple[int, int], resize: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of an image after `resize`, the length of its shorter side, or height and width themselves."""
    if not isinstance(resize, int):
        height, width = resize
        return height, width
    shorter, longer = min(size), max(size)
    other = int(resize * longer / shorter)
    return (resize, other) if size[0] <= size[1] else (other, resize)


def _middle(length: int, crop: int) -> int:
    """First row or column of the crop; below zero where the crop is longer."""
    # torchvision pads evenly first, then crops the middle.
    return -((crop - length) // 2) if crop > length else round((length - crop) / 2)
