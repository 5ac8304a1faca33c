"""Precision initializers with one mistake each, and the tests of the suite that must notice it."""

from __future__ import annotations

import random
from typing import Any, ClassVar, Literal

from nncf_mcq import PRECISION_INITIALIZERS, BudgetError, Policy
from nncf_mcq.precision_init import (
    BudgetedParameters,
    IlpPrecision,
    PrecisionInitializer,
    PrecisionResult,
    PrecisionTask,
)
from nncf_mcq.precision_init.separable import SeparablePrecision
from nncf_mcq.testing import BudgetPrecisionInitializerTestCase, PrecisionInitializerTestCase
from tests.testing.broken.sections import section_of

BUDGET = {"weight_size": {"average_bits": 5}}


class FewestBits(PrecisionInitializer):
    """A sound initializer to make mistakes in: the smallest widths, which keep every budget."""

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        policy = task.policy({group: min(widths) for group, widths in task.choices.items()})
        return PrecisionResult(policy, {"score": task.evaluator.score(policy)})


@PRECISION_INITIALIZERS.register
class MissesALayer(FewestBits):
    """Leaves the last layer out."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["misses_a_layer"] = "misses_a_layer"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        policy = super().find_policy(task).policy
        return PrecisionResult(Policy(dict(list(policy.weight_bits.items())[:-1]), policy.activation_bits))


class TestMissesALayer(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_the_policy_is_one_of_the_network", "test_a_network_is_quantized"}
    section = section_of("misses_a_layer")


@PRECISION_INITIALIZERS.register
class SplitsAGroup(FewestBits):
    """Gives layers that share their weights different widths."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["splits_a_group"] = "splits_a_group"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        policy = super().find_policy(task).policy
        return PrecisionResult(Policy({**policy.weight_bits, "second": 8}, policy.activation_bits))


