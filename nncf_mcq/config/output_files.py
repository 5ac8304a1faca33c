"""The files of an output folder: their names, and what the JSON among them holds, for who writes and who reads it.

What an older version or another tool left out is None or empty, and further keys are kept: a folder stays readable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, Field

from nncf_mcq.config.quality_report import QualityReport
from nncf_mcq.config.record import Record
from nncf_mcq.config.search_report import SearchReport
from nncf_mcq.policy import INTEGER_PRECISIONS

MODEL_NAME: Final = "model"
MODEL_FILE: Final = f"{MODEL_NAME}.xml"
UNVERIFIED: Final = ".unverified"
"""Stands before the suffixes of a model that does not do what the scored model did."""

UNVERIFIED_MODEL_FILE: Final = f"{MODEL_NAME}{UNVERIFIED}.xml"
RESULT_FILE: Final = "result.json"
POLICY_FILE: Final = "policy.json"
UNSAVED_POLICY_FILE: Final = "policy.unsaved.json"
"""The policy of a model that could not be written, for want of room say."""

PARETO_FILE: Final = "pareto.json"
CONFIG_FILE: Final = "config.json"
HISTOGRAM_FILE: Final = "histograms.json"
DEPLOYMENT_FOLDER: Final = "deployment"
"""The model ready for use, with its preprocessing."""

Part = TypeVar("Part")
_Optional = Annotated[Part, BeforeValidator(lambda found: {} if found is None else found)]
"""A part that may be null, which then says as much as an empty one."""


class LayerResult(Record):
    """One quantizable layer.

    Attributes:
        name: Its name in the model.
        kind: Of operation.
        bits: Width of the weights; None where the layer stays in floating point.
        activation_bits: Width of its input; None where that stays in floating point.
        rule: The clipping rule that most channels chose. This and the next three are left out where there is no weight
            table.
        rule_channels: Number of channels by the rule that they chose.
        rule_errors: Relative error that each rule would leave if it served all channels.
        relative_error: Variance of the difference to the float layer's output, relative to the output's own variance.
        weight_shape: Of its weights.
        weights: How many.
        size_share: Share of all quantizable weights, 0..1.
        macs: Multiply-accumulate operations.
        mac_share: Share of those of all quantizable layers, 0..1.
        group: Layers that share their weights have one group.
        integer_kernel: Whether OpenVINO has an int8 kernel for it; otherwise only its weights are quantized.
        allowed_bits: The only bit-widths that its weights can have; None where it can have any.
        runtime_precision: What the written IR runs it in, e.g. `u8`.
        float_cause: Likely cause that this is floating point although its weights are quantized.
    """

    name: str
    kind: str | None = None
    bits: int | None = None
    activation_bits: int | None = None
    rule: str | None = None
    rule_channels: dict[str, int] = Field(default_factory=dict)
    rule_errors: dict[str, float] = Field(default_factory=dict)
    relative_error: float | None = None
    weight_shape: tuple[int, ...] | None = None
    weights: int | None = None
    size_share: float | None = None
    macs: int | None = None
    mac_share: float | None = None
    group: str | None = None
    integer_kernel: bool = True
    allowed_bits: tuple[int, ...] | None = None
    runtime_precision: str | None = None
    float_cause: str | None = None

    @property
    def needs_float_kernel(self) -> bool:
        """Whether its quantized weights are multiplied in floating point: those of an embedding are looked up only."""
        return self.bits is not None and not self.integer_kernel and self.kind != "embedding"

    @property
    def is_integer(self) -> bool:
        """Whether the written IR runs it on int8 kernels."""
        return self.runtime_precision in INTEGER_PRECISIONS


class FloatWeight(Record):
    """A constant of weights that stays in floating point.

    Attributes:
        name: Of the layer, or of the operation that reads it.
        kind: Kind of the layer, or type of the operation.
        weights: Number of values.
        share: Of all weights, 0..1.
        bits: Of each value in the file.
        reason: Why it is not quantized.
    """

    name: str
    kind: str
    weights: int
    share: float
    bits: int
    reason: str


class Origin(Record):
    """Origin of a result.

    Attributes:
        config: Name of the configuration.
        command: The command line.
    """

    config: str
    command: str


class RunMetrics(Record):
    """Metrics by name; values that are not numbers are allowed and shown.

    Attributes:
        float: Of the float model.
        quantized: Of the IR.
        nncf_int8: Of NNCF's own INT8, where it was measured on the same images.
    """

    float: dict[str, Any] = Field(default_factory=dict)
    quantized: dict[str, Any] = Field(default_factory=dict)
    nncf_int8: dict[str, Any] = Field(default_factory=dict)


class Timing(Record):
    """Time that a run took.

    Attributes:
        seconds: By stage, in the order of the stages.
    """

    seconds: dict[str, float] = Field(default_factory=dict)

    @classmethod
    def of(cls, seconds: Mapping[str, float]) -> Timing:
        """The times as they are written, in milliseconds at the finest.

        Args:
            seconds: By stage, as measured.
        """
        return cls(seconds={stage: round(value, 3) for stage, value in seconds.items()})


class VerificationReport(Record):
    """What was found when the written IR was read back.

    Attributes:
        difference: Largest difference to an output of the scored model, as a part of the range of that output; None
            where there is no number for it.
        tolerance: Largest difference that passes.
        problems: What did not pass.
        warnings: What passed and should be known, such as layers that run in floating point.
    """

    difference: float | None = None
    tolerance: float | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ModelFile(Record):
    """What was found in the IR of a model that a result is compared with.

    Attributes:
        average_weight_bits: Mean bit-width over all weights.
        integer_layers: Of the quantizable layers, those that run on int8 kernels; None where that is not known.
        layers: Of how many.
    """

    average_weight_bits: float | None = None
    integer_layers: int | None = None
    layers: int | None = None


class RunResult(Record):
    """A `result.json`; only the layers are required.

    Attributes:
        metrics: Of the float model and of the IR.
        layers: In the order of the model.
        float_weights: The largest first.
        search: How the policy was found.
        timing: By stage.
        versions: Of the packages that made it.
        origin: Where a command made it.
        float_model: Digest of the float model, by which it is known again; None where it was not noted.
        quality: How close the outputs come to the float model's; None where no images were run.
        references: What was found in the files of the models that it is compared with, by their keys in `metrics`.
        remark: Where its figures do not come from the device that it is for; None where they do.
        verified: Whether the IR gives the outputs of the scored model; None before it is saved.
        verification: What was found.
    """

    metrics: _Optional[RunMetrics] = RunMetrics()
    layers: tuple[LayerResult, ...]
    float_weights: tuple[FloatWeight, ...] = ()
    search: _Optional[SearchReport] = SearchReport()
    timing: _Optional[Timing] = Timing()
    versions: _Optional[dict[str, str]] = Field(default_factory=dict)
    origin: Origin | None = None
    float_model: str | None = None
    quality: QualityReport | None = None
    references: dict[str, ModelFile] = Field(default_factory=dict)
    remark: str | None = None
    verified: bool | None = None
    verification: VerificationReport = VerificationReport()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before all else."""
        doubts = () if self.quality is None else self.quality.doubts
        remarks = doubts if self.remark is None else (self.remark, *doubts)
        if self.verified is not False:
            return (*remarks, *self.verification.warnings)
        problems = "; ".join(self.verification.problems)
        found = f"the file does not give the outputs of the model that was scored: {problems}"
        return (found, *remarks, *self.verification.warnings)


