"""How the images of a detector are prepared, and their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import openvino as ov

from nncf_mcq.data.splits import ImageDataset
from nncf_mcq.metrics.detector import SHOWN_SCORE
from nncf_mcq.metrics.recognition import RECOGNIZED_ON, RecognizedOutputs, outputs_of, recognize_outputs
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.samples import Samples
from nncf_mcq.starter.preprocessing import COLOURS, RAW, UNIT, ImageInput, RecognizedPreprocessing, readable

PADDING: Final = 0.447
"""Grey that the detectors of Ultralytics pad images with: 114 of 255."""

_PIXELS: Final = ("scale", "mean", "std", "channel_order")
_TRIED_IMAGES: Final = 8
_DEAD: Final = 0.25
"""Part of the images in which the model finds boxes, below which it may see nothing in this range of pixels.

More boxes alone are no sign: a network for pixels from 0 to 1 saturates with those from 0 to 255, and finds dozens.
"""


class _Trial(NamedTuple):
    """What the model finds with one range of pixels."""

    hits: int
    mean_score: float
    recognized: RecognizedOutputs


def by_boxes(
    model: ov.Model, images: ImageInput, load: Callable[[Mapping[str, Any]], ImageDataset]
) -> tuple[RecognizedPreprocessing, RecognizedOutputs] | None:
    """Preprocessing of a detector that nothing but its boxes tells, and what its outputs then are.

    That is the range of most detectors, 0 to 1, unless the model finds next to nothing with it, and boxes with another.
    The first range that finds boxes ends the search.

    Args:
        model: The float model.
        images: Its input.
        load: From a section `preprocessing` to images.

    Returns:
        None where the outputs are boxes with no range of pixels.
    """
    candidates = {name: values for name, values in images.candidates().items() if "channel_order" not in values}
    geometry = _geometry(images)
    samples = load({**geometry, **candidates[RAW]})
    pixels = [image for image, _ in readable(samples, min(len(samples), _TRIED_IMAGES))]
    compiled = compile_model(model, 1)
    trials: dict[str, _Trial] = {}
    # The range that saturates the networks of all others comes last.
    for name in sorted(candidates, key=lambda name: (name != UNIT, name == RAW)):
        inputs = Samples(np.stack([images.normalized(image, candidates[name]) for image in pixels]))
        found = outputs_of(compiled, inputs)
        recognized = recognize_outputs(model, found[:RECOGNIZED_ON])
        if recognized.detector is not None:
            scores = [recognized.detector.best_score(image) for image in found]
            hits = sum(score > SHOWN_SCORE for score in scores)
            trials[name] = _Trial(hits, float(np.mean(scores)), recognized)
            if hits >= _DEAD * len(found):
                break
    if not trials:
        return None
    best = max(trials, key=lambda name: trials[name][:2])
    is_usual = UNIT in trials and trials[UNIT].hits >= _DEAD * trials[best].hits
    chosen = UNIT if is_usual else best
    note = f"preprocessing: letterbox, as of a detector; {_reason(chosen, trials, len(pixels))}"
    return RecognizedPreprocessing({**geometry, **candidates[chosen]}, note), trials[chosen].recognized


def _reason(chosen: str, trials: Mapping[str, _Trial], count: int) -> str:
    """Why a range of pixels was chosen."""
    if not any(trial.hits for trial in trials.values()):
        return (
            f"{chosen}, a guess: with no usual range of pixels does the model find a box of a score above "
            f"{SHOWN_SCORE} in {count} images; check the range, the order of the colours, and the images"
        )
    others = ", ".join(f"{name}: {trial.hits}" for name, trial in trials.items() if name != chosen)
    share = f"it finds boxes of a score above {SHOWN_SCORE} in {trials[chosen].hits} of {count} images"
    why = "a guess that most detectors share" if chosen == UNIT else "a guess"
    blue = '; many networks for them take blue first: "channel_order": "BGR"' if chosen == RAW else ""
    return f"{chosen}, {why}: {share}{f' ({others})' if others else ''}{blue}"


def letterboxed(preprocessing: RecognizedPreprocessing, images: ImageInput) -> RecognizedPreprocessing:
    """Preprocessing of a detector: the whole image, its aspect ratio kept.

    Args:
        preprocessing: Of any model with this input.
        images: The input.
    """
    kept = {key: value for key, value in preprocessing.values.items() if key in _PIXELS}
    return RecognizedPreprocessing(
        {**_geometry(images), **kept},
        f"preprocessing: letterbox, as of a detector; {preprocessing.note.split(': ', 1)[-1]}",
    )


def has_boxes(folder: Path) -> bool:
    """Whether a folder has images and labels in YOLO's layout."""
    labels = folder / "labels"
    return (folder / "images").is_dir() and labels.is_dir() and next(labels.rglob("*.txt"), None) is not None


def boxes_section(preprocessing: RecognizedPreprocessing, images: ImageInput) -> dict[str, Any] | None:
    """The section `preprocessing` of images with boxes; None where it cannot make the pixels that the model takes."""
    values = preprocessing.values
    if any(values["mean"]) or any(value != 1 for value in values["std"]):
        return None
    section: dict[str, Any] = {"size": [images.height, images.width], "fill": PADDING}
    if values["scale"] != "0-1":
        section["scale"] = values["scale"]
    if "channel_order" in values:
        section["channel_order"] = values["channel_order"]
    if images.channels != COLOURS:
        section["channels"] = images.channels
    return section if images.layout == "NCHW" else {**section, "layout": images.layout}


def _geometry(images: ImageInput) -> dict[str, Any]:
    last = {} if images.layout == "NCHW" else {"layout": images.layout}
    return {"letterbox": [images.height, images.width], "fill": PADDING, **last}
