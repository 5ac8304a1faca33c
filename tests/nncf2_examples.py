"""Files in the form of NNCF 2's examples for ImageNet classification: the same keys, for any network of torchvision."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

SIZES = {"mobilenet_v2": 64, "resnet50": 64, "squeezenet1_1": 64, "inception_v3": 107}
"""Networks, and a small size of their input."""

_ITERATIONS = {"mobilenet_v2": 60, "resnet50": 60, "squeezenet1_1": 32, "inception_v3": 104}
"""Of autoq: a few more than the sensitivities of all layers take; the examples have 300."""

MODES = ("autoq", "hawq", "manual")

STAGES = {
    "base_lr": 3.1e-4,
    "base_wd": 1e-5,
    "batch_multiplier": 1,
    "activations_quant_start_epoch": 0,
    "weights_quant_start_epoch": 0,
    "lr_poly_drop_start_epoch": 0,
    "lr_poly_drop_duration_epochs": 10,
}
OPTIMIZER = {
    "type": "Adam",
    "base_lr": 3.1e-4,
    "schedule_type": "plateau",
    "schedule_params": {"threshold": 0.1, "cooldown": 3},
    "weight_decay": 1e-5,
}


def network(name: str, seed: int = 0) -> nn.Module:
    """A network of torchvision with random weights, and batch normalizations that change something."""
    import torchvision

    torch.manual_seed(seed)
    arguments = {"init_weights": False} if name == "inception_v3" else {}
    made: nn.Module = getattr(torchvision.models, name)(num_classes=10, **arguments)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return made.eval()


def weight_scopes(made: nn.Module) -> Iterator[tuple[str, str]]:
    """Name of each convolution and fully connected layer, and its scope in NNCF 2, in the order of the modules."""
    kinds = {nn.Conv2d: "conv2d", nn.Linear: "linear"}
    modules = dict(made.named_modules())
    for name, module in modules.items():
        # The branch of Inception that only a training computes is not traced.
        if type(module) in kinds and not name.startswith("AuxLogits"):
            *parents, last = name.split(".")
            path = [type(made).__name__]
            for depth, parent in enumerate(parents):
                path.append(f"{type(modules['.'.join(parents[: depth + 1])]).__name__}[{parent}]")
            path.append(f"NNCF{type(module).__name__}[{last}]")
            yield name, f"{'/'.join(path)}/{kinds[type(module)]}_0|WEIGHT"


def example(name: str, mode: str, activations: tuple[tuple[int, str], ...] = ()) -> dict[str, Any]:
    """JSON values of a file, for an input of a small size.

    Args:
        name: Of the network.
        mode: Of the precision initializer.
        activations: Bits and scopes of activations, in the mode manual.
    """
    size = SIZES[name]
    top: dict[str, Any] = {
        "model": name,
        "pretrained": True,
        "input_info": {"sample_size": [2, 3, size, size]},
        "num_classes": 1000,
        "batch_size": 200,
        "workers": 6,
        "epochs": 10,
        "multiprocessing_distributed": True,
    }
    quantization: dict[str, Any] = {"algorithm": "quantization"}
    if mode == "autoq":
        top["target_device"] = "NPU"
        quantization["initializer"] = {
            "batchnorm_adaptation": {"num_bn_adaptation_samples": 4},
            "range": {"type": "mean_min_max", "num_init_samples": 4},
            "precision": {
                "type": "autoq",
                "bits": [2, 4, 8],
                "iter_number": _ITERATIONS[name],
                "compression_ratio": 0.15,
                "eval_subset_ratio": 0.20,
                "dump_init_precision_data": True,
            },
        }
        quantization["params"] = STAGES
    elif mode == "hawq":
        top |= {"target_device": "VPU", "optimizer": OPTIMIZER}
        quantization |= {
            "quantize_inputs": True,
            "initializer": {"precision": {"type": "hawq", "bits": [4, 8], "compression_ratio": 1.5}},
        }
        if name == "squeezenet1_1":
            quantization["initializer"]["range"] = {"type": "min_max"}
    else:
        top |= {"target_device": "TRIAL", "optimizer": OPTIMIZER}
        scopes = [[8 if index % 3 == 0 else 4, scope] for index, (_, scope) in enumerate(weight_scopes(network(name)))]
        # The last layer keeps the bits of the section.
        pairs = [*scopes[:-1], *map(list, activations)]
        quantization |= {
            "weights": {"mode": "asymmetric", "per_channel": True, "bits": 4},
            "activations": {"mode": "asymmetric"},
            "initializer": {"precision": {"type": "manual", "bitwidth_per_scope": pairs}},
        }
    return {**top, "compression": quantization, "no_strip_on_export": True, "export_to_ir_via_onnx": True}


def example_text(values: dict[str, Any]) -> str:
    """The text of a file, with comments as the examples have them."""
    text = json.dumps(values, indent=4)
    text = text.replace(
        '"bitwidth_per_scope": [', '"bitwidth_per_scope": [\n// | num_bits | % weights | % "total" |', 1
    )
    return text.replace('"compression": {', '"compression": {  /* both of\n them */', 1)
