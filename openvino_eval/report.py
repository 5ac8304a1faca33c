"""One HTML file that shows a comparison and the runs behind it; it loads nothing from outside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from openvino_eval.compare import Comparison
from openvino_eval.run_result import LayerResult, RunResult

MISSING = "–"  # noqa: RUF001 - a dash in a table, not a minus sign
_ACRONYMS = {"kl": "KL", "macs": "MACs", "bops": "BOPs", "rl": "RL", "ilp": "ILP", "ir": "IR"}
# In the result for other tools; in the table they would push out what a reader looks for.
_HIDDEN_COLUMNS = ("group", "size_share", "mac_share")

_LAYER_COLUMNS = ("name", "bits", "rule", "runtime_precision")


@dataclass(frozen=True)
class Bar:
    """One layer's column in the chart, in the chart's own units.

    Attributes:
        x: Left edge.
        y: Upper edge.
        width: Width.
        height: Height.
        bits: Weight bits; None for a float layer, drawn at full height.
        label: What a pointer on it shows.
    """

    x: float
    y: float
    width: float
    height: float
    bits: int | None
    label: str


@dataclass(frozen=True)
class BitsChart:
    """Weight bits by layer.

    Attributes:
        width: Of the drawing.
        height: Of the drawing.
        baseline: Vertical position of 0 bits.
        left: Where the columns begin.
        bars: One a layer.
        grid: Vertical position and bits of the lines.
        ticks: Horizontal position and number of some layers.
    """

    width: float
    height: float
    baseline: float
    left: float
    bars: tuple[Bar, ...]
    grid: tuple[tuple[float, int], ...]
    ticks: tuple[tuple[float, int], ...]


def write_report(
    path: Path,
    *,
    comparison: Comparison | None = None,
    runs: Mapping[str, RunResult] | None = None,
    title: str = "Quantization report",
) -> None:
    """Render a report to a file.

    Args:
        path: The HTML file; missing folders are made.
        comparison: Rows to show first.
        runs: Title -> run, each with its chart and table of layers.
        title: The heading.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(comparison=comparison, runs=runs, title=title), encoding="utf-8")


