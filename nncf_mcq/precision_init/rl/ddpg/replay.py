"""The episodes that DDPG learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Some transitions of the memory.

    Attributes:
        states: (N, state).
        actions: (N, 1) in [0, 1].
        scores: (N, 1) float64 scores of the episodes that they are from.
        next_states: (N, state); of no meaning after the last step.
        continues: (N, 1) 0 after the last step of an episode, else 1.
    """

    states: torch.Tensor
    actions: torch.Tensor
    scores: torch.Tensor
    next_states: torch.Tensor
    continues: torch.Tensor


class Replay:
    """The transitions of the latest episodes, all of the same length.

    Args:
        episodes: How many are kept.
        steps: Transitions of one episode.
        state_size: Values of one state.
    """

    def __init__(self, episodes: int, steps: int, state_size: int) -> None:
        self._capacity = episodes
        self._steps = steps
        self._states = torch.zeros(episodes * steps, state_size)
        self._actions = torch.zeros(episodes * steps, 1)
        self._scores = torch.zeros(episodes, dtype=torch.float64)
        self.episodes = 0
        """Episodes seen, those included that are no longer kept."""

    def add(self, states: NDArray[np.float32], actions: NDArray[np.float32], score: float) -> None:
        """Keeps an episode, in the place of the oldest if there is no other.

        Args:
            states: (steps, state).
            actions: (steps,) in [0, 1].
            score: Of the whole episode.
        """
        slot = self.episodes % self._capacity
        rows = slice(slot * self._steps, (slot + 1) * self._steps)
        self._states[rows] = torch.from_numpy(states)
        self._actions[rows, 0] = torch.from_numpy(actions)
        self._scores[slot] = score
        self.episodes += 1

    def scores(self) -> NDArray[np.float64]:
        """(kept episodes,) their scores."""
        kept: NDArray[np.float64] = self._scores[: min(self.episodes, self._capacity)].numpy()
        return kept

    def sample(self, random: np.random.Generator, size: int) -> Batch:
        """Transitions drawn alike, each at most once if there are enough."""
        kept = min(self.episodes, self._capacity) * self._steps
        rows = torch.from_numpy(random.choice(kept, size, replace=kept < size))
        continues = (rows + 1) % self._steps != 0
        following = torch.where(continues, rows + 1, rows)
        return Batch(
            states=self._states[rows],
            actions=self._actions[rows],
            scores=self._scores[rows // self._steps, None],
            next_states=self._states[following],
            continues=continues[:, None].float(),
        )
