"""Every range initializer of activations in the public suite."""

from __future__ import annotations

import pytest

from nncf_mcq import ACTIVATION_RANGE_INITIALIZERS
from nncf_mcq.testing import ActivationRangeInitializerTestCase, Section

SECTIONS: list[Section] = [
    {"type": "max"},
    {"type": "mean_max"},
    {"type": "moving_max", "momentum": 0.5},
    {"type": "mse", "candidates": 16},
    {"type": "percentile"},
    {"type": "automatic", "candidates": ["percentile", "max"]},
]


class TestActivationRangeInitializers(ActivationRangeInitializerTestCase):
    @pytest.fixture(params=SECTIONS, ids=lambda section: section["type"])
    def section(self, request: pytest.FixtureRequest) -> Section:
        section: Section = request.param
        return section


def test_every_registered_rule_is_tested() -> None:
    assert {section["type"] for section in SECTIONS} == set(ACTIVATION_RANGE_INITIALIZERS)
