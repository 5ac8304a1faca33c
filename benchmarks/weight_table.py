"""How fast the weight table is built, how its time grows with the layers, and how much memory it takes.

The straightforward loop of `benchmarks.naive_table` is the reference, on the smallest layers only: it takes minutes
where the package takes a second.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.table import Table

from benchmarks import naive_table
from benchmarks.command import add_config, errors_as_messages, read_job, show
from benchmarks.memory import peak_megabytes, reset_peak
from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.config.schema import Config, CorrectionConfig, WeightsConfig
from nncf_mcq.job import Job
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.policy import SUPPORTED_BITS
from nncf_mcq.range_init.grid import is_symmetric
from nncf_mcq.range_init.mixed_clipping import MixedClippingRange
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights.layer_quantizer import LayerQuantizer
from nncf_mcq.weights.scheme import WeightScheme
from nncf_mcq.weights.weight_table import WeightTable, build_weight_table

COMPENSATED, DESCENT = "error_compensated", "coordinate_descent"
NAIVE_WEIGHTS = 10_000
GROWTH = (1, 2, 4, 8)
_COLUMNS, _ROWS, _GROWTH_BITS = 256, 256, (2, 4, 8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config(parser)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of each measurement")
    parser.add_argument(
        "--naive-weights", type=int, default=NAIVE_WEIGHTS, help="most weights of the layers given to the plain loop"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file of the figures")
    parser.add_argument("--memory-of", choices=[COMPENSATED, DESCENT], help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    with errors_as_messages(parser):
        job = read_job(parsed)
        _tell("statistics of the calibration images")
        subject = Subject.prepare(job)
        if parsed.memory_of:
            print(json.dumps(measure_memory(subject, parsed.memory_of)))
            return
        found = measure(subject, parsed.rounds, parsed.naive_weights)
    # The statistics are the child's own: nothing of this process counts.
    options = [option for item in parsed.set for option in ("--set", item)]
    command = [sys.executable, "-m", "benchmarks.weight_table", parsed.config, *options, "--memory-of"]
    for rounding in (COMPENSATED, DESCENT):
        _tell(f"memory, {rounding}, in a process of its own")
        done = subprocess.run([*command, rounding], stdout=subprocess.PIPE, text=True, check=True)
        found["memory"][rounding] = json.loads(done.stdout.splitlines()[-1])
    show(to_table(found), width=120)
    if parsed.output is not None:
        write_text_atomically(parsed.output, json.dumps(found, indent=2) + "\n")


@dataclass(frozen=True)
class Subject:
    """Model to measure with its statistics, per channel and with the default rules and corrections.

    Attributes:
        quantizable: The float model and its layers.
        statistics: Of the calibration images.
        config: The job's configuration.
    """

    quantizable: QuantizableModel
    statistics: Mapping[str, LayerStatistics]
    config: Config

    @classmethod
    def prepare(cls, job: Job) -> Subject:
        """Reads the model and collects the statistics of the calibration images."""
        calibrated = job.calibrate(job.openvino_model(), job.load_dataset(), Stages(SilentProgress()))
        return cls(calibrated.quantizable, calibrated.statistics.layers, job.config)

    def scheme(self, rounding: str) -> WeightScheme:
        """The job's mode with default corrections and this rounding."""
        return WeightScheme(
            # The plain loop knows of no CPU.
            WeightsConfig(mode=self.config.compression.weights.mode, isa="vnni"),
            CorrectionConfig().model_copy(update={"rounding": rounding}),
            _rules(),
        )

    def build(self, rounding: str, quantizable: QuantizableModel | None = None) -> WeightTable:
        """The package's table at all widths."""
        return build_weight_table(
            quantizable or self.quantizable,
            self.statistics,
            self.scheme(rounding),
            SUPPORTED_BITS,
            threads=self.config.runtime.threads,
        )

    def smallest_layers(self, limit: int) -> QuantizableModel:
        """The layers of fewest weights that have no more than `limit` together, at least one."""
        known = [layer for layer in self.quantizable.layers if self.statistics[layer.name].covariance is not None]
        alone = [layer for layer in known if len(self.quantizable.groups[layer.group]) == 1]
        chosen: list[QuantizableLayer] = []
        for layer in sorted(alone, key=lambda item: item.weights):
            if not chosen or sum(item.weights for item in chosen) + layer.weights <= limit:
                chosen.append(layer)
        return dataclasses.replace(self.quantizable, layers=tuple(chosen))

    def build_naively(self, quantizable: QuantizableModel) -> dict[str, Mapping[int, naive_table.NaiveEntry]]:
        """The same with one loop inside the other."""
        operations = operations_by_name(quantizable.model)
        found = {}
        for layer in quantizable.layers:
            covariance = self.statistics[layer.name].covariance
            assert covariance is not None
            weights = weight_matrices(layer, operations[layer.name])
            symmetric = is_symmetric(2, self.config.compression.weights.mode)
            found[layer.name] = naive_table.quantize_layer(weights, covariance.numpy(), SUPPORTED_BITS, symmetric)
        return found


