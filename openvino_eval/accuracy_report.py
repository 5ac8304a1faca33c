"""Several models on the same samples: metrics, and how far each is from a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import openvino as ov
from rich.table import Column, Table

from nncf_mcq.metrics import is_classifier, metric_heading, metric_value, output_closeness
from openvino_eval.accuracy import Outputs, check_metrics, compare_outputs, predict, score
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS, Precision
from openvino_eval.runtime import read_model
from openvino_eval.samples import Samples, load_samples

if TYPE_CHECKING:
    from nncf_mcq import JobSource

FLOAT_MODEL = "float model"
"""Name of a job's own model."""

_SPEED = "images_per_second"


@dataclass(frozen=True)
class Task:
    """Task that models are measured on.

    Attributes:
        samples: Images and targets.
        metrics: Names of metrics.
        source: Where the samples come from, in words.
        float_model: The model that they were made from, where a job says so.
    """

    samples: Samples
    metrics: tuple[str, ...]
    source: str
    float_model: ov.Model | None = None

    @classmethod
    def from_archive(cls, path: Path, metrics: Sequence[str] | None) -> Task:
        """The samples of a NumPy archive.

        Args:
            path: See `load_samples`.
            metrics: Names; top1 by default.

        Raises:
            EvaluationError: The file cannot be used, or there is no metric of a name.
        """
        names = check_metrics(metrics or ["top1"])
        return cls(load_samples(path), tuple(names), str(path))

    @classmethod
    def from_job(cls, job: JobSource, metrics: Sequence[str] | None, with_model: bool) -> Task:
        """The test images of a job, which no search used.

        Args:
            job: Names the data set, its preprocessing and the metrics.
            metrics: Names; those of the job by default.
            with_model: Whether the job's own model is needed.

        Raises:
            ConfigError: The data set or the model cannot be loaded.
            EvaluationError: There is no metric of a name, or there are no labels for it.
        """
        splits = job.load_dataset()
        names = check_metrics(metrics or (job.config.metrics if splits.has_targets else []))
        if names and not splits.has_targets:
            raise EvaluationError(f"--metric: found {names[0]!r}, allowed: none, as the images have no labels")
        model = job.openvino_model() if with_model and job.config.model is not None else None
        return cls(splits.report, tuple(names), f"test images of {splits.source}", model)


@dataclass(frozen=True)
class AccuracyReport:
    """Accuracy of models on the same samples.

    Attributes:
        rows: Label -> metric -> value; `images_per_second` among them.
        reference: Label of the model that the others are compared with; None where there is only one.
        samples: How many.
        source: Where they come from.
        settings: Threads and batch.
    """

    rows: Mapping[str, Mapping[str, float]]
    reference: str | None
    samples: int
    source: str
    settings: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """JSON values."""
        return {
            "samples": self.samples,
            "source": self.source,
            "reference": self.reference,
            "settings": dict(self.settings),
            "models": {name: dict(row) for name, row in self.rows.items()},
        }


def measure_accuracy(
    models: Mapping[str, tuple[Path | ov.Model, Precision]],
    task: Task,
    *,
    reference: str,
    batch_size: int | None = None,
    threads: int = DEFAULT_THREADS,
    progress: Callable[[], None] = lambda: None,
) -> AccuracyReport:
    """Scores models on the same samples, each file read back from the disk.

    Args:
        models: Label -> file or model, and what its float layers run in.
        task: Samples and metrics.
        reference: Label of the model that the others are compared with.
        batch_size: Images an inference; None keeps each model's own.
        threads: Inference threads.
        progress: Called after each sample and model.

    Raises:
        EvaluationError: A model cannot be run on the samples, or a metric cannot be applied to its outputs.
    """
    found = predict(
        {name: model for name, (model, _) in models.items()},
        task.samples,
        batch_size=batch_size,
        threads=threads,
        precisions={name: precision for name, (_, precision) in models.items()},
        progress=progress,
    )
    against = found.outputs[reference]
    compares = len(models) > 1
    source = models[reference][0]
    graph = read_model(source) if isinstance(source, Path) else source
    rows = {}
    for name, outputs in found.outputs.items():
        rows[name] = score(outputs, found.targets, task.metrics)
        if compares and is_classifier(against):
            rows[name] |= compare_outputs(outputs, against)
        elif compares:
            rows[name] |= _closeness(name, graph, outputs, against)
        rows[name]["images_per_second"] = found.images_per_second[name]
    settings = {"threads": threads, "batch_size": batch_size}
    return AccuracyReport(rows, reference if compares else None, len(task.samples), task.source, settings)


def _closeness(name: str, model: ov.Model, outputs: Outputs, reference: Outputs) -> dict[str, float]:
    try:
        return output_closeness(model, outputs, reference)
    except ValueError as error:
        raise EvaluationError(f"{name}: outputs cannot be compared: {error}") from error


def accuracy_table(report: AccuracyReport) -> Table:
    """One row a model.

    Args:
        report: What was measured.
    """
    names = list(next(iter(report.rows.values())))
    columns = [Column("images/s" if name == _SPEED else metric_heading(name), justify="right") for name in names]
    table = Table("model", *columns)
    for label, row in report.rows.items():
        table.add_row(label, *(_format(name, row[name]) for name in names))
    return table


def caption(report: AccuracyReport) -> str:
    """Caption of the table.

    Args:
        report: What was measured.
    """
    is_classified = any("kl" in row for row in report.rows.values())
    distance = "top-1 agreement with and KL from" if is_classified else "closeness to"
    against = f"; {distance} {report.reference}" if report.reference is not None else ""
    return f"{report.samples} samples, {report.source}{against}; images/s without decoding"


def _format(name: str, value: float) -> str:
    return f"{value:.1f}" if name == _SPEED else metric_value(name, value)
