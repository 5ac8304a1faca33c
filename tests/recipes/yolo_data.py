"""A small data set in the layout of coco128."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_data(root: Path, images: int) -> None:
    """Writes noise with one object in each image."""
    random = np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for index in range(images):
        pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{index}.jpg")
        (root / "labels" / f"{index}.txt").write_text(f"{index % 3} 0.5 0.5 0.4 0.6\n")