def measure(subject: Subject, rounds: int, naive_weights: int) -> dict[str, Any]:
    """All figures but those of memory.

    Args:
        subject: The model.
        rounds: Interleaved turns of each measurement; the plain loop has one.
        naive_weights: Most weights of the layers given to the plain loop.
    """
    quantizable = subject.quantizable
    times = interleave(
        "all layers",
        {rounding: lambda rounding=rounding: subject.build(rounding) for rounding in (COMPENSATED, DESCENT)},  # type: ignore[misc]
        rounds,
    )
    return {
        "setup": {
            "model": subject.config.model,
            "layers": len(quantizable.layers),
            "weights": quantizable.quantizable_weights,
            "bits": list(SUPPORTED_BITS),
            "rules": list(naive_table.RULES),
            "threads": subject.config.runtime.threads,
            "cpus": os.cpu_count(),
            "rounds": rounds,
        },
        "table": {name: {"seconds": values, "median": median(values)} for name, values in times.items()},
        "naive": measure_naive(subject, rounds, naive_weights),
        "growth": measure_growth(rounds),
        "memory": {},
    }


def measure_naive(subject: Subject, rounds: int, naive_weights: int) -> dict[str, Any]:
    """The plain loop and the package's table on the same layers.

    Raises:
        AssertionError: They do not yield the same.
    """
    subset = subject.smallest_layers(naive_weights)
    weights = sum(layer.weights for layer in subset.layers)
    start = time.perf_counter()
    naive = subject.build_naively(subset)
    naive_seconds = time.perf_counter() - start
    _tell(f"smallest layers: plain loop, {naive_seconds:.1f} s")
    pieces = {name: lambda name=name: subject.build(name, subset) for name in (COMPENSATED, DESCENT)}  # type: ignore[misc]
    times = interleave("smallest layers", pieces, rounds)
    equal, largest = compare(naive, subject.build(COMPENSATED, subset))
    assert equal > 0.999, f"only {equal:.3%} of the levels are equal"
    assert largest < 0.01, f"a layer's errors differ by {largest:.2%}"
    return {
        "layers": len(subset.layers),
        "weights": weights,
        "share_of_weights": weights / subject.quantizable.quantizable_weights,
        "seconds": naive_seconds,
        "ours": {name: median(values) for name, values in times.items()},
        "ratio": naive_seconds / median(times[COMPENSATED]),
        "equal_levels": equal,
        "largest_error_difference": largest,
    }


def compare(naive: Mapping[str, Mapping[int, naive_table.NaiveEntry]], table: WeightTable) -> tuple[float, float]:
    """Share of equal levels, and the largest relative difference of a layer's output error."""
    pairs = [(entry, table[name, bits]) for name, entries in naive.items() for bits, entry in entries.items()]
    # Less the zero point: grids that differ in it alone may stand for the same weights.
    equal = sum(
        int((mine.integers == theirs.levels.astype(np.int16) - theirs.zero_point[..., None]).sum())
        for mine, theirs in pairs
    )
    count = sum(mine.integers.size for mine, _ in pairs)
    differences = [
        abs(mine.relative_error - theirs.relative_error) / max(theirs.relative_error, 1e-12) for mine, theirs in pairs
    ]
    return equal / count, max(differences)


def measure_growth(rounds: int, rows: int = _ROWS, columns: int = _COLUMNS) -> dict[str, Any]:
    """Time of one Gaussian layer against its number of output channels, at equal inputs; one thread.

    Returns:
        Seconds per million weights and width by layer size, and the exponent fitted to `seconds = a * weights ** e`.
    """
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    covariance = (mixing @ mixing.T + 0.1 * torch.eye(columns))[None]
    statistics = LayerStatistics(torch.zeros(1, columns), covariance, torch.diagonal(covariance, dim1=1, dim2=2))
    weights = torch.randn(1, rows * max(GROWTH), columns, generator=generator)

    def quantize(factor: int) -> None:
        part = weights[:, : rows * factor].contiguous()
        layer = _layer(rows * factor, columns)
        quantizer = LayerQuantizer(layer, part, statistics, WeightScheme(WeightsConfig(), CorrectionConfig(), _rules()))
        for bits in _GROWTH_BITS:
            quantizer.quantize(bits)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        quantize(1)
        times = interleave(
            "one layer, times", {str(factor): lambda factor=factor: quantize(factor) for factor in GROWTH}, rounds
        )  # type: ignore[misc]
    finally:
        torch.set_num_threads(threads)
    sizes = [rows * factor * columns for factor in GROWTH]
    seconds = [median(times[str(factor)]) for factor in GROWTH]
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    per_million = [value / size * 1e6 / len(_GROWTH_BITS) for value, size in zip(seconds, sizes, strict=True)]
    return {"columns": columns, "weights": sizes, "seconds_per_million": per_million, "exponent": exponent}


