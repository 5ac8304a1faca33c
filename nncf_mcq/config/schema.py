"""The configuration: JSON in NNCF's vocabulary <-> typed values; the only place that knows the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError

from nncf_mcq.config.budget import PrecisionParameters
from nncf_mcq.config.coding import with_coding_checked
from nncf_mcq.config.device import TargetDevice, for_device
from nncf_mcq.config.json_files import check_text, read_json
from nncf_mcq.config.messages import to_config_error
from nncf_mcq.config.model_reference import is_model_file
from nncf_mcq.config.parameters import NamedParameters, Parameters, PathMarker, check_path
from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.config.registered_parameters import RegisteredParameters
from nncf_mcq.config.registry import (
    ACTIVATION_RANGE_PARAMETERS,
    DATASET_PARAMETERS,
    PRECISION_PARAMETERS,
    RANGE_PARAMETERS,
    TUNING_PARAMETERS,
)
from nncf_mcq.config.scoped_parameters import OneOrScopedParameters
from nncf_mcq.config.types import MOST_CALIBRATION, Bits, CodingChoice, SampleSize
from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import SUPPORTED_BITS

MOST_THREADS = 4096
MOST_SAMPLES = 2**20
"""Threads, and samples of a batch, beyond which no machine goes: numbers that OpenVINO can take."""

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


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


class WeightsConfig(Parameters):
    """Quantization of weights."""

    bits: list[Bits] = Field(
        default=list(SUPPORTED_BITS),
        min_length=1,
        description="Bit-widths that a precision initializer may choose from.",
    )
    per_channel: bool = Field(default=True, description="One scale per output channel rather than one per tensor.")
    mode: Literal["symmetric", "asymmetric"] = Field(
        default="asymmetric",
        description="Grid. symmetric: 2^b - 1 levels around zero. asymmetric: all 2^b levels, an integer zero point; "
        "costs no speed on int8 kernels for b <= 7. 8 bits are always symmetric.",
    )
    coding: CodingChoice = Field(
        default="automatic",
        description="How weights of 2 to 5 bits are stored, except in depthwise and grouped convolutions. uniform: as "
        "levels of a grid. trellis: as a trellis code, which leaves about 35 % less error at the same size; for CPUs "
        "alone. automatic: trellis in models of 2^19 such weights where nothing speaks against it.",
    )
    isa: Literal["any", "vnni"] = Field(
        default="any",
        description="CPUs that the model computes right on. any: all; weights of 7 and 8 bits keep to -63..63 where "
        "kernels without VNNI add two products in 16 bits, which larger ones overflow. vnni: those with VNNI, AMX or "
        "AVX-VNNI only; weights of 8 bits have all of -127..127.",
    )
    equalization: bool = Field(
        default=True,
        description="Scale the channels between layers, and the weights that read them by the inverse, so that both "
        "together lose least below 8 bits. The float model computes the same. Where the layers before cannot absorb "
        "the scales, the input of a convolution gets one Multiply. Not with one scale per tensor.",
    )
    fully_connected: Literal["int8", "packed"] = Field(
        default="int8",
        description="Kernels of fully connected layers. int8: as of all layers. packed: where a layer of one row has "
        "2 or 4 bits and 2^20 weights or more, they stay packed at run time, which takes less time and memory; the CPU "
        "plugin then quantizes the layer's input by itself, in groups of 32 values.",
    )

    @field_validator("bits")
    @classmethod
    def _sorted_unique(cls, bits: list[int]) -> list[int]:
        return sorted(set(bits))


class ActivationsConfig(Parameters):
    """Quantization of activations."""

    bits: Bits | list[Bits] = Field(
        default=8,
        description="Bit-width of every activation quantizer, or a list of bit-widths to search; initializers that "
        "do not search take the largest.",
    )
    mode: Literal["symmetric", "asymmetric", "automatic"] = Field(
        default="automatic",
        description="Grid of activations with negative values. symmetric: levels around zero. asymmetric: all 2^b "
        "levels between the lowest and the highest value, except at inputs of additions. automatic: asymmetric below 8 "
        "bits, where a zero point costs nothing.",
    )
    per_channel: bool = Field(
        default=False,
        description="One range per channel before depthwise convolutions, as in NNCF; 8 bytes per channel in the file.",
    )
    range: Annotated[NamedParameters, RegisteredParameters(ACTIVATION_RANGE_PARAMETERS)] = Field(
        default="automatic",
        validate_default=True,
        description="Rule for the range. automatic: at 8 bits the best of several rules on held-out images, mse below. "
        "max: largest value seen. mean_max, moving_max: mean or moving average over images of the largest value. "
        "percentile: of the sampled values. mse: the threshold of least squared error at the bit-width.",
    )

    @field_validator("bits", mode="before")
    @classmethod
    def _width_or_widths(cls, bits: object) -> object:
        """Here rather than by the two types: a message of each of them would name neither."""
        found = bits if isinstance(bits, list) and bits else [bits]
        if any(type(item) is not int or item not in SUPPORTED_BITS for item in found):
            raise ValueError(
                f"{min(SUPPORTED_BITS)} to {max(SUPPORTED_BITS)}, or a list of one or more of these widths"
            )
        return sorted(set(bits)) if isinstance(bits, list) else bits

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths to choose from, ascending."""
        return (self.bits,) if isinstance(self.bits, int) else tuple(self.bits)

    @property
    def largest(self) -> int:
        """The width of quantizers that nothing is chosen for."""
        return self.widths[-1]


