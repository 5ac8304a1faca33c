"""Networks whose output is an image: segmentation, reconstruction, generation, super-resolution and heat maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchvision.models as backbones
import torchvision.models.segmentation as zoo
from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from benchmarks.sweep.networks.blocks import Residual, conv, separable
from benchmarks.sweep.networks.classification import shorten
from benchmarks.sweep.networks.network import Network

CLASSES = 8


class _Levels(nn.Module):
    """A backbone that returns two of its levels, as torchvision's segmentation networks need it.

    Args:
        features: In a row.
        low: Number of those before the finer level.
    """

    def __init__(self, features: nn.Sequential, low: int) -> None:
        super().__init__()
        self.low, self.high = features[:low], features[low:]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        low = self.low(images)
        high = self.high(low)
        return {"low": low, "high": high, "out": high}


class _Segmentation(nn.Module):
    """The segmentation itself out of what torchvision's networks return."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.network(images)["out"]
        return result


def _lraspp() -> nn.Module:
    # The last layer of the features only widens them.
    features = backbones.mobilenet_v3_small(weights=None).features[:-1]
    return _Segmentation(zoo.LRASPP(_Levels(features, 4), 24, 96, CLASSES, 64))


def _deeplab() -> nn.Module:
    features = backbones.mobilenet_v2(weights=None, width_mult=0.5).features[:-1]
    head = nn.Sequential(ASPP(160, (6, 12, 18), 64), conv(64, 64), nn.Conv2d(64, CLASSES, 1))
    return _Segmentation(zoo.DeepLabV3(_Levels(features, 4), head))


def _fcn() -> nn.Module:
    network = backbones.resnet50(weights=None, replace_stride_with_dilation=[False, True, True])
    stages = [network.layer1, network.layer2, network.layer3]
    shorten(stages, 1)
    stem = (network.conv1, network.bn1, network.relu, network.maxpool)
    head = nn.Sequential(conv(1024, 64), nn.Dropout(0.1), nn.Conv2d(64, CLASSES, 1))
    return _Segmentation(zoo.FCN(_Levels(nn.Sequential(*stem, *stages), 5), head))


class _UNet(nn.Module):
    """Three steps down and up again, by transposed convolutions, with skip connections."""

    def __init__(self, base: int = 12, classes: int = 4) -> None:
        super().__init__()
        widths = [base << step for step in range(4)]
        self.down = nn.ModuleList(
            nn.Sequential(conv(before, after), conv(after, after))
            for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, 2) for width in widths[:-1])
        self.merge = nn.ModuleList(nn.Sequential(conv(2 * width, width), conv(width, width)) for width in widths[:-1])
        self.head = nn.Conv2d(base, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        skipped: list[torch.Tensor] = []
        values = images
        for number, block in enumerate(self.down):
            values = block(F.max_pool2d(values, 2) if number else values)
            skipped.append(values)
        for up, merge, skip in reversed(list(zip(self.up, self.merge, skipped[:-1], strict=True))):
            values = merge(torch.cat([up(values), skip], 1))
        result: torch.Tensor = self.head(values)
        return result


def _generator(base: int = 24) -> nn.Module:
    """DCGAN's generator: nothing but transposed convolutions."""
    layers: list[nn.Module] = []
    channels = 64
    for factor, stride in ((8, 1), (4, 2), (2, 2), (1, 2)):
        padding = 0 if stride == 1 else 1
        layers += [
            nn.ConvTranspose2d(channels, base * factor, 4, stride, padding, bias=False),
            nn.BatchNorm2d(base * factor),
            nn.ReLU(),
        ]
        channels = base * factor
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh())


