"""The two networks of DDPG."""

from __future__ import annotations

import torch
from torch.nn.functional import relu

HIDDEN = (300, 300)
_OUTPUT_BOUND = 3e-3


class Actor(torch.nn.Module):
    """(N, state) states -> (N, 1) actions in [0, 1].

    Two hidden layers of 300 units, as in HAQ's own code and in NNCF's AutoQ; Lillicrap et al., "Continuous control with
    deep reinforcement learning", ICLR 2016, have 400 and 300, and these initial values.

    Args:
        state_size: Values of one state.
        generator: Source of the initial values; the global one is not touched.
    """

    def __init__(self, state_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = _linear(state_size, HIDDEN[0], generator)
        self.second = _linear(*HIDDEN, generator)
        self.output = _linear(HIDDEN[1], 1, generator, _OUTPUT_BOUND)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The actions."""
        hidden = relu(self.second(relu(self.first(states))))
        return torch.sigmoid(self.output(hidden))


class Critic(torch.nn.Module):
    """(N, state) states and (N, 1) actions -> (N, 1) values: the sum of the rewards from there on.

    State and action have a first layer each and are added before its ReLU, as in HAQ.

    Args:
        state_size: Values of one state.
        generator: Source of the initial values; the global one is not touched.
    """

    def __init__(self, state_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.of_state = _linear(state_size, HIDDEN[0], generator)
        self.of_action = _linear(1, HIDDEN[0], generator)
        self.second = _linear(*HIDDEN, generator)
        self.output = _linear(HIDDEN[1], 1, generator, _OUTPUT_BOUND)

    def forward(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """The values."""
        hidden = relu(self.second(relu(self.of_state(states) + self.of_action(actions))))
        values: torch.Tensor = self.output(hidden)
        return values


def _linear(inputs: int, outputs: int, generator: torch.Generator, bound: float | None = None) -> torch.nn.Linear:
    """Uniform in +-bound, by default one over the root of the inputs."""
    # Made without values, since PyTorch would draw them from the global generator.
    layer = torch.nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = inputs**-0.5 if bound is None else bound
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
