"""From a decoded image to the input of a network."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field
from torchvision.transforms import v2

from nncf_mcq.data.splits import Count, DatasetParameters

RGB_CHANNELS = 3
INTERPOLATIONS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}

FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
PositiveNumber = Annotated[float, Field(allow_inf_nan=False, gt=0)]


class PreprocessingParameters(DatasetParameters):
    """Resize, centre crop, then `(pixel - mean) / std` for each of the channels red, green, blue."""

    resize: Count | None = Field(default=None, description="Length of the shorter side in pixels; null keeps the size.")
    crop: Count | None = Field(
        default=None, description="Side of the square centre crop in pixels; null crops nothing."
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        default="bilinear", description="Interpolation of the resize, antialiased as torchvision does for PIL images."
    )
    scale: Literal["0-1", "0-255"] = Field(description="Range of the pixels that `mean` and `std` are meant for.")
    mean: list[FiniteNumber] = Field(
        min_length=RGB_CHANNELS, max_length=RGB_CHANNELS, description="Mean of each channel, in the unit of `scale`."
    )
    std: list[PositiveNumber] = Field(
        min_length=RGB_CHANNELS, max_length=RGB_CHANNELS, description="Deviation of each channel, same unit."
    )


class Preprocessor:
    """Applies `PreprocessingParameters` to PIL images."""

    def __init__(self, parameters: PreprocessingParameters) -> None:
        steps = []
        if parameters.resize is not None:
            steps.append(v2.Resize(parameters.resize, INTERPOLATIONS[parameters.interpolation], antialias=True))
        if parameters.crop is not None:
            steps.append(v2.CenterCrop(parameters.crop))
        self._geometry = v2.Compose(steps) if steps else None
        unit = 255.0 if parameters.scale == "0-1" else 1.0
        # One multiplication and one subtraction of the 0-255 pixels, folded in float64.
        std = np.asarray(parameters.std, dtype=np.float64)
        self._factor = (1.0 / (unit * std)).astype(np.float32)[:, None, None]
        self._offset = (np.asarray(parameters.mean, dtype=np.float64) / std).astype(np.float32)[:, None, None]

    def __call__(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Returns the preprocessed image, float32 (3, height, width); grey and palette images become RGB first."""
        converted = image.convert("RGB")
        if self._geometry is not None:
            converted = self._geometry(converted)
        pixels = np.asarray(converted, dtype=np.float32).transpose(2, 0, 1)
        return np.ascontiguousarray(pixels * self._factor - self._offset)
