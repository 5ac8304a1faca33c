"""How the images of a model are prepared: as its source says, as its graph tells, or as its answers show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import openvino as ov
from openvino import op

from nncf_mcq.data.preprocessing import INTERPOLATIONS
from nncf_mcq.data.splits import ImageDataset
from nncf_mcq.model.inference import compile_model

RESIZE_TO_CROP: Final = 256 / 224
TRIED_IMAGES: Final = 48
_BETTER_THAN_CHANCE: Final = 4.0

CANDIDATES: Final[Mapping[str, Mapping[str, Any]]] = {
    "ImageNet's mean and deviation": {
        "scale": "0-1",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "pixels from -1 to 1": {"scale": "0-255", "mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5]},
    "pixels from 0 to 1": {"scale": "0-1", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    "pixels from 0 to 255": {"scale": "0-255", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
}
"""What networks are usually trained with; the first is taken where nothing tells."""

USUAL: Final = next(iter(CANDIDATES))


@dataclass(frozen=True)
class RecognizedPreprocessing:
    """The section `preprocessing`, and how it was found."""

    values: Mapping[str, Any]
    note: str


def geometry(side: int) -> dict[str, Any]:
    """Resize and crop in the usual proportion."""
    return {"resize": round(side * RESIZE_TO_CROP), "crop": side}


def from_torchvision(reference: str) -> RecognizedPreprocessing | None:
    """What torchvision says of its own model; None for other models.

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


def from_graph(model: ov.Model, side: int) -> RecognizedPreprocessing | None:
    """For a model that normalizes its input itself; None for others.

    Args:
        model: The model.
        side: Of its input.
    """
    node = model.input(0).get_node()
    constants = []
    while True:
        readers = [target.get_node() for target in node.output(0).get_target_inputs()]
        if len(readers) != 1 or readers[0].get_type_name() not in ("Convert", "Subtract", "Add", "Multiply", "Divide"):
            break
        node = readers[0]
        if node.get_type_name() == "Convert":
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
    name = "pixels from 0 to 255" if large else "pixels from 0 to 1"
    return RecognizedPreprocessing(
        {**geometry(side), **CANDIDATES[name]}, f"preprocessing: {name}, since the model normalizes its input itself"
    )


def by_accuracy(
    model: ov.Model, side: int, classes: int, load: Callable[[Mapping[str, Any]], ImageDataset]
) -> RecognizedPreprocessing:
    """The usual preprocessing with which the model answers best on some labelled images.

    Args:
        model: The float model.
        side: Of its input.
        classes: Number of classes.
        load: From a section `preprocessing` to labelled images.
    """
    compiled = compile_model(model, 1)
    accuracy: dict[str, float] = {}
    for name, values in CANDIDATES.items():
        images = load({**geometry(side), **values})
        count = min(len(images), TRIED_IMAGES)
        right = 0
        for index in range(count):
            image, target = images[index]
            right += int(np.array(compiled(image[None])[0]).argmax() == target)
        accuracy[name] = right / max(count, 1)
    best = max(accuracy, key=accuracy.__getitem__)
    if accuracy[best] < min(_BETTER_THAN_CHANCE / classes, 0.9):
        note = (
            f"preprocessing: {USUAL}, a guess: with every usual preprocessing the model answers at most "
            f"{100 * accuracy[best]:.0f} % of {count} images rightly; are its weights and the "
            "order of its classes what you think?"
        )
        return RecognizedPreprocessing({**geometry(side), **CANDIDATES[USUAL]}, note)
    others = ", ".join(f"{name} {100 * value:.0f} %" for name, value in accuracy.items() if name != best)
    note = f"preprocessing: {best}, right on {100 * accuracy[best]:.0f} % of {count} images (others: {others})"
    return RecognizedPreprocessing({**geometry(side), **CANDIDATES[best]}, note)


def default(side: int) -> RecognizedPreprocessing:
    """What most classifiers are trained with."""
    return RecognizedPreprocessing(
        {**geometry(side), **CANDIDATES[USUAL]},
        f"preprocessing: {USUAL}, a guess that labels could check; correct it where the model was trained otherwise",
    )
