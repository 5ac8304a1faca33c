"""A worker: scores policies for a search that another process or machine runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optuna.storages import BaseStorage

from nncf_mcq.config.paths import PRECISION_PATH
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.precision_init.study import StudyStorage
from nncf_mcq.utils.progress import ProgressReporter, SilentProgress, Stages


@dataclass(frozen=True)
class WorkReport:
    """Report of a worker.

    Attributes:
        study: Name of the search.
        scored: Policies that this worker scored.
        evaluations: Policies scored by all, as far as this worker knows.
        interrupted: Whether Ctrl-C ended the work.
    """

    study: str
    scored: int
    evaluations: int
    interrupted: bool = False


def work(
    job: Job,
    study_storage: str | Path | BaseStorage,
    *,
    study_name: str | None = None,
    wait: float = 600.0,
    progress: ProgressReporter | None = None,
) -> WorkReport:
    """Joins a search and scores policies until it has as many as it should.

    The worker prepares the same model and images, helps with the sensitivities in an order of its own, and then
    proposes and scores as the search itself does; it writes no IR. Its last evaluation may be one too many: that of a
    process that does not know of it.

    Args:
        job: What the search's own process was given.
        study_storage: That of the search, a file or a URL that both can reach.
        study_name: Of the search; the newest of the same model, images and configuration by default.
        wait: Seconds to wait for the search to begin.
        progress: Shows progress.

    Raises:
        ConfigError: The search scores nothing, or has not begun in time, or is about something else.
    """
    initializer = job.initializer()
    if not initializer.searches:
        precision = job.config.compression.initializer.precision.type
        raise ConfigError(f"{PRECISION_PATH}.type", precision, "one that scores policies, e.g. optuna")
    storage = StudyStorage(study_storage, mode="join", name=study_name, seconds=wait)
    stages = Stages(progress or SilentProgress())
    task = job.prepare(stages).task(stages, storage=storage)
    assert task.stored is not None
    interrupted = False
    try:
        with stages.stage("precision search"):
            interrupted = bool(initializer.find_policy(task).details.get("interrupted"))
    except KeyboardInterrupt:
        interrupted = True
    evaluator = task.evaluator
    return WorkReport(task.stored.name, evaluator.origins["this_process"], evaluator.evaluations, interrupted)
