"""The agent's policy: episodes that walk the groups of layers and spend the budget, from soft value iteration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nncf_mcq.precision_init.costs import Constraint
from nncf_mcq.precision_init.rl.planning.reward_model import Choices, Floats
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
    themselves, not from the steps. Costs that are products of two groups' bits, as bit operations, are exact in the
    mask; for the values they are made linear around a given choice.

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
        self._groups = space.groups
        self._constraints = constraints
        self._bits = space.matrix(
            {group: {bits: bits for bits in widths} for group, widths in space.choices.items()}, 0
        )
        self._is_width = self._bits > 0
        self._alone = np.array([_above_lowest(space.matrix(item.cost, 0.0)) for item in constraints])
        # (limits, groups, groups) cost of one bit of the one group times one bit of the other.
        self._products = np.zeros((len(constraints), len(self._groups), len(self._groups)))
        index = {group: position for position, group in enumerate(self._groups)}
        for row, item in enumerate(constraints):
            for (left, right), cost in item.products.items():
                self._products[row, index[left], index[right]] = self._products[row, index[right], index[left]] = cost
        self._has_products = bool(self._products.any())
        free = np.array([item.limit - item.total(space.lowest) for item in constraints])
        self._slack = np.array([item.limit for item in constraints]) * _TOLERANCE
        self._free = np.maximum(free, 0.0)
        mixtures = np.eye(len(constraints))
        if len(constraints) > 1:
            mixtures = np.concatenate([mixtures, np.full((1, len(constraints)), 1 / len(constraints))])
        self._mixtures = mixtures

    def episodes(
        self, losses: Floats, temperatures: Sequence[float], count: int, random: np.random.Generator, around: Choices
    ) -> Choices:
        """Walks.

        Args:
            losses: (samples, groups, widths) additive losses.
            temperatures: In the unit of the losses; 0 takes the best width at every step, once for each sample.
            count: Walks for each sample, limit and temperature above 0.
            random: Source of the randomness.
            around: (groups,) index of each group's width: where products of two groups' bits are made linear for the
                values. Not looked at where there are none.

        Returns:
            (walks, groups) index of each group's width.
        """
        samples, groups, widths = losses.shape
        above = [temperature for temperature in temperatures if temperature > 0]
        size = (groups, samples * count, widths)
        noise = [[random.gumbel(size=size) for _ in self._mixtures] for _ in above]
        shares = self._shares(around)
        walks = []
        for index, mixture in enumerate(self._mixtures):
            steps = self._steps(shares, mixture)
            lowest = self._lowest_cells(steps)
            if len(above) < len(temperatures):
                values = _action_values(losses, steps, lowest)
                walks.append(self._walk(values, lowest, mixture))
            if above:
                # All at once: an array of all takes little longer than one of each.
                scales = np.repeat(above, samples)
                values = _action_values(np.tile(losses, (len(above), 1, 1)), steps, lowest, scales[:, None, None])
                together = np.concatenate([row[index] for row in noise], axis=1)
                walks.append(self._walk(values, lowest, mixture, scales, together))
        return np.concatenate(walks)

    def _shares(self, around: Choices) -> Floats:
        """(limits, groups, widths) costs above the lowest widths, in shares of what the limit leaves free.

        A product is shared by its two groups: each is charged at half the way of the other from its lowest width to
        its present one, so that the sum is exact both there and at the lowest widths.
        """
        halfway = (self._bits[:, 0] + np.take_along_axis(self._bits, around[:, None], axis=1)[:, 0]) / 2
        extra = self._alone + _above_lowest(self._bits) * (self._products @ halfway)[:, :, None]
        free = self._free[:, None, None]
        found: Floats = np.divide(extra, free, out=np.where(extra > 0, np.inf, 0.0), where=free > 0)
        return found

    def _steps(self, shares: Floats, mixture: Floats) -> NDArray[np.intp]:
        """(groups, widths) the same in cells; a step more than there are is as good as any larger number."""
        weights = mixture[:, None, None]
        mixed = (np.where(weights > 0, shares, 0.0) * weights).sum(axis=0)
        mixed = np.where(self._is_width, mixed, np.inf)
        steps: NDArray[np.intp] = np.rint(np.minimum(mixed * CELLS, CELLS + 1)).astype(np.intp)
        return steps

    def _lowest_cells(self, steps: NDArray[np.intp]) -> list[int]:
        """The least that may be left at each group: the first ones, often small, cannot spend much."""
        if self._has_products:
            # Their steps are only those around one choice.
            return [0] * len(steps)
        most_expensive = np.where(steps <= CELLS, steps, 0).max(axis=1)
        # What is left is rounded once, the steps one by one: they may differ by half a cell for each group.
        spent = np.concatenate([[0], np.cumsum(most_expensive + 1)[:-1]]) + 1
        found: list[int] = np.maximum(CELLS - spent, 0).tolist()
        return found

    def _walk(
        self,
        values: Floats,
        lowest: Sequence[int],
        mixture: Floats,
        scales: Floats | None = None,
        noise: Floats | None = None,
    ) -> Choices:
        """Walks: by the best values of each sample, or with a temperature for each and noise (groups, walks, ...)."""
        samples, groups = values.shape[:2]
        sample = np.repeat(np.arange(samples), 1 if noise is None else noise.shape[1] // samples)
        walks = np.arange(len(sample))
        choices = np.empty((len(sample), groups), dtype=np.intp)
        left = np.repeat(self._free[None], len(sample), axis=0)
        # Of the groups to come it holds the lowest widths.
        bits = np.repeat(self._bits[None, :, 0], len(sample), axis=0)
        weights = np.where(self._free > 0, mixture / np.where(self._free > 0, self._free, 1.0), 0.0) * CELLS
        for group in range(groups):
            # (walks or 1, limits, widths)
            extra = self._alone[None, :, group]
            if self._has_products:
                rates = bits @ self._products[:, group].T
                extra = extra + rates[:, :, None] * (self._bits[group] - self._bits[group, 0])
            allowed = (extra <= left[:, :, None] + self._slack[:, None]).all(axis=1) & self._is_width[group]
            cell = np.minimum(np.maximum(np.rint(left @ weights), lowest[group]), CELLS).astype(np.intp)
            score = values[sample, group, :, cell]
            if noise is None or scales is None:
                np.negative(score, out=score)
            else:
                score /= -scales[sample, None]
                score += noise[group]
            score[~allowed] = -np.inf
            chosen = score.argmax(axis=1)
            left -= extra[walks if len(extra) > 1 else 0, :, chosen]
            if self._has_products:
                bits[:, group] = self._bits[group, chosen]
            choices[:, group] = chosen
        return choices


def _above_lowest(values: Floats) -> Floats:
    """Values of each width less that of the group's lowest one."""
    return np.asarray(values - values[:, :1])


