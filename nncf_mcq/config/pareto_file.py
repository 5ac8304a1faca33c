"""The front of file size against loss, `pareto.json`: from it a policy is taken without a search."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from nncf_mcq.config.output_files import Origin, Timing
from nncf_mcq.config.record import Record
from nncf_mcq.config.search_report import DatasetReport, SearchEnd


class IntervalReport(Record):
    """An estimate from the search images and its confidence interval.

    Attributes:
        value: On the search images; None where there is no number for it.
        low: Lower end; None where there is no number for it.
        high: Upper end; None where there is no number for it.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


class DifferenceReport(Record):
    """Difference of two policies on the same images.

    Attributes:
        mean: Over the images.
        standard_error: Of the mean; None where there is no number for it.
    """

    mean: float
    standard_error: float | None = None


class ParetoPoint(Record):
    """A policy, the size of its file and its loss.

    Attributes:
        bytes: Expected size of the .bin; the file is at most as large.
        average_bits: Mean bit-width of the weights of the layers that can be quantized.
        score: Distance from the float model on the search images, lower is better.
        predicted_score: The sum of the sensitivities, by which the policy was found; None where it is infinite.
        qualities: `agreement` and `kl` of a classifier, and `METRIC_drop` where labels are known, each as in a goal.
        gain: By how much the score is below that of the next smaller policy of the front, on the same images; None for
            the smallest, and for those that are not on the front.
        policy: As in `policy.json`.
    """

    bytes: int
    average_bits: float
    score: IntervalReport
    predicted_score: float | None
    qualities: dict[str, IntervalReport] = Field(default_factory=dict)
    gain: DifferenceReport | None = None
    policy: dict[str, Any]


class ParetoReport(Record):
    """A `pareto.json`.

    Attributes:
        points: The front, ascending in size: each larger file has a lower score.
        dominated: Policies that were scored, of which none is on the front: a smaller file scores as well or better.
        confidence: Of the intervals, two-sided.
        images: Number of images that policies were scored on.
        evaluations: Policies that were scored, sensitivities included.
        subject: The model, the images and the settings that all this is true of.
        sensitivities: Group of layers and bit-width to what that adds to the score; None where it is infinite.
        dataset: The images of a job.
        timing: By stage.
        versions: Of the packages that made it.
        origin: Where a command made it.
        ended_by: What ended the search before it was through: sizes are missing. None where nothing did.
    """

    points: tuple[ParetoPoint, ...]
    dominated: tuple[ParetoPoint, ...] = ()
    confidence: float
    images: int
    evaluations: int
    subject: dict[str, Any]
    sensitivities: dict[str, dict[int, float | None]]
    dataset: DatasetReport = DatasetReport()
    timing: Timing = Timing()
    versions: dict[str, str] = Field(default_factory=dict)
    origin: Origin | None = None
    ended_by: SearchEnd | None = None
