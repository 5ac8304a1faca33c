"""The part of the configuration that names a model and images: what is read where nothing is quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Self

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError

from nncf_mcq.config.model_reference import is_model_file
from nncf_mcq.config.parameters import Parameters, PathMarker, check_path
from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.config.registered_parameters import RegisteredParameters
from nncf_mcq.config.registry import DATASET_PARAMETERS
from nncf_mcq.config.types import SampleSize

MOST_THREADS = 4096
MOST_SAMPLES = 2**20
"""Threads, and samples of a batch, beyond which no machine goes: numbers that OpenVINO can take."""


class InputInfo(Parameters):
    """One input of the model, as in NNCF's `input_info`."""

    sample_size: list[PositiveInt] = Field(
        description="Shape of one input with the batch dimension, e.g. [1, 3, 224, 224]."
    )
    keyword: str | None = Field(
        default=None,
        description="Name of the input: of the tensor, or of the parameter of a torch module's forward. Inputs without "
        "one are taken in the model's order.",
    )


def _one_or_several(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Here rather than by the union, whose message would name each of its members."""
    if value is None:
        return None
    if isinstance(value, Mapping | InputInfo):
        return _input_info(value)
    if not isinstance(value, list) or not value:
        raise ValueError("an object with sample_size, or a list of one for each input of the model")
    return [_input_info(entry, number) for number, entry in enumerate(value)]


def _input_info(entry: object, *key: int) -> InputInfo:
    try:
        return InputInfo.model_validate(entry)
    except ValidationError as error:
        raise PydanticCustomError(
            "registered_parameters",
            "{reason}",
            {"reason": str(error), "error": error, "model": InputInfo, "key": key},
        ) from error


def _name_or_names(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Here rather than by the union, as the inputs."""
    names = value if isinstance(value, list) else [value]
    if value is not None and not all(isinstance(name, str) for name in names):
        raise ValueError("a name or a list of names")
    return value


class RuntimeConfig(Parameters):
    """Resources for running candidate models on this machine; they do not change the result."""

    threads: PositiveInt = Field(default=2, le=MOST_THREADS, description="Number of threads of OpenVINO and PyTorch.")
    batch_size: PositiveInt = Field(
        default=16, le=MOST_SAMPLES, description="Images per inference while scoring policies."
    )


class SourceConfig(Parameters):
    """Model and images, what the model's outputs are, and the metrics. Paths are relative to the file's folder."""

    model: str | None = Field(
        default=None,
        description="PACKAGE.MODULE:CALLABLE or FILE.py:CALLABLE for a torch.nn.Module, or a file: .xml (OpenVINO IR), "
        ".onnx, .tflite, or .pt2 (an exported program of PyTorch).",
    )
    model_arguments: dict[str, object] = Field(default={}, description="Keyword arguments of the callable.")
    pretrained: bool | str = Field(
        default=False,
        description="Weights that torchvision downloads: true for its default weights, or a name, e.g. IMAGENET1K_V1. "
        "A checkpoint replaces them.",
    )
    checkpoint: Annotated[str | None, PathMarker()] = Field(
        default=None, description="File with the state dict of the torch model, or a darknet .weights file."
    )
    input_info: Annotated[InputInfo | list[InputInfo] | None, WrapValidator(_one_or_several)] = Field(
        default=None, description="The input of the model, or a list of its inputs."
    )
    dataset: Annotated[Parameters, RegisteredParameters(DATASET_PARAMETERS)] | None = Field(
        default=None, description="Images: `type`, and the parameters of that type."
    )
    calibration: Annotated[Parameters, RegisteredParameters(DATASET_PARAMETERS)] | None = Field(
        default=None,
        description="Data set whose calibration and search images replace those of `dataset`, which then provides only "
        "the test images, e.g. distilled.",
    )
    metric: Annotated[str | list[str] | None, WrapValidator(_name_or_names)] = Field(
        default=None, description='Name of the metric on the test images, e.g. top1, or several: ["map50", "map"].'
    )
    outputs: dict[str, OutputKind] = Field(
        default={},
        description="What an output is, by its name, where it is not recognized: classes, segmentation, mask, "
        "heat_maps, landmarks, embedding, sequence, labels or values. Its quality is told in figures that suit it.",
    )
    runtime: RuntimeConfig = RuntimeConfig()

    @field_validator("model")
    @classmethod
    def _possible_path(cls, model: str | None) -> str | None:
        return None if model is None else check_path(model)

    @field_validator("pretrained", mode="before")
    @classmethod
    def _weights(cls, pretrained: object) -> object:
        """Here rather than by the two types, as the widths of the activations."""
        if not isinstance(pretrained, bool | str):
            raise ValueError("true, false, or the name of weights")
        return pretrained

    @property
    def sample_size(self) -> SampleSize | None:
        """Shape of the input with the batch dimension, or that of each, where the configuration gives it."""
        if self.input_info is None or isinstance(self.input_info, InputInfo):
            return None if self.input_info is None else self.input_info.sample_size
        return {
            number if entry.keyword is None else entry.keyword: entry.sample_size
            for number, entry in enumerate(self.input_info)
        }

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics of the report."""
        if self.metric is None:
            return []
        return [self.metric] if isinstance(self.metric, str) else self.metric

    def map_paths(self, function: Callable[[str], str]) -> Self:
        """As in `Parameters`; the file in `model` counts as a path, a module's name does not."""
        copy = super().map_paths(function)
        if self.model is None:
            return copy
        if is_model_file(self.model):
            return copy.model_copy(update={"model": function(self.model)})
        file, separator, name = self.model.partition(":")
        return copy.model_copy(update={"model": function(file) + separator + name}) if file.endswith(".py") else copy
