"""How the images of a model are prepared: as its source says, as its graph tells, or as its answers show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import op

from nncf_mcq.config.imagenet import IMAGENET_NORMALIZATION
from nncf_mcq.data.decoding import WHITE
from nncf_mcq.data.letterbox import INTERPOLATIONS, UNITS, Layout
from nncf_mcq.data.splits import ImageDataset, Sample
from nncf_mcq.errors import ConfigError
from nncf_mcq.model.inference import compile_model

RESIZE_TO_CROP: Final = 256 / 224
COLOURS: Final = 3
TRIED_IMAGES: Final = 48
_BETTER_THAN_CHANCE: Final = 4.0
_PASSED: Final = ("Convert", "Transpose")

IMAGENET: Final = "ImageNet's mean and deviation"
UNIT: Final = "pixels from 0 to 1"
RAW: Final = "pixels from 0 to 255"
CAFFE: Final = "blue first, less Caffe's mean"

_CAFFE_MEAN: Final = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class RecognizedPreprocessing:
    """The section `preprocessing`, and how it was found."""

    values: Mapping[str, Any]
    note: str


@dataclass(frozen=True)
class ImageInput:
    """Shape of the images that a network reads.

    Attributes:
        channels: 1, 3 or 4.
        height: In pixels.
        width: In pixels.
        layout: Channels first or last.
    """

    channels: int
    height: int
    width: int
    layout: Layout = "NCHW"

    def geometry(self) -> dict[str, Any]:
        """Keys of `preprocessing`: resize and crop in the usual proportion; for inputs that are not square, resize."""
        last = {} if self.layout == "NCHW" else {"layout": self.layout}
        if self.height != self.width:
            return {"resize": [self.height, self.width], **last}
        return {"resize": round(self.height * RESIZE_TO_CROP), "crop": self.height, **last}

    def candidates(self) -> dict[str, dict[str, Any]]:
        """Usual preprocessing of networks, by name; the first is the default.

        Source: of Caffe's models, and of Keras' first ones, Simonyan and Zisserman, "Very Deep Convolutional Networks",
        ICLR 2015.
        """
        found: dict[str, dict[str, Any]] = {}
        if self.channels == COLOURS:
            found[IMAGENET] = dict(IMAGENET_NORMALIZATION)
            found["pixels from -1 to 1"] = self._normalization("0-255", 127.5, 127.5)
        found[UNIT] = self._normalization("0-1", 0.0, 1.0)
        if self.channels != COLOURS:
            found["pixels from -1 to 1"] = self._normalization("0-255", 127.5, 127.5)
        found[RAW] = self._normalization("0-255", 0.0, 1.0)
        if self.channels == COLOURS:
            found[CAFFE] = {"scale": "0-255", "mean": list(_CAFFE_MEAN), "std": [1.0] * 3, "channel_order": "BGR"}
        return found

    def normalized(self, pixels: NDArray[np.float32], values: Mapping[str, Any]) -> NDArray[np.float32]:
        """The input that preprocessing makes of resized pixels from 0 to 255, in the layout of this one.

        Args:
            pixels: (channels, height, width), or (height, width, channels).
            values: `scale`, `mean`, `std` and `channel_order`.
        """
        shape = (-1, 1, 1) if self.layout == "NCHW" else (-1,)
        unit = WHITE / UNITS[values["scale"]]
        if values.get("channel_order") == "BGR":
            pixels = np.flip(pixels, 0 if self.layout == "NCHW" else -1)
        mean, std = (np.reshape(np.asarray(values[key], dtype=np.float32), shape) for key in ("mean", "std"))
        normalized: NDArray[np.float32] = (pixels / np.float32(unit) - mean) / std
        return normalized

    def _normalization(self, scale: str, mean: float, std: float) -> dict[str, Any]:
        return {"scale": scale, "mean": [mean] * self.channels, "std": [std] * self.channels}


def from_torchvision(reference: str) -> RecognizedPreprocessing | None:
    """Preprocessing that torchvision documents for its own model; None for other models.

    Args:
        reference: As `model` in a configuration.
    """
    module, _, name = reference.partition(":")
    if not module.startswith("torchvision.models"):
        return None
    # Loading torchvision's models takes seconds.
    from torchvision.models import get_model_weights

    try:
        transform = get_model_weights(name).DEFAULT.transforms()
        values = {
            "resize": int(transform.resize_size[0]),
            "crop": int(transform.crop_size[0]),
            "interpolation": str(transform.interpolation.value),
            "scale": "0-1",
            "mean": [float(value) for value in transform.mean],
            "std": [float(value) for value in transform.std],
        }
    except (AttributeError, TypeError, ValueError):
        # A model of another task, whose transforms are others.
        return None
    if values["interpolation"] not in INTERPOLATIONS:
        return None
    return RecognizedPreprocessing(
        values, f"preprocessing: as torchvision documents it for the default weights of {name}"
    )


def from_graph(model: ov.Model, images: ImageInput) -> RecognizedPreprocessing | None:
    """Preprocessing of a model that normalizes its input itself, or that takes whole numbers; None for others.

    Args:
        model: The model.
        images: Its input.
    """
    if model.input(0).get_element_type().is_integral():
        note = f"preprocessing: {RAW}, since the model takes whole numbers"
        return RecognizedPreprocessing({**images.geometry(), **images.candidates()[RAW]}, note)
    node = model.input(0).get_node()
    constants = []
    while True:
        readers = [target.get_node() for target in node.output(0).get_target_inputs()]
        if len(readers) != 1 or readers[0].get_type_name() not in (*_PASSED, "Subtract", "Add", "Multiply", "Divide"):
            break
        node = readers[0]
        if node.get_type_name() in _PASSED:
            continue
        values = [source.get_node() for source in node.input_values()]
        constant = next((item for item in values if isinstance(item, op.Constant)), None)
        if constant is None:
            break
        constants.append((node.get_type_name(), np.abs(constant.data).max()))
    if not constants:
        return None
    # A mean, deviation or divisor above 2, or a factor below one fiftieth, is for pixels up to 255.
    large = any(value < 0.02 if kind == "Multiply" else value > 2 for kind, value in constants)
    name = RAW if large else UNIT
    note = f"preprocessing: {name}, since the model normalizes its input itself"
    return RecognizedPreprocessing({**images.geometry(), **images.candidates()[name]}, note)


def by_accuracy(
    model: ov.Model, images: ImageInput, classes: int, load: Callable[[Mapping[str, Any]], ImageDataset]
) -> RecognizedPreprocessing:
    """The usual preprocessing with which the model answers best on some labelled images.

    Args:
        model: The float model.
        images: Its input.
        classes: Number of classes.
        load: From a section `preprocessing` to labelled images.
    """
    compiled = compile_model(model, 1)
    candidates = {name: {**images.geometry(), **values} for name, values in images.candidates().items()}
    # All of them resize and crop alike: images are decoded once.
    samples = load({**images.geometry(), **images.candidates()[RAW]})
    count = min(len(samples), TRIED_IMAGES)
    right = dict.fromkeys(candidates, 0)
    for pixels, target in readable(samples, count):
        for name, values in candidates.items():
            found = compiled(images.normalized(pixels, values)[None])[0]
            right[name] += int(np.array(found).argmax() == target)
    accuracy = {name: hits / max(count, 1) for name, hits in right.items()}
    best = max(accuracy, key=accuracy.__getitem__)
    if accuracy[best] < min(_BETTER_THAN_CHANCE / classes, 0.9):
        usual = next(iter(candidates))
        note = (
            f"preprocessing: {usual}, a guess: with every usual preprocessing the model classifies at most "
            f"{100 * accuracy[best]:.0f} % of {count} images correctly; check its weights and the order of its classes"
        )
        return RecognizedPreprocessing(candidates[usual], note)
    others = ", ".join(f"{name} {100 * value:.0f} %" for name, value in accuracy.items() if name != best)
    note = f"preprocessing: {best}, top-1 {100 * accuracy[best]:.0f} % on {count} images (others: {others})"
    return RecognizedPreprocessing(candidates[best], note)


def readable(samples: ImageDataset, count: int) -> Iterator[Sample]:
    """The first samples, without those that cannot be read: one is no reason to stop, and quantize names it.

    Args:
        samples: The data set.
        count: How many are tried.
    """
    for index in range(count):
        with contextlib.suppress(ConfigError):
            yield samples[index]


def default(images: ImageInput) -> RecognizedPreprocessing:
    """Preprocessing that most networks with such an input are trained with."""
    usual, values = next(iter(images.candidates().items()))
    note = (
        f"preprocessing: {usual}, a guess, without labels to check it; correct it if the model was trained differently"
    )
    return RecognizedPreprocessing({**images.geometry(), **values}, note)