class CorrectionConfig(Parameters):
    """Corrections of the quantized weights, so that the layer's output keeps its moments."""

    rounding: Literal["nearest", "error_compensated", "coordinate_descent"] = Field(
        default="coordinate_descent",
        description="Rounding of the weights. nearest: to the nearest level. error_compensated: each rounding error is "
        "carried over to the weights not yet rounded, weighted by the layer's input second moments. "
        "coordinate_descent: the same, then, below 8 bits, each level in turn becomes the best one, given the others.",
    )
    sweeps: PositiveInt = Field(default=3, description="Number of passes of coordinate_descent over all levels.")
    bias: bool = Field(default=True, description="Shift the bias so that the mean of the layer's output is kept.")
    gain: Literal["none", "regression", "energy"] = Field(
        default="energy",
        description="Factor on each output channel, folded into its scale. regression: the output comes closest to "
        "the float output. energy: it keeps the variance of the float output.",
    )
    sequential: bool = Field(
        default=True,
        description="Quantize the weights of the final policy once more, layer by layer, each for the inputs that the "
        "quantized layers before it produce; kept only if it scores better on images that it was not made from. "
        "Skipped if all weights have 8 bits.",
    )


class InitializerConfig(Parameters):
    """NNCF's `initializer` section."""

    range: Annotated[NamedParameters | list[NamedParameters], OneOrScopedParameters(RANGE_PARAMETERS)] = Field(
        default="mixed_clipping",
        validate_default=True,
        description="Rule for the weights' clipping thresholds: one for all layers, or a list of rules with "
        "target_scopes; layers that no entry matches get mixed_clipping.",
    )
    precision: Annotated[PrecisionParameters, RegisteredParameters(PRECISION_PARAMETERS)] = Field(
        default="uniform", validate_default=True, description="Method that finds each layer's bit-width."
    )
    num_init_samples: PositiveInt = Field(
        default=MOST_CALIBRATION,
        description="Largest number of calibration images for layer statistics and activation ranges.",
    )


