"""Names of the metrics in tables and reports, and which of them are shown in per cent."""

from __future__ import annotations

import math
from typing import Final

METRIC_NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "map50": "mAP@0.5",
    "map": "mAP",
    "miou": "mIoU",
    "nme": "NME (negative)",
    "pck": "PCK@0.05",
    "cosine": "cosine",
    "agreement": "top-1 agreement",
    "kl": "KL",
    "box_map50": "box agreement, mAP@0.5",
    "box_map": "box agreement, mAP",
    "box_agreement": "F1 of boxes",
    "miou_to_float": "mIoU with float",
    "pixel_agreement": "pixel agreement",
    "nme_to_float": "NME to float",
    "cosine_to_float": "cosine to float",
    "text_agreement": "text agreement",
    "step_agreement": "step agreement",
    "label_agreement": "label agreement",
    "sqnr_db": "SQNR dB",
    "relative_error": "relative error",
}
"""In the order of tables; a metric that is not among them goes by its own name."""

SHARES = frozenset(
    {
        *("top1", "top5", "map50", "map", "miou", "pck", "agreement", "box_map50", "box_map", "box_agreement"),
        *("miou_to_float", "pixel_agreement", "text_agreement", "step_agreement", "label_agreement"),
    }
)
"""Those from 0 to 1 that are shown in percent."""

TO_FLOAT: Final = {
    "agreement": "same prediction as float",
    "kl": "to float, in nats",
    "box_map50": "the float model's boxes as truth",
    "box_map": "the float model's boxes as truth",
    "miou_to_float": "the float model's classes as truth",
    "pixel_agreement": "same class as float",
    "nme_to_float": "of the size of the points' box",
    "cosine_to_float": "1 is the same direction",
    "text_agreement": "same text as float",
    "step_agreement": "same class as float",
    "label_agreement": "same label as float",
    "sqnr_db": "signal to quantization noise",
    "relative_error": "RMS, of the float output",
}
"""Metrics of the distance from the float model, which need no labels, to what they say; the most telling first."""

COSTS: Final = ("bin_bytes", "xml_bytes", "average_weight_bits", "bops")
"""Metrics of a result that say what a model costs, not how good it is."""

LOWER_IS_BETTER: Final = frozenset({"kl", "nme_to_float", "relative_error"})

_SHORT = {"agreement": "agree"}
_COSINES: Final = frozenset({"cosine", "cosine_to_float"})
_MOST_DECIMALS: Final = 8


def is_to_float(name: str) -> bool:
    """Whether a metric is the distance from the float model.

    Args:
        name: As in a result.
    """
    return name.partition(" ")[0] in TO_FLOAT


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
    if name in _COSINES:
        return _cosine(value)
    return f"{100 * value:.2f}" if name in SHARES else f"{value:.4f}"


def metric_figure(name: str, value: float) -> str:
    """A metric's value by itself: shares in percent, with the sign.

    Args:
        name: As in a configuration or a result.
        value: What was measured.
    """
    if name in _COSINES:
        return _cosine(value)
    return f"{100 * value:.2f} %" if name in SHARES else f"{value:.4g}"


def _cosine(value: float) -> str:
    """Digits enough to see two of the distance from 1, which is small as a rule."""
    distance = 1 - value
    decimals = 1 - math.floor(math.log10(distance)) if 0 < distance < 1 else 0
    return f"{value:.{min(max(decimals, 4), _MOST_DECIMALS)}f}"
