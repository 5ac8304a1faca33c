"""A network for tests that need no training, and what scripts of NNCF 2 do with it."""

from __future__ import annotations

from typing import Any

import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model, register_default_init_args
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SHAPE = (3, 12, 12)


class Block(nn.Module):
    """Convolution, batch normalization and ReLU, with a skip connection around them."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, values: Tensor) -> Tensor:
        return values + torch.relu(self.norm(self.conv(values)))


class Network(nn.Module):
    """Kinds of layers that differ in how NNCF 2 and OpenVINO store their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.plain = Block(8, 1)
        self.depthwise = Block(8, 8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.head = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        values = self.depthwise(self.plain(torch.relu(self.stem(images))))
        return self.head(torch.relu(self.up(values)).mean((2, 3)))


def network(seed: int = 0) -> Network:
    """With random weights, and batch normalizations that scale some channels by negative numbers and one by 0."""
    torch.manual_seed(seed)
    made = Network()
    for norm in (made.plain.norm, made.depthwise.norm):
        nn.init.uniform_(norm.weight, -1.5, 1.5)
        nn.init.uniform_(norm.bias, -0.2, 0.2)
        norm.running_mean.uniform_(-0.3, 0.3)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    with torch.no_grad():
        made.depthwise.norm.weight[3] = 0
    return made.eval()


def loader(images: int = 16) -> DataLoader[Any]:
    """Random images and classes."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn((images, *SHAPE), generator=generator)
    return DataLoader(TensorDataset(values, torch.randint(0, 5, (images,), generator=generator)), batch_size=4)


def configured(compression: dict[str, Any] | list[dict[str, Any]], **top: Any) -> NNCFConfig:
    """A configuration with the loader registered."""
    values = {"input_info": {"sample_size": [2, *SHAPE]}, **top, "compression": compression}
    config = NNCFConfig.from_dict(values)
    return register_default_init_args(config, loader(), autoq_eval_fn=None)


def compress(compression: dict[str, Any] | list[dict[str, Any]], **top: Any) -> tuple[Any, Any]:
    """Controller and compressed network."""
    controller, compressed = create_compressed_model(network(), configured(compression, **top), dump_graphs=False)
    return controller, compressed


def train(model: nn.Module, steps: int = 3, learning_rate: float = 1e-2) -> None:
    """Some steps of a training, batch normalizations included."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    model.train()
    batches = list(loader())
    for step in range(steps):
        images, labels = batches[step % len(batches)]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    model.eval()
