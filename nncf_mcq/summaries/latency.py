"""Latency tables of a job, to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.table import Table

from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job
from nncf_mcq.latency.cache import check_precision, find_table
from nncf_mcq.latency.table import LatencyTable
from nncf_mcq.model.inference import FloatPrecision
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.policy import Policy
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.progress import Stages


@dataclass(frozen=True)
class LatencyReport:
    """The tables of a model.

    Attributes:
        quantizable: The model.
        tables: One for each precision of float layers.
        files: Where each is kept; None where it could not be.
    """

    quantizable: QuantizableModel
    tables: Sequence[LatencyTable]
    files: Sequence[Path | None]

    def save(self, folder: Path) -> list[Path]:
        """Writes a copy of each table.

        Args:
            folder: Where to; made if it is missing.

        Raises:
            ConfigError: A file cannot be written.
        """
        written = []
        for table in self.tables:
            path = folder / f"latency-{table.key.precision}.json"
            try:
                write_text_atomically(path, table.to_json())
            except OSError as error:
                raise ConfigError(
                    "--output", str(folder), f"a folder that can be written ({error.strerror})"
                ) from error
            written.append(path)
        return written


def make_report(job: Job, precisions: Sequence[str], stages: Stages, *, refresh: bool = False) -> LatencyReport:
    """Measures the tables of a job, or takes them from the cache.

    Args:
        job: Its model and number of threads.
        precisions: What float layers run in: f32, bf16.
        stages: Reports the progress.
        refresh: Measure even where there is a table.

    Raises:
        ConfigError: A precision is unknown, or the processor does not have it.
    """
    known: list[FloatPrecision] = []
    for name in dict.fromkeys(precisions):
        if name not in get_args(FloatPrecision):
            raise ConfigError("--precision", name, ", ".join(get_args(FloatPrecision)))
        known.append(name)  # type: ignore[arg-type]
        check_precision(known[-1], "--precision")
    compression = job.config.compression
    quantizable = find_layers(job.openvino_model(), compression.ignored_scopes, compression.activations.per_channel)
    threads = job.config.runtime.threads
    found = [find_table(quantizable, threads, precision, stages, refresh=refresh) for precision in known]
    return LatencyReport(quantizable, [table for table, _ in found], [file for _, file in found])


def latency_table(report: LatencyReport) -> Table:
    """Each layer in int8 and in floating point, and what it costs that it alone is float.

    Args:
        report: The tables.
    """
    first = report.tables[0]
    shown = Table(title="milliseconds by layer", title_justify="left")
    shown.add_column("layer", overflow="fold")
    shown.add_column("MMACs", justify="right")
    shown.add_column("int8", justify="right")
    for table in report.tables:
        shown.add_column(table.key.precision, justify="right")
        shown.add_column("conversions", justify="right")
    for name in first.layers:
        members, cells = report.quantizable.groups[name], []
        for table in report.tables:
            layer = table.layers[name]
            cells += [f"{layer.int8_ms + layer.extra_ms:.3f}", f"{table.alone(name) - layer.extra_ms:.3f}"]
        macs = sum(layer.macs for layer in members) / 1e6
        shown.add_row(name, f"{macs:.2f}", f"{first.layers[name].int8_ms:.3f}", *cells)
    return shown


def summary(report: LatencyReport, policies: Sequence[tuple[str, Policy]] = ()) -> Iterator[str]:
    """Totals of the tables.

    Args:
        report: The tables.
        policies: Names and policies whose latency is predicted.

    Raises:
        ConfigError: A policy names a layer that the model does not have.
    """
    groups = {layer.name: layer.group for layer in report.quantizable.layers}
    for table, file in zip(report.tables, report.files, strict=True):
        ratio = table.float_ms / table.int8_ms
        yield (
            f"{table.key.precision}: all layers in int8 {table.int8_ms:.3f} ms, in float {table.float_ms:.3f} ms, "
            f"{ratio:.2f} times as long; {table.key.threads} threads of {table.key.cpu}, OpenVINO {table.key.openvino}"
        )
        for name, policy in policies:
            unknown = sorted(policy.weight_bits.keys() - groups.keys())
            if unknown:
                raise ConfigError("--policy", unknown[0], f"layers of this model, in {name}")
            predicted = table.predict({groups[layer] for layer in policy.float_layers})
            yield (
                f"  {name}: predicted {predicted:.3f} ms, {predicted / table.int8_ms:.3f} times int8, "
                f"{len(policy.float_layers)} layers in {table.key.precision}"
            )
        if file is not None:
            yield f"  saved in {file}"
    yield "Weights of 2 to 8 bits all run on the same int8 kernels: fewer bits reduce size, not latency."
