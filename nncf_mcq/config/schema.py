"""The configuration: JSON in NNCF's vocabulary <-> typed values; the only place that knows the schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
)

from nncf_mcq.config.budget import PrecisionParameters
from nncf_mcq.config.coding import with_coding_checked
from nncf_mcq.config.device import TargetDevice, for_device
from nncf_mcq.config.json_files import check_text, read_json
from nncf_mcq.config.messages import to_config_error
from nncf_mcq.config.parameters import NamedParameters, Parameters
from nncf_mcq.config.registered_parameters import RegisteredParameters
from nncf_mcq.config.registry import (
    ACTIVATION_RANGE_PARAMETERS,
    PRECISION_PARAMETERS,
    RANGE_PARAMETERS,
    TUNING_PARAMETERS,
)
from nncf_mcq.config.scoped_parameters import OneOrScopedParameters
from nncf_mcq.config.source import SourceConfig
from nncf_mcq.config.types import MOST_CALIBRATION, Bits, CodingChoice
from nncf_mcq.errors import ConfigError
from nncf_mcq.policy import SUPPORTED_BITS

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


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


class OutputScoreConfig(Parameters):
    """Distance and weight of an output in the score."""

    type: str | None = Field(
        default=None, description="Name of the distance; null takes the one that suits the output."
    )
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="Factor in the sum; 0 leaves it out.")


class Config(SourceConfig):
    """The whole configuration. Paths in it are relative to the file's folder."""

    score: str | dict[str, OutputScoreConfig] | None = Field(
        default=None,
        description="Distance of a candidate's outputs from the float outputs: the name of one for all outputs, e.g. "
        "detection_divergence, or for each output by its name. A policy's score is the weighted sum. By default each "
        "output gets the distance that suits it, with weight 1.",
    )
    target_device: TargetDevice = Field(
        default="CPU",
        description="Device that the model is for, as in NNCF. CPU: packed weights of any width on int8 kernels. GPU, "
        "NPU: weights of 4 and 8 bits in the form that their compilers know, symmetric by default. ANY: 8 bits, on "
        "integers everywhere.",
    )
    compression: CompressionConfig = Field(default_factory=CompressionConfig)

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


def load_source(data: Mapping[str, object]) -> SourceConfig:
    """Reads and checks the part of a configuration that names a model and images; the rest is not looked at.

    Args:
        data: A mapping of JSON values.

    Raises:
        ConfigError: A value cannot be used, or a key is unknown.
    """
    others = Config.model_fields.keys() - SourceConfig.model_fields.keys()
    check_text(data, "config")
    try:
        return SourceConfig.model_validate({key: value for key, value in data.items() if key not in others})
    except ValidationError as error:
        # The keys that are not looked at are allowed, too.
        raise to_config_error(error, Config) from error


def json_schema() -> dict[str, object]:
    """The JSON Schema of the configuration, registered third-party types included."""
    schema = Config.model_json_schema()
    return {"$schema": SCHEMA_DIALECT, "title": "nncf_mcq configuration", **schema}
