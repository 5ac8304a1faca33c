"""What result.json tells of a search, and of what came after it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field

from nncf_mcq.config.record import Record

SearchEnd: TypeAlias = Literal["interrupted", "time_limit"]
"""What ended a search before it was through: Ctrl-C or SIGTERM, or its time limit."""


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

    ratio_to_int8: dict[str, float | None] = Field(default_factory=dict)
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
    evaluations_of: dict[str, int] = Field(default_factory=dict)
    storage: StorageReport | None = None
    score: float | None = None
    images: int = 0
    final_weights: FinalWeightsReport = FinalWeightsReport()
    tuning: TuningReport | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    goal: GoalReport | None = None
    latency: LatencyReport | None = None
    dataset: DatasetReport = DatasetReport()
    ended_by: SearchEnd | None = None
    left_out: tuple[str, ...] = ()
