"""Runs a contest: what is not finished is searched, then reported on; results are written after each run."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from nncf_mcq import Job, Policy, versions
from nncf_mcq.utils import Stages, write_text_atomically
from openvino_eval.accuracy import check_metrics
from openvino_eval.contest.chart import draw
from openvino_eval.contest.methods import Competitor, ContestRun, competitors
from openvino_eval.contest.progress import ContestProgress
from openvino_eval.contest.record import RunRecord, RunStore
from openvino_eval.contest.runner import FLOAT_MODEL, ContestRunner, TestReport, run_parameters
from openvino_eval.contest.settings import ContestSettings, budget_of
from openvino_eval.contest.standings import Standing, rank, reference_method, rival_record, verdict
from openvino_eval.contest.tables import markdown, terminal_table
from openvino_eval.contest.workers import Workers, make_workers
from openvino_eval.errors import EvaluationError

COMPARISON_FILE: Final = "comparison.json"
TABLE_FILE: Final = "comparison.md"
CHART_FILE: Final = "curves.svg"
RESULT_FILES: Final = (COMPARISON_FILE, TABLE_FILE, CHART_FILE)

_REPORTED_TOGETHER = 8
"""Number of policies measured in one pass over the test images, all of whose models are in memory."""


def run_contest(settings: ContestSettings, console: Console) -> list[Standing]:
    """Runs what is missing of a contest, and writes comparison.json, comparison.md and curves.svg after each run.

    Args:
        settings: Who searches for what.
        console: Shows the progress.

    Returns:
        The standings.

    Raises:
        BudgetError: No policy meets the budget.
        ConfigError: The configuration cannot be used.
        EvaluationError: The folder is another contest's, or a run failed.
    """
    job = settings.read_job()
    check_metrics(job.config.metrics)
    # Misspelt parameters should not cost a preparation.
    parameters = {run: run_parameters(job, run, settings.evaluations) for run in settings.runs}
    dataset = job.load_dataset().describe()
    settings.claim_folder(job)
    store = RunStore(settings.output)
    records = {run: record for run in parameters if (record := store.load(run, parameters[run])) is not None}
    contest = _Contest(settings, store, records, _setup(settings, job, dataset))
    contest.write()
    if contest.missing or contest.unreported:
        with (
            ContestProgress(console, len(parameters), len(records)) as progress,
            make_workers(settings, Stages(progress)) as workers,
        ):
            contest.search(workers, progress)
            # Not before: nothing that is known of these images may reach a search.
            contest.report(workers, progress)
    return contest.standings


def checkpoints(evaluations: int) -> list[int]:
    """A quarter, half and all of the evaluations."""
    return sorted({max(evaluations // 4, 1), max(evaluations // 2, 1), evaluations})


def title(settings: ContestSettings) -> str:
    """Title of the contest, in one line."""
    name = settings.config.parent.name if settings.config.name == "config.json" else settings.config.stem
    seeds = "1 seed" if settings.seeds == 1 else f"{settings.seeds} seeds"
    return f"Contest: {name}, {settings.evaluations} evaluations, {seeds}"


def summary_table(standings: list[Standing], settings: ContestSettings) -> Table:
    """The standings for the terminal, as a `rich` table."""
    return terminal_table(standings, checkpoints(settings.evaluations), title(settings))


class _Contest:
    def __init__(
        self, settings: ContestSettings, store: RunStore, records: dict[ContestRun, RunRecord], setup: dict[str, object]
    ) -> None:
        self._settings = settings
        self._store = store
        self._records = records
        self._setup = setup

    @property
    def missing(self) -> list[ContestRun]:
        return [run for run in self._settings.runs if run not in self._records]

    @property
    def unreported(self) -> list[ContestRun]:
        return [run for run, record in self._records.items() if record.report is None]

    @property
    def standings(self) -> list[Standing]:
        by_competitor: dict[Competitor, dict[int, RunRecord]] = {
            competitor: {} for competitor in competitors(self._settings.methods, self._settings.arms)
        }
        for run, record in sorted(self._records.items(), key=lambda item: item[0].seed):
            by_competitor[run.competitor][run.seed] = record
        return rank(by_competitor, self._settings.seeds)

    def search(self, workers: Workers, progress: ContestProgress) -> None:
        alone = self._settings.jobs == 1
        function = functools.partial(_search_visibly, progress) if alone else _search
        for run, record in workers.map(function, self.missing):
            self._keep(run, record)
            progress.finish_run(str(run), f"score {record.score:.4g} after {record.evaluations} evaluations")
            self.write()

    def report(self, workers: Workers, progress: ContestProgress) -> None:
        unreported = self.unreported
        if not unreported:
            return
        policies = {self._records[run].found_policy.key: self._records[run].policy for run in unreported}
        distinct = list(policies.values())
        batches = [
            distinct[start : start + _REPORTED_TOGETHER] for start in range(0, len(distinct), _REPORTED_TOGETHER)
        ]
        progress.start("test images", len(batches))
        for done, (batch, measured) in enumerate(workers.map(_report, batches), start=1):
            of_float, *of_policies = measured
            for policy, found in zip(batch, of_policies, strict=True):
                for run in unreported:
                    if self._records[run].policy == policy:
                        update = {
                            "report": found.metrics,
                            "float_report": of_float.metrics,
                            "test_scores": found.scores,
                        }
                        self._keep(run, self._records[run].model_copy(update=update))
            progress.update(done, len(batches))
        progress.finish()
        self.write()

    def write(self) -> None:
        """Rewrites the results."""
        standings = self.standings
        if not standings:
            return
        settings, shown = self._settings, checkpoints(self._settings.evaluations)
        ours = reference_method(standings)
        text = verdict(standings)
        comparison = {
            "setup": self._setup,
            "complete": not self.missing and not self.unreported,
            "finished_runs": len(self._records),
            "runs": len(settings.runs),
            "verdict": text,
            "float_report": next((found for record in self._records.values() if (found := record.float_report)), None),
            "best_rival": None if ours is None else rival_record(ours),
            "methods": [standing.to_dict(shown) for standing in standings],
        }
        contents = {
            COMPARISON_FILE: json.dumps(comparison, indent=2) + "\n",
            TABLE_FILE: markdown(standings, shown, title(settings), text),
            CHART_FILE: draw(standings, settings.evaluations),
        }
        for name, content in contents.items():
            _write(settings.output / name, content)

    def _keep(self, run: ContestRun, record: RunRecord) -> None:
        self._store.save(run, record)
        self._records[run] = record


def _search(runner: ContestRunner, run: ContestRun) -> RunRecord:
    return runner.search(run)


def _search_visibly(progress: ContestProgress, runner: ContestRunner, run: ContestRun) -> RunRecord:
    progress.start(str(run), runner.settings.evaluations)
    return runner.search(run, progress.update_run)


def _report(runner: ContestRunner, policies: Sequence[Mapping[str, object]]) -> list[TestReport]:
    """Measurements of the float model, then of each policy."""
    named = {str(index): Policy.from_dict(policy) for index, policy in enumerate(policies)}
    measured = runner.report(named)
    return [measured[name] for name in (FLOAT_MODEL, *named)]


def _setup(settings: ContestSettings, job: Job, dataset: Mapping[str, object]) -> dict[str, object]:
    """Setup of the figures, as JSON values."""
    return {
        "config": settings.relative_config(job),
        "budget": budget_of(job).model_dump(exclude_none=True),
        "evaluations": settings.evaluations,
        "seeds": settings.seeds,
        "arms": [str(arm) for arm in settings.arms],
        # Without the path of the images: the configuration has it, relative to its own folder.
        "images": {name: value for name, value in dataset.items() if name != "source"},
        "versions": versions(),
    }


def _write(path: Path, text: str) -> None:
    try:
        write_text_atomically(path, text)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be written: {error.strerror}") from error
