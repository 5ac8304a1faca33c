"""Finds out what the folders of a command line are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nncf_mcq.config import RESULT_FILE
from openvino_eval.compare import Comparison, find_comparison
from openvino_eval.contest import RunStore, Standing, rank
from openvino_eval.contest.record import RUNS_FOLDER
from openvino_eval.errors import EvaluationError
from openvino_eval.layer_times import measure_layer_times
from openvino_eval.run_result import Run, load_run


@dataclass(frozen=True)
class Sources:
    """Sources of a report.

    Attributes:
        runs: Title to run.
        comparison: Models measured side by side.
        contests: Title to the standings of search methods.
    """

    runs: Mapping[str, Run] = field(default_factory=dict)
    comparison: Comparison | None = None
    contests: Mapping[str, list[Standing]] = field(default_factory=dict)

    def with_layer_times(self, threads: int, seconds: float) -> Sources:
        """A copy in which every run whose IR is there has the time of each layer.

        Args:
            threads: Inference threads.
            seconds: For each model.

        Raises:
            EvaluationError: A model cannot be run.
        """
        runs = {
            name: run
            if run.model is None
            else run.with_layer_times(measure_layer_times(run.model, threads=threads, seconds=seconds))
            for name, run in self.runs.items()
        }
        return Sources(runs, self.comparison, self.contests)


def read_sources(folders: Mapping[str, Path], comparison: Path | None = None) -> Sources:
    """Read folders.

    Each may be an output folder of `nncf-mcq quantize`, one of `openvino-eval compare CONFIG --methods`, or one whose
    subfolders are such. A `models.json` of `openvino-eval compare --json` in any of them is read as well.

    Args:
        folders: Title to folder.
        comparison: JSON file of a comparison, which takes precedence.

    Returns:
        All that was found.

    Raises:
        EvaluationError: There is nothing in a folder, a file is not what its name says, or there are two comparisons.
    """
    runs: dict[str, Run] = {}
    contests: dict[str, list[Standing]] = {}
    comparisons = []
    for title, folder in folders.items():
        found = False
        for name, place in _candidates(title, folder):
            if (place / RESULT_FILE).is_file():
                runs[name] = load_run(place)
                found = True
            if (place / RUNS_FOLDER).is_dir():
                contests[name] = _standings(place)
                found = True
            elif (compared := find_comparison(place)) is not None:
                comparisons.append(compared)
                found = True
        if not found:
            raise EvaluationError(
                f"{folder}: nothing to report, it has neither {RESULT_FILE} (nncf-mcq quantize) nor {RUNS_FOLDER}/ "
                f"(openvino-eval compare CONFIG --methods), nor does a folder in it"
            )
    if comparison is None and len(comparisons) > 1:
        raise EvaluationError(
            f"{comparisons[1]}: a second comparison beside {comparisons[0]}: choose with --comparison"
        )
    chosen = comparison or (comparisons[0] if comparisons else None)
    return Sources(runs, None if chosen is None else Comparison.load(chosen), contests)


def _candidates(title: str, folder: Path) -> Iterable[tuple[str, Path]]:
    yield title, folder
    if (folder / RESULT_FILE).is_file() or not folder.is_dir():
        return
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != RUNS_FOLDER):
        yield f"{title}/{child.name}" if title else child.name, child


def _standings(folder: Path) -> list[Standing]:
    records = RunStore(folder).load_all()
    if not records:
        raise EvaluationError(f"{folder}: a contest without a finished run")
    return rank(records, max(len(by_seed) for by_seed in records.values()))
