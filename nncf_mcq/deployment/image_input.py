"""What becomes of an image before the network reads it: the part in the model, and what stays with the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset
from openvino.preprocess import PrePostProcessor, ResizeAlgorithm

from nncf_mcq.config.parameters import Parameters
from nncf_mcq.data.decoding import Channels
from nncf_mcq.data.fashion_mnist import FashionMnistDataset
from nncf_mcq.data.letterbox import UNITS, ChannelOrder, Interpolation, Layout, LetterboxParameters
from nncf_mcq.data.preprocessing import Normalization, PreprocessingParameters
from nncf_mcq.data.splits import Size

TENSOR_LAYOUT = "NHWC"
_RESIZE = {"bilinear": ResizeAlgorithm.RESIZE_BILINEAR_PILLOW, "bicubic": ResizeAlgorithm.RESIZE_BICUBIC_PILLOW}


@dataclass(frozen=True)
class Geometry:
    """What is done to an image before it has the network's size, as in `PreprocessingParameters`."""

    resize: Size = None
    crop: Size = None
    letterbox: tuple[int, int] | None = None
    fill: float = 0.5
    interpolation: Interpolation = "bilinear"

    @property
    def fill_level(self) -> int:
        """The grey of a letterbox's padding, 0 to 255."""
        return round(255 * self.fill)

    @property
    def crop_size(self) -> tuple[int, int] | None:
        """Height and width of the crop."""
        if self.crop is None:
            return None
        height, width = (self.crop, self.crop) if isinstance(self.crop, int) else self.crop
        return height, width

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is to be done, in order."""
        if self.letterbox is not None:
            height, width = self.letterbox
            return (
                f"resize to fit into {width}x{height} pixels, aspect ratio kept ({self.interpolation}, antialiased)",
                f"pad to {width}x{height}, image in the middle, with grey {self.fill_level}",
            )
        found = []
        if isinstance(self.resize, int):
            found.append(f"resize the shorter side to {self.resize} pixels ({self.interpolation}, antialiased)")
        elif self.resize is not None:
            height, width = self.resize
            found.append(f"resize to {width}x{height} pixels ({self.interpolation}, antialiased)")
        if self.crop_size is not None:
            height, width = self.crop_size
            found.append(f"crop the middle, {width}x{height} pixels")
        return tuple(found)


@dataclass(frozen=True)
class ImageInput:
    """8-bit images as the input of a model.

    Attributes:
        channels: 1 grey, 3 red, green, blue, 4 these and alpha: of the images.
        size: Height and width that the network reads.
        normalization: From pixels to what the network reads.
        layout: Of the network's input.
        geometry: What stays with the user.
        resize: Interpolation of a resize to `size` in the model, None where the user brings images of that size.
        batch: Images of an inference, 1 where that is open.
        order: Of the colours that the network reads.
    """

    channels: Channels
    size: tuple[int, int]
    normalization: Normalization
    layout: Layout
    geometry: Geometry
    resize: Interpolation | None = None
    batch: int = 1
    order: ChannelOrder = "RGB"

    def network_input(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network reads of images of its size: float32 in the network's layout.

        Args:
            images: (N, height, width, channels).
        """
        pixels = images.astype(np.float32)[..., self._places]
        values = pixels * self.normalization.factor - self.normalization.offset
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.layout == "NCHW" else values)

    def images(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The inverse of `network_input`, rounded to 8 bits."""
        pixels = values.transpose(0, 2, 3, 1) if self.layout == "NCHW" else values
        levels = (pixels + self.normalization.offset) / self.normalization.factor
        return np.ascontiguousarray(levels.round().clip(0, 255).astype(np.uint8)[..., self._places])

    @property
    def _places(self) -> slice:
        """Of the channels of the images, in the order of the network's; and the other way round."""
        return slice(None, None, 1 if self.order == "RGB" else -1)

    def built_into(self, model: ov.Model) -> ov.Model:
        """A copy of a model that reads 8-bit images: (N, height, width, channels).

        Args:
            model: It has one input, that of `network_input`.
        """
        network = model.clone()
        inner = network.get_parameters()[0]
        before = self._preprocessing(inner)
        images, values = before.get_parameters()[0], before.output(0).get_node().input_value(0)
        names = inner.output(0).get_names()
        inner.output(0).set_names(set())
        for target in inner.output(0).get_target_inputs():
            target.replace_source_output(values)
        network.add_parameters([images])
        network.remove_parameter(inner)
        images.set_friendly_name(inner.get_friendly_name())
        images.output(0).set_names(names)
        network.validate_nodes_and_infer_types()
        return network

    def _preprocessing(self, inner: ov.Node) -> ov.Model:
        """From 8-bit images to what the network reads.

        A model of its own: PrePostProcessor folds the constants of the model that it is given, and packed weights would
        become bytes.
        """
        values = opset.parameter(inner.get_output_partial_shape(0), inner.get_output_element_type(0))
        processor = PrePostProcessor(ov.Model([opset.result(values)], [values]))
        place = processor.input(0)
        place.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout(TENSOR_LAYOUT))
        place.model().set_layout(ov.Layout(self.layout))
        steps = place.preprocess()
        if self.resize is not None:
            place.tensor().set_spatial_dynamic_shape()
            # Of integers, as Pillow resizes.
            steps.resize(_RESIZE[self.resize])
        steps.convert_element_type(ov.Type.f32)
        if self.order == "BGR":
            steps.reverse_channels()
        # Not `mean` and `scale`: the same arithmetic as on the images that the model was calibrated and scored on.
        factor, offset = (opset.constant(values.reshape(1, 1, 1, -1)) for values in self.normalization)
        steps.custom(lambda output: opset.multiply(output, factor).output(0))
        steps.custom(lambda output: opset.subtract(output, offset).output(0))
        return processor.build()


