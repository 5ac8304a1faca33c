"""The comparison as a table for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table

from nncf_mcq.metrics import metric_heading, metric_value
from openvino_eval.compare import INT8_ROW, Comparison, ComparisonRow

_OF_REFERENCE = {"agreement": 1.0, "kl": 0.0}
"""Values of the float model, which the others are compared with."""


def comparison_table(comparison: Comparison) -> Table:
    """Accuracy, size and latency of every model.

    Args:
        comparison: What was measured; the first row is the float model's.
    """
    threads = f"{comparison.threads} thread{'' if comparison.threads == 1 else 's'}"
    title = f"{comparison.samples} test images, batch 1, {threads}"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1))
    table.add_column("model", no_wrap=True)
    metrics = comparison.metrics
    for heading in (*map(metric_heading, metrics), ".bin kB", ".xml kB", "latency", "int8"):
        table.add_column(heading, justify="right", no_wrap=True)
    latency_ratios = comparison.latency_ratios(INT8_ROW)
    for row in comparison.rows:
        table.add_row(
            row.name,
            *(_value(name, row) for name in metrics),
            f"{row.bin_bytes / 1000:.1f}",
            f"{row.xml_bytes / 1000:.1f}",
            f"{latency_ratios[row.name]:.2f}" if row.name in latency_ratios else "",
            f"{row.integer_layers}/{row.compute_layers}",
        )
    agree = "agree: top-1 agreement with FP32; " if "agreement" in metrics else ""
    table.caption = f"{agree}latency: median, relative to {INT8_ROW}; int8: layers on int8 kernels"
    table.caption_justify = "left"
    return table


def _value(name: str, row: ComparisonRow) -> str:
    value = row.metrics.get(name, _OF_REFERENCE.get(name))
    return "" if value is None else metric_value(name, value)
