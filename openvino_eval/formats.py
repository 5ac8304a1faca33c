"""Values as text, the same in the report and on the terminal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping

from nncf_mcq.metrics import METRIC_NAMES

_LAST_PARTS = r"""(?:[^\s"',;:/]+/)*([^\s"',;:/]+/[^\s"',;:/]+)"""
_PATH = re.compile(rf"(?:(?:\.\./)+|(?<![\w:/.])/){_LAST_PARTS}")
_RELATIVE_PATH = re.compile(rf'"(?:\.\./)+{_LAST_PARTS}')

MISSING = "–"  # noqa: RUF001 - a dash in a table, not a minus sign
_WORDS = METRIC_NAMES | {
    "macs": "MACs",
    "bops": "BOPs",
    "rl": "RL",
    "ilp": "ILP",
    "ir": "IR",
}


def flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
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


def format_number(value: object) -> str:
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


def without_folders(text: str) -> str:
    """A text in which paths out of the folder at hand, such as `../../images` or `/data/images`, keep two parts.

    Where things lie on a machine is nobody else's business, and a report is made to be passed on.

    Args:
        text: Prose, in which layers have no names that could be paths.
    """
    return _PATH.sub(r"…/\1", text)


def config_without_folders(text: str) -> str:
    """The same for a configuration, whose paths are relative; layers may have names that begin with a slash.

    Args:
        text: JSON.
    """
    return _RELATIVE_PATH.sub(r'"…/\1', text)


def format_label(key: str) -> str:
    """A JSON key as a heading.

    Args:
        key: E.g. `runtime_precision`; or a metric, with the name of the output that it is of: `sqnr_db boxes`.

    Returns:
        E.g. `Runtime precision`, `SQNR dB, boxes`.
    """
    metric, _, output = key.partition(" ")
    if metric in METRIC_NAMES:
        text = METRIC_NAMES[metric] + (f", {output}" if output else "")
    else:
        text = " ".join(_WORDS.get(word, word) for word in key.replace("_", " ").split())
    # What has capitals of its own keeps them: mAP.
    return text[:1].upper() + text[1:] if text.partition(" ")[0].islower() else text


def format_json(text: str, width: int = 96) -> str:
    """A JSON document for reading: what fits into a line is in one.

    Args:
        text: The document.
        width: Of a line.

    Returns:
        The same values; the text as it is where it is no JSON.
    """
    try:
        return "\n".join(_json_lines(json.loads(text), "", width))
    except ValueError:
        return text


def _json_lines(value: object, indent: str, width: int) -> list[str]:
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= width or not isinstance(value, dict | list) or not value:
        return [line]
    deeper = f"{indent}  "
    items = list(value.items()) if isinstance(value, dict) else [(None, item) for item in value]
    lines = ["{" if isinstance(value, dict) else "["]
    for position, (key, item) in enumerate(items):
        first, *others = _json_lines(item, deeper, width - (0 if key is None else len(json.dumps(key)) + 3))
        label = "" if key is None else f"{json.dumps(key, ensure_ascii=False)}: "
        block = [f"{deeper}{label}{first}", *others]
        if position < len(items) - 1:
            block[-1] += ","
        lines += block
    return [*lines, f"{indent}{'}' if isinstance(value, dict) else ']'}"]
