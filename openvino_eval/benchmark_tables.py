"""Tables of `openvino-eval benchmark`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Column, Table

from openvino_eval.benchmarking import BenchmarkResult, TimedLayer, float_layers
from openvino_eval.layers import count_integer_layers
from openvino_eval.options import Mode

_UNITS = {Mode.LATENCY: "ms", Mode.THROUGHPUT: "inferences/s"}
_NAMED_LAYERS = 8


def statistics_tables(result: BenchmarkResult) -> Iterator[Table]:
    """One table a scenario: median, quartiles, percentiles and ratio of each model.

    Args:
        result: What was measured.
    """
    for scenario, rows in result.statistics.items():
        mode = Mode(scenario.partition(",")[0])
        percentiles = list(next(iter(rows.values())).percentiles)
        headings = (
            *("samples/s" if "batch" in scenario and mode is Mode.THROUGHPUT else _UNITS[mode], "quartiles"),
            *(f"p{percentile}" for percentile in percentiles),
            *("min" if mode is Mode.LATENCY else "max", "ratio", "quartiles"),
        )
        columns = (Column(heading, justify="right") for heading in headings)
        table = Table(Column(scenario, no_wrap=True), *columns)
        for name, found in rows.items():
            table.add_row(
                name,
                _digits(found.median),
                f"{_digits(found.low)}..{_digits(found.high)}",
                *(_digits(found.percentiles[percentile]) for percentile in percentiles),
                _digits(found.best),
                f"{found.ratio:.3f}",
                "reference" if name == result.reference else f"{found.ratio_low:.3f}..{found.ratio_high:.3f}",
            )
        yield table


def settings_line(result: BenchmarkResult) -> str:
    """How it was measured.

    Args:
        result: What was measured.
    """
    settings = result.settings
    inputs = " or ".join(sorted({model["input"] for model in settings["models"].values()}))
    return (
        f"benchmark_app, {settings['rounds']} rounds of {settings['seconds']} s, input {inputs}, "
        f"{_count(settings['threads'], 'thread')}, 1 stream for latency and {_listed(settings['streams'])} for "
        f"throughput; "
        f"other programs took {100 * result.load.others:.0f} % of the processor, load {result.load.load:.1f}"
    )


def integer_lines(result: BenchmarkResult) -> Iterator[str]:
    """One line a model: how many layers ran on integers, and the names of those that did not.

    Args:
        result: What was measured.
    """
    for name, layers in result.layers.items():
        integer, total = count_integer_layers([item.layer for item in layers])
        rest = float_layers(layers)
        named = [f"{item.layer.name} ({item.layer.precision}, {item.layer.kernel})" for item in rest[:_NAMED_LAYERS]]
        more = [f"{len(rest) - _NAMED_LAYERS} more, see --layers"] if len(rest) > _NAMED_LAYERS else []
        # Where nothing is quantized there is nothing to name.
        fallen = f"; in float: {', '.join(named + more)}" if rest and integer else ""
        yield f"{name}: {integer} of {total} convolutions and matrix products on integers{fallen}"


def cache_lines(result: BenchmarkResult) -> Iterator[str]:
    """One line a model: the time to compile it in the first round, and the median of the later ones.

    Args:
        result: What was measured with a cache.
    """
    rows = next(iter(result.statistics.values()))
    for name, found in rows.items():
        first, *later = found.compile_ms
        again = f", later ones in {_digits(float(np.median(later)))} ms" if later else ""
        yield f"{name}: first start with the cache compiles in {_digits(first)} ms{again}"


def layer_time_table(name: str, layers: Sequence[TimedLayer]) -> Table:
    """Precision, kernel and time of each layer of a model.

    Args:
        name: Of the model.
        layers: Its layers in the order of execution.
    """
    table = Table(title=name, title_justify="left")
    table.add_column("layer", overflow="fold", ratio=3)
    for heading in ("type", "precision", "kernel"):
        table.add_column(heading, overflow="fold", ratio=1)
    for heading in ("ms", "%"):
        table.add_column(heading, justify="right", no_wrap=True)
    total = sum(item.milliseconds for item in layers)
    for item in layers:
        # What is folded into others when the model is compiled does not run.
        if item.milliseconds > 0:
            style = "bold" if item.layer.is_compute and not item.layer.is_integer else None
            layer, share = item.layer, 100 * item.milliseconds / total
            cells = (layer.name, layer.layer_type, layer.precision, layer.kernel)
            table.add_row(*cells, f"{item.milliseconds:.3f}", f"{share:.1f}", style=style)
    table.add_section()
    table.add_row("all", "", "", "", f"{total:.3f}", "100.0")
    return table


def _listed(values: int | Sequence[int]) -> str:
    return str(values) if isinstance(values, int) else ", ".join(map(str, values))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _digits(value: float) -> str:
    """Four figures."""
    return f"{value:.{0 if value >= 1000 else 1 if value >= 100 else 2 if value >= 10 else 3}f}"