class TestSplitsAGroup(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_the_policy_is_one_of_the_network"}
    section = section_of("splits_a_group")


@PRECISION_INITIALIZERS.register
class OtherWidth(FewestBits):
    """Takes a width that is no choice."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["other_width"] = "other_width"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        return PrecisionResult(task.policy(dict.fromkeys(task.choices, 3)))


class TestOtherWidth(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_bit_widths_are_among_those_allowed"}
    section = section_of("other_width")


@PRECISION_INITIALIZERS.register
class Unseeded(FewestBits):
    """Chooses at random, from a generator that nobody can seed in the JSON."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["unseeded"] = "unseeded"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        return PrecisionResult(task.policy({group: random.choice(widths) for group, widths in task.choices.items()}))


class TestUnseeded(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_the_same_search_finds_the_same"}
    section = section_of("unseeded")


@PRECISION_INITIALIZERS.register
class Uncounted(FewestBits):
    """Scores models behind the back of the count."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["uncounted"] = "uncounted"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        task.evaluator.score_model(task.quantizable.model)
        return super().find_policy(task)


class TestUncounted(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_every_run_is_counted_and_no_policy_is_run_twice"}
    section = section_of("uncounted")


@PRECISION_INITIALIZERS.register
class RunsAgain(FewestBits):
    """Scores the policy found once more."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["runs_again"] = "runs_again"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        result = super().find_policy(task)
        task.evaluator._scores.clear()
        return PrecisionResult(result.policy, {"score": task.evaluator.score(result.policy)})


class TestRunsAgain(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_every_run_is_counted_and_no_policy_is_run_twice"}
    section = section_of("runs_again")


@PRECISION_INITIALIZERS.register
class SearchesSecretly(FewestBits):
    """Scores although no images were held out for it."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["searches_secretly"] = "searches_secretly"

    searches = False


class TestSearchesSecretly(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_every_run_is_counted_and_no_policy_is_run_twice"}
    section = section_of("searches_secretly")


@PRECISION_INITIALIZERS.register
class TakesMore(FewestBits):
    """Scores more policies than it was allowed to."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["takes_more"] = "takes_more"
        evaluations: int = 1

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        task.evaluator.score_many([task.policy(dict.fromkeys(task.choices, bits)) for bits in (4, 8)])
        return super().find_policy(task)


class TestTakesMore(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_every_run_is_counted_and_no_policy_is_run_twice"}
    section = section_of("takes_more", evaluations=1)


@PRECISION_INITIALIZERS.register
class NoJson(FewestBits):
    """Reports a number that JSON does not have."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["no_json"] = "no_json"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        return PrecisionResult(super().find_policy(task).policy, {"score": float("nan")})


class TestNoJson(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_the_details_are_json"}
    section = section_of("no_json")


@PRECISION_INITIALIZERS.register
class EndlessProgress(FewestBits):
    """Reports more than there is."""

    class Parameters(PrecisionInitializer.Parameters):
        type: Literal["endless_progress"] = "endless_progress"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        task.progress(3, 2)
        return super().find_policy(task)


class TestEndlessProgress(PrecisionInitializerTestCase):
    fails: ClassVar = {"test_progress_is_part_of_a_whole"}
    section = section_of("endless_progress")


class TestBudgetOfIlp(PrecisionInitializerTestCase):
    """The suite without budgets, for a class that has one."""

    fails: ClassVar = {"test_a_budget_is_tested"}
    section = section_of("ilp", budget=BUDGET)


@PRECISION_INITIALIZERS.register
class IgnoresTheBudget(PrecisionInitializer):
    """Takes the largest widths whatever the budget says."""

    class Parameters(BudgetedParameters):
        type: Literal["ignores_the_budget"] = "ignores_the_budget"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        return PrecisionResult(task.policy(task.widest))


class TestIgnoresTheBudget(BudgetPrecisionInitializerTestCase):
    fails: ClassVar = {
        "test_every_kind_of_limit_is_kept",
        "test_the_tightest_limit_leaves_the_cheapest_policy",
        "test_limits_are_kept_together",
        "test_limits_are_kept_in_every_space",
        "test_a_limit_out_of_reach_names_what_can_be_reached",
    }
    section = section_of("ignores_the_budget", budget=BUDGET)


@PRECISION_INITIALIZERS.register
class KeepsOneLimit(IlpPrecision):
    """Looks at the size only, where a budget has more limits."""

    class Parameters(SeparablePrecision.Parameters):
        type: Literal["keeps_one_limit"] = "keeps_one_limit"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        assert self.parameters.budget is not None
        if self.parameters.budget.weight_size is not None:
            self.parameters = self.parameters.model_copy(update={"budget": self._size_only()})
        return super().find_policy(task)

    def _size_only(self) -> Any:
        assert self.parameters.budget is not None
        return self.parameters.budget.model_copy(update={"bops": None})


class TestKeepsOneLimit(BudgetPrecisionInitializerTestCase):
    fails: ClassVar = {"test_limits_are_kept_together"}
    section = section_of("keeps_one_limit", budget=BUDGET)


@PRECISION_INITIALIZERS.register
class WantsALimit(IlpPrecision):
    """Takes a budget that excludes nothing for a mistake."""

    class Parameters(SeparablePrecision.Parameters):
        type: Literal["wants_a_limit"] = "wants_a_limit"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        assert self.parameters.budget is not None
        constraints = task.costs.constraints(self.parameters.budget, task.choices)
        if all(constraint.is_met(task.widest) for constraint in constraints):
            raise BudgetError("it excludes nothing")
        return super().find_policy(task)


class TestWantsALimit(BudgetPrecisionInitializerTestCase):
    fails: ClassVar = {"test_a_limit_that_excludes_nothing_is_kept"}
    section = section_of("wants_a_limit", budget=BUDGET)


@PRECISION_INITIALIZERS.register
class SaysNoRange(IlpPrecision):
    """Says that a budget cannot be met, but not what can."""

    class Parameters(SeparablePrecision.Parameters):
        type: Literal["says_no_range"] = "says_no_range"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        try:
            return super().find_policy(task)
        except BudgetError as error:
            raise BudgetError("compression.initializer.precision.budget: no policy meets it") from error


class TestSaysNoRange(BudgetPrecisionInitializerTestCase):
    fails: ClassVar = {"test_a_limit_out_of_reach_names_what_can_be_reached"}
    section = section_of("says_no_range", budget=BUDGET)


@PRECISION_INITIALIZERS.register
class ScoresFirst(IlpPrecision):
    """Finds out that a budget cannot be met when half of the work is done."""

    class Parameters(SeparablePrecision.Parameters):
        type: Literal["scores_first"] = "scores_first"

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        task.evaluator.score(task.policy(task.widest))
        return super().find_policy(task)


class TestScoresFirst(BudgetPrecisionInitializerTestCase):
    fails: ClassVar = {"test_a_limit_out_of_reach_names_what_can_be_reached"}
    section = section_of("scores_first", budget=BUDGET)


@PRECISION_INITIALIZERS.register
class ChecksNothing(IlpPrecision):
    """Finds mistakes only after the statistics."""

    class Parameters(SeparablePrecision.Parameters):
        type: Literal["checks_nothing"] = "checks_nothing"

    def check(self, *arguments: Any) -> None:
        pass


class TestChecksNothing(BudgetPrecisionInitializerTestCase):
    fails: ClassVar = {"test_a_limit_out_of_reach_is_found_before_anything_is_computed"}
    section = section_of("checks_nothing", budget=BUDGET)
