"""The published agent of mixed precision as an Optuna sampler: a baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr, ndtri

from nncf_mcq.precision_init.rl.ddpg.agent import NOISE_STREAM, DdpgAgent
from nncf_mcq.precision_init.rl.ddpg.features import group_features
from nncf_mcq.precision_init.rl.group_sampler import GroupSampler
from nncf_mcq.precision_init.search import SearchProblem
from nncf_mcq.precision_init.search.processes import POLICY_ATTRIBUTE, episode

WARM_UP = 20
FIRST_NOISE = 0.5
LAST_NOISE = 0.02
_SMALLEST_NOISE = 1e-6


class DdpgSampler(GroupSampler):
    """An agent walks the groups and gives each a width; a trial is an episode.

    The state is the published one: what the group's layer is, and the width of the group before. It holds neither a
    sensitivity nor what is left of the budget: proposals are lowered afterwards to keep it. [0, 1], the range of an
    action, is cut into as many equal intervals as there are widths. What is learned from are the widths that were
    scored, after repair, each as the middle of its interval: this way the episodes of other workers, random and
    enqueued ones count as well. HAQ's own code learns from the actions before the repair; NNCF's AutoQ does too, but
    puts the repaired width of the layer before into the state.

    The first 20 episodes are random, as many as in HAQ and AutoQ. Afterwards actions are drawn from a normal
    distribution around the actor's, truncated to [0, 1], whose standard deviation begins at 0.5 and decays
    exponentially. HAQ decays it by 0.99 in each of 600 episodes; AutoQ fits the decay to the number of episodes, such
    that about 0.013 to 0.027 is left in the last one. Here 0.02 is left: by 0.99, a search of 200 trials would end
    at 0.08.

    What the agent knows is a function of the completed trials, in the order of their completion, and of the seed: a
    sampler made for a study that another one began proposes what that one would have. One object is not to be used
    by several threads.

    Source: Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019; the agent's
    settings are named at `DdpgAgent`.

    Args:
        problem: The space, the layers and how many trials are planned.
        seed: Of all randomness.
    """

    def __init__(self, problem: SearchProblem, seed: int) -> None:
        super().__init__(problem, seed)
        self._widths = tuple(problem.space.choices.values())
        self._features = group_features(problem.task.quantizable, problem.space.groups)
        self._decay = (LAST_NOISE / FIRST_NOISE) ** (1 / max(problem.trials - WARM_UP, 1))
        self._forget()

    def propose(self, study: Study, trial: FrozenTrial) -> list[int]:
        """The index of each group's width."""
        self._absorb(study)
        random = np.random.default_rng((self._seed, NOISE_STREAM, episode(study, trial)))
        indices: list[int] = []
        for position in range(len(self._space.groups)):
            action = self._action(position, indices[-1] if indices else None, float(random.random()))
            count = len(self._widths[position])
            indices.append(min(int(action * count), count - 1))
        return indices

    def _action(self, position: int, previous: int | None, uniform: float) -> float:
        """The random number itself while warming up, else the quantile that it stands for around the actor's action."""
        episodes = self._agent.episodes
        if episodes < WARM_UP:
            return uniform
        mean = self._agent.act(self._states([previous], position)[0])
        noise = max(FIRST_NOISE * self._decay ** (episodes - WARM_UP), _SMALLEST_NOISE)
        low, high = ndtr(-mean / noise), ndtr((1 - mean) / noise)
        return float(np.clip(mean + noise * ndtri(low + uniform * (high - low)), 0.0, 1.0))

    def _states(self, previous: Sequence[int | None], first: int = 0) -> NDArray[np.float32]:
        """(positions, 10) states of successive positions, given the width's index before each; None is the largest."""
        shares = []
        for position, index in enumerate(previous, start=first):
            widths = self._widths[position - 1]
            shares.append(1.0 if index is None else widths[index] / widths[-1])
        features = self._features[first : first + len(shares)]
        return np.column_stack((features, shares)).astype(np.float32)

    def _forget(self) -> None:
        self._agent = DdpgAgent(self._features.shape[1] + 1, len(self._space.groups), self._seed)
        self._absorbed: list[int] = []

    def _absorb(self, study: Study) -> None:
        """Learns from the trials that were completed since the last call."""
        trials = [
            trial
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if POLICY_ATTRIBUTE in trial.user_attrs and trial.value is not None and math.isfinite(trial.value)
        ]
        trials.sort(key=lambda trial: (trial.datetime_complete, trial.number))
        numbers = [trial.number for trial in trials]
        if numbers[: len(self._absorbed)] != self._absorbed:
            # Another worker's trial became known after later ones, or this is another study.
            self._forget()
        for trial in trials[len(self._absorbed) :]:
            assert trial.value is not None
            score = trial.value if study.direction == StudyDirection.MINIMIZE else -trial.value
            self._learn(trial.user_attrs[POLICY_ATTRIBUTE], score)
            self._absorbed.append(trial.number)

    def _learn(self, group_bits: Mapping[str, int], score: float) -> None:
        indices = list(self._space.parameters(group_bits).values())
        counts = np.array([len(widths) for widths in self._widths])
        actions = ((np.array(indices) + 0.5) / counts).astype(np.float32)
        self._agent.observe(self._states([None, *indices[:-1]]), actions, score)
        if self._agent.episodes > WARM_UP:
            self._agent.learn()