def render_report(
    *,
    comparison: Comparison | None = None,
    runs: Mapping[str, RunResult] | None = None,
    title: str = "Quantization report",
) -> str:
    """Render a report.

    Args:
        comparison: Rows to show first.
        runs: Title -> run, each with its chart and table of layers.
        title: The heading.

    Returns:
        A whole HTML document without references to other files.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openvino_eval"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=format_percent,
        bytes=format_bytes,
        milliseconds=format_milliseconds,
        number=format_number,
        label=format_label,
    )
    sections = [
        {
            "name": name,
            "run": run,
            "chart": bits_chart(run.layers),
            "histogram": bits_histogram(run.layers),
            "columns": layer_columns(run.layers),
            "rows": [layer.model_dump() for layer in run.layers],
            "details": {
                heading: list(flatten(values))
                for heading, values in (("Search", run.search), ("Timing", run.timing))
                if values
            },
            # Names of packages, which no heading should rewrite.
            "versions": [(name, str(version)) for name, version in (run.versions or {}).items()],
        }
        for name, run in (runs or {}).items()
    ]
    template = environment.get_template("report.html.j2")
    return template.render(title=title, comparison=comparison, sections=sections, missing=MISSING)


def bits_chart(layers: tuple[LayerResult, ...], width: float = 960.0, height: float = 230.0) -> BitsChart:
    """Lay out the chart of weight bits.

    Args:
        layers: In the order of the model.
        width: Of the drawing.
        height: Of the drawing.

    Returns:
        Positions of everything that is drawn.
    """
    left, right, top, bottom = 34.0, 14.0, 10.0, 26.0
    highest = max([8, *(layer.bits or 0 for layer in layers)])
    baseline, per_bit = height - bottom, (height - top - bottom) / highest
    slot = (width - left - right) / max(len(layers), 1)
    # A handful of layers would make a wall of colour.
    bar_width = min(slot * 0.78, 44.0)
    bars = []
    for index, layer in enumerate(layers):
        bar_height = (highest if layer.bits is None else layer.bits) * per_bit
        bars.append(
            Bar(
                x=round(left + (index + 0.5) * slot - bar_width / 2, 2),
                y=round(baseline - bar_height, 2),
                width=round(bar_width, 2),
                height=round(bar_height, 2),
                bits=layer.bits,
                label=f"{index + 1}. {layer.name}: {_bits_text(layer.bits)}",
            )
        )
    step = max(1, 5 * math.ceil(len(layers) / 120)) if len(layers) > 24 else 1
    numbered = [number for number in range(1, len(layers) + 1) if number == 1 or number % step == 0]
    return BitsChart(
        width=width,
        height=height,
        baseline=baseline,
        left=left,
        bars=tuple(bars),
        grid=tuple((round(baseline - bits * per_bit, 2), bits) for bits in range(0, highest + 1, 2)),
        ticks=tuple((round(left + (number - 0.5) * slot, 2), number) for number in numbered),
    )


def bits_histogram(layers: tuple[LayerResult, ...]) -> list[tuple[int | None, int]]:
    """How many layers have each width.

    Args:
        layers: Any order.

    Returns:
        Bits (None for float) and number of layers, from the narrowest to float.
    """
    widths = {layer.bits for layer in layers}
    ordered = sorted(widths, key=lambda bits: math.inf if bits is None else bits)
    return [(bits, sum(layer.bits == bits for layer in layers)) for bits in ordered]


def layer_columns(layers: tuple[LayerResult, ...]) -> list[str]:
    """The columns of the table of layers: the known ones that any layer fills, then every further plain value.

    Args:
        layers: Any order.

    Returns:
        Keys of the layers.
    """
    found: dict[str, None] = {}
    for layer in layers:
        for key, value in layer.model_dump().items():
            if key not in _HIDDEN_COLUMNS and value is not None and isinstance(value, str | int | float):
                found[key] = None
    known = [key for key in _LAYER_COLUMNS if key in found]
    return known + [key for key in found if key not in _LAYER_COLUMNS]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Turn nested mappings into lines.

    Args:
        values: E.g. the `search` of a result.
        prefix: What the keys are under.

    Yields:
        Key path and value as text; a long list only says how long it is.
    """
    for key, value in values.items():
        name = f"{prefix}{format_label(str(key))}"
        if isinstance(value, Mapping) and value and all(isinstance(item, Mapping) for item in value.values()):
            yield name, f"{len(value)} entries"
        elif isinstance(value, Mapping):
            yield from flatten(value, f"{name} / ")
        elif isinstance(value, list) and (len(value) > 12 or any(isinstance(item, dict | list) for item in value)):
            yield name, f"{len(value)} entries"
        elif isinstance(value, list):
            yield name, ", ".join(format_number(item) for item in value)
        else:
            yield name, format_number(value)


def format_percent(value: float | None) -> str:
    """A share as text.

    Args:
        value: 0..1, or None.

    Returns:
        E.g. `88.2 %`.
    """
    return MISSING if value is None or not math.isfinite(value) else f"{value * 100:.1f} %"


def format_milliseconds(value: float | None) -> str:
    """A latency as text, with three significant figures.

    Args:
        value: Milliseconds, or None.

    Returns:
        E.g. `1.50 ms`.
    """
    if value is None:
        return MISSING
    return f"{value:.{max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0}f} ms"


def format_bytes(value: float | None) -> str:
    """A size as text, in units of 1000.

    Args:
        value: Bytes, or None.

    Returns:
        E.g. `4.86 MB`.
    """
    if value is None:
        return MISSING
    if value < 1000:
        return f"{value:.0f} B"
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        # Below 999.5 three figures do not round up to the next unit.
        if value < 999.5 or unit == "GB":
            break
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def format_number(value: Any) -> str:
    """Any plain value as text, floats with four significant figures.

    Args:
        value: A value of a JSON document.

    Returns:
        Text.
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10000 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def format_label(key: str) -> str:
    """A JSON key as a heading.

    Args:
        key: E.g. `runtime_precision`.

    Returns:
        E.g. `Runtime precision`.
    """
    words = [_ACRONYMS.get(word, word) for word in key.replace("_", " ").split()]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _bits_text(bits: int | None) -> str:
    return "float" if bits is None else f"{bits} bits" if bits != 1 else "1 bit"
