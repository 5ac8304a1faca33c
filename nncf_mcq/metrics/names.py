"""Names of the metrics in tables and reports, and which of them are shown in per cent."""

from __future__ import annotations

METRIC_NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "map50": "mAP@0.5",
    "map": "mAP",
    "agreement": "top-1 agreement",
    "kl": "KL",
    "sqnr_db": "SQNR dB",
}
"""In the order of tables; a metric that is not among them goes by its own name."""

SHARES = frozenset({"top1", "top5", "map50", "map", "agreement"})
"""Those from 0 to 1 that are shown in percent."""

_SHORT = {"agreement": "agree"}


def metric_name(name: str) -> str:
    """A metric in a sentence or in front of its values.

    Args:
        name: As in a configuration or a result.
    """
    metric, _, output = name.partition(" ")
    if metric == "sqnr_db" and output:
        return f"{METRIC_NAMES[metric]}, {output}"
    return METRIC_NAMES.get(name, name.replace("_", " "))


def metric_heading(name: str) -> str:
    """A metric above a column of its values, which stand there as `metric_value` writes them.

    Args:
        name: As in a configuration or a result.
    """
    return f"{_SHORT.get(name, metric_name(name))} %" if name in SHARES else metric_name(name)


def metric_value(name: str, value: float) -> str:
    """A metric's value in a table: shares in percent, without the sign.

    Args:
        name: As in a configuration or a result.
        value: What was measured.
    """
    return f"{100 * value:.2f}" if name in SHARES else f"{value:.4f}"
