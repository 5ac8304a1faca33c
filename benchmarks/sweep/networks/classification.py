"""Classifiers of torchvision, most of them with fewer blocks of each kind, a smaller input and fewer classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torchvision.models as zoo
from torch import nn

from benchmarks.sweep.networks.network import Network

CLASSES = 100
HIDDEN = 64
"""Hidden units of classifiers that have 4096."""

_IMAGE = ((1, 3, 96, 96),)
_SMALL = ((1, 3, 64, 64),)


def shorten(blocks: Iterable[nn.Sequential], keep: int) -> None:
    """Removes all but the first blocks of each sequence; all blocks must keep the shape but the first."""
    for sequence in blocks:
        for name in list(sequence._modules)[keep:]:
            del sequence._modules[name]


def _plain(name: str, **arguments: object) -> Callable[[], nn.Module]:
    return functools.partial(getattr(zoo, name), weights=None, num_classes=CLASSES, **arguments)


def _residual(name: str, blocks: int = 1) -> Callable[[], nn.Module]:
    """A residual network of three stages: the fourth has three quarters of all weights, in blocks like the others."""

    def build() -> nn.Module:
        network = getattr(zoo, name)(weights=None, num_classes=CLASSES)
        shorten((network.layer1, network.layer2, network.layer3), blocks)
        network.layer4 = nn.Identity()
        network.fc = nn.Linear(network.fc.in_features // 2, CLASSES)
        return network

    return build


def _narrow_head(name: str) -> Callable[[], nn.Module]:
    """A network whose classifier has hidden layers, with fewer units in them."""

    def build() -> nn.Module:
        network = getattr(zoo, name)(weights=None, num_classes=CLASSES)
        sizes = iter((HIDDEN, HIDDEN, CLASSES))
        units: int | None = None
        for index, layer in enumerate(network.classifier):
            if isinstance(layer, nn.Linear):
                size = next(sizes)
                network.classifier[index] = nn.Linear(units or layer.in_features, size)
                units = size
        return network

    return build


def _inception(name: str, skipped: tuple[str, ...], features: int) -> Callable[[], nn.Module]:
    """An Inception network without some blocks, and the number of features that it has then."""

    def build() -> nn.Module:
        network = getattr(zoo, name)(weights=None, num_classes=CLASSES, aux_logits=False, init_weights=False)
        for block in skipped:
            setattr(network, block, nn.Identity())
        network.fc = nn.Linear(features, CLASSES)
        return network

    return build


def _vgg() -> nn.Module:
    network = _narrow_head("vgg11_bn")()
    # The stages of 256 channels and before; those of 512 are like them.
    network.features = network.features[:15]
    network.classifier[0] = nn.Linear(256 * 7 * 7, HIDDEN)
    return network


def _efficientnet() -> nn.Module:
    network = zoo.efficientnet_b0(weights=None, num_classes=CLASSES)
    shorten(list(network.features)[1:-1], 1)
    return network


def _mobilenet_v3() -> nn.Module:
    network = zoo.mobilenet_v3_large(weights=None, num_classes=CLASSES)
    network.features = network.features[:11]
    network.classifier = nn.Sequential(nn.Linear(80, 256), nn.Hardswish(), nn.Linear(256, CLASSES))
    return network


def _regnet() -> nn.Module:
    network = zoo.regnet_y_400mf(weights=None, num_classes=CLASSES)
    shorten(network.trunk_output, 1)
    return network


def _convnext() -> nn.Module:
    network = zoo.convnext_tiny(weights=None, num_classes=CLASSES)
    shorten(list(network.features)[1:6:2], 1)
    # The last stage has two thirds of all weights, in blocks like those before it.
    del network.features[6:]
    network.classifier[0] = type(network.classifier[0])(384, eps=1e-6)
    network.classifier[2] = nn.Linear(384, CLASSES)
    return network


def _swin() -> nn.Module:
    return zoo.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=48,
        depths=[2, 2, 2],
        num_heads=[3, 6, 12],
        window_size=[4, 4],
        num_classes=CLASSES,
    )


def _vit() -> nn.Module:
    return zoo.VisionTransformer(
        image_size=96,
        patch_size=16,
        num_layers=3,
        num_heads=4,
        hidden_dim=192,
        mlp_dim=768,
        num_classes=CLASSES,
    )


_THREE_STAGES = "three stages of one block"

NETWORKS = (
    Network("alexnet", _narrow_head("alexnet"), _SMALL, note=f"{HIDDEN} hidden units"),
    Network("vgg11_bn", _vgg, _SMALL, note=f"four convolutions, {HIDDEN} hidden units"),
    Network("resnet18", _residual("resnet18", 2), _SMALL, note="three stages"),
    Network("resnet50", _residual("resnet50"), _SMALL, note=_THREE_STAGES),
    Network("resnext50_32x4d", _residual("resnext50_32x4d"), _SMALL, note=_THREE_STAGES),
    Network("wide_resnet50_2", _residual("wide_resnet50_2"), _SMALL, note=_THREE_STAGES),
    Network("densenet121", lambda: zoo.DenseNet(32, (3, 4, 5, 3), 64, num_classes=CLASSES), _SMALL, note="15 layers"),
    Network("squeezenet1_1", _plain("squeezenet1_1"), _IMAGE),
    Network(
        "googlenet",
        _inception("googlenet", ("inception4b", "inception4c", "inception5a", "inception5b"), 832),
        _SMALL,
        note="5 of 9 Inception blocks",
    ),
    Network(
        "inception_v3",
        _inception("inception_v3", ("Mixed_5d", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7b", "Mixed_7c"), 1280),
        ((1, 3, 107, 107),),
        note="5 of 11 Inception blocks",
    ),
    Network("mobilenet_v2", _plain("mobilenet_v2", width_mult=0.5), _IMAGE, "onnx", note="half of the channels"),
    Network("mobilenet_v3_small", _plain("mobilenet_v3_small"), _IMAGE, "program"),
    Network("mobilenet_v3_large", _mobilenet_v3, _IMAGE, note="without the last six blocks"),
    Network("mnasnet0_5", _plain("mnasnet0_5"), _IMAGE),
    Network("shufflenet_v2_x0_5", _plain("shufflenet_v2_x0_5"), _IMAGE, "onnx"),
    Network("efficientnet_b0", _efficientnet, _IMAGE, note="one block of each size"),
    Network("regnet_y_400mf", _regnet, _IMAGE, note="one block of each size"),
    Network("convnext_tiny", _convnext, _SMALL, note=_THREE_STAGES),
    Network("swin", _swin, _SMALL, note="three stages of two blocks, 48 channels"),
    Network("vit", _vit, _IMAGE, note="three blocks, 192 channels"),
)
