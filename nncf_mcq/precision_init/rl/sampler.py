"""The agent as an Optuna sampler."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nncf_mcq.precision_init.rl.agent import Agent
from nncf_mcq.precision_init.rl.group_sampler import GroupSampler
from nncf_mcq.precision_init.rl.planning.reward_model import Choices, Floats
from nncf_mcq.precision_init.search import POLICY_ATTRIBUTE, SearchProblem
from nncf_mcq.precision_init.search.processes import episode


class RLSampler(GroupSampler):
    """A model-based agent walks the groups of layers and gives each a width; a trial is an episode.

    See `Agent` for what it does. What it knows is a function of the study's trials, the seed and the number of the
    trial that it is asked for, without counting those that a killed process left: it resumes a study that another
    process began, and several share one. It learns from any finished trial, whoever proposed it, by the policy that was
    scored after repair; its own proposals need none.

    Only for studies that minimize one value. Parameters that are not groups of the problem are sampled at random.

    Args:
        problem: The groups, their widths, the limits and the sensitivities.
        seed: Of all randomness.
        base: Score with the largest width everywhere; None if it is not known, as without sensitivities.
    """

    def __init__(self, problem: SearchProblem, seed: int, base: float | None) -> None:
        super().__init__(problem, seed)
        losses = problem.space.matrix(problem.losses, np.inf)
        self._agent = Agent(problem.space, problem.constraints, losses, base)
        # By trial number, of the study that was last asked about.
        self._read: dict[int, tuple[tuple[int, ...], float] | None] = {}
        self._study: Study | None = None

    def propose(self, study: Study, trial: FrozenTrial) -> list[int]:
        """The index of each group's width."""
        choices, scores = self._finished(study)
        random = np.random.default_rng([self._seed, episode(study, trial)])
        found: list[int] = self._agent.propose(choices, scores, self._pending(study, trial), random).tolist()
        return found

    def _finished(self, study: Study) -> tuple[Choices, Floats]:
        """Scored policies, each once, in the order of the trials."""
        if study is not self._study:
            self._study, self._read = study, {}
        found: dict[tuple[int, ...], float] = {}
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            # A finished trial does not change any more.
            if trial.number not in self._read:
                self._read[trial.number] = self._scored(trial)
            scored = self._read[trial.number]
            if scored is not None:
                found.setdefault(*scored)
        return self._rows(list(found)), np.array(list(found.values()), dtype=np.float64)

    def _pending(self, study: Study, current: FrozenTrial) -> Choices:
        """Policies that other trials are scoring now."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        found = {self._choice(trial) for trial in running if trial.number != current.number}
        return self._rows(sorted(choice for choice in found if choice is not None))

    def _scored(self, trial: FrozenTrial) -> tuple[tuple[int, ...], float] | None:
        choice = self._choice(trial)
        if choice is None or trial.value is None or not math.isfinite(trial.value):
            return None
        return choice, trial.value

    def _choice(self, trial: FrozenTrial) -> tuple[int, ...] | None:
        policy = trial.user_attrs.get(POLICY_ATTRIBUTE)
        if not isinstance(policy, dict):
            return None
        if any(policy.get(group) not in widths for group, widths in self._space.choices.items()):
            return None
        return tuple(self._space.parameters(policy).values())

    def _rows(self, choices: list[tuple[int, ...]]) -> NDArray[np.intp]:
        return np.array(choices, dtype=np.intp).reshape(len(choices), len(self._space.groups))
