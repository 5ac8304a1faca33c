"""Puts a first configuration together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import openvino as ov

from nncf_mcq.config.types import CALIBRATION, MOST_CALIBRATION
from nncf_mcq.data.datasets import ImageDataset, build_dataset
from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics.average_precision import EXTRA
from nncf_mcq.model.layers import find_layers
from nncf_mcq.starter.boxes import boxes_section, by_boxes, has_boxes, letterboxed
from nncf_mcq.starter.document import (
    InitialConfig,
    budget_note,
    initial_config,
    model_note,
    model_section,
    precision_section,
    relative,
    weight_notes,
)
from nncf_mcq.starter.images import FoundImages, find_dataset, holds_idx_files
from nncf_mcq.starter.model_input import USUAL_SIDE, ModelInput, read_model_input
from nncf_mcq.starter.outputs import (
    distribution_layers,
    may_be_detector,
    output_keys,
    output_notes,
    recognize_on,
)
from nncf_mcq.starter.preprocessing import (
    COLOURS,
    ImageInput,
    RecognizedPreprocessing,
    by_accuracy,
    default,
    from_graph,
    from_torchvision,
)

_GREY_SIDE: Final = 28


def make_initial_config(
    reference: str,
    data: Path,
    target: Path,
    *,
    shape: Sequence[int] | None = None,
    pretrained: bool = False,
    checkpoint: Path | None = None,
) -> InitialConfig:
    """Looks at a model and a folder of images.

    Args:
        reference: As `model` in a configuration, relative to the working folder.
        data: The folder of images.
        target: Where the configuration will lie: paths in it are relative to its folder.
        shape: Of one input, with the batch; None finds it out.
        pretrained: Whether torchvision loads its trained weights.
        checkpoint: File of the state dict.

    Raises:
        ConfigError: The model or the images cannot be used.
    """
    folder = Path.cwd()
    documented = from_torchvision(reference)
    side = USUAL_SIDE if documented is None else int(documented.values["crop"])
    usual = [1, 1, _GREY_SIDE, _GREY_SIDE] if holds_idx_files(data) else [1, 3, side, side]
    found = read_model_input(
        reference,
        folder,
        shape=shape,
        usual_shape=usual,
        pretrained=pretrained,
        checkpoint=None if checkpoint is None else str(checkpoint.resolve()),
    )
    layers = find_layers(found.model)
    notes = [model_note(layers, f"input {list(found.shape)}"), *found.notes]
    notes += weight_notes(reference, pretrained=pretrained, checkpoint=checkpoint)
    images = find_dataset(data, _classes(found.model))
    section, metric, more, keys = _dataset(data, found, images, documented)
    notes += [*([] if section["type"] == "coco" else images.notes), *more]
    ignored = [layer.name for layer in distribution_layers(layers)]
    if ignored:
        notes.append(
            f"ignored_scopes: {', '.join(ignored)}, which makes distances of distributions (DFL): it stays in floating "
            "point, as the tools of the YOLO family leave it"
        )
    notes.append(budget_note())
    config = model_section(reference, target, pretrained=pretrained, checkpoint=checkpoint)
    if found.is_stated:
        config["input_info"] = {"sample_size": list(found.shape)}
    config["dataset"] = {**section, "root": relative(data, target)}
    if metric is not None:
        config["metric"] = metric
    config |= keys
    count = _calibration_images(images)
    if count > CALIBRATION and config["dataset"]["type"] in ("imagenet", "image_folder", "coco"):
        config["dataset"]["split"] = {"calibration": count}
        notes.append(
            f"split: {count} of {images.count} images for calibration: with more, bits hold better on new images"
        )
    config["compression"] = {
        "initializer": {"precision": precision_section()},
        **({"ignored_scopes": ignored} if ignored else {}),
    }
    return initial_config(config, notes)


def _dataset(
    data: Path, found: ModelInput, images: FoundImages, documented: RecognizedPreprocessing | None
) -> tuple[dict[str, Any], str | list[str] | None, list[str], dict[str, Any]]:
    """The section `dataset`, the metric, what was assumed, and keys about the outputs."""
    image_input = found.images
    if images.kind == "fashion_mnist":
        if image_input.channels != 1:
            allowed = f"colour images: the model's input has {image_input.channels} channels"
            raise ConfigError("--data", str(data), allowed)
        return {"type": "fashion_mnist", "root": ""}, "top1", [], {}
    section: dict[str, Any] = {"type": images.kind, "root": ""}
    if images.has_corrupt:
        section["corrupt"] = "skip"
    notes = []
    if images.count < CALIBRATION + (0 if images.report_is_apart else CALIBRATION // 4):
        if images.count < 2:
            raise ConfigError("--data", f"{images.count} image", "at least 2: one for calibration, one for the test")
        section["split"] = {"calibration": max(images.count // 2, 1)}
        notes.append(
            f"split: {section['split']['calibration']} of {images.count} images for calibration: few, so results vary"
        )

    def load(preprocessing: Mapping[str, Any]) -> ImageDataset:
        values = {**section, "root": str(data.resolve()), "preprocessing": dict(preprocessing)}
        return build_dataset(values, Path.cwd()).calibration

    side = None if documented is None else documented.values["crop"]
    fits = image_input == ImageInput(COLOURS, side or 0, side or 0)
    preprocessing = documented if fits else from_graph(found.given, image_input)
    if preprocessing is None and images.kind == "imagenet":
        preprocessing = by_accuracy(found.model, image_input, images.classes, load)
    is_guess = preprocessing is None
    preprocessing = preprocessing or default(image_input)
    recognized = recognize_on(found.model, load(preprocessing.values))
    by_result = by_boxes(found.model, image_input, load) if is_guess and may_be_detector(recognized) else None
    if by_result is not None:
        preprocessing, recognized = by_result
    elif recognized.detector is not None:
        preprocessing = letterboxed(preprocessing, image_input)
    keys = output_keys(recognized)
    seen = list(output_notes(recognized, has_labels=images.kind == "imagenet"))
    if recognized.detector is not None:
        boxes = boxes_section(preprocessing, image_input) if has_boxes(data) else None
        if boxes is not None and recognized.detector.outputs[0] == 0:
            note = f"labels: boxes of {images.count} images in YOLO's layout; mAP needs pip install {EXTRA}"
            labelled = {**section, "type": "coco", "preprocessing": boxes}
            return labelled, ["map50", "map"], [*notes, note, preprocessing.note, *seen], keys
    elif image_input.height != image_input.width:
        size = [image_input.height, image_input.width]
        notes.append(f'geometry: images are stretched to {size}; "letterbox": {size} instead of resize pads them')
    section["preprocessing"] = dict(preprocessing.values)
    metric = "top1" if images.kind == "imagenet" else None
    return section, metric, [*notes, preprocessing.note, *seen], keys


def _calibration_images(images: FoundImages) -> int:
    """Half of the images, or all of those that are none of the test's."""
    return min(images.count if images.report_is_apart else images.count // 2, MOST_CALIBRATION)


def _classes(model: ov.Model) -> int | None:
    """Number of outputs of a classifier."""
    if len(model.outputs) != 1:
        return None
    shape = model.output(0).get_partial_shape()
    if shape.is_dynamic or len(shape) != 2 or shape[1].get_length() < 2:
        return None
    return int(shape[1].get_length())