@dataclass(frozen=True)
class FloatInput:
    """Inputs that stay as the network has them.

    Attributes:
        reason: Why nothing is built in.
    """

    reason: str


def find_input(dataset: Parameters | None, model: ov.Model) -> ImageInput | FloatInput:
    """What of a data set's preprocessing a model can hold.

    Args:
        dataset: Of the configuration.
        model: That reads what the data set makes of images.
    """
    if len(model.inputs) != 1:
        return FloatInput(f"the model has {len(model.inputs)} inputs")
    found = _from_parameters(dataset)
    if found is None:
        kind = "there is no data set" if dataset is None else f"data set {getattr(dataset, 'type', '?')}"
        return FloatInput(f"the configuration does not say how images are preprocessed ({kind})")
    channels, order, normalization, layout, geometry = found
    shape = model.input(0).get_partial_shape()
    sides = slice(2, 4) if layout == "NCHW" else slice(1, 3)
    place = 1 if layout == "NCHW" else 3
    if len(shape) != 4 or shape[place].is_dynamic or shape[place].get_length() != channels:
        return FloatInput(f"an input of shape {shape} is no image of {channels} channels in {layout}")
    if any(side.is_dynamic for side in list(shape)[sides]):
        return FloatInput(f"the size of the images is open: {shape}")
    height, width = (side.get_length() for side in list(shape)[sides])
    resize = None
    # A crop or a letterbox depends on the size of each image.
    if geometry.crop is None and isinstance(geometry.resize, list) and geometry.resize == [height, width]:
        resize, geometry = geometry.interpolation, Geometry()
    batch = 1 if shape[0].is_dynamic else shape[0].get_length()
    return ImageInput(channels, (height, width), normalization, layout, geometry, resize, batch, order)


class _Preprocessing(NamedTuple):
    """How a data set preprocesses."""

    channels: Channels
    order: ChannelOrder
    normalization: Normalization
    layout: Layout
    geometry: Geometry


def _from_parameters(dataset: Parameters | None) -> _Preprocessing | None:
    """How a data set preprocesses, as far as it says so."""
    if isinstance(dataset, FashionMnistDataset.Parameters):
        return _Preprocessing(1, "RGB", Normalization.of([dataset.mean], [dataset.std], 1.0), "NCHW", Geometry())
    found = getattr(dataset, "preprocessing", None)
    if isinstance(found, PreprocessingParameters):
        letterbox = None if found.letterbox is None else (found.letterbox[0], found.letterbox[1])
        geometry = Geometry(found.resize, found.crop, letterbox, found.fill, found.interpolation)
        return _Preprocessing(found.channels, found.channel_order, found.normalization, found.layout, geometry)
    if isinstance(found, LetterboxParameters):
        ones = [1.0] * found.channels
        geometry = Geometry(None, None, (found.size[0], found.size[1]), found.fill, found.interpolation)
        normalization = Normalization.of([0.0] * found.channels, ones, UNITS[found.scale])
        return _Preprocessing(found.channels, found.channel_order, normalization, found.layout, geometry)
    return None
