"""A first configuration for a model of any inputs, and a NumPy archive with samples of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino as ov

from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.types import MOST_CALIBRATION, SampleSize
from nncf_mcq.data.arrays import TARGETS, ArraySamples, read_arrays
from nncf_mcq.errors import ConfigError, ConversionError, QuantizationError
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import FloatModel, load_model, to_openvino
from nncf_mcq.model.samples import Samples, input_names
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
from nncf_mcq.starter.outputs import LOOKED_AT, output_keys, output_notes, recognize_on_samples


def make_array_config(
    reference: str, data: Path, target: Path, *, pretrained: bool = False, checkpoint: Path | None = None
) -> InitialConfig:
    """Looks at a model and an archive with an array (N, ...) for each of its inputs.

    Args:
        reference: As `model` in a configuration, relative to the working folder.
        data: The archive.
        target: Where the configuration will lie: paths in it are relative to its folder.
        pretrained: Whether torchvision loads its trained weights.
        checkpoint: File of the state dict.

    Raises:
        ConfigError: The model or the arrays cannot be used, or do not fit each other.
    """
    try:
        arrays = read_arrays(data)
    except ConfigError as error:
        raise ConfigError("--data", error.found, error.allowed) from error
    targets = arrays.pop(TARGETS, None)
    samples = ArraySamples(arrays, targets)
    if len(samples) < 2:
        raise ConfigError("--data", f"{len(samples)} sample", "at least 2: one for calibration, one for the test")
    loaded = load_model(
        reference,
        base_directory=Path.cwd(),
        pretrained=pretrained,
        checkpoint=None if checkpoint is None else str(checkpoint.resolve()),
    )
    shapes: dict[str | int, list[int]] = {name: [1, *values.shape[1:]] for name, values in arrays.items()}
    sizes = None if _is_static(loaded) else shapes
    model = _converted(loaded, sizes)
    layers = find_layers(model)
    recognized = recognize_on_samples(model, _first(samples, model))
    calibration = min(MOST_CALIBRATION, len(samples) // 2)
    inputs = ", ".join(f"{name} {list(values.shape[1:])}" for name, values in arrays.items())
    config: dict[str, Any] = {
        **model_section(reference, target, pretrained=pretrained, checkpoint=checkpoint),
        **({} if sizes is None else {"input_info": _input_info(sizes)}),
        "dataset": {"type": "arrays", "file": relative(data, target), "split": {"calibration": calibration}},
    }
    config |= output_keys(recognized)
    config["compression"] = {"initializer": {"precision": precision_section()}}
    labels = '; targets are there: "metric" names what is measured of them' if targets is not None else ""
    notes = [
        model_note(layers, f"{len(model.inputs)} inputs"),
        *weight_notes(reference, pretrained=pretrained, checkpoint=checkpoint),
        f"samples: {len(samples)} of {inputs}, taken as the model takes them{labels}",
        f"split: {calibration} of {len(samples)} samples for calibration",
        *output_notes(recognized, has_labels=False),
        budget_note(),
    ]
    return initial_config(config, notes)


def _is_static(loaded: FloatModel) -> bool:
    """Whether the model says what it takes, the batch aside."""
    return isinstance(loaded, ov.Model) and all(
        port.get_partial_shape().rank.is_static
        and all(side.is_static for side in itertools.islice(port.get_partial_shape(), 1, None))
        for port in loaded.inputs
    )


def _converted(loaded: FloatModel, sizes: Mapping[str | int, list[int]] | None) -> ov.Model:
    shapes: SampleSize | None = sizes if sizes is None or len(sizes) > 1 else next(iter(sizes.values()))
    try:
        return to_openvino(loaded, shapes)
    except (ConfigError, ConversionError) as error:
        reason = error.allowed if isinstance(error, ConfigError) else error
        found = ", ".join(f"{name} {shape}" for name, shape in (sizes or {}).items()) or "the model"
        raise ConfigError(
            "--data", found, f"arrays by the names of the model's inputs, in its shapes ({reason})"
        ) from error


def _first(samples: ArraySamples, model: ov.Model) -> Samples:
    """A few samples as the model takes them."""
    items = (samples[index][0] for index in range(len(samples)))
    rows = (
        {name: values[None] for name, values in item.items()} if isinstance(item, Mapping) else item[None]
        for item in items
    )
    try:
        return collect_images(rows, LOOKED_AT, model)
    except QuantizationError as error:
        inputs = ", ".join(f"{'/'.join(sorted(input_names(port)))} {port.get_partial_shape()}" for port in model.inputs)
        raise ConfigError("--data", "arrays that do not fit", f"those of the inputs {inputs} ({error})") from error


def _input_info(sizes: Mapping[str | int, list[int]]) -> object:
    if len(sizes) == 1:
        return {"sample_size": next(iter(sizes.values()))}
    return [{"keyword": name, "sample_size": size} for name, size in sizes.items()]
