from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openvino_eval.formats import (
    config_without_folders,
    format_bytes,
    format_json,
    format_label,
    format_milliseconds,
    format_number,
    format_percent,
    without_folders,
)
from openvino_eval.report.models import metric_label


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (4_860_000, "4.86 MB"), (13_987_000, "14.0 MB"), (2e8, "200 MB"),
     (999_900, "1.00 MB"), (5e12, "5000 GB"), (None, "–")],
)  # fmt: skip
def test_bytes_are_readable(value: float | None, text: str) -> None:
    assert format_bytes(value) == text


def test_other_values_are_readable() -> None:
    assert [format_percent(value) for value in (0.8825, 1.0, None, float("nan"))] == ["88.2 %", "100.0 %", "–", "–"]
    assert [format_milliseconds(value) for value in (1.5, 12.34, 123.4, 0.01234, 0.0, None)] == [
        "1.50 ms", "12.3 ms", "123 ms", "0.0123 ms", "0 ms", "–",
    ]  # fmt: skip
    assert [format_number(value) for value in (True, 7, 1234567, 0.000123456, "x", None)] == [
        "yes", "7", "1,234,567", "0.0001235", "x", "–",
    ]  # fmt: skip
    assert [format_label(key) for key in ("runtime_precision", "kl", "weight_kl", "map", "top1")] == [
        "Runtime precision", "KL", "Weight KL", "mAP", "Top-1",
    ]  # fmt: skip
    assert [format_label(key) for key in ("sqnr_db", "sqnr_db conv2d_21", "box_map", "relative_error")] == [
        "SQNR dB", "SQNR dB, conv2d_21", "Box agreement, mAP", "Relative error",
    ]  # fmt: skip
    assert [metric_label(key) for key in ("sqnr_db", "map", "box_agreement", "top1")] == [
        "SQNR dB", "mAP", "F1 of boxes", "top-1",
    ]  # fmt: skip


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=12,
)


@given(VALUES)
def test_json_for_reading_has_the_same_values(value: object) -> None:
    assert json.loads(format_json(json.dumps(value), width=30)) == value


def test_what_fits_into_a_line_is_in_one() -> None:
    text = format_json(json.dumps({"bits": [2, 3, 4], "range": {"type": "max"}, "long": ["x" * 20] * 3}, indent=8), 40)
    assert text.splitlines()[1:4] == ['  "bits": [2, 3, 4],', '  "range": {"type": "max"},', '  "long": [']
    assert max(map(len, text.splitlines())) <= 40
    assert format_json("no JSON") == "no JSON"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("images in /home/me/data/images, 3 of them", "images in …/data/images, 3 of them"),
        ("../../../data/images", "…/data/images"),
        ("/images", "/images"),
        ("https://example.org/a/b/c and a/b/c", "https://example.org/a/b/c and a/b/c"),
    ],
)
def test_paths_of_the_machine_are_shortened(text: str, shown: str) -> None:
    assert without_folders(text) == shown


def test_layers_of_a_configuration_keep_their_names() -> None:
    config = {"model": "../../models/net.onnx", "ignored_scopes": ["/model/0/conv/Conv"], "root": "images/a/b"}
    assert json.loads(config_without_folders(json.dumps(config))) == config | {"model": "…/models/net.onnx"}