def _action_values(
    losses: Floats, steps: NDArray[np.intp], lowest: Sequence[int], temperatures: Floats | None = None
) -> Floats:
    """Expected loss of a width and of all that follows, less the entropy: (samples, groups, widths, cells).

    The temperatures are (samples, 1, 1), above 0; without them the best width is taken. Cells below a group's lowest
    one are left open: no walk comes there.
    """
    samples, groups, widths = losses.shape
    values = np.empty((samples, groups, widths, CELLS + 1))
    # Of the cells below the lowest nothing follows: the walk has spent more than there is.
    following = np.full((samples, 2 * (CELLS + 1)), _UNREACHABLE)
    following[:, CELLS + 1 :] = 0.0
    for group in reversed(range(groups)):
        low = lowest[group]
        current = values[:, group, :, low:]
        for width, step in enumerate(steps[group].tolist()):
            first = CELLS + 1 - step
            np.add(following[:, first + low : first + CELLS + 1], losses[:, group, width, None], out=current[:, width])
        least = current.min(axis=1)
        if temperatures is not None:
            work = least[:, None] - current
            work /= temperatures
            np.exp(work, out=work)
            least = least - temperatures[:, 0] * np.log(work.sum(axis=1))
        following[:, CELLS + 1 + low :] = least
    return values
