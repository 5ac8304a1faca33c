"""Detectors up to their boxes and class scores, before non-maximum suppression."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchvision.models.detection as zoo
from torch import nn

from benchmarks.sweep.networks.blocks import Residual, conv, separable
from benchmarks.sweep.networks.network import Network


class _SsdLite(nn.Module):
    """Backbone and heads of torchvision's SSDlite."""

    def __init__(self) -> None:
        super().__init__()
        network = zoo.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=8)
        self.backbone, self.head = network.backbone, network.head

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.head(list(self.backbone(images).values()))
        return found["bbox_regression"], found["cls_logits"]


class _CrossStage(nn.Module):
    """YOLOv8's block: part of the channels goes through bottlenecks, and every step of it is kept."""

    def __init__(self, channels_in: int, channels_out: int, depth: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        half = channels_out // 2
        self.first = conv(channels_in, channels_out, 1, activation=nn.SiLU)
        steps = [
            nn.Sequential(conv(half, half, activation=nn.SiLU), conv(half, half, activation=nn.SiLU))
            for _ in range(depth)
        ]
        self.steps = nn.ModuleList(Residual(step, nn.Identity) if shortcut else step for step in steps)
        self.last = conv((depth + 2) * half, channels_out, 1, activation=nn.SiLU)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(values).chunk(2, 1))
        for step in self.steps:
            parts.append(step(parts[-1]))
        result: torch.Tensor = self.last(torch.cat(parts, 1))
        return result


class _PyramidPooling(nn.Module):
    """Three poolings in a row, put together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels // 2, 1, activation=nn.SiLU)
        self.last = conv(2 * channels, channels, 1, activation=nn.SiLU)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        parts = [self.first(values)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        result: torch.Tensor = self.last(torch.cat(parts, 1))
        return result


class _Yolo8(nn.Module):
    """YOLOv8 on two levels: boxes by the expectation over a distribution of each side, in pixels, and class scores."""

    def __init__(self, base: int = 16, classes: int = 8, bins: int = 8) -> None:
        super().__init__()
        self.bins, self.classes = bins, classes
        self.stem = nn.Sequential(
            conv(3, base, 3, 2, activation=nn.SiLU),
            conv(base, 2 * base, 3, 2, activation=nn.SiLU),
            _CrossStage(2 * base, 2 * base),
        )
        self.middle = nn.Sequential(
            conv(2 * base, 4 * base, 3, 2, activation=nn.SiLU), _CrossStage(4 * base, 4 * base, 2)
        )
        self.deep = nn.Sequential(
            conv(4 * base, 8 * base, 3, 2, activation=nn.SiLU),
            _CrossStage(8 * base, 8 * base),
            _PyramidPooling(8 * base),
        )
        self.down_merge = _CrossStage(12 * base, 4 * base, shortcut=False)
        self.shrink = conv(4 * base, 4 * base, 3, 2, activation=nn.SiLU)
        self.up_merge = _CrossStage(12 * base, 8 * base, shortcut=False)
        self.boxes = nn.ModuleList(self._head(4 * base * factor, 4 * bins) for factor in (1, 2))
        self.scores = nn.ModuleList(self._head(4 * base * factor, classes) for factor in (1, 2))
        self.expectation = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        self.expectation.weight.data.copy_(torch.arange(bins).view(1, bins, 1, 1))
        # Not a weight to be given other statistics.
        self.expectation.is_fixed = True  # type: ignore[assignment]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = self.middle(self.stem(images))
        deep = self.deep(middle)
        fine = self.down_merge(torch.cat([F.interpolate(deep, scale_factor=2.0), middle], 1))
        coarse = self.up_merge(torch.cat([self.shrink(fine), deep], 1))
        levels = list(zip((fine, coarse), self.boxes, self.scores, (8.0, 16.0), strict=True))
        sides = torch.cat([self._sides(boxes(values)) * stride for values, boxes, _, stride in levels], 2)
        scores = torch.cat([scores(values).flatten(2) for values, _, scores, _ in levels], 2)
        before, after = sides.chunk(2, 1)
        return torch.cat([(after - before) / 2, before + after, scores.sigmoid()], 1)

    def _sides(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, 4, places): the distances to the sides of the box."""
        count, _, height, width = logits.shape
        distribution = logits.view(count, 4, self.bins, height * width).transpose(1, 2).softmax(1)
        expected: torch.Tensor = self.expectation(distribution)
        return expected.view(count, 4, height * width)

    @staticmethod
    def _head(channels: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            conv(channels, 32, activation=nn.SiLU), conv(32, 32, activation=nn.SiLU), nn.Conv2d(32, outputs, 1)
        )


