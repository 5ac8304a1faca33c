"""Conformance of precision initializers: the ways to find each layer's bit-width."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import numpy as np
import pytest
import torch

from nncf_mcq.config.budget import Budget
from nncf_mcq.errors import BudgetError
from nncf_mcq.policy import SUPPORTED_BITS, Policy
from nncf_mcq.precision_init import PrecisionTask
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.testing.budgets import LIMITS, budget_at, join_budgets, limit_of
from nncf_mcq.testing.networks import quantize_small_network, small_config
from nncf_mcq.testing.registration import RegisteredTestCase, Section
from nncf_mcq.testing.tasks import Space, WatchedSearch, finished_search, watched_search

WEIGHTS = Space()
ACTIVATIONS = Space(activation_bits=(4, 8))
EVERY_WIDTH = Space(SUPPORTED_BITS)
ONE_WIDTH = Space((4,))

_MIDDLE = 0.4
"""Place of a limit between the smallest and the largest value that policies reach."""


class PrecisionInitializerTestCase(RegisteredTestCase):
    """Suite for a subclass of `PrecisionInitializer`; the fixture `section` is its JSON.

    Its policies are searched in a small network. `BudgetPrecisionInitializerTestCase` is for one that takes a budget.
    """

    registry = PRECISION_INITIALIZERS
    path = "compression.initializer.precision"
    alternatives = frozenset({"budget", "goal"})

    @pytest.fixture(
        params=[WEIGHTS, ACTIVATIONS, EVERY_WIDTH, ONE_WIDTH],
        ids=["weights", "weights_and_activations", "every_width", "one_width"],
    )
    def space(self, request: pytest.FixtureRequest) -> Space:
        """The bit-widths to choose from; an initializer that refuses some overrides this."""
        found: Space = request.param
        return found

    @pytest.fixture
    def search(self, section: Section, space: Space) -> WatchedSearch:
        """A finished search; not to be edited."""
        return finished_search(section, space)

    def test_the_policy_is_one_of_the_network(self, search: WatchedSearch) -> None:
        """Every layer and activation has a bit-width, and those that must share one do."""
        policy, quantizable = search.found.policy, search.task.quantizable
        assert set(policy.weight_bits) == {layer.name for layer in quantizable.layers}
        assert set(policy.activation_bits) == {point.name for point in quantizable.activation_points}
        for members in quantizable.groups.values():
            assert len({policy.weight_bits[layer.name] for layer in members}) == 1, "they share their weights"
        for names in quantizable.unified_scales:
            assert len({policy.activation_bits[name] for name in names}) == 1, "they share their range"

    def test_bit_widths_are_among_those_allowed(self, search: WatchedSearch, space: Space) -> None:
        """A search keeps to the choices; what does not search keeps to the widths that it asks the table for."""
        policy, task = search.found.policy, search.task
        required = search.initializer.required_bits(space.weight_bits)
        assert set(required) <= set(SUPPORTED_BITS)
        assert list(required) == sorted(set(required))
        if search.initializer.searches:
            assert task.group_bits(policy.key) is not None, "it is none of the choices"
        assert set(policy.weight_bits.values()) <= {*required, *_float_choices(task)}
        assert set(policy.activation_bits.values()) <= set(SUPPORTED_BITS)

    def test_every_run_is_counted_and_no_policy_is_run_twice(self, search: WatchedSearch) -> None:
        """The cost of a search is the number of unique policies that it scored."""
        assert search.runs == search.task.evaluator.evaluations
        if not search.initializer.searches:
            assert search.runs == 0, "`searches` says that no policy is scored"
        limit = getattr(search.initializer.parameters, "evaluations", None)
        if limit is not None:
            assert search.runs <= limit

    def test_the_details_are_json(self, search: WatchedSearch) -> None:
        """They stand in the report of the result."""
        json.dumps(dict(search.found.details), allow_nan=False)

    def test_progress_is_part_of_a_whole(self, search: WatchedSearch) -> None:
        """Reports are shown as bars."""
        for done, total in search.progress:
            assert 0 <= done <= total

    def test_the_same_search_finds_the_same(self, section: Section, search: WatchedSearch, space: Space) -> None:
        """Randomness depends on a parameter, and on nothing that another library may have drawn before."""
        again = watched_search(section, space)
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        again.find_policy()
        assert again.found.policy == search.found.policy
        assert again.scored == search.scored

    def test_a_network_is_quantized(self, section: Section) -> None:
        """The whole journey, from the JSON to a model that runs with the bit-widths of the policy."""
        result = quantize_small_network(small_config(precision=section))
        assert {layer.name: layer.bits for layer in result.layers} == result.policy.weight_bits
        assert result.search.method == section["type"]

    def test_a_budget_is_tested(self, section: Section) -> None:
        """The parameter `budget` comes with a promise that another suite tests."""
        if "budget" in self.registry[section["type"]].Parameters.model_fields:
            assert isinstance(self, BudgetPrecisionInitializerTestCase), (
                f"{section['type']} takes a budget: subclass BudgetPrecisionInitializerTestCase"
            )


class BudgetPrecisionInitializerTestCase(PrecisionInitializerTestCase):
    """Suite for a precision initializer with a `budget`; the one in the section is replaced by others."""

    @pytest.mark.parametrize("limit", list(LIMITS))
    def test_every_kind_of_limit_is_kept(self, section: Section, limit: str) -> None:
        """A limit in the middle of what policies reach."""
        self._check(section, budget_at(limit, _MIDDLE, WEIGHTS), WEIGHTS)

    @pytest.mark.parametrize("limit", list(LIMITS))
    def test_the_tightest_limit_leaves_the_cheapest_policy(self, section: Section, limit: str) -> None:
        """Where only one policy keeps the limit, that one is found."""
        search = self._check(section, budget_at(limit, 0.0, WEIGHTS), WEIGHTS)
        assert set(search.found.policy.weight_bits.values()) == {min(WEIGHTS.weight_bits)}

    def test_a_limit_that_excludes_nothing_is_kept(self, section: Section) -> None:
        """The most expensive policy meets it."""
        self._check(section, budget_at("weight_size.average_bits", 1.0, WEIGHTS), WEIGHTS)

    def test_limits_are_kept_together(self, section: Section) -> None:
        """Every limit that is given must hold."""
        limits = [budget_at("weight_size.average_bits", 0.5, WEIGHTS), budget_at("bops.ratio", 0.3, WEIGHTS)]
        self._check(section, join_budgets(limits), WEIGHTS)

    @pytest.mark.parametrize("limit", ["weight_size.average_bits", "bops.ratio"])
    def test_limits_are_kept_in_every_space(self, section: Section, space: Space, limit: str) -> None:
        """Bit operations are products where activations have a choice as well."""
        self._check(section, budget_at(limit, _MIDDLE, space), space)

    @pytest.mark.parametrize("limit", list(LIMITS))
    def test_a_limit_out_of_reach_names_what_can_be_reached(self, section: Section, limit: str) -> None:
        """The error comes before any policy is scored, and names the smallest and the largest reachable value."""
        search = watched_search({**section, "budget": budget_at(limit, 1.0, WEIGHTS)}, WEIGHTS)
        budget = budget_at(limit, 0.0, WEIGHTS, factor=0.5)
        with pytest.raises(BudgetError) as caught:
            self.create({**section, "budget": budget}).find_policy(search.task)
        smallest, largest = (limit_of(limit, fraction, WEIGHTS) for fraction in (0.0, 1.0))
        message = str(caught.value)
        assert limit in message
        assert re.search(rf"{smallest:.6g} to {largest:.6g}\b", message), message
        assert search.runs == 0

    @pytest.mark.parametrize("limit", [limit for limit in LIMITS if limit != "weight_size.bytes"])
    def test_a_limit_out_of_reach_is_found_before_anything_is_computed(self, section: Section, limit: str) -> None:
        """All that the layers alone can tell is told before a pass over the images: see `check`."""
        task = finished_search({"type": "uniform", "bits": min(WEIGHTS.weight_bits)}, WEIGHTS).task
        initializer = self.create({**section, "budget": budget_at(limit, 0.0, WEIGHTS, factor=0.5)})
        with pytest.raises(BudgetError, match="reach"):
            initializer.check(task.costs, task.choices)

    @staticmethod
    def _check(section: Section, budget: dict[str, Any], space: Space) -> WatchedSearch:
        search = finished_search({**section, "budget": budget}, space)
        policy, task = search.found.policy, search.task
        group_bits = task.group_bits(policy.key)
        assert group_bits is not None
        limits = Budget.model_validate(budget)
        for constraint in task.costs.constraints(limits, task.choices):
            assert constraint.is_met(group_bits), f"{constraint.path}: {constraint.total(group_bits)}"
        _check_directly(limits, policy, task)
        return search


def _check_directly(limits: Budget, policy: Policy, task: PrecisionTask) -> None:
    """The same without constraints, for the costs that a report names."""
    size, bops = limits.weight_size, limits.bops
    if size is not None and size.average_bits is not None:
        assert task.costs.average_bits(policy) <= size.average_bits * (1 + 1e-9)
    if bops is not None and bops.total is not None:
        assert task.costs.bops(policy) <= bops.total * (1 + 1e-9)


def _float_choices(task: PrecisionTask) -> set[int]:
    return {bits for widths in task.choices.values() for bits in widths if bits not in SUPPORTED_BITS}