def measure_memory(subject: Subject, rounding: str) -> dict[str, float]:
    """Peak memory of building the table, above what the process held before, in MB; for a process of its own."""
    # Collecting the statistics may take more at its peak than the table.
    if not reset_peak():
        _tell("the peak so far cannot be reset: the figure is a lower bound")
    before = peak_megabytes()
    table = subject.build(rounding)
    after = peak_megabytes()
    arrays = [
        array.nbytes
        for entries in table.entries.values()
        for entry in entries.values()
        for array in (entry.levels, entry.scale, entry.zero_point, entry.bias_shift)
    ]
    return {"before": before, "peak": after - before, "table": sum(arrays) / 2**20}


def interleave(what: str, pieces: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each piece of work, all of them in turn, so that a busy machine is so for all."""
    times: dict[str, list[float]] = {name: [] for name in pieces}
    for turn in range(rounds):
        for name, piece in pieces.items():
            start = time.perf_counter()
            piece()
            times[name].append(time.perf_counter() - start)
            _tell(f"{what}: {name}, turn {turn + 1} of {rounds}, {times[name][-1]:.1f} s")
    return times


def _tell(message: str) -> None:
    """A line of progress: the whole takes minutes."""
    print(message, file=sys.stderr, flush=True)


def to_table(found: Mapping[str, Any]) -> Table:
    """All figures as one table."""
    setup, naive, growth = found["setup"], found["naive"], found["growth"]
    title = (
        f"Weight table: {setup['layers']} layers, {setup['weights']:,} weights, {len(setup['bits'])} bit-widths, "
        f"{len(setup['rules'])} rules, threads: {setup['threads']} of {setup['cpus']}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("measured")
    for heading in ("seconds", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("remarks")
    base = found["table"][COMPENSATED]["median"]
    for name, values in found["table"].items():
        spread = f"{min(values['seconds']):.2f} to {max(values['seconds']):.2f} s"
        table.add_row(f"all layers, {name}", f"{values['median']:.2f}", f"{values['median'] / base:.2f}", spread)
    table.add_section()
    share = f"{naive['layers']} layers, {100 * naive['share_of_weights']:.1f} % of the weights"
    for name, seconds in naive["ours"].items():
        ratio = f"{seconds / naive['ours'][COMPENSATED]:.2f}"
        table.add_row(f"smallest layers, {name}", f"{seconds:.3f}", ratio, share)
    remark = f"one thread; {100 * naive['equal_levels']:.3f} % of the levels equal, errors within "
    remark += f"{100 * naive['largest_error_difference']:.2f} %"
    table.add_row("smallest layers, plain loop", f"{naive['seconds']:.1f}", f"{naive['ratio']:.0f}", remark)
    table.add_section()
    for weights, seconds in zip(growth["weights"], growth["seconds_per_million"], strict=True):
        ratio = f"{seconds / growth['seconds_per_million'][0]:.2f}"
        remark = f"{weights // growth['columns']} x {growth['columns']}, one thread, {DESCENT}"
        table.add_row("one layer, per million weights and bit-width", f"{seconds:.3f}", ratio, remark)
    table.add_row("exponent of time over weights", "", f"{growth['exponent']:.3f}", "1: linear")
    table.add_section()
    for name, values in found["memory"].items():
        remark = f"above the {values['before']:.0f} MB before; {values['table']:.1f} MB are the table"
        table.add_row(f"peak memory, {name}", f"{values['peak']:.0f} MB", "", remark)
    return table


def _rules() -> MixedClippingRange:
    return MixedClippingRange(MixedClippingRange.Parameters(rules=list(naive_table.RULES)))


def _layer(rows: int, columns: int) -> QuantizableLayer:
    return QuantizableLayer("layer", "matmul", 1, (rows, columns), 1, rows, columns, False, rows * columns, (), "layer")


if __name__ == "__main__":
    main()
