"""Recognizes the layout of a folder of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nncf_mcq.data.image_files import find_images
from nncf_mcq.data.imagenet import CLASS_LIST
from nncf_mcq.errors import ConfigError


@dataclass(frozen=True)
class FoundImages:
    """Images, and whether their folders can be labels.

    Attributes:
        kind: The `type` of the data set.
        count: Number of images that calibration can draw from.
        classes: Number of classes that the labels are of; 0 without labels.
        notes: What was assumed.
        report_is_apart: Whether the report has images of its own.
    """

    kind: Literal["imagenet", "image_folder", "fashion_mnist"]
    count: int
    classes: int = 0
    notes: tuple[str, ...] = ()
    report_is_apart: bool = False


def holds_idx_files(folder: Path) -> bool:
    """Whether a folder has the files of MNIST or Fashion-MNIST."""
    return any(folder.glob("*-images-idx3-ubyte.gz"))


def find_dataset(folder: Path, outputs: int | None) -> FoundImages:
    """Looks into a folder.

    Args:
        folder: The folder.
        outputs: Number of classes that the model tells apart, or None for a model that is no classifier.

    Raises:
        ConfigError: There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise ConfigError("--data", str(folder), "an existing folder of images")
    if holds_idx_files(folder):
        note = "data: idx files, read as Fashion-MNIST with its mean and deviation"
        return FoundImages("fashion_mnist", 0, 10, (note,), True)
    images = find_images(folder)
    if not images:
        raise ConfigError("--data", str(folder), "a folder with images in it or below it")
    parts = [folder / name for name in ("train", "val") if (folder / name).is_dir()] or [folder]
    names = {path.relative_to(part).parts[0] for part in parts for path in find_images(part) if path.parent != part}
    flat = any(path.parent in parts for path in images)
    if flat or len(names) < 2 or outputs is None:
        return FoundImages("image_folder", len(images), 0, (_unlabelled(len(images), "no class folders"),))
    class_list = folder / CLASS_LIST
    classes = len(class_list.read_text(encoding="utf-8").split()) if class_list.is_file() else len(names)
    if classes != outputs:
        reason = f"{len(names)} class folders, but {outputs} outputs of the model; {CLASS_LIST} can list the classes"
        if class_list.is_file():
            reason = f"{CLASS_LIST} has {classes} classes, the model {outputs} outputs"
        return FoundImages("image_folder", len(images), 0, (_unlabelled(len(images), reason),))
    order = CLASS_LIST if class_list.is_file() else "the sorted folder names"
    drawn = len(find_images(parts[0])) if len(parts) > 1 else len(images)
    note = f"labels: {len(images)} images in {len(names)} class folders; class indices in the order of {order}"
    return FoundImages("imagenet", drawn, classes, (note,), len(parts) > 1)


def _unlabelled(count: int, reason: str) -> str:
    return f"no labels ({reason}): {count} images; closeness to the float model is measured, not accuracy"
