from __future__ import annotations

import pytest

from openvino_eval.report.figures.labels import POSITIONS, label_positions


def test_a_label_alone_stands_above_its_point() -> None:
    assert label_positions([(100, 100)], ["INT8"]) == ["top center"]


def test_labels_of_points_side_by_side_do_not_cover_each_other() -> None:
    """Two models of nearly one size and one accuracy, as NNCF INT8 and uniform 8 bits are."""
    assert label_positions([(400, 100), (416, 100)], ["uniform 8 bits", "NNCF INT8"]) == ["top center", "bottom center"]


def test_a_label_does_not_cover_another_point() -> None:
    (place, _) = label_positions([(400, 100), (400, 88)], ["lower", "upper"])
    assert place == "bottom center"


def test_where_no_place_is_free_every_point_still_has_one() -> None:
    places = label_positions([(50, 50)] * 12, ["a long name of a model"] * 12)
    assert len(places) == 12
    assert set(places) <= set(POSITIONS)
    assert len(set(places)) > 3


@pytest.mark.parametrize("place", POSITIONS)
def test_places_are_those_of_plotly(place: str) -> None:
    import plotly.graph_objects

    plotly.graph_objects.Scatter(textposition=place)
