"""Every clipping rule of ours in the public suite."""

from __future__ import annotations

import pytest

from nncf_mcq import RANGE_INITIALIZERS
from nncf_mcq.testing import RangeInitializerTestCase, Section

SECTIONS: list[Section] = [
    {"type": "aciq"},
    {"type": "aciq", "distribution": "laplace"},
    {"type": "hessian", "candidates": 8},
    {"type": "kl", "candidates": 8, "bins": 256},
    {"type": "lp", "candidates": 8},
    {"type": "mae", "candidates": 8},
    {"type": "max"},
    {"type": "mixed_clipping"},
    {"type": "mixed_clipping", "rules": ["max", {"type": "mse", "candidates": 8}, "mse"], "choose_per": "layer"},
    {"type": "mse", "candidates": 8},
    {"type": "output_mse", "candidates": 8, "smallest_ratio": 0.4},
    {"type": "percentile"},
]


class TestRangeInitializers(RangeInitializerTestCase):
    @pytest.fixture(params=SECTIONS, ids=lambda section: "-".join(map(str, section.values())))
    def section(self, request: pytest.FixtureRequest) -> Section:
        section: Section = request.param
        return section


def test_every_registered_rule_is_tested() -> None:
    assert {section["type"] for section in SECTIONS} == set(RANGE_INITIALIZERS)
