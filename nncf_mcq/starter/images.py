"""Recognizes the layout of a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from nncf_mcq.data.image_files import find_images
from nncf_mcq.data.imagenet import CLASS_LIST, is_class_folder, listed_classes
from nncf_mcq.errors import ConfigError

_LOOKED_INTO: Final = 2000
_NAMED: Final = 5
_CORRUPT: Final = "images that cannot be read, left out"
_EMPTY: Final = "folders without images"
_WITHOUT_LABELS: Final = "closeness to the float model is measured, not accuracy"


@dataclass(frozen=True)
class FoundImages:
    """Images, and whether their folders can be labels.

    Attributes:
        kind: The `type` of the data set.
        count: Number of images that calibration can draw from.
        classes: Number of classes that the labels are of; 0 without labels.
        notes: What was assumed.
        report_is_apart: Whether the report has images of its own.
        has_corrupt: Whether there are files among the images that cannot be read.
    """

    kind: Literal["imagenet", "image_folder", "fashion_mnist"]
    count: int
    classes: int = 0
    notes: tuple[str, ...] = ()
    report_is_apart: bool = False
    has_corrupt: bool = False


def holds_idx_files(folder: Path) -> bool:
    """Whether a folder has the files of MNIST or Fashion-MNIST.

    Raises:
        ConfigError: There is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError("--data", str(folder), "an existing folder of images")
    return any(folder.glob("*-images-idx3-ubyte.gz"))


def find_dataset(folder: Path, outputs: int | None) -> FoundImages:
    """Looks into a folder.

    Args:
        folder: The folder.
        outputs: Number of classes that the model tells apart, or None for a model that is no classifier.

    Raises:
        ConfigError: There is no such folder, or no image in it.
    """
    if holds_idx_files(folder):
        note = "data: idx files, read as Fashion-MNIST with its mean and deviation"
        return FoundImages("fashion_mnist", 0, 10, (note,), True)
    found = find_images(folder)
    corrupt = _corrupt(found)
    images = [path for path in found if path not in corrupt]
    if not images:
        raise ConfigError("--data", str(folder), "a folder with images in it or below it, which can be read")
    parts = [folder / name for name in ("train", "val") if (folder / name).is_dir()] or [folder]
    class_folders = [path for part in parts for path in sorted(part.iterdir()) if is_class_folder(path)]
    filled = {parent for path in found for parent in path.parents}
    empty = [path for path in class_folders if path not in filled]
    names = {path.name for path in class_folders}
    # One folder of images beside others without, as `labels` of a detector's, tells no classes apart.
    are_classes = len({path.name for path in class_folders if path in filled}) > 1
    empty_kind = f"class {_EMPTY}" if are_classes else _EMPTY
    notes = tuple(_some(what, paths, folder) for what, paths in ((_CORRUPT, corrupt), (empty_kind, empty)) if paths)
    flat = any(path.parent in parts for path in images)

    def unlabelled(reason: str) -> FoundImages:
        note = f"no labels ({reason}): {len(images)} images; {_WITHOUT_LABELS}"
        return FoundImages("image_folder", len(images), 0, (note, *notes), has_corrupt=bool(corrupt))

    if flat or not are_classes:
        return unlabelled("no class folders")
    if outputs is None:
        return unlabelled(f"{len(names)} class folders, but the model is no classifier")
    class_list = folder / CLASS_LIST
    classes = len(listed_classes(class_list)) if class_list.is_file() else len(names)
    if classes != outputs:
        reason = f"{len(names)} class folders, but {outputs} outputs of the model; {CLASS_LIST} can list the classes"
        if class_list.is_file():
            reason = f"{CLASS_LIST} has {classes} classes, the model {outputs} outputs"
        return unlabelled(reason)
    order = CLASS_LIST if class_list.is_file() else "the sorted folder names"
    drawn = sum(parts[0] in path.parents for path in images)
    note = f"labels: {len(images)} images in {len(names)} class folders; class indices in the order of {order}"
    return FoundImages("imagenet", drawn, classes, (note, *notes), len(parts) > 1, bool(corrupt))


def _corrupt(images: Sequence[Path]) -> list[Path]:
    """Files whose headers cannot be read, among the first ones: a look into each of a large data set takes minutes."""
    found = []
    for path in images[:_LOOKED_INTO]:
        try:
            with Image.open(path) as image:
                image.verify()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            found.append(path)
    return found


def _some(what: str, paths: Sequence[Path], folder: Path) -> str:
    """A note that names the first ones."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{what}: {', '.join(path.relative_to(folder).as_posix() for path in paths[:_NAMED])}{more}"
