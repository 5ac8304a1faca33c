"""Recognizes the input of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from nncf_mcq.errors import ConfigError, ConversionError
from nncf_mcq.model.loading import FloatModel, load_model, to_openvino
from nncf_mcq.starter.preprocessing import ImageInput

USUAL_SIDE = 224
_CHANNELS = (1, 3, 4)
_ARRAYS = "or --data samples.npz with an array (N, ...) for each input by its name, prepared as the model takes it"


@dataclass(frozen=True)
class ModelInput:
    """A converted model and its input.

    Attributes:
        model: The model, of batch size 1.
        given: The model before it was brought to its normal form, which folds a normalization of the input into
            weights; the same as `model` where it comes from PyTorch.
        shape: (1, channels, height, width), or (1, height, width, channels).
        images: The same, told apart.
        is_stated: Whether the configuration must give the shape, since the model does not say it.
        notes: What was assumed.
    """

    model: ov.Model
    given: ov.Model
    shape: tuple[int, ...]
    images: ImageInput
    is_stated: bool
    notes: tuple[str, ...]


def read_model_input(
    reference: str,
    folder: Path,
    *,
    shape: Sequence[int] | None,
    usual_shape: Sequence[int],
    pretrained: bool = False,
    checkpoint: str | None = None,
) -> ModelInput:
    """Loads a model and finds out the shape of its input.

    Args:
        reference: As `model` in a configuration.
        folder: What relative paths are relative to.
        shape: As the user says it is, or None.
        usual_shape: Where nobody says it.
        pretrained: As in a configuration.
        checkpoint: As in a configuration.

    Raises:
        ConfigError: The model cannot be loaded, or its input is none of images of 1, 3 or 4 channels.
    """
    loaded = load_model(reference, base_directory=folder, pretrained=pretrained, checkpoint=checkpoint)
    notes: list[str] = []
    if isinstance(loaded, ov.Model) and len(loaded.inputs) > 1:
        raise ConfigError("MODEL", f"{len(loaded.inputs)} inputs: {_inputs(loaded)}", f"one input of images, {_ARRAYS}")
    found = _stated_shape(loaded)
    open_sides = found is None or None in found
    if shape is not None:
        full = list(shape)
    elif found is not None and len(found) == 4:
        channels_last = found[1] not in _CHANNELS and found[3] in _CHANNELS
        usual = [usual_shape[index] for index in ((0, 2, 3, 1) if channels_last else range(4))]
        full = [known or filled for known, filled in zip(found, usual, strict=True)]
        if open_sides:
            notes.append(f"input shape {full}, a guess: the model leaves {_as_text(found)} open (--shape to change it)")
    elif found is not None:
        allowed = f"images [1, channels, height, width], {_ARRAYS}"
        raise ConfigError("MODEL", f"an input of shape {_as_text(found)}", allowed)
    else:
        full = list(usual_shape)
        notes.append(f"input shape {full}: a PyTorch model does not say it (--shape to change it)")
    model = _converted(loaded, full, stated=found, is_given=shape is not None)
    given = loaded if isinstance(loaded, ov.Model) else model
    return ModelInput(model, given, tuple(full), _checked(full), shape is not None or open_sides, tuple(notes))


def _inputs(model: ov.Model) -> str:
    return ", ".join(
        f"{port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()} {port.get_partial_shape()}"
        for port in model.inputs
    )


def _stated_shape(loaded: FloatModel) -> list[int | None] | None:
    """Shape of the input without the batch, which is 1; None stands for what is open."""
    if not isinstance(loaded, ov.Model) or len(loaded.inputs) != 1:
        return None
    partial = loaded.input(0).get_partial_shape()
    if partial.rank.is_dynamic:
        return [1, None, None, None]
    return [1, *(None if side.is_dynamic else side.get_length() for side in list(partial)[1:])]


def _converted(
    loaded: FloatModel, shape: list[int], *, stated: Sequence[int | None] | None, is_given: bool
) -> ov.Model:
    try:
        return to_openvino(loaded, shape)
    except (ConfigError, ConversionError) as error:
        takes = "the shape that the model takes" if stated is None else f"a shape that fits {_as_text(stated)}"
        usual = "; many networks need sides that are multiples of 32, readers of text lines a height of 32 or 48"
        reason = error.allowed if isinstance(error, ConfigError) else error
        if is_given:
            raise ConfigError("--shape", shape, f"{takes}{usual} ({reason})") from error
        raise ConfigError(
            "MODEL", f"no outputs for the usual input {shape}", f"--shape with {takes}{usual} ({reason})"
        ) from error


def _checked(shape: list[int]) -> ImageInput:
    if len(shape) != 4:
        raise ConfigError("--shape", shape, "four numbers: 1, channels, height, width")
    if shape[1] in _CHANNELS:
        return ImageInput(shape[1], shape[2], shape[3])
    if shape[3] in _CHANNELS:
        return ImageInput(shape[3], shape[1], shape[2], "NHWC")
    raise ConfigError("MODEL", f"an input of shape {shape}", "images of 1, 3 or 4 channels, first or last")


def _as_text(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("?" if side is None else str(side) for side in shape) + "]"
