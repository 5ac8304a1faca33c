from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nncf_mcq.config.parameters import Parameters
from nncf_mcq.data.splits import Sample, SplitParameters, make_splits, split_indices, without_report
from nncf_mcq.errors import ConfigError


class Numbers:
    """Sample `i` is an image of the value `i`."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Sample:
        return np.full((1, 1, 1), index, np.float32), index


@given(st.integers(0, 9), st.integers(1, 9), st.one_of(st.just("calibration"), st.integers(1, 9)), st.integers(19, 40))
def test_parts_are_disjoint_and_of_the_sizes_asked_for(
    seed: int, calibration: int, search: Literal["calibration"] | int, available: int
) -> None:
    parameters = SplitParameters(seed=seed, calibration=calibration, search=search)
    parts = split_indices(parameters, available)
    assert len(parts.calibration) == calibration
    if search == "calibration":
        assert parts.search is None
    else:
        assert parts.search is not None
        assert len(parts.search) == search
    assert sorted(parts.calibration + (parts.search or []) + parts.report) == list(range(available))


def test_seed_decides_the_order() -> None:
    def order(seed: int) -> list[int]:
        return split_indices(SplitParameters(seed=seed, calibration=10, search=10), 100).calibration

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != sorted(order(0))


def test_growing_report_leaves_the_other_parts_alone() -> None:
    few = split_indices(SplitParameters(calibration=5, search=5, report=1), 100)
    many = split_indices(SplitParameters(calibration=5, search=5, report=90), 100)
    assert few[:2] == many[:2]
    assert few.report == many.report[:1]


def test_second_pool_serves_the_report() -> None:
    parts = split_indices(SplitParameters(calibration=5, search=5), available=10, report_available=7)
    assert sorted(parts.report) == list(range(7))
    assert sorted(parts.calibration + (parts.search or [])) == list(range(10))


@pytest.mark.parametrize(
    ("values", "report_available", "message"),
    [
        (
            {"calibration": 8, "search": 3},
            None,
            "dataset.split: found '8 images for calibration and 3 more for search', allowed: at most 10 images",
        ),
        (
            {"calibration": 8, "search": 2},
            None,
            "dataset.split: found '8 images for calibration and 2 more for search', "
            "allowed: fewer than the 10 images there are, so that some are left for report",
        ),
        (
            {"calibration": 8, "report": 3},
            None,
            "dataset.split: found '8 images for calibration and 0 more for search, 3 for report', "
            "allowed: 1 to 2 images for report",
        ),
        (
            {"calibration": 1, "report": 8},
            7,
            "dataset.split: found '1 images for calibration and 0 more for search, 8 for report', "
            "allowed: 1 to 7 images for report",
        ),
    ],
)
def test_more_than_there_are_is_an_error_with_the_numbers(
    values: dict[str, Any], report_available: int | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        split_indices(SplitParameters(**values), 10, report_available)
    assert str(caught.value) == message


def test_search_is_the_calibration_object_by_default() -> None:
    splits = make_splits(SplitParameters(calibration=3), Numbers(10), "numbers")
    assert splits.search is splits.calibration
    assert splits.describe() == {
        "source": "numbers",
        "has_targets": True,
        "calibration": 3,
        "search": 3,
        "search_is_calibration": True,
        "report": 7,
    }


@pytest.mark.parametrize(
    ("search", "available", "calibration"),
    [("calibration", 300, 300), ("calibration", 2000, 512), (100, 300, 200), (100, 2000, 512)],
)
def test_images_for_nothing_else_are_all_used(
    search: Literal["calibration"] | int, available: int, calibration: int
) -> None:
    parts = split_indices(SplitParameters(search=search, report="none"), available)
    assert (len(set(parts.calibration)), parts.report) == (calibration, [])
    assert not set(parts.calibration) & set(parts.search or [])
    assert parts.search is None or len(parts.search) == search


def test_images_for_nothing_else_may_be_fewer_than_there_are_files() -> None:
    parameters = SplitParameters(report="none")

    def readable(order: Sequence[int], count: int | None) -> list[int]:
        return [index for index in order if index % 10][:count]

    assert len(split_indices(parameters, 100, choose=readable).calibration) == 90
    assert len(split_indices(parameters, 1000, choose=readable).calibration) == 512
    with pytest.raises(ConfigError, match="at most the 90 images that can be read"):
        split_indices(SplitParameters(calibration=95, report="none"), 100, choose=readable)


def test_without_a_report_only_where_nothing_else_is_said() -> None:
    class Section(Parameters):
        split: SplitParameters = SplitParameters()

    assert without_report(Section()) == Section(split=SplitParameters(report="none"))
    few = SplitParameters(calibration=5)
    assert without_report(Section(split=few)) == Section(split=few.model_copy(update={"report": "none"}))
    chosen = Section(split=SplitParameters(report=3))
    assert without_report(chosen) is chosen
    assert without_report(empty := Parameters()) is empty


def test_parts_show_the_images_of_their_indices() -> None:
    parameters = SplitParameters(calibration=3, search=2, report=4)
    splits = make_splits(parameters, Numbers(10), "numbers", report_dataset=Numbers(20))
    indices = split_indices(parameters, 10, 20)
    for part, expected in zip((splits.calibration, splits.search, splits.report), indices, strict=True):
        assert [part[i][1] for i in range(len(part))] == expected
        with pytest.raises(IndexError):
            part[len(part)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"search": "half"}, "'calibration' or a positive number of images"),
        ({"search": 0}, "'calibration' or a positive number of images"),
        ({"report": "all"}, "'rest', 'none' or a positive number of images"),
        ({"calibration": 0}, "greater than 0"),
        ({"calibration": True}, "valid integer"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"validation": 3}, "not permitted"),
    ],
)
def test_impossible_values_are_one_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)) as caught:
        SplitParameters(**values)
    assert caught.value.error_count() == 1
    assert caught.value.errors()[0]["loc"] == tuple(values)
