"""Trains ResNet18 on Fashion-MNIST, or evaluates a checkpoint of it.

    python recipes/fashion_mnist_resnet18/train.py --data FOLDER --output recipes/fashion_mnist_resnet18/checkpoint.pt
    python recipes/fashion_mnist_resnet18/train.py --data FOLDER --evaluate recipes/fashion_mnist_resnet18/checkpoint.pt

FOLDER holds the four idx `.gz` files of Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist).
"""

from __future__ import annotations

import sys
from pathlib import Path

from model import create_model

# A script sees its own folder only.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from training import run


def main() -> int:
    return run(create_model, __doc__, epochs=8, learning_rate=3e-3, weight_decay=0.05, bfloat16=True, float16=True)


if __name__ == "__main__":
    sys.exit(main())
