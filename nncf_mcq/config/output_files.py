"""The files of an output folder: their names, and what the JSON among them holds, for who writes and who reads it.

What an older version or another tool left out is None or empty, and further keys are kept: a folder stays readable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from nncf_mcq.policy import INT8_PRECISIONS

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

SearchEnd: TypeAlias = Literal["interrupted", "time_limit"]
"""What ended a search before it was through: Ctrl-C or SIGTERM, or its time limit."""

Part = TypeVar("Part")
_Optional = Annotated[Part, BeforeValidator(lambda found: {} if found is None else found)]
"""A part that may be null, which then says as much as an empty one."""


class Record(BaseModel):
    """Base of the documents and their parts; values do not change."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def __getitem__(self, key: str) -> Any:
        """A value by its key in the JSON."""
        try:
            return getattr(self, key)
        except AttributeError as error:
            raise KeyError(key) from error

    def to_dict(self) -> dict[str, Any]:
        """JSON values; without what was left out."""
        return self.model_dump(exclude_unset=True)


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
    rule_channels: dict[str, int] = {}
    rule_errors: dict[str, float] = {}
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
        return self.runtime_precision in INT8_PRECISIONS


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


class DatasetReport(Record):
    """Where the images came from, and how many served for what.

    Attributes:
        source: In words, or a path.
        has_targets: Whether there are labels.
        calibration: Images that the statistics are of.
        search: Images that policies were scored on.
        search_is_calibration: Whether those are the calibration images.
        report: Images that neither calibration nor search saw.
        skipped: Names of images that cannot be read.
        remark: For whoever reads the result.
        calibration_source: Where the calibration images came from, if from elsewhere.
    """

    source: str | None = None
    has_targets: bool | None = None
    calibration: int = 0
    search: int = 0
    search_is_calibration: bool | None = None
    report: int = 0
    skipped: tuple[str, ...] = ()
    remark: str | None = None
    calibration_source: str | None = None


class StorageReport(Record):
    """Where a search is kept.

    Attributes:
        location: Path of the journal, relative to a saved result, or a URL.
        study: Name of the search there.
    """

    location: str
    study: str


class FinalWeightsReport(Record):
    """Whether the sequential pass made the weights that ship.

    Attributes:
        table_score: Score of the policy with the weights of the search's own table; None where nothing was scored.
        sequential_score: The same after the sequential pass.
        kept: Which of the two.
    """

    table_score: float | None = None
    sequential_score: float | None = None
    kept: Literal["table", "sequential"] = "table"


class TuningReport(Record):
    """What the tuning of the policy's model brought.

    Attributes:
        method: Its type.
        images: Number of images that it was tuned on.
        held_out_images: Number of images that it was decided on, which nothing else has seen.
        before: Score on these, without the tuning.
        after: With it; None where it came to no end.
        difference: Of the two; negative where the tuning helped.
        standard_error: Of the difference, from the same images with both models.
        kept: Whether the tuned model is the one that ships.
        reason: Why there was none.
    """

    method: str
    images: int = 0
    held_out_images: int = 0
    before: float | None = None
    after: float | None = None
    difference: float | None = None
    standard_error: float | None = None
    kept: bool = False
    reason: str | None = None


class LatencyReport(Record):
    """The latency of the policy, relative to all layers in int8.

    Attributes:
        ratio_to_int8: `limit`, `bound`, `predicted` and `measured`, of which the last is None where it was not.
        kept: Whether the measured latency keeps the limit; None where it was not measured.
        precision: What float layers run in.
    """

    ratio_to_int8: dict[str, float | None] = {}
    kept: bool | None = None
    precision: str | None = None


class GoalTrial(Record):
    """A policy that was tried for a goal, and what the search images tell of it.

    Attributes:
        average_bits: Mean bit-width of its quantized weights.
        value: The quantity on the search images.
        standard_error: Of the value; None where there is no number for it.
        bound: What the quantity is at worst, at the confidence of the goal; None where there is no number for it.
        kept: Whether the bound keeps the goal.
    """

    average_bits: float
    value: float | None = None
    standard_error: float | None = None
    bound: float | None = None
    kept: bool = False


class GoalReport(GoalTrial):
    """The goal in the place of a budget, and what the policy found makes of it.

    Attributes:
        quantity: `agreement`, `kl` or `METRIC_drop`, as in the configuration.
        limit: Of the quantity.
        confidence: Of the bound.
        images: Number of images that it was estimated on.
        tried: All policies that were tried, in their order.
    """

    quantity: str
    limit: float
    confidence: float
    images: int = 0
    tried: tuple[GoalTrial, ...] = ()


class SearchReport(Record):
    """How the policy was found.

    Attributes:
        method: Name of the precision initializer, or of an algorithm that has none.
        evaluations: Policies that were scored.
        evaluations_of: How many of them before a search was resumed, by this process, and by workers.
        storage: Where the search is kept; None in memory.
        score: Of the policy, on the search images.
        images: Number of images that policies were scored on.
        final_weights: Whether the sequential pass won.
        tuning: Whether the tuned model won; None where none was asked for.
        details: As the initializer says.
        goal: What the policy keeps of it; None where there was a budget, or neither.
        latency: Where there was a budget of it.
        dataset: The images of a job.
        ended_by: What ended it before it was through; None where nothing did.
        left_out: What was therefore not done with the policy, in words.
    """

    method: str | None = None
    evaluations: int = 0
    evaluations_of: dict[str, int] = {}
    storage: StorageReport | None = None
    score: float | None = None
    images: int = 0
    final_weights: FinalWeightsReport = FinalWeightsReport()
    tuning: TuningReport | None = None
    details: dict[str, Any] = {}
    goal: GoalReport | None = None
    latency: LatencyReport | None = None
    dataset: DatasetReport = DatasetReport()
    ended_by: SearchEnd | None = None
    left_out: tuple[str, ...] = ()


class Origin(Record):
    """Origin of a result.

    Attributes:
        config: Name of the configuration.
        command: The command line.
    """

    config: str
    command: str


class RunMetrics(Record):
    """Metrics of the float model and of the IR, by name; values that are not numbers are allowed and shown."""

    float: dict[str, Any] = {}
    quantized: dict[str, Any] = {}


class Timing(Record):
    """Time that a run took.

    Attributes:
        seconds: By stage, in the order of the stages.
    """

    seconds: dict[str, float] = {}

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
        verified: Whether the IR gives the outputs of the scored model; None before it is saved.
        verification: What was found.
    """

    metrics: _Optional[RunMetrics] = RunMetrics()
    layers: tuple[LayerResult, ...]
    float_weights: tuple[FloatWeight, ...] = ()
    search: _Optional[SearchReport] = SearchReport()
    timing: _Optional[Timing] = Timing()
    versions: _Optional[dict[str, str]] = {}
    origin: Origin | None = None
    verified: bool | None = None
    verification: VerificationReport = VerificationReport()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before all else."""
        if self.verified is not False:
            return self.verification.warnings
        problems = "; ".join(self.verification.problems)
        found = f"the file does not give the outputs of the model that was scored: {problems}"
        return (found, *self.verification.warnings)


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
