"""YOLOv3 and YOLOv3-tiny, with the layers in the order of darknet's weight files.

After Redmon and Farhadi, "YOLOv3: An Incremental Improvement", arXiv:1804.02767, 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SOURCE = "{file} from https://pjreddie.com/media/files/{file}"
COCO_CLASSES = 80
BOX_VALUES = 5
"""Two of the centre, width, height, objectness."""

NEGATIVE_SLOPE = 0.1
EPSILON = 1e-6
"""Darknet adds it to the deviation rather than the variance, which is the same for all but dead channels."""


class Head(NamedTuple):
    """Where boxes of some sizes are predicted.

    Attributes:
        stride: Input pixels of one cell.
        anchors: Width and height in input pixels of the boxes that each cell predicts.
    """

    stride: int
    anchors: tuple[tuple[int, int], ...]


YOLOV3_HEADS = (
    Head(32, ((116, 90), (156, 198), (373, 326))),
    Head(16, ((30, 61), (62, 45), (59, 119))),
    Head(8, ((10, 13), (16, 30), (33, 23))),
)
# The published `.cfg` gives the second head the anchors (10, 14), (23, 27), (37, 58), but its weights were trained with
# these: mAP@0.5 of coco128 is 42.0 instead of 29.3.
YOLOV3_TINY_HEADS = (
    Head(32, ((81, 82), (135, 169), (344, 319))),
    Head(16, ((23, 27), (37, 58), (81, 82))),
)


class ConvolutionBlock(nn.Sequential):
    """Convolution without bias, batch normalization and leaky ReLU; keeps "same" padding."""

    def __init__(self, input_channels: int, output_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(input_channels, output_channels, kernel_size, stride, kernel_size // 2, bias=False),
            nn.BatchNorm2d(output_channels, eps=EPSILON),
            nn.LeakyReLU(NEGATIVE_SLOPE),
        )


class Residual(nn.Module):
    """Halves the channels, restores them, and adds the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvolutionBlock(channels, channels // 2, kernel_size=1)
        self.expand = ConvolutionBlock(channels // 2, channels, kernel_size=3)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (N, channels, H, W) to the same shape."""
        restored: Tensor = self.expand(self.reduce(features))
        return features + restored


class OverlappingMaxPool(nn.Module):
    """Maximum over 2x2 with stride 1 that keeps the size: the last row and column see one value less.

    Darknet pads at the bottom and right only. Cutting the first row and column off a pool that pads on all sides is the
    same, and needs no padding operation, which would keep the quantizer behind it from serving the layer before it.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        return F.max_pool2d(features, kernel_size=2, stride=1, padding=1)[:, :, 1:, 1:]


class Decoder(nn.Module):
    """From the heads' feature maps to boxes.

    Args:
        heads: In the order of the feature maps.
        classes: Number of classes.
        input_size: Height and width of the network's input in pixels.
    """

    anchors: Tensor
    cells: Tensor
    strides: Tensor

    def __init__(self, heads: Sequence[Head], classes: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        self._values = BOX_VALUES + classes
        self._grids = [(input_size[0] // head.stride, input_size[1] // head.stride) for head in heads]
        self._anchor_counts = [len(head.anchors) for head in heads]
        cells, anchors, strides = [], [], []
        for head, (rows, columns) in zip(heads, self._grids, strict=True):
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            corner = torch.stack([x, y], dim=-1).reshape(-1, 2).float() * head.stride
            for anchor in head.anchors:
                cells.append(corner)
                anchors.append(torch.tensor([anchor], dtype=torch.float32).expand_as(corner))
                strides.append(torch.full((len(corner), 1), float(head.stride)))
        for name, parts in (("cells", cells), ("anchors", anchors), ("strides", strides)):
            self.register_buffer(name, torch.cat(parts)[None], persistent=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decodes the heads.

        Args:
            features: (N, anchors * (5 + classes), rows, columns) of each head.

        Returns:
            (N, boxes, 5 + classes): centre x, y, width and height in input pixels, then the probability that there
            is an object, and that of each class given an object.
        """
        flat = []
        for item, (rows, columns), count in zip(features, self._grids, self._anchor_counts, strict=True):
            separate = item.reshape(-1, count, self._values, rows * columns).permute(0, 1, 3, 2)
            flat.append(separate.reshape(-1, count * rows * columns, self._values))
        raw = torch.cat(flat, dim=1)
        probabilities = raw[..., BOX_VALUES - 1 :].sigmoid()
        centres = raw[..., :2].sigmoid() * self.strides + self.cells
        sizes = raw[..., 2 : BOX_VALUES - 1].exp() * self.anchors
        return torch.cat([centres, sizes, probabilities], dim=-1)


class YoloV3Tiny(nn.Module):
    """Seven convolutions and two heads.

    Args:
        classes: Number of classes.
        input_size: Height and width of the input in pixels, multiples of 32.
    """

    checkpoint_source = SOURCE.format(file="yolov3-tiny.weights")

    def __init__(self, classes: int = COCO_CLASSES, input_size: tuple[int, int] = (416, 416)) -> None:
        super().__init__()
        outputs = [len(head.anchors) * (BOX_VALUES + classes) for head in YOLOV3_TINY_HEADS]
        channels = [3, 16, 32, 64, 128, 256]
        blocks: list[nn.Module] = []
        for before, after in pairwise(channels):
            blocks += [ConvolutionBlock(before, after, kernel_size=3), nn.MaxPool2d(2)]
        # The second head reads the last of these at full resolution.
        self.backbone = nn.Sequential(*blocks[:-1])
        self.deep = nn.Sequential(
            blocks[-1],
            ConvolutionBlock(256, 512, kernel_size=3),
            OverlappingMaxPool(),
            ConvolutionBlock(512, 1024, kernel_size=3),
            ConvolutionBlock(1024, 256, kernel_size=1),
        )
        self.large = nn.Sequential(ConvolutionBlock(256, 512, kernel_size=3), nn.Conv2d(512, outputs[0], 1))
        self.up = nn.Sequential(ConvolutionBlock(256, 128, kernel_size=1), nn.Upsample(scale_factor=2))
        self.medium = nn.Sequential(ConvolutionBlock(384, 256, kernel_size=3), nn.Conv2d(256, outputs[1], 1))
        self.decode = Decoder(YOLOV3_TINY_HEADS, classes, input_size)

    def forward(self, images: Tensor) -> Tensor:
        """Maps RGB images (N, 3, height, width), 0 to 1, to boxes as `Decoder` returns them."""
        shallow = self.backbone(images)
        deep = self.deep(shallow)
        boxes: Tensor = self.decode([self.large(deep), self.medium(torch.cat([self.up(deep), shallow], dim=1))])
        return boxes


class YoloV3(nn.Module):
    """Darknet-53 and three heads.

    Args:
        classes: Number of classes.
        input_size: Height and width of the input in pixels, multiples of 32.
    """

    checkpoint_source = SOURCE.format(file="yolov3.weights")

    def __init__(self, classes: int = COCO_CLASSES, input_size: tuple[int, int] = (416, 416)) -> None:
        super().__init__()
        outputs = [len(head.anchors) * (BOX_VALUES + classes) for head in YOLOV3_HEADS]
        stages = [_darknet_stage(channels, repeats) for channels, repeats in ((64, 1), (128, 2), (256, 8))]
        self.backbone = nn.Sequential(ConvolutionBlock(3, 32, kernel_size=3), *stages)
        self.middle = _darknet_stage(512, repeats=8)
        self.deep = _darknet_stage(1024, repeats=4)
        self.large_neck = _neck(1024, 512)
        self.large = _head(512, outputs[0])
        self.up_to_medium = nn.Sequential(ConvolutionBlock(512, 256, kernel_size=1), nn.Upsample(scale_factor=2))
        self.medium_neck = _neck(768, 256)
        self.medium = _head(256, outputs[1])
        self.up_to_small = nn.Sequential(ConvolutionBlock(256, 128, kernel_size=1), nn.Upsample(scale_factor=2))
        self.small_neck = _neck(384, 128)
        self.small = _head(128, outputs[2])
        self.decode = Decoder(YOLOV3_HEADS, classes, input_size)

    def forward(self, images: Tensor) -> Tensor:
        """Maps RGB images (N, 3, height, width), 0 to 1, to boxes as `Decoder` returns them."""
        shallow = self.backbone(images)
        middle = self.middle(shallow)
        large = self.large_neck(self.deep(middle))
        medium = self.medium_neck(torch.cat([self.up_to_medium(large), middle], dim=1))
        small = self.small_neck(torch.cat([self.up_to_small(medium), shallow], dim=1))
        boxes: Tensor = self.decode([self.large(large), self.medium(medium), self.small(small)])
        return boxes


def create_yolov3_tiny(classes: int = COCO_CLASSES, input_size: Sequence[int] = (416, 416)) -> nn.Module:
    """YOLOv3-tiny in evaluation mode with random weights."""
    return YoloV3Tiny(classes, _height_and_width(input_size)).eval()


def create_yolov3(classes: int = COCO_CLASSES, input_size: Sequence[int] = (416, 416)) -> nn.Module:
    """YOLOv3 in evaluation mode with random weights."""
    return YoloV3(classes, _height_and_width(input_size)).eval()


def _height_and_width(input_size: Sequence[int]) -> tuple[int, int]:
    height, width = input_size
    if height % 32 or width % 32 or min(height, width) <= 0:
        raise TypeError(f"input_size: found {list(input_size)}, allowed: two multiples of 32")
    return height, width


def _darknet_stage(channels: int, repeats: int) -> nn.Sequential:
    """A convolution that halves the resolution and doubles the channels, and residual blocks."""
    halving = ConvolutionBlock(channels // 2, channels, kernel_size=3, stride=2)
    return nn.Sequential(halving, *(Residual(channels) for _ in range(repeats)))


def _neck(input_channels: int, channels: int) -> nn.Sequential:
    """Five convolutions of alternating sizes; ends with `channels`."""
    widths = [input_channels, channels, 2 * channels, channels, 2 * channels, channels]
    return nn.Sequential(
        *(
            ConvolutionBlock(before, after, kernel_size=1 if after == channels else 3)
            for before, after in pairwise(widths)
        )
    )


def _head(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ConvolutionBlock(channels, 2 * channels, kernel_size=3), nn.Conv2d(2 * channels, outputs, 1))