class _SuperResolution(nn.Module):
    """Residual blocks without normalization, PReLU, and PixelShuffle; twice as large."""

    def __init__(self, channels: int = 24, blocks: int = 4) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, channels, 5, 1, 2), nn.PReLU(channels))
        self.body = nn.Sequential(
            *(
                Residual(
                    nn.Sequential(
                        nn.Conv2d(channels, channels, 3, 1, 1),
                        nn.PReLU(channels),
                        nn.Conv2d(channels, channels, 3, 1, 1),
                    ),
                    nn.Identity,
                )
                for _ in range(blocks)
            )
        )
        self.tail = nn.Sequential(nn.Conv2d(channels, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.head(images)
        enlarged = F.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)
        result: torch.Tensor = self.tail(values + self.body(values)) + enlarged
        return result


class _Denoiser(nn.Module):
    """DnCNN: the noise is predicted and taken away."""

    def __init__(self, channels: int = 24, layers: int = 6) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            nn.Conv2d(1, channels, 3, 1, 1),
            nn.ReLU(),
            *(conv(channels, channels) for _ in range(layers)),
            nn.Conv2d(channels, 1, 3, 1, 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images - self.noise(images)


def _autoencoder() -> nn.Module:
    """Depthwise-separable encoder; the decoder's transposed convolutions are grouped."""

    def up(channels_in: int, channels_out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.ConvTranspose2d(channels_in, channels_in, 4, 2, 1, groups=channels_in // 4, bias=False),
            nn.BatchNorm2d(channels_in),
            nn.ReLU6(),
            conv(channels_in, channels_out, 1, activation=nn.ReLU6),
        )

    return nn.Sequential(
        conv(3, 16, 3, 2, activation=nn.ReLU6),
        separable(16, 32, 2, nn.ReLU6),
        separable(32, 64, 2, nn.ReLU6),
        separable(64, 64, 1, nn.ReLU6),
        up(64, 32),
        up(32, 16),
        up(16, 16),
        nn.Conv2d(16, 3, 3, 1, 1),
        nn.Sigmoid(),
    )


class _DilatedContext(nn.Module):
    """Branches of several dilations side by side, then in a row."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, channels, 3, 2))
        self.branches = nn.ModuleList(conv(channels, channels, dilation=rate) for rate in (1, 2, 4, 6))
        self.merge = conv(4 * channels, channels, 1)
        self.context = nn.Sequential(*(Residual(conv(channels, channels, dilation=rate)) for rate in (1, 2, 4)))
        self.head = nn.Conv2d(channels, 6, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.stem(images)
        values = self.merge(torch.cat([branch(values) for branch in self.branches], 1))
        return F.interpolate(self.head(self.context(values)), scale_factor=4.0, mode="bilinear", align_corners=False)


class _Landmarks(nn.Module):
    """Heat maps of landmarks, and their centres by a softmax over each map."""

    def __init__(self, landmarks: int = 10) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16, 3, 2), separable(16, 32, 2), separable(32, 64, 2), separable(64, 64))
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2), separable(64, 32), nn.Upsample(scale_factor=2), separable(32, 32)
        )
        self.head = nn.Conv2d(32, landmarks, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.head(self.decoder(self.encoder(images)))
        probabilities = maps.flatten(2).softmax(-1).view(maps.shape)
        positions = torch.linspace(0, 1, maps.shape[-1])
        across = (probabilities.sum(2) * positions).sum(-1)
        down = (probabilities.sum(3) * positions).sum(-1)
        return maps, torch.stack([across, down], -1)


_IMAGE = ((1, 3, 64, 64),)

NETWORKS = (
    Network("deeplabv3_mobilenet_v2", _deeplab, _IMAGE, note="half of the channels, head of 64"),
    Network("lraspp_mobilenet_v3", _lraspp, _IMAGE, note="MobileNetV3-small"),
    Network("fcn_resnet50", _fcn, _IMAGE, note="three stages of one block, head of 64"),
    Network("unet", _UNet, _IMAGE, note="transposed convolutions"),
    Network("dcgan_generator", _generator, ((1, 64, 1, 1),), note="transposed convolutions"),
    Network("autoencoder", _autoencoder, _IMAGE, note="grouped transposed convolutions"),
    Network("super_resolution", _SuperResolution, ((1, 3, 32, 32),), "onnx", note="PixelShuffle, PReLU"),
    Network("denoiser", _Denoiser, ((1, 1, 48, 48),)),
    Network("dilated_context", _DilatedContext, ((1, 3, 96, 96),)),
    Network("landmarks", _Landmarks, ((1, 3, 96, 96),), note="heat maps and coordinates"),
)
