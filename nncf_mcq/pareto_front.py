"""The front of file size against loss of one model, and the quantized model of any size on it."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nncf_mcq.completion import complete
from nncf_mcq.config.budget import Budget, WeightSizeBudget
from nncf_mcq.config.nncf2 import ALGORITHM as INT8_ALGORITHM
from nncf_mcq.config.output_files import PARETO_FILE, Origin, Timing
from nncf_mcq.config.pareto_file import ParetoPoint, ParetoReport
from nncf_mcq.config.schema import Config
from nncf_mcq.config.search_report import DatasetReport, SearchEnd
from nncf_mcq.config.sizes import parse_size
from nncf_mcq.errors import ConfigError, OutputError
from nncf_mcq.pipeline.measurement import Measure
from nncf_mcq.pipeline.preparation import Preparation
from nncf_mcq.policy import FLOAT32_BITS, Policy
from nncf_mcq.precision_init.base import PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.front import CONFIDENCE, FrontSearch, find_front, is_within
from nncf_mcq.precision_init.ilp import IlpPrecision
from nncf_mcq.precision_init.sensitivity import to_dict
from nncf_mcq.precision_init.separable import SeparablePrecision
from nncf_mcq.precision_init.shrinkage import Sensitivities
from nncf_mcq.result import QuantizationResult, versions
from nncf_mcq.training.tuning import TuningStage
from nncf_mcq.utils.documents import DocumentError
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.json_values import finite_or_none
from nncf_mcq.utils.progress import Stages

_NO_LIMIT = WeightSizeBudget(average_bits=float(FLOAT32_BITS))
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrontWork:
    """What finding a front and taking a model from it need.

    Attributes:
        prepared: The preparation of the search.
        task: Its task.
        settings: The configuration, as `front_settings` makes it.
        measure: Of the float and the quantized model.
        stages: Reports the progress.
        tuning: Of the models that are taken; None for none.
    """

    prepared: Preparation
    task: PrecisionTask
    settings: Config
    measure: Measure
    stages: Stages
    tuning: TuningStage | None = None


@dataclass(frozen=True)
class ParetoFront:
    """Front of file size against loss.

    Attributes:
        report: Its points, as in pareto.json.
        is_new: Whether it was searched for now, rather than read.
    """

    report: ParetoReport
    is_new: bool
    _work: FrontWork = field(repr=False)
    _search: FrontSearch = field(repr=False)
    _dataset: DatasetReport = field(default=DatasetReport(), repr=False)
    _seconds: Mapping[str, float] = field(default_factory=dict, repr=False)
    _origin: Origin | None = field(default=None, repr=False)

    def take(self, size: str) -> QuantizationResult:
        """The quantized model of the best policy that is at most so large.

        Of the front's policies and of that which the integer program finds for exactly this size, it is the one with
        the lowest score.

        Args:
            size: Of the .bin, e.g. `2.5MB`, `900kB` or `2500000`, or `3.5bits` per weight.

        Raises:
            ConfigError: It is no size.
            BudgetError: No policy is that small.
            KeyboardInterrupt: Ctrl-C, also while the front was found, and no policy that small has been scored.
        """
        limit, work = parse_size(size), self._work
        self._search.check(limit, size)
        sensitivities = _sensitivities(self.report)
        ended_by = self.report.ended_by
        points = [point for point in self.report.points if is_within(limit, point.bytes, point.average_bits)]
        try:
            if ended_by is None:
                with work.stages.stage("policy of the size"):
                    choice = self._search.choose(sensitivities, limit)
                    points.append(self._search.measure(choice, sensitivities))
        except KeyboardInterrupt:
            ended_by = "interrupted"
        if not points:
            raise KeyboardInterrupt
        best = find_front(points)[0][-1]
        details = {
            "size": size,
            "sensitivities": to_dict(sensitivities),
            "predicted_score": best.predicted_score,
        }
        found = PrecisionResult(Policy.from_dict(best.policy), details, ended_by=ended_by)
        settings = _with_size(work.settings, WeightSizeBudget(bytes=best.bytes))
        score = best.score.value
        result = complete(found, score, work.prepared, work.task, settings, work.measure, work.stages, work.tuning)
        return result.as_job(self._dataset, self._seconds, self._origin)

    def as_job(self, dataset: DatasetReport, seconds: Mapping[str, float], origin: Origin | None) -> ParetoFront:
        """Returns the front of a whole job; see `QuantizationResult.as_job`."""
        report = self.report
        if self.is_new:
            # One that was read keeps what is said of its search.
            timing = Timing.of({**seconds, **report.timing.seconds})
            report = report.model_copy(update={"dataset": dataset, "timing": timing, "origin": origin})
        return dataclasses.replace(self, report=report, _dataset=dataset, _seconds=seconds, _origin=origin)

    def save(self, directory: str | Path) -> Path:
        """Writes pareto.json, from which a model can be taken later without a search.

        Args:
            directory: Where to; made if it is missing.

        Returns:
            Its path.

        Raises:
            OutputError: It cannot be written.
        """
        file = Path(directory).resolve() / PARETO_FILE
        try:
            write_text_atomically(file, json.dumps(self.report.to_dict(), indent=2) + "\n")
        except OSError as error:
            raise OutputError(f"{file}: cannot be written: {error.strerror or error}") from error
        return file


def front_settings(settings: Config) -> Config:
    """The configuration that a front is found with.

    The method is the integer program, whatever the configuration says, and there is no budget. Bits of activations take
    no place in a file: the largest are best.

    Raises:
        ConfigError: It is that of a baseline without bit-widths to choose from.
    """
    if settings.compression.algorithm == INT8_ALGORITHM:
        allowed = "mixed_clipping_quantization: the baseline has no bit-widths to choose from"
        raise ConfigError("compression.algorithm", INT8_ALGORITHM, allowed)
    parameters = settings.compression.initializer.precision
    kept: dict[str, Any] = {}
    if isinstance(parameters, SeparablePrecision.Parameters):
        kept = {"sensitivity": parameters.sensitivity, "measured_widths": parameters.measured_widths}
    precision = IlpPrecision.Parameters(budget=Budget(weight_size=_NO_LIMIT), **kept)
    compression = settings.compression
    compression = compression.model_copy(
        update={
            "activations": compression.activations.model_copy(update={"bits": compression.activations.largest}),
            "initializer": compression.initializer.model_copy(update={"precision": precision}),
        }
    )
    return settings.model_copy(update={"compression": compression})


def open_front(work: FrontWork, points: int, *, known: tuple[Path, ParetoReport] | None, at: str | None) -> ParetoFront:
    """Finds the front, or takes one that was found before.

    Args:
        work: The preparation and the task.
        points: Number of sizes that policies are found for.
        known: A pareto.json and what it holds; one of another model, other images or another configuration is not used.
        at: A size that will be taken: one that no policy has should not cost a search.

    Raises:
        ConfigError: It is no size.
        BudgetError: No policy is that small.
        DocumentError: The file is about the same, but holds something else.
        QuantizationError: No policy has a score.
    """
    search = FrontSearch(work.task, work.settings.metrics)
    if at is not None:
        search.check(parse_size(at), at)
    report = known[1] if known is not None and _is_usable(*known, work) else None
    is_new = report is None
    return ParetoFront(_find(work, search, points) if report is None else report, is_new, work, search)


def _find(work: FrontWork, search: FrontSearch, count: int) -> ParetoReport:
    task, stages = work.task, work.stages
    parameters = work.settings.compression.initializer.precision
    assert isinstance(parameters, IlpPrecision.Parameters)
    with stages.stage("sensitivities"):
        sensitivities = IlpPrecision(parameters).sensitivities(task)
    choices = search.ladder(sensitivities, count)
    points: list[ParetoPoint] = []
    ended_by: SearchEnd | None = None
    try:
        with stages.stage("front", len(choices)) as advance:
            for choice in choices:
                points.append(search.measure(choice, sensitivities))
                advance()
    except KeyboardInterrupt:
        if not points:
            raise
        ended_by = "interrupted"
        _logger.warning("interrupted: the front has %d of %d sizes", len(points), len(choices))
    front, dominated = find_front(points)
    report = ParetoReport(
        points=search.with_gains(front),
        dominated=tuple(dominated),
        confidence=CONFIDENCE,
        images=work.prepared.images,
        evaluations=task.evaluator.evaluations,
        subject=work.prepared.subject.to_dict(),
        sensitivities={
            group: {bits: finite_or_none(value) for bits, value in values.items()}
            for group, values in sensitivities.items()
        },
        timing=Timing.of(stages.seconds),
        versions=versions(),
    )
    return report if ended_by is None else report.model_copy(update={"ended_by": ended_by})


def _is_usable(file: Path, report: ParetoReport, work: FrontWork) -> bool:
    """Whether a front is about the same; a warning says what it is about, where it is something else."""
    task = work.task
    differences = work.prepared.subject.differences(report.subject)
    if report.ended_by is not None:
        _logger.warning("%s is of a search that was interrupted: it goes on", file)
        return False
    if differences:
        _logger.warning("%s has %s: the front is searched again", file, differences)
        return False
    if {group: tuple(values) for group, values in report.sensitivities.items()} != dict(task.choices):
        raise DocumentError(file, "sensitivities: other layers or bit-widths than those of the model")
    for index, point in enumerate(report.points):
        try:
            choice = task.group_bits(Policy.from_dict(point.policy).key)
        except ConfigError as error:
            raise DocumentError(file, f"points.{index}.{error}") from error
        if choice is None:
            raise DocumentError(file, f"points.{index}.policy: other layers or bit-widths than those of the model")
    return True


def _sensitivities(report: ParetoReport) -> Sensitivities:
    return {
        group: {bits: math.inf if value is None else value for bits, value in values.items()}
        for group, values in report.sensitivities.items()
    }


def _with_size(settings: Config, size: WeightSizeBudget) -> Config:
    """The configuration with which `quantize` finds a policy of this size."""
    initializer = settings.compression.initializer
    precision = initializer.precision.model_copy(update={"budget": Budget(weight_size=size)})
    changed = settings.compression.model_copy(
        update={"initializer": initializer.model_copy(update={"precision": precision})}
    )
    return settings.model_copy(update={"compression": changed})
