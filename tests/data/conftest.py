"""Small data sets of real image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASS_NAMES = ("n03", "n01", "n02")
IMAGES_PER_CLASS = 4


def write_jpeg(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> None:
    """Writes smooth colour noise, which JPEG keeps nearly unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, format="JPEG", quality=95)


def write_class_folders(folder: Path) -> None:
    for class_position, name in enumerate(CLASS_NAMES):
        for image in range(IMAGES_PER_CLASS):
            write_jpeg(folder / name / f"{name}_{image}.JPEG", seed=10 * class_position + image)


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """A folder with three class folders of four images each."""
    folder = tmp_path / "images"
    write_class_folders(folder)
    return folder


@pytest.fixture(scope="session")
def fashion_mnist_data(project_root: Path) -> Path:
    return project_root / "recipes" / "fashion_mnist" / "data"
