"""Model-based reinforcement learning: plan in what was learned from the scores, act where improvement is expected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.rl.planning.planner import Planner
from nncf_mcq.precision_init.rl.planning.reward_model import Choices, Floats, RewardModel, Uncertainty
from nncf_mcq.precision_init.search.space import SearchSpace

SAMPLES = 3
"""Samples of the reward model that are planned with, beside its mean."""
EPISODES = 24
"""Episodes that are imagined for each sample, temperature and limit."""
TEMPERATURES = (0.0, 0.003, 0.01, 0.03)
"""Of the episodes, in shares of the best score so far."""
HIGHER_TEMPERATURES = (0.1, 0.3, 1.0, 10.0, 100.0)
"""One after the other where nothing new is imagined, as in a small network."""
MOST_TRIALS = 160
"""The model learns from no more than the best ones: its time grows with the cube."""
_REFIT = 8
_FAR = -20.0


class Agent:
    """Proposes the next policy from all that were scored.

    One proposal: the reward model is conditioned on the scores. The losses of changing one group of the best policy so
    far, as expected and as sampled from the model, are what the planner walks the network with; so episodes are drawn
    where a sample believes that the optimum is (posterior sampling), interactions with the best policy included. Of the
    imagined episodes that one is proposed which has the largest expected improvement, judged by the whole model, in
    which the changes interact with each other as well.

    Sources: Osband, Russo and Van Roy, "(More) Efficient Reinforcement Learning via Posterior Sampling", NeurIPS 2013;
    learning from imagined episodes: Sutton, "Dyna", SIGART Bulletin 2(4), 1991; expected improvement: Jones, Schonlau
    and Welch, "Efficient Global Optimization of Expensive Black-Box Functions", J. of Global Optimization 13, 1998.

    Args:
        space: Groups and widths.
        constraints: The limits.
        losses: (groups, widths) sensitivities, or anything proportional to them; infinite where a group has no such
            width.
        base: Score with the largest width everywhere; None if the losses are only proportional to sensitivities.
    """

    def __init__(
        self, space: SearchSpace, constraints: Sequence[Constraint], losses: Floats, base: float | None
    ) -> None:
        self._planner = Planner(space, constraints)
        self._is_width = np.isfinite(losses)
        # Of widths that a group does not have: never chosen, but numbers.
        self._losses = np.where(self._is_width, losses, 0.0)
        self._base = base
        # Point at which the costs of the first episode are computed, before anything is scored.
        self._middle = (self._is_width.sum(axis=1) - 1) // 2
        self._fits: dict[bytes, Uncertainty] = {}

    def propose(
        self, choices: Choices, scores: Floats, pending: Choices, random: np.random.Generator
    ) -> NDArray[np.intp]:
        """The policy to score next.

        Args:
            choices: (policies, groups) scored policies, all different.
            scores: (policies,) their scores.
            pending: (policies, groups) policies that others are scoring now.
            random: Source of the randomness.

        Returns:
            (groups,) index of each group's width, feasible. One that was scored only where nothing new was imagined.
        """
        if len(scores) == 0:
            # The most promising of all is every worker's first choice: those that come later draw another.
            temperature = float(self._losses.mean()) if len(pending) else 0.0
            first: NDArray[np.intp] = self._planner.episodes(
                self._losses[None], [temperature], 1, random, self._middle
            )[0]
            return first
        model = self._learn(choices, scores, pending)
        best = choices[scores.argmin()]
        known = {row.tobytes() for row in np.concatenate([choices, pending]).astype(np.intp)}
        candidates = self._imagine(model, best, TEMPERATURES, float(scores.min()), random)
        for temperature in HIGHER_TEMPERATURES:
            fresh = np.array([row.tobytes() not in known for row in candidates])
            if fresh.any():
                candidates = candidates[fresh]
                break
            candidates = self._imagine(model, best, (temperature,), float(scores.min()), random)
        mean, deviation = model.predict(candidates)
        chosen: NDArray[np.intp] = candidates[log_expected_improvement(mean, deviation, float(scores.min())).argmax()]
        return chosen

    def _learn(self, choices: Choices, scores: Floats, pending: Choices) -> RewardModel:
        if len(scores) > MOST_TRIALS:
            # In the order of the trials, so that the fit below sees the same ones while none is displaced.
            kept = np.sort(np.argsort(scores, kind="stable")[:MOST_TRIALS])
            choices, scores = choices[kept], scores[kept]
        losses, base = self._losses, self._base
        if base is None:
            sums = losses[np.arange(losses.shape[0]), choices].sum(axis=1)
            losses, base = losses * np.median(scores / np.maximum(sums, 1e-30)), 0.0
        model = RewardModel(losses, base, self._is_width)
        # Fitted again after every few trials only: the result changes little, and fitting is most of the time.
        fitted = len(scores) // _REFIT * _REFIT
        if fitted:
            key = scores[:fitted].tobytes()
            if key not in self._fits:
                self._fits[key] = model.fit(choices[:fitted], scores[:fitted])
            model.uncertainty = self._fits[key]
        model.learn(choices, scores)
        if len(pending):
            # As if they had the expected score ("kriging believer", Ginsbourger et al. 2010): others are proposed.
            expected, _ = model.predict(pending)
            model.learn(np.concatenate([choices, pending]), np.concatenate([scores, expected]))
        return model

    def _imagine(
        self,
        model: RewardModel,
        best: NDArray[np.intp],
        temperatures: Sequence[float],
        score: float,
        random: np.random.Generator,
    ) -> Choices:
        groups, widths = self._losses.shape
        changed = np.repeat(best[None], groups * widths, axis=0)
        changed[np.arange(groups * widths), np.repeat(np.arange(groups), widths)] = np.tile(np.arange(widths), groups)
        losses = model.sample(changed, SAMPLES, random).reshape(-1, groups, widths)
        losses = losses - losses[:, np.arange(groups), best][:, :, None]
        scaled = [share * score for share in temperatures]
        return np.unique(self._planner.episodes(losses, scaled, EPISODES, random, best), axis=0)


def log_expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Logarithm of the expected amount by which a normal variable is below the best score, exact far from it too.

    Args:
        mean: Of the variable.
        deviation: Its standard deviation, positive.
        best: The score to improve on.
    """
    ratio = (best - mean) / deviation
    density = np.exp(-0.5 * ratio**2) / np.sqrt(2 * np.pi)
    near = np.log(np.maximum(ratio * ndtr(ratio) + density, 1e-300))
    # Far above the best score the two terms cancel in all their digits, and what is left is density / ratio ** 2.
    far = -0.5 * ratio**2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(np.maximum(-ratio, 1.0))
    result: Floats = np.log(deviation) + np.where(ratio > _FAR, near, far)
    return result