class _FixedBatchYolo(nn.Module):
    """YOLOv3-tiny's kind; exported as usual, with the batch of 1 as a constant in every reshape."""

    def __init__(self, anchors: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.anchors, self.values = anchors, 5 + classes
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            layers += [conv(before, after, activation=nn.LeakyReLU), nn.MaxPool2d(2)]
        self.stem = nn.Sequential(*layers)
        self.deep = nn.Sequential(conv(64, 128, activation=nn.LeakyReLU), conv(128, 64, 1, activation=nn.LeakyReLU))
        self.lateral = conv(64, 32, 1, activation=nn.LeakyReLU)
        self.heads = nn.ModuleList(nn.Conv2d(channels, anchors * self.values, 1) for channels in (64, 96))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.stem(images)
        coarse = self.deep(F.max_pool2d(values, 2))
        fine = torch.cat([F.interpolate(self.lateral(coarse), scale_factor=2.0), values], 1)
        # Statistics are taken with several images.
        batch = images.shape[0] if self.training else 1
        found = []
        for head, features in zip(self.heads, (coarse, fine), strict=True):
            height, width = features.shape[2:]
            boxes = head(features).view(batch, self.anchors, self.values, int(height), int(width))
            found.append(boxes.permute(0, 1, 3, 4, 2).reshape(batch, -1, self.values).sigmoid())
        return torch.cat(found, 1)


class _PaddedBlock(nn.Module):
    """BlazeFace's block: a depthwise 5x5 convolution, and a shortcut that is pooled and gets channels of zeros."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.missing = stride, channels_out - channels_in
        self.branch = nn.Sequential(
            nn.Conv2d(channels_in, channels_in, 5, stride, 2, groups=channels_in),
            nn.Conv2d(channels_in, channels_out, 1),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        shortcut = F.max_pool2d(values, self.stride, self.stride) if self.stride > 1 else values
        if self.missing:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.missing))
        return F.relu(shortcut + self.branch(values))


class _BlazeFace(nn.Module):
    """Boxes with key points, and scores, on two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            conv(3, 24, 5, 2),
            _PaddedBlock(24, 24),
            _PaddedBlock(24, 28),
            _PaddedBlock(28, 42, 2),
            _PaddedBlock(42, 48),
            _PaddedBlock(48, 88, 2),
            _PaddedBlock(88, 88),
        )
        self.coarse = nn.Sequential(_PaddedBlock(88, 96, 2), _PaddedBlock(96, 96))
        self.boxes = nn.ModuleList((nn.Conv2d(88, 2 * 16, 1), nn.Conv2d(96, 6 * 16, 1)))
        self.scores = nn.ModuleList((nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.fine(images)
        levels = (fine, self.coarse(fine))

        def together(heads: nn.ModuleList, values: int) -> torch.Tensor:
            parts = [head(level).permute(0, 2, 3, 1) for head, level in zip(heads, levels, strict=True)]
            return torch.cat([part.reshape(part.shape[0], -1, values) for part in parts], 1)

        return together(self.boxes, 16), together(self.scores, 1).sigmoid()


class _FeaturePyramid(nn.Module):
    """RetinaNet's kind: the same heads on each of three levels, so that each weight is used three times."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            (
                nn.Sequential(conv(3, 16, 3, 2), separable(16, 32, 2), separable(32, 48, 2)),
                separable(48, 64, 2),
                separable(64, 96, 2),
            )
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in (48, 64, 96))
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(3))
        self.boxes = self._head(channels, 3 * 4)
        self.scores = self._head(channels, 3 * 5)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, levels = images, []
        for stage in self.stages:
            values = stage(values)
            levels.append(values)
        merged = self.lateral[2](levels[2])
        maps = [self.smooth[2](merged)]
        for number in (1, 0):
            merged = self.lateral[number](levels[number]) + F.interpolate(merged, scale_factor=2.0)
            maps.append(self.smooth[number](merged))
        return self._over(self.boxes, maps, 4), self._over(self.scores, maps, 5)

    @staticmethod
    def _over(head: nn.Module, maps: list[torch.Tensor], values: int) -> torch.Tensor:
        parts = [head(level).permute(0, 2, 3, 1) for level in maps]
        return torch.cat([part.reshape(part.shape[0], -1, values) for part in parts], 1)

    @staticmethod
    def _head(channels: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU(), nn.Conv2d(channels, outputs, 3, 1, 1))


NETWORKS = (
    Network("ssdlite_mobilenet_v3", _SsdLite, ((1, 3, 96, 96),), note="backbone and heads"),
    Network("yolov8", _Yolo8, ((1, 3, 96, 96),), note="two levels, 16 channels"),
    Network("yolo_fixed_batch", _FixedBatchYolo, ((1, 3, 96, 96),), "onnx", note="batch of 1 in the file's reshapes"),
    Network("blazeface", _BlazeFace, ((1, 3, 96, 96),), "onnx"),
    Network("feature_pyramid", _FeaturePyramid, ((1, 3, 96, 96),), note="heads shared by three levels"),
)
