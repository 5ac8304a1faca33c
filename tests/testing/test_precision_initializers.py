"""Every precision initializer of ours in the public suite."""

from __future__ import annotations

import pytest

from nncf_mcq import PRECISION_INITIALIZERS
from nncf_mcq.testing import BudgetPrecisionInitializerTestCase, PrecisionInitializerTestCase, Section
from nncf_mcq.testing.precision_initializers import EVERY_WIDTH, ONE_WIDTH, WEIGHTS
from nncf_mcq.testing.tasks import Space

ANY = {"weight_size": {"average_bits": 4}}

PLAIN: list[Section] = [
    {"type": "manual", "bitwidth_per_scope": [[3, "{re}^(first|second)"]], "default_bits": 6},
    {"type": "uniform", "bits": 5},
]
SEPARABLE: list[Section] = [
    {"type": "greedy", "budget": ANY},
    {"type": "ilp", "budget": ANY},
]
SECOND_ORDER: list[Section] = [
    {"type": "ilp", "budget": ANY, "sensitivity": "fisher"},
    {"type": "greedy", "budget": ANY, "sensitivity": "hessian_trace"},
]
SEARCHES: list[Section] = [
    {"type": "optuna", "budget": ANY, "evaluations": 16, "seed": 3},
    {"type": "rl", "budget": ANY, "evaluations": 16, "seed": 3},
    {"type": "rl", "agent": "ddpg", "budget": ANY, "evaluations": 16, "warm_start": "none"},
]


class TestPlainInitializers(PrecisionInitializerTestCase):
    @pytest.fixture(params=PLAIN, ids=lambda section: section["type"])
    def section(self, request: pytest.FixtureRequest) -> Section:
        section: Section = request.param
        return section


class TestSeparableInitializers(BudgetPrecisionInitializerTestCase):
    @pytest.fixture(params=SEPARABLE, ids=lambda section: section["type"])
    def section(self, request: pytest.FixtureRequest) -> Section:
        section: Section = request.param
        return section


class TestSecondOrderSensitivities(BudgetPrecisionInitializerTestCase):
    @pytest.fixture(params=SECOND_ORDER, ids=lambda section: section["sensitivity"])
    def section(self, request: pytest.FixtureRequest) -> Section:
        section: Section = request.param
        return section

    @pytest.fixture(params=[WEIGHTS, EVERY_WIDTH, ONE_WIDTH], ids=["weights", "every_width", "one_width"])
    def space(self, request: pytest.FixtureRequest) -> Space:
        """Without choices of activations, which have no sensitivities of second order."""
        space: Space = request.param
        return space


class TestSearches(BudgetPrecisionInitializerTestCase):
    @pytest.fixture(params=SEARCHES, ids=lambda section: section.get("agent", section["type"]))
    def section(self, request: pytest.FixtureRequest) -> Section:
        section: Section = request.param
        return section


def test_every_registered_initializer_is_tested() -> None:
    tested = {section["type"] for section in [*PLAIN, *SEPARABLE, *SECOND_ORDER, *SEARCHES]}
    assert tested == set(PRECISION_INITIALIZERS)
