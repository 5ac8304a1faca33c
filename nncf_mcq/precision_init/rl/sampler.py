"""The agent as an Optuna sampler."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nncf_mcq.precision_init.rl.agent import Agent
from nncf_mcq.precision_init.rl.reward_model import Choices, Floats
from nncf_mcq.precision_init.search import POLICY_ATTRIBUTE, SearchProblem


class RLSampler(BaseSampler):
    """A model-based agent walks the groups of layers and gives each a width; a trial is an episode.

    See `Agent` for what it does. What it knows is a function of the study's trials, the seed and the number of the
    trial that it is asked for: it resumes a study that another process began, and several share one. It learns from
    any finished trial, whoever proposed it, by the policy that was scored after repair; its own proposals need none.

    Only for studies that minimize one value. Parameters that are not groups of the problem are sampled at random.

    Args:
        problem: The groups, their widths, the limits and the sensitivities.
        seed: Of all randomness.
        base: Score with the largest width everywhere; None if it is not known, as without sensitivities.
    """

    def __init__(self, problem: SearchProblem, seed: int, base: float | None) -> None:
        self._space = problem.space
        self._distributions = problem.space.distributions
        losses = problem.space.matrix(problem.losses, np.inf)
        self._agent = Agent(problem.space, problem.constraints, losses, base)
        self._seed = seed
        self._random = RandomSampler(seed=seed)

    def reseed_rng(self) -> None:
        """Only what is sampled independently: an episode's randomness comes from its number."""
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All groups.

        Raises:
            ValueError: The study has several objectives.
        """
        if len(study.directions) > 1:
            raise ValueError("the agent has one reward: a study with several objectives needs another sampler")
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """An episode: the index of each group's width.

        Raises:
            ValueError: The study has several objectives.
        """
        self.infer_relative_search_space(study, trial)
        if search_space != self._distributions:
            return {
                name: self._random.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        choices, scores = self._finished(study)
        random = np.random.default_rng([self._seed, trial.number])
        found = self._agent.propose(choices, scores, self._pending(study, trial), random)
        return dict(zip(self._space.groups, found.tolist(), strict=True))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value of a parameter that is not a group.

        Raises:
            ValueError: The study has several objectives.
        """
        self.infer_relative_search_space(study, trial)
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _finished(self, study: Study) -> tuple[Choices, Floats]:
        """Scored policies, each once, in the order of the trials."""
        found: dict[tuple[int, ...], float] = {}
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            choice = self._choice(trial)
            if choice is not None and trial.value is not None and math.isfinite(trial.value):
                found.setdefault(choice, trial.value)
        return self._rows(list(found)), np.array(list(found.values()), dtype=np.float64)

    def _pending(self, study: Study, current: FrozenTrial) -> Choices:
        """Policies that other trials are scoring now."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        found = {self._choice(trial) for trial in running if trial.number != current.number}
        return self._rows(sorted(choice for choice in found if choice is not None))

    def _choice(self, trial: FrozenTrial) -> tuple[int, ...] | None:
        policy = trial.user_attrs.get(POLICY_ATTRIBUTE)
        if not isinstance(policy, dict):
            return None
        if any(policy.get(group) not in widths for group, widths in self._space.choices.items()):
            return None
        return tuple(self._space.parameters(policy).values())

    def _rows(self, choices: list[tuple[int, ...]]) -> NDArray[np.intp]:
        return np.array(choices, dtype=np.intp).reshape(len(choices), len(self._space.groups))
