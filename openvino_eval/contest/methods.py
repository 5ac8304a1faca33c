"""Who takes part: names of methods, their arms, and the precision initializers behind them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nncf_mcq.utils import JsonObject, JsonValue
from openvino_eval.errors import EvaluationError


class Arm(enum.StrEnum):
    """Where a search starts: from the policy of the ILP, from nothing; `-` where a method knows no such choice."""

    WARM = "warm"
    COLD = "cold"
    NONE = "-"


CHOSEN_ARMS: Final = (Arm.WARM, Arm.COLD)
"""Arms that methods with both can run in."""

_WARM_STARTS = {Arm.WARM: "ilp", Arm.COLD: "none"}


@dataclass(frozen=True)
class Method:
    """A way to find a policy.

    Attributes:
        parameters: Of its precision initializer; budget, evaluations, seed and warm start are added.
        arms: Those that it can run with.
    """

    parameters: Mapping[str, JsonValue]
    arms: tuple[Arm, ...] = CHOSEN_ARMS

    @property
    def searches(self) -> bool:
        """Whether it takes a number of evaluations and a seed; a method that does not is run once."""
        return Arm.NONE not in self.arms


METHODS: Final[Mapping[str, Method]] = {
    "rl": Method({"type": "rl"}, (Arm.WARM,)),
    # As published: it knows neither sensitivities nor a warm start.
    "ddpg": Method({"type": "rl", "agent": "ddpg"}, (Arm.COLD,)),
    "ilp": Method({"type": "ilp"}, (Arm.NONE,)),
    "greedy": Method({"type": "greedy"}, (Arm.NONE,)),
    "tpe": Method({"type": "optuna", "sampler": "tpe"}),
    "gp": Method({"type": "optuna", "sampler": "gp"}),
    "cmaes": Method({"type": "optuna", "sampler": "cmaes"}),
    "nsga2": Method({"type": "optuna", "sampler": "nsgaii"}),
    "qmc": Method({"type": "optuna", "sampler": "qmc"}),
    "random": Method({"type": "optuna", "sampler": "random"}),
}


@dataclass(frozen=True)
class Competitor:
    """A method with one of its arms.

    Attributes:
        method: One of `METHODS`.
        arm: One of the method's.
    """

    method: str
    arm: Arm

    def __str__(self) -> str:
        return self.method if self.arm is Arm.NONE else f"{self.method} ({self.arm})"


@dataclass(frozen=True)
class ContestRun:
    """One search of a competitor.

    Attributes:
        competitor: Who searches.
        seed: Of its randomness.
    """

    competitor: Competitor
    seed: int

    def __str__(self) -> str:
        return (
            f"{self.competitor} seed {self.seed}" if METHODS[self.competitor.method].searches else str(self.competitor)
        )

    @property
    def name(self) -> str:
        """The name of its file."""
        arm = [] if self.competitor.arm is Arm.NONE else [str(self.competitor.arm)]
        return "-".join([self.competitor.method, *arm, str(self.seed)])

    def parameters(self, budget: Mapping[str, JsonValue], evaluations: int) -> JsonObject:
        """JSON values of its precision initializer.

        Args:
            budget: Of the policies.
            evaluations: Unique scored policies, for a method that takes a number.
        """
        method = METHODS[self.competitor.method]
        found: JsonObject = {**method.parameters, "budget": dict(budget)}
        if method.searches:
            found |= {
                "evaluations": evaluations,
                "seed": self.seed,
                "warm_start": _WARM_STARTS[self.competitor.arm],
            }
        return found


def parse_methods(text: str) -> tuple[str, ...]:
    """Reads names that are separated by commas.

    Raises:
        EvaluationError: A name is unknown or occurs twice, or there is none.
    """
    return _parse("--methods", text, list(METHODS))


def parse_arms(text: str) -> tuple[Arm, ...]:
    """The same for arms."""
    return tuple(Arm(name) for name in _parse("--arms", text, [str(arm) for arm in CHOSEN_ARMS]))


def competitors(methods: Sequence[str], arms: Sequence[Arm]) -> list[Competitor]:
    """Everyone who takes part, in the order of the methods.

    Args:
        methods: Names.
        arms: For the methods that know both; the others run with their only one.
    """
    return [
        Competitor(name, arm)
        for name in methods
        for arm in METHODS[name].arms
        if arm in arms or len(METHODS[name].arms) == 1
    ]


def plan(competitors: Sequence[Competitor], seeds: int) -> list[ContestRun]:
    """All runs, in the order in which they are best begun.

    Seed after seed, so that a contest that is not finished compares everyone. Processes that run side by side should
    not measure the same sensitivities at the same time: one run that measures them goes first, then those that do
    not, then the others.

    Args:
        competitors: Who takes part.
        seeds: How many seeds each gets that takes one.
    """
    measuring = [competitor for competitor in competitors if competitor.arm is not Arm.COLD]
    others = [competitor for competitor in competitors if competitor.arm is Arm.COLD]
    # Those that do not search are the shortest.
    measuring.sort(key=lambda competitor: competitor.arm is not Arm.NONE)
    order = [*measuring[:1], *others, *measuring[1:]]
    return [
        ContestRun(competitor, seed)
        for seed in range(seeds)
        for competitor in order
        if seed == 0 or METHODS[competitor.method].searches
    ]


def _parse(option: str, text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    for index, name in enumerate(names):
        if name not in allowed:
            raise EvaluationError(f"{option}: found {name!r}, allowed: {', '.join(allowed)}, separated by commas")
        if name in names[:index]:
            raise EvaluationError(f"{option}: {name!r} is named twice")
    return tuple(names)
