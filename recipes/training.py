"""Training of classifiers of Fashion-MNIST images: what the `train.py` of the recipes have in common."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nncf_mcq.data.fashion_mnist import read_labelled_images
from nncf_mcq.errors import NncfMcqError

# Of the training images, pixels scaled to 0-1.
MEAN, STANDARD_DEVIATION = 0.2860, 0.3530
EVALUATION_BATCH_SIZE = 500
# Shorter cycles have no room for the warm-up.
MINIMUM_STEPS = 8


def load_tensors(folder: Path, subset: str) -> tuple[Tensor, Tensor]:
    """Returns normalized images, float32 (N, 1, 28, 28), and labels, int64 (N,)."""
    images, labels = read_labelled_images(folder, subset)
    scaled = torch.from_numpy(images.copy()).float().div_(255).sub_(MEAN).div_(STANDARD_DEVIATION)
    return scaled.unsqueeze(1), torch.from_numpy(labels.copy()).long()


def augment(images: Tensor, maximum_shift: int, generator: torch.Generator) -> Tensor:
    """Mirrors each image with probability 1/2 and shifts it by up to `maximum_shift` pixels, filling with black."""
    count, _, height, width = images.shape
    is_mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    mirrored = torch.where(is_mirrored, images.flip(-1), images)
    padded = functional.pad(mirrored, [maximum_shift] * 4, value=-MEAN / STANDARD_DEVIATION)
    shifts = torch.randint(0, 2 * maximum_shift + 1, (2, count, 1, 1), generator=generator)
    rows = shifts[0] + torch.arange(height).view(1, -1, 1)
    columns = shifts[1] + torch.arange(width).view(1, 1, -1)
    return padded[torch.arange(count).view(-1, 1, 1), 0, rows, columns].unsqueeze(1)


@torch.no_grad()
def measure_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Returns the top-1 accuracy, 0 to 1, in evaluation mode."""
    model.eval()
    correct = 0
    for start in range(0, len(images), EVALUATION_BATCH_SIZE):
        chosen = slice(start, start + EVALUATION_BATCH_SIZE)
        correct += int((model(images[chosen]).argmax(1) == labels[chosen]).sum())
    return correct / len(labels)


def train(model: nn.Module, images: Tensor, labels: Tensor, arguments: argparse.Namespace) -> None:
    """Trains in place with AdamW and a one-cycle learning rate; prints one line an epoch."""
    generator = torch.Generator().manual_seed(arguments.seed)
    # Depthwise convolutions are several times faster on CPUs in this layout.
    model.to(memory_format=torch.channels_last)
    model.train()
    steps = len(images) // arguments.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=arguments.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=arguments.learning_rate, epochs=arguments.epochs, steps_per_epoch=steps, pct_start=0.25
    )
    start = time.perf_counter()
    for epoch in range(arguments.epochs):
        order = torch.randperm(len(images), generator=generator)
        total_loss, correct = 0.0, 0
        for step in range(steps):
            chosen = order[step * arguments.batch_size : (step + 1) * arguments.batch_size]
            batch = augment(images[chosen], arguments.maximum_shift, generator)
            batch = batch.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bfloat16):
                logits = model(batch)
            loss = functional.cross_entropy(logits.float(), labels[chosen], label_smoothing=arguments.label_smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total_loss += loss.item()
            correct += int((logits.argmax(1) == labels[chosen]).sum())
        print(
            f"epoch {epoch + 1:>{len(str(arguments.epochs))}}/{arguments.epochs}  loss {total_loss / steps:.4f}  "
            f"training accuracy {correct / (steps * arguments.batch_size):.4f}  {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    model.to(memory_format=torch.contiguous_format)


def save_checkpoint(model: nn.Module, path: Path, dtype: torch.dtype) -> None:
    """Writes the state dict under a temporary name and renames it, so that no half file is left behind."""
    state = {
        name: value.detach().to(dtype).contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Reads a state dict of any precision."""
    model.load_state_dict(torch.load(path, weights_only=True))


def parse_arguments(description: str | None, defaults: dict[str, Any]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the four idx .gz files")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--output", type=Path, help="train, and write the state dict here")
    action.add_argument(
        "--evaluate", type=Path, metavar="CHECKPOINT", help="only print the accuracy of this checkpoint"
    )
    parser.add_argument(
        "--initial", type=Path, metavar="CHECKPOINT", help="start from this checkpoint, not from scratch"
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="peak of the cycle (default: %(default)s)")
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--label-smoothing", type=float, default=0.05)
    parser.add_argument("--maximum-shift", type=int, default=2, help="augmentation, in pixels (default: %(default)s)")
    parser.add_argument("--bfloat16", action="store_true", help="train in mixed precision")
    parser.add_argument("--float16", action="store_true", help="write half the bytes: weights in float16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.set_defaults(**defaults)
    arguments = parser.parse_args()
    for name in ("epochs", "batch_size", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: found {getattr(arguments, name)}, allowed: 1 or more")
    if arguments.maximum_shift < 0:
        parser.error(f"--maximum-shift: found {arguments.maximum_shift}, allowed: 0 or more")
    for name in ("evaluate", "initial"):
        path = getattr(arguments, name)
        if path is not None and not path.is_file():
            parser.error(f"--{name}: found {str(path)!r}, allowed: an existing checkpoint")
    return arguments


def run(create_model: Callable[[], nn.Module], description: str | None, **defaults: Any) -> int:
    """The command line of a recipe's `train.py`.

    Args:
        create_model: Makes the untrained network for images (N, 1, 28, 28).
        description: Shown by --help.
        defaults: Of arguments that are others for this network.

    Returns:
        The exit code.
    """
    arguments = parse_arguments(description, defaults)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    model = create_model()
    try:
        test_images, test_labels = load_tensors(arguments.data, "t10k")
        checkpoint = arguments.evaluate or arguments.initial
        if checkpoint is not None:
            load_checkpoint(model, checkpoint)
        if arguments.evaluate is None:
            train_images, train_labels = load_tensors(arguments.data, "train")
            steps = arguments.epochs * (len(train_images) // arguments.batch_size)
            if steps < MINIMUM_STEPS:
                print(f"error: {steps} training steps; the learning-rate cycle needs {MINIMUM_STEPS}", file=sys.stderr)
                return 1
            parameters = sum(parameter.numel() for parameter in model.parameters())
            print(f"{parameters} parameters, {len(train_images)} training images", flush=True)
            train(model, train_images, train_labels, arguments)
            save_checkpoint(model, arguments.output, torch.float16 if arguments.float16 else torch.float32)
            # The accuracy is that of the file.
            load_checkpoint(model, arguments.output)
    except NncfMcqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"test accuracy {measure_accuracy(model, test_images, test_labels):.4f} on {len(test_images)} images")
    return 0
