"""Where the searches of a contest take place: prepared once a process, the same for all."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nncf_mcq import PRECISION_INITIALIZERS, Job, Policy, PolicyKey, load_config
from nncf_mcq.data import DatasetSplits
from nncf_mcq.metrics import label_free_metrics
from nncf_mcq.pipeline import Preparation
from nncf_mcq.precision_init import Constraint, PrecisionTask, affordable_widths, count_sensitivity_passes, to_text
from nncf_mcq.utils import Stages
from nncf_mcq.weights import WeightTable
from openvino_eval.accuracy import predict, score
from openvino_eval.contest.methods import Arm, ContestRun, competitors
from openvino_eval.contest.record import RunRecord
from openvino_eval.contest.scores import SCORES_FILE, ScoreFile
from openvino_eval.contest.settings import ContestSettings, budget_of
from openvino_eval.errors import EvaluationError

FLOAT_MODEL: Final = "float"
"""The float model among those that are reported on."""

_SCORING_THREADS = 1
"""Compiling takes most of an evaluation, on one thread; `--jobs` uses the others."""

_OWN_DETAILS = ("curve", "seconds", "interrupted", "sensitivities")
"""Details of a search that the record holds elsewhere, or that are long."""


@dataclass(frozen=True)
class TestReport:
    """Measurements of a model on the test images.

    Attributes:
        metrics: By name.
        scores: The score's value for each image, as text; None where it is not known.
    """

    metrics: dict[str, float]
    scores: str | None = None


@dataclass
class ContestRunner:
    """A prepared model, and the scores that are known of it.

    Attributes:
        job: The configuration.
        preparation: Weight table, images and costs.
        scores: Of all searches.
        settings: Of the contest.
    """

    job: Job
    preparation: Preparation
    scores: ScoreFile
    settings: ContestSettings
    _stages: Stages = field(repr=False)

    @classmethod
    def prepare(cls, settings: ContestSettings, stages: Stages) -> ContestRunner:
        """Collects statistics, builds the weight table and opens the scores.

        With the configured number of threads, also where several processes do it: with fewer, sums of floating point
        numbers may differ in their last digits, and then the weights.

        Args:
            settings: Of the contest.
            stages: Reports the progress.

        Raises:
            EvaluationError: The folder holds scores of something else, or the warm start takes all evaluations.
        """
        job = settings.read_job()
        preparation = job.prepare(stages)
        quantizable, subject = preparation.calibrated.quantizable, preparation.subject
        scores = ScoreFile(
            settings.output / SCORES_FILE,
            {"model": subject.model, "images": subject.images},
            [layer.name for layer in quantizable.layers],
            [point.name for point in quantizable.activation_points],
        )
        runner = cls(job, preparation, scores, settings, stages)
        runner._check_evaluations()
        return runner

    def parameters(self, run: ContestRun) -> dict[str, object]:
        """All parameters of a run's precision initializer."""
        return run_parameters(self.job, run, self.settings.evaluations)

    def search(self, run: ContestRun, progress: Callable[[int, int], None] = lambda done, total: None) -> RunRecord:
        """Runs a search to its end.

        What it returns is judged here, not by the method: whether policies keep the budget, what they score, and how
        many were scored.

        Args:
            run: Which.
            progress: Called with (done, total).

        Raises:
            EvaluationError: The policy that it returns exceeds the budget.
        """
        parameters = self.parameters(run)
        checked = load_config({"compression": {"initializer": {"precision": parameters}}})
        initializer = PRECISION_INITIALIZERS.create(checked.compression.initializer.precision)
        task = self._task(progress)
        computed, start = self.scores.computed_seconds, time.perf_counter()
        result = initializer.find_policy(task)
        final_score = task.evaluator.score(result.policy)
        elapsed, computed = time.perf_counter() - start, self.scores.computed_seconds - computed
        constraints = task.costs.constraints(budget_of(self.job), task.choices)
        if not _is_feasible(result.policy.key, task, constraints):
            raise EvaluationError(f"{run}: the policy that it returned exceeds the budget")
        scored = task.evaluator.scores_from(0)
        return RunRecord(
            parameters=parameters,
            evaluations=len(scored),
            score=final_score,
            average_bits=task.costs.average_bits(result.policy),
            policy=result.policy.to_dict(),
            curve=_best_so_far(scored, task, constraints),
            own_seconds=round(max(elapsed - computed, 0.0), 4),
            scoring_seconds=round(sum(self.scores.seconds(key) for key, _ in scored), 4),
            image_passes=task.evaluator.image_passes,
            details={name: value for name, value in result.details.items() if name not in _OWN_DETAILS},
        )

    def report(self, policies: Mapping[str, Policy]) -> dict[str, TestReport]:
        """Measures policies on the test images, with the weights that would ship but for the sequential pass.

        Args:
            policies: By any names but `FLOAT_MODEL`.

        Returns:
            What is measured of each, and of the float model.
        """
        calibrated, runtime = self.preparation.calibrated, self.job.config.runtime
        models = {name: calibrated.build(policy, self._final_table) for name, policy in policies.items()}
        found = predict(
            {FLOAT_MODEL: calibrated.quantizable.model, **models},
            self._splits.report,
            batch_size=runtime.batch_size,
            threads=max(1, runtime.threads // self.settings.jobs),
        )
        metrics = self.job.config.metrics if self._splits.has_targets else []
        reference = found.outputs[FLOAT_MODEL]
        reports = {}
        for name, answers in found.outputs.items():
            measured = score(answers, found.targets, metrics)
            if name == FLOAT_MODEL:
                reports[name] = TestReport(measured)
            else:
                reports[name] = TestReport(
                    measured | label_free_metrics(answers, reference), self._test_scores(answers, reference)
                )
        return reports

    def _test_scores(self, outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> str | None:
        """The search's own score on the test images; None for models of several outputs, of which one is measured."""
        if len(self.preparation.score.scores) > 1:
            return None
        return to_text(self.preparation.score.values((outputs,), (reference,), len(reference)).astype(np.float32))

    @cached_property
    def _splits(self) -> DatasetSplits:
        return self.job.load_dataset()

    @cached_property
    def _final_table(self) -> WeightTable:
        """Weights of every layer and width from all calibration images; one table serves all policies."""
        calibrated = self.preparation.calibrated
        fold = self.preparation.folds[0]
        if fold.calibrated is calibrated:
            return fold.table
        return calibrated.weight_table(self.job.config.compression.weights.bits, self._stages)

    def _task(self, progress: Callable[[int, int], None]) -> PrecisionTask:
        task = self.preparation.task(threads=_SCORING_THREADS, shared_scores=self.scores)
        return dataclasses.replace(task, progress=progress)

    def _check_evaluations(self) -> None:
        task = self._task(lambda done, total: None)
        for competitor in competitors(self.settings.methods, self.settings.arms):
            if competitor.arm is not Arm.WARM:
                continue
            parameters = self.parameters(ContestRun(competitor, 0))
            widths = parameters.get("measured_widths")
            asked = widths if isinstance(widths, int) else None
            passes = count_sensitivity_passes(task, affordable_widths(task, asked, self.settings.evaluations))
            if self.settings.evaluations <= passes:
                raise EvaluationError(
                    f"--evaluations: found {self.settings.evaluations}, allowed: {passes + 1} or more, since the "
                    f"sensitivities that {competitor} starts with take {passes}"
                )


def run_parameters(job: Job, run: ContestRun, evaluations: int) -> dict[str, object]:
    """All parameters of a run's precision initializer, the defaults written out.

    Args:
        job: Its precision initializer has the budget.
        run: Which.
        evaluations: Of each search.

    Raises:
        ConfigError: There is no such precision initializer, or it does not take these parameters.
    """
    given = run.parameters(budget_of(job).model_dump(exclude_none=True), evaluations)
    checked = load_config({"compression": {"initializer": {"precision": given}}}).to_dict()
    found: dict[str, object] = checked["compression"]["initializer"]["precision"]
    return found


def _is_feasible(key: PolicyKey, task: PrecisionTask, constraints: Iterable[Constraint]) -> bool:
    # Layers that share weights but not bits are no choice at all, and neither are other activation bits.
    choice = task.group_bits(key)
    return choice is not None and all(constraint.is_met(choice) for constraint in constraints)


def _best_so_far(
    scored: Iterable[tuple[PolicyKey, float]], task: PrecisionTask, constraints: Iterable[Constraint]
) -> tuple[tuple[int, float], ...]:
    curve: list[tuple[int, float]] = []
    for count, (key, found) in enumerate(scored, start=1):
        if (not curve or found < curve[-1][1]) and _is_feasible(key, task, constraints):
            curve.append((count, found))
    return tuple(curve)