class CompressionConfig(Parameters):
    """NNCF's `compression` section."""

    algorithm: Literal["mixed_clipping_quantization", "quantization"] = Field(
        default="mixed_clipping_quantization",
        description="Algorithm. quantization: plain NNCF INT8 (nncf.quantize), a baseline that uses only "
        "ignored_scopes and initializer.num_init_samples of this section.",
    )
    weights: WeightsConfig = WeightsConfig()
    activations: ActivationsConfig = Field(default_factory=ActivationsConfig)
    correction: CorrectionConfig = CorrectionConfig()
    initializer: InitializerConfig = Field(default_factory=InitializerConfig)
    tuning: Annotated[NamedParameters, RegisteredParameters(TUNING_PARAMETERS)] | None = Field(
        default=None,
        description="Method that trains the quantized model of the policy found on unlabelled images; kept only if it "
        "is better on images that nothing else has seen. null: none.",
    )
    ignored_scopes: list[str] = Field(
        default=[], description="Layers left in floating point: names, or regular expressions written {re}PATTERN."
    )


class RuntimeConfig(Parameters):
    """Resources for running candidate models on this machine; they do not change the result."""

    threads: PositiveInt = Field(default=2, le=MOST_THREADS, description="Number of threads of OpenVINO and PyTorch.")
    batch_size: PositiveInt = Field(
        default=16, le=MOST_SAMPLES, description="Images per inference while scoring policies."
    )


class OutputScoreConfig(Parameters):
    """Distance and weight of an output in the score."""

    type: str | None = Field(
        default=None, description="Name of the distance; null takes the one that suits the output."
    )
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="Factor in the sum; 0 leaves it out.")


class Config(Parameters):
    """The whole configuration. Paths in it are relative to the file's folder."""

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
    score: str | dict[str, OutputScoreConfig] | None = Field(
        default=None,
        description="Distance of a candidate's outputs from the float outputs: the name of one for all outputs, e.g. "
        "detection_divergence, or for each output by its name. A policy's score is the weighted sum. By default each "
        "output gets the distance that suits it, with weight 1.",
    )
    outputs: dict[str, OutputKind] = Field(
        default={},
        description="What an output is, by its name, where it is not recognized: classes, segmentation, mask, "
        "heat_maps, landmarks, embedding, sequence, labels or values. Its quality is told in figures that suit it.",
    )
    target_device: TargetDevice = Field(
        default="CPU",
        description="Device that the model is for, as in NNCF. CPU: packed weights of any width on int8 kernels. GPU, "
        "NPU: weights of 4 and 8 bits in the form that their compilers know, symmetric by default. ANY: 8 bits, on "
        "integers everywhere.",
    )
    compression: CompressionConfig = Field(default_factory=CompressionConfig)
    runtime: RuntimeConfig = RuntimeConfig()

    @field_validator("score", mode="before")
    @classmethod
    def _score(cls, score: Any) -> Any:
        """Here rather than by the union, whose message would name each of its members."""
        if isinstance(score, str) or score is None:
            return score
        if not isinstance(score, dict) or not score:
            raise ValueError("the name of a score, or an object of outputs and their scores")
        # An object is checked by its own model; a name stands for an object with only the type.
        return {
            output: OutputScoreConfig.model_validate({"type": entry} if isinstance(entry, str) else entry)
            for output, entry in score.items()
        }

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

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration as JSON values, every default written out; `load_config` reads it back."""
        return self.model_dump(mode="json", exclude_none=True)


def load_config(source: Config | Mapping[str, object] | str | Path) -> Config:
    """Reads and checks a configuration.

    Args:
        source: A typed configuration, a mapping of JSON values, or the path of a JSON file.

    Raises:
        ConfigError: The file cannot be read, or a value cannot be used; names the path, the value and what is allowed.
    """
    if isinstance(source, Config):
        return for_device(with_coding_checked(source))
    data = read_json(Path(source)) if isinstance(source, str | Path) else source
    if not isinstance(data, Mapping):
        raise ConfigError("config", type(data).__name__, "a JSON object")
    check_text(data, "config")
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise to_config_error(error, Config) from error
    return for_device(with_coding_checked(config))


def json_schema() -> dict[str, object]:
    """The JSON Schema of the configuration, registered third-party types included."""
    schema = Config.model_json_schema()
    return {"$schema": SCHEMA_DIALECT, "title": "nncf_mcq configuration", **schema}
