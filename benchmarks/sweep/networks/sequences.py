"""Networks over time: audio, text in images, video."""

from __future__ import annotations

import math

import torch
import torchvision.models.video as zoo
from torch import nn

from benchmarks.sweep.networks.blocks import conv, conv_1d
from benchmarks.sweep.networks.classification import CLASSES, shorten
from benchmarks.sweep.networks.network import Network


class _Keywords(nn.Module):
    """Spoken words from samples of sound: 1-D convolutions, one of them dilated."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_1d(1, 32, 79, 4),
            nn.MaxPool1d(4),
            conv_1d(32, 32),
            nn.MaxPool1d(4),
            conv_1d(32, 64, 3, 2),
            conv_1d(64, 64, 3, groups=64, dilation=2),
            conv_1d(64, 128, 1),
        )
        self.head = nn.Linear(128, 12)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.features(sound).mean(-1))
        return result


class _VoiceActivity(nn.Module):
    """Silero's kind: a Fourier transform as a convolution, an encoder, an LSTM and a probability for each frame."""

    def __init__(self, window: int = 128, hop: int = 64) -> None:
        super().__init__()
        bins = window // 2 + 1
        self.transform = nn.Conv1d(1, 2 * bins, window, hop, bias=False)
        angles = 2 * math.pi / window * torch.outer(torch.arange(bins), torch.arange(window))
        taps = torch.cat([angles.cos(), -angles.sin()]) * torch.hann_window(window)
        self.transform.weight.data.copy_(taps[:, None])
        # Not a weight to be given other statistics.
        self.transform.is_fixed = True  # type: ignore[assignment]
        self.encoder = nn.Sequential(
            nn.Conv1d(bins, 64, 3, 1, 1),
            nn.ReLU(),
            nn.Conv1d(64, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv1d(32, 64, 3, 1, 1),
            nn.ReLU(),
        )
        self.memory = nn.LSTM(64, 64, batch_first=True)
        self.head = nn.Linear(64, 1)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        real, imaginary = self.transform(sound).chunk(2, 1)
        magnitude = torch.sqrt(real * real + imaginary * imaginary + 1e-6)
        states, _ = self.memory(self.encoder(magnitude).transpose(1, 2))
        result: torch.Tensor = self.head(states.relu()).sigmoid()
        return result


class _Text(nn.Module):
    """CRNN: the columns of a picture of text as time steps, letters from a bidirectional LSTM."""

    def __init__(self, letters: int = 40) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(1, 16),
            nn.MaxPool2d(2),
            conv(16, 32),
            nn.MaxPool2d(2),
            conv(32, 64),
            nn.MaxPool2d((2, 1)),
            conv(64, 64),
        )
        self.memory = nn.LSTM(64 * 4, 48, bidirectional=True, batch_first=True)
        self.head = nn.Linear(96, letters)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        columns = self.features(images).permute(0, 3, 1, 2).flatten(2)
        states, _ = self.memory(columns)
        return self.head(states).log_softmax(-1)


class _Gesture(nn.Module):
    """A small network for each frame, then an LSTM over the frames, and the last state's classes."""

    def __init__(self, frames: int = 6) -> None:
        super().__init__()
        self.frames = frames
        self.features = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 64, 3, 2))
        self.memory = nn.LSTM(64, 64, num_layers=2, batch_first=True)
        self.head = nn.Linear(64, 8)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        values = self.features(clip.flatten(0, 1)).mean((2, 3))
        states, _ = self.memory(values.view(-1, self.frames, 64))
        result: torch.Tensor = self.head(states[:, -1])
        return result


class _Recurrent(nn.Module):
    """A GRU over the features of a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv_1d(6, 32, 5, 2), conv_1d(32, 48, 5, 2), conv_1d(48, 48))
        self.memory = nn.GRU(48, 48, batch_first=True)
        self.head = nn.Linear(48, 6)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        states, _ = self.memory(self.features(signal).transpose(1, 2))
        result: torch.Tensor = self.head(states[:, -1])
        return result


def _video() -> nn.Module:
    network = zoo.r3d_18(weights=None, num_classes=CLASSES)
    shorten((network.layer1, network.layer2), 1)
    # The other stages have most of the weights, in blocks like those before them.
    network.layer3, network.layer4 = nn.Identity(), nn.Identity()
    network.fc = nn.Linear(128, CLASSES)
    return network


NETWORKS = (
    Network("keyword_spotting", _Keywords, ((1, 1, 4000),), note="1-D"),
    Network("voice_activity", _VoiceActivity, ((1, 1, 2048),), note="1-D, LSTM"),
    Network("text_recognition", _Text, ((1, 1, 32, 96),), note="bidirectional LSTM"),
    Network("gesture", _Gesture, ((1, 6, 3, 48, 48),), note="frames in the batch, two LSTMs of one shape"),
    Network("motion_sensor", _Recurrent, ((1, 6, 128),), note="1-D, GRU"),
    Network("r3d_18", _video, ((1, 3, 8, 48, 48),), note="3-D, two stages of one block"),
)
