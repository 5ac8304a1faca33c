"""The agent's policy: episodes that walk the groups of layers and spend the budget, from soft value iteration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.costs import Constraint
from nncf_mcq.precision_init.rl.reward_model import Choices, Floats
from nncf_mcq.precision_init.search.space import SearchSpace

CELLS = 256
_UNREACHABLE = 1e30
_TOLERANCE = 1e-9


class Planner:
    """Draws episodes from the policy of maximum entropy for additive losses under hard limits.

    The state is the group whose turn it is and the budget that is left above the lowest widths of the groups to come,
    in `CELLS` steps. The soft values follow exactly from the last group to the first; a width is taken with a
    probability that falls exponentially with the loss that it leads to. A width is masked when the limits could not be
    kept even with the lowest widths afterwards, so that every episode is feasible; the mask is computed from the costs
    themselves, not from the steps.

    Several limits are walked at once: each has its mask, and values are those of a single limit, one of the given ones
    or the mean of all in shares of what each leaves free (a surrogate constraint: Glover, Operations Research 13(6),
    1965).

    Source: Ziebart et al., "Maximum Entropy Inverse Reinforcement Learning", AAAI 2008; Haarnoja et al., "Reinforcement
    Learning with Deep Energy-Based Policies", ICML 2017 (soft Bellman equation).

    Args:
        space: The groups, in the order of the walk, and their widths.
        constraints: The limits; costs may not fall with the width.
    """

    def __init__(self, space: SearchSpace, constraints: Sequence[Constraint]) -> None:
        costs = [[[item.cost[group][bits] for bits in space.bits] for group in space.groups] for item in constraints]
        cost = np.array(costs, dtype=np.float64)
        lowest = cost.min(axis=2, keepdims=True)
        self._extra = cost - lowest
        free = np.array([item.limit - item.fixed for item in constraints]) - lowest.sum(axis=(1, 2))
        self._slack = np.array([item.limit for item in constraints]) * _TOLERANCE
        self._free = np.maximum(free, 0.0)
        share = np.divide(
            self._extra,
            self._free[:, None, None],
            out=np.where(self._extra > 0, np.inf, 0.0),
            where=self._free[:, None, None] > 0,
        )
        mixtures = np.eye(len(constraints))
        if len(constraints) > 1:
            mixtures = np.concatenate([mixtures, np.full((1, len(constraints)), 1 / len(constraints))])
        self._mixtures = mixtures
        # A step more than there are is as good as any larger number.
        shares = [np.where(mixture[:, None, None] > 0, share, 0.0) * mixture[:, None, None] for mixture in mixtures]
        self._steps = [np.rint(np.minimum(item.sum(axis=0) * CELLS, CELLS + 1)).astype(np.intp) for item in shares]

    def episodes(self, losses: Floats, temperature: float, count: int, random: np.random.Generator) -> Choices:
        """Walks.

        Args:
            losses: (samples, groups, widths) additive losses; those of each sample are walked `count` times.
            temperature: In the unit of the losses; 0 takes the best width at every step, once for each sample.
            count: Walks for each sample and limit.
            random: Source of the randomness.

        Returns:
            (walks, groups) index of each group's width.
        """
        count = count if temperature > 0 else 1
        walks = []
        for mixture, steps in zip(self._mixtures, self._steps, strict=True):
            values = _action_values(losses, steps, temperature)
            walks.append(self._walk(values, mixture, temperature, count, random))
        return np.concatenate(walks)

    def _walk(
        self, values: Floats, mixture: Floats, temperature: float, count: int, random: np.random.Generator
    ) -> Choices:
        samples, groups = values.shape[:2]
        sample = np.repeat(np.arange(samples), count)
        choices = np.empty((len(sample), groups), dtype=np.intp)
        left = np.repeat(self._free[None], len(sample), axis=0)
        with np.errstate(invalid="ignore"):
            weights = np.where(self._free > 0, mixture / np.where(self._free > 0, self._free, 1.0), 0.0)
        for group in range(groups):
            extra = self._extra[:, group]
            allowed = (extra[None] <= left[:, :, None] + self._slack[:, None]).all(axis=1)
            cell = np.clip(np.rint(left @ weights * CELLS).astype(np.intp), 0, CELLS)
            score = -values[sample, group, :, cell]
            if temperature > 0:
                score = score / temperature + random.gumbel(size=score.shape)
            choices[:, group] = np.where(allowed, score, -np.inf).argmax(axis=1)
            left -= extra[:, choices[:, group]].T
        return choices


def _action_values(losses: Floats, steps: NDArray[np.intp], temperature: float) -> Floats:
    """Expected loss of a width and of all that follows, less the entropy: (samples, groups, widths, cells)."""
    samples, groups, widths = losses.shape
    values = np.empty((samples, groups, widths, CELLS + 1))
    following = np.zeros((samples, CELLS + 1))
    cells = np.arange(CELLS + 1)
    for group in reversed(range(groups)):
        left = cells - steps[group][:, None]
        current = losses[:, group, :, None] + following[:, np.maximum(left, 0)]
        current = np.where(left >= 0, current, _UNREACHABLE)
        values[:, group] = current
        least = current.min(axis=1)
        if temperature > 0:
            total = np.exp((least[:, None] - current) / temperature).sum(axis=1)
            following = least - temperature * np.log(total)
        else:
            following = least
    return values
