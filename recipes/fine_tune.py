"""Quantizes a network for Fashion-MNIST images and trains its low-bit weights, with the float model as the teacher.

    python recipes/fine_tune.py fashion_mnist --data FOLDER --output DIR
    python recipes/fine_tune.py fashion_mnist_resnet18 --data FOLDER --output DIR --epochs 1

FOLDER holds the four idx `.gz` files of Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist). DIR gets the
verified IR and its record, as from `nncf-mcq quantize`. No labels are needed for the training.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from training import augment, load_tensors

import nncf_mcq
from nncf_mcq import Job, NncfMcqError, QuantizationResult, TrainingModule, parse_overrides
from nncf_mcq.config.catalog import find_config
from nncf_mcq.utils.library_logs import silence_cuda_notice


def train(module: TrainingModule, images: Tensor, arguments: argparse.Namespace) -> None:
    """Trains in place until the outputs come close to the float model's; prints one line every 100 steps."""
    generator = torch.Generator().manual_seed(arguments.seed)
    # Eight bits lose next to nothing on the grids that they have.
    if all(int(quantizer.bits) == 8 for quantizer in module.activations):
        module.activations.requires_grad_(False)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=arguments.learning_rate)
    steps = max(int(arguments.epochs * len(images)) // arguments.batch_size, 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    start, total = time.perf_counter(), 0.0
    order = torch.randperm(len(images), generator=generator)
    for step in range(1, steps + 1):
        if len(order) < arguments.batch_size:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[: arguments.batch_size], order[arguments.batch_size :]
        # Depthwise convolutions are several times faster on CPUs in this layout.
        batch = augment(images[chosen], arguments.maximum_shift, generator)
        batch = batch.contiguous(memory_format=torch.channels_last)
        loss = distance(module(batch), module.float_outputs(batch))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0 or step == steps:
            count = (step - 1) % 100 + 1
            print(f"step {step}/{steps}  loss {total / count:.4f}  {time.perf_counter() - start:.0f} s", flush=True)
            total = 0.0


def distance(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean KL divergence from the teacher's probabilities; both (N, classes)."""
    logs = (functional.log_softmax(values, dim=1) for values in (logits, teacher))
    return functional.kl_div(*logs, reduction="batchmean", log_target=True)


def fine_tune(arguments: argparse.Namespace) -> QuantizationResult:
    """Quantizes, trains and measures."""
    budget = {"type": "ilp", "budget": {"weight_size": {"average_bits": arguments.average_bits}}}
    overrides = {
        "compression.initializer.precision": budget,
        "compression.weights.coding": "uniform",
        "runtime.threads": arguments.threads,
        **parse_overrides(arguments.set),
    }
    job = Job.read(find_config(arguments.config), overrides)
    images, _ = load_tensors(arguments.data, "train")
    result = job.run()
    show("before", result)
    module = nncf_mcq.prepare_training(result)
    train(module, images, arguments)
    trained = nncf_mcq.finish_training(module, evaluate=job.report(job.load_dataset()))
    show("after", trained)
    return trained


def show(when: str, result: QuantizationResult) -> None:
    """Prints the bits and the top-1 accuracy in percent, and how far that is below the float model's."""
    float_metrics, metrics = result.metrics["float"], result.metrics["quantized"]
    top1, drop = 100 * metrics["top1"], 100 * (float_metrics["top1"] - metrics["top1"])
    print(f"{when}: average {metrics['average_weight_bits']:.2f} bits, top-1 {top1:.2f}, drop {drop:.2f}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a JSON file, or the name of a recipe")
    parser.add_argument("--data", type=Path, required=True, help="folder with the four idx .gz files")
    parser.add_argument("--output", type=Path, required=True, help="folder for the IR")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value of the config"
    )
    parser.add_argument("--average-bits", type=float, default=2.0, help="of the weights (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=7.0, help="of the training images (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the first (default: %(default)s)")
    parser.add_argument("--maximum-shift", type=int, default=1, help="augmentation, in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args(words)
    for name, value in (("batch-size", arguments.batch_size), ("threads", arguments.threads)):
        if value < 1:
            parser.error(f"--{name}: found {value}, allowed: 1 or more")
    if not arguments.epochs > 0:
        parser.error(f"--epochs: found {arguments.epochs}, allowed: more than 0")
    silence_cuda_notice()
    torch.set_num_threads(arguments.threads)
    try:
        print(f"IR: {fine_tune(arguments).save(arguments.output)}")
    except NncfMcqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