class LayerHistogram(Record):
    """One layer's weights, each measured in its own channel's clip range, whose ends are -1 and 1.

    Channels have ranges of their own: only so do the thresholds, and the levels, of all of them coincide.

    Attributes:
        float_counts: Float weights in bins of equal width over the whole reach.
        level_counts: Weights on each level, from the one at -1 to the one at 1, equally spaced.
        clipped: Share of the float weights outside the range by more than half a step, which rounding would not bridge.
        thresholds: Smallest, median and largest of the channels' thresholds, the larger absolute end of each range.
        largest: Largest absolute float weight.
    """

    float_counts: tuple[int, ...]
    level_counts: tuple[int, ...]
    clipped: float
    thresholds: tuple[float, float, float]
    largest: float


class Histograms(Record):
    """A `histograms.json`.

    Attributes:
        reach: Bins go from minus to plus this many times the range; what lies beyond counts in the outermost ones.
        layers: By name.
    """

    reach: float
    layers: Mapping[str, LayerHistogram]

    def to_json(self) -> str:
        """The document with one line a layer."""
        lines = [f"    {json.dumps(name)}: {json.dumps(found.to_dict())}" for name, found in self.layers.items()]
        body = ",\n".join(lines)
        return f'{{\n  "reach": {self.reach},\n  "layers": {{\n{body}\n  }}\n}}\n'
