from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from nncf_mcq.precision_init.rl.ddpg import agent as ddpg_agent
from nncf_mcq.precision_init.rl.ddpg.agent import DdpgAgent
from nncf_mcq.precision_init.rl.ddpg.replay import Batch

STEPS, STATE = 3, 4


def make_agent(episodes: int = 5) -> DdpgAgent:
    agent = DdpgAgent(STATE, STEPS, seed=0)
    random = np.random.default_rng(0)
    for episode in range(episodes):
        states, actions = random.random((STEPS, STATE)), random.random(STEPS)
        agent.observe(states.astype(np.float32), actions.astype(np.float32), float(episode**2))
    return agent


def test_targets_are_the_episodes_rewards_and_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent()
    critic, actor = copy.deepcopy(agent._critic), copy.deepcopy(agent._actor)
    batches: list[Batch] = []
    targets: list[torch.Tensor] = []
    sample, mse_loss = agent._replay.sample, torch.nn.functional.mse_loss

    def keep_batch(random: np.random.Generator, size: int) -> Batch:
        batches.append(sample(random, size))
        return batches[-1]

    def keep_targets(values: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        targets.append(target)
        return mse_loss(values, target)

    monkeypatch.setattr(agent._replay, "sample", keep_batch)
    monkeypatch.setattr(ddpg_agent, "mse_loss", keep_targets)
    agent.learn()
    assert len(batches) == len(targets) == STEPS
    # In units of the deviation of all scores; the baseline goes half the way to each batch's mean.
    unit = float(np.std([0, 1, 4, 9, 16]))
    means = [batch.scores.mean() for batch in batches]
    baselines = [means[0], (means[0] + means[1]) / 2, (means[0] + means[1]) / 4 + means[2] / 2]
    for batch, target, baseline in zip(batches, targets, baselines, strict=True):
        last = batch.continues == 0
        expected = ((baseline - batch.scores) / unit).float()
        torch.testing.assert_close(target[last], expected[last])
    with torch.no_grad():
        following = critic(batches[0].next_states, actor(batches[0].next_states))
    expected = ((baselines[0] - batches[0].scores) / unit).float() + following
    between = batches[0].continues == 1
    torch.testing.assert_close(targets[0][between], expected[between])


def test_the_targets_follow_slowly() -> None:
    agent = DdpgAgent(STATE, 1, seed=0)
    for score in (0.0, 1.0):
        agent.observe(np.full((1, STATE), score, np.float32), np.array([score], np.float32), score)
    for network, target in ((agent._actor, agent._target_actor), (agent._critic, agent._target_critic)):
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), target.parameters(), strict=True))
    before = copy.deepcopy([agent._actor.state_dict(), agent._critic.state_dict()])
    agent.learn()
    after = [agent._actor.state_dict(), agent._critic.state_dict()]
    followed = [agent._target_actor.state_dict(), agent._target_critic.state_dict()]
    # Adam's first step is its learning rate, for every value with a gradient.
    for old, new, follower, rate in zip(before, after, followed, (1e-4, 1e-3), strict=True):
        assert max(float((new[name] - old[name]).abs().max()) for name in old) == pytest.approx(rate, rel=0.05)
        for name in old:
            moved = follower[name] - old[name]
            torch.testing.assert_close(moved, 0.01 * (new[name] - old[name]), rtol=0, atol=1e-7)


def test_learning_depends_on_the_seed_and_the_episodes_only() -> None:
    agents = [make_agent(), make_agent(), make_agent(6)]
    for agent in agents:
        agent.learn()
    state = np.full(STATE, 0.5, np.float32)
    assert agents[0].act(state) == agents[1].act(state) != agents[2].act(state)
    assert 0 <= agents[0].act(state) <= 1
