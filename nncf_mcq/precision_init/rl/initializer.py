"""`"type": "rl"`: each layer's bits by reinforcement learning."""

from __future__ import annotations

from typing import Literal

import optuna
from pydantic import Field, PositiveInt

from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.precision_init.rl.ddpg.algorithm import DdpgSampler
from nncf_mcq.precision_init.rl.sampler import RLSampler
from nncf_mcq.precision_init.search import SearchInitializer, SearchProblem
from nncf_mcq.utils.json_values import JsonObject


@PRECISION_INITIALIZERS.register
class RlPrecision(SearchInitializer):
    """The best of the policies that an agent proposes as it walks the network and spends the budget.

    `planning` is the agent of this package, see `RLSampler`. `ddpg` is the published one, a baseline: it knows neither
    sensitivities nor the budget, so give it `"warm_start": "none"` to have it as it was published.
    """

    class Parameters(SearchInitializer.Parameters):
        """Which agent, and what `SearchInitializer` takes."""

        type: Literal["rl"] = "rl"
        agent: Literal["planning", "ddpg"] = Field(
            default="planning",
            description="Agent. planning: model-based, from sensitivities and scores. ddpg: that of HAQ and AutoQ.",
        )
        patience: PositiveInt | None = Field(
            default=30,
            description="Number of trials without a gain of half a percent after which the search ends; null, and the "
            "default of ddpg: it uses all evaluations.",
        )

    parameters: Parameters
    resumes_exactly = True

    @property
    def patience(self) -> int | None:
        """As in the base class. The published agent learns from scratch: it has no end of its own unless asked for."""
        is_asked = "patience" in self.parameters.model_fields_set
        return self.parameters.patience if is_asked or self.parameters.agent == "planning" else None

    def make_sampler(self, problem: SearchProblem) -> optuna.samplers.BaseSampler:
        """The agent as a sampler."""
        if self.parameters.agent == "ddpg":
            return DdpgSampler(problem, self.parameters.seed)
        return RLSampler(problem, self.parameters.seed, self._base(problem))

    def describe(self) -> JsonObject:
        """Agent and seed."""
        return {"agent": self.parameters.agent, **super().describe()}

    @staticmethod
    def _base(problem: SearchProblem) -> float | None:
        """The score that the sensitivities are above: that of the largest widths, as far as they add up."""
        if problem.sensitivities is None:
            return None
        task = problem.task
        score = task.evaluator.score(task.policy(task.widest_quantized))
        # Where layers may stay float, that is what the largest width of each loses to it.
        return max(
            score - sum(problem.sensitivities[group][bits] for group, bits in task.widest_quantized.items()), 0.0
        )
