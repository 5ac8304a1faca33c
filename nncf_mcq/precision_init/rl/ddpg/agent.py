"""Deep deterministic policy gradient: an actor, a critic, and how they learn from scored episodes."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import mse_loss

from nncf_mcq.precision_init.rl.ddpg.networks import Actor, Critic
from nncf_mcq.precision_init.rl.ddpg.replay import Batch, Replay

ACTOR_LEARNING_RATE = 1e-4
CRITIC_LEARNING_RATE = 1e-3
TARGET_RATE = 0.01
DISCOUNT = 1.0
BATCH_SIZE = 64
BASELINE_RATE = 0.5
REPLAY_EPISODES = 128

BATCH_STREAM, NOISE_STREAM = range(2)
"""Randomness of different use is drawn from different streams of the one seed."""


class DdpgAgent:
    """Learns which action of each step ends in a low score.

    Every transition of an episode has the reward of the whole episode, as in HAQ's own code; the value of a step is
    the sum over the steps that are left, since nothing is discounted. The reward is the baseline less the score, in
    units of the standard deviation of the scores in memory: HAQ multiplies its reward, the change of the accuracy in
    percent, by 0.1, but the range of a score depends on the network. The baseline is the moving average of the batches'
    mean scores.

    Source: Lillicrap et al., "Continuous control with deep reinforcement learning", ICLR 2016, with the settings of
    Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019: actor and critic learn
    with Adam at 1e-4 and 1e-3, the targets follow at 0.01, no discount, batches of 64, one update for each
    step of a new episode, the latest 128 episodes in memory, and half the way to a batch's mean for the baseline.

    Args:
        state_size: Values of one state.
        steps: Steps of one episode.
        seed: Of the networks' initial values and of the batches.
    """

    def __init__(self, state_size: int, steps: int, seed: int) -> None:
        self._steps = steps
        self._seed = seed
        generator = torch.Generator().manual_seed(seed)
        self._actor, self._critic = Actor(state_size, generator), Critic(state_size, generator)
        self._target_actor, self._target_critic = copy.deepcopy(self._actor), copy.deepcopy(self._critic)
        self._actor_parameters, self._critic_parameters = (
            list(network.parameters()) for network in (self._actor, self._critic)
        )
        self._actor_optimizer = torch.optim.Adam(self._actor_parameters, ACTOR_LEARNING_RATE, fused=True)
        self._critic_optimizer = torch.optim.Adam(self._critic_parameters, CRITIC_LEARNING_RATE, fused=True)
        self._replay = Replay(REPLAY_EPISODES, steps, state_size)
        self._baseline: float | None = None

    @property
    def episodes(self) -> int:
        """Episodes seen so far."""
        return self._replay.episodes

    def act(self, state: NDArray[np.float32]) -> float:
        """The action in [0, 1] that the actor holds for best.

        Args:
            state: (state,) values in [0, 1].
        """
        with torch.inference_mode():
            return float(self._actor(torch.from_numpy(state)))

    def observe(self, states: NDArray[np.float32], actions: NDArray[np.float32], score: float) -> None:
        """Keeps an episode; what `Replay.add` says."""
        self._replay.add(states, actions, score)

    def learn(self) -> None:
        """One update for each step of an episode, a function of the seed and of the episodes seen."""
        random = np.random.default_rng((self._seed, BATCH_STREAM, self.episodes))
        scores = self._replay.scores()
        # Equal scores differ by rounding only, which is not to be learned from.
        unit = max(float(scores.std()), 1e-6 * float(np.abs(scores).mean()), 1e-30)
        for _ in range(self._steps):
            self._update(self._replay.sample(random, BATCH_SIZE), unit)

    def _update(self, batch: Batch, unit: float) -> None:
        mean = float(batch.scores.mean())
        self._baseline = mean if self._baseline is None else self._baseline + BASELINE_RATE * (mean - self._baseline)
        rewards = ((self._baseline - batch.scores) / unit).float()
        with torch.no_grad():
            following = self._target_critic(batch.next_states, self._target_actor(batch.next_states))
            targets = rewards + DISCOUNT * batch.continues * following
        loss = mse_loss(self._critic(batch.states, batch.actions), targets)
        self._step(loss, self._critic_parameters, self._critic_optimizer)
        loss = -self._critic(batch.states, self._actor(batch.states)).mean()
        # The critic has a part in this loss, but does not learn from it.
        self._step(loss, self._actor_parameters, self._actor_optimizer)
        with torch.no_grad():
            _follow(self._target_actor, self._actor_parameters)
            _follow(self._target_critic, self._critic_parameters)

    @staticmethod
    def _step(loss: torch.Tensor, parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()


def _follow(target: torch.nn.Module, parameters: list[torch.nn.Parameter]) -> None:
    for followed, parameter in zip(target.parameters(), parameters, strict=True):
        followed.lerp_(parameter, TARGET_RATE)
