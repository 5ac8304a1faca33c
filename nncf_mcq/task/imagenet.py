"""ImageNet, or any data set with one folder of images a class."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from nncf_mcq.errors import ConfigError
from nncf_mcq.task.image_files import (
    BYTES_PER_MEGABYTE,
    ImageFiles,
    ImageFilesParameters,
    classified,
    find_images,
    resolve_root,
)
from nncf_mcq.task.preprocessing import Preprocessor
from nncf_mcq.task.splits import DatasetSplits, make_splits

CLASS_LIST = "wnids.txt"


class LabelledFiles(NamedTuple):
    """Image files and the class index of each."""

    files: list[Path]
    targets: list[int]


class ImagenetDataset:
    """One folder of images a class, named by its WordNet id.

    The class folders are in `root/train`, in `root/val`, or directly in `root`. With both `train` and `val`,
    calibration and search draw from `train` and the report from `val`; otherwise all three draw from what there is,
    disjoint. A class index is the line in `root/wnids.txt`; without that file, the place in the sorted folder names.
    """

    class Parameters(ImageFilesParameters):
        """Parameters of `imagenet`."""

        type: Literal["imagenet"] = "imagenet"

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> DatasetSplits:
        """Finds the images; decoding waits until a sample is asked for.

        Raises:
            ConfigError: There is no such folder, a class folder is unknown or empty, or there are fewer images than the
                split asks for.
        """
        root = resolve_root(parameters.root, base_directory)
        folders = [root / name for name in ("train", "val") if (root / name).is_dir()] or [root]
        class_indices = _class_indices(root, folders)
        make_sample = classified(Preprocessor(parameters.preprocessing))
        # Two pools share the limit in halves, which is simpler than one accountant for both.
        cache_bytes = parameters.cache_megabytes * BYTES_PER_MEGABYTE // len(folders)
        pools = [
            ImageFiles(*_labelled_files(folder, class_indices), make_sample=make_sample, cache_bytes=cache_bytes)
            for folder in folders
        ]
        names = " and ".join(folder.relative_to(root).as_posix() for folder in folders)
        source = parameters.root if folders == [root] else f"{names} of {parameters.root}"
        report_dataset = pools[1] if len(pools) > 1 else None
        return make_splits(parameters.split, pools[0], f"ImageNet folders: {source}", report_dataset)


def _class_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_indices(root: Path, folders: list[Path]) -> dict[str, int]:
    """Class index of each WordNet id."""
    class_list = root / CLASS_LIST
    if class_list.is_file():
        names = class_list.read_text(encoding="utf-8").split()
        repeated = next((name for position, name in enumerate(names) if name in names[:position]), None)
        if repeated is not None:
            raise ConfigError("dataset.root", f"{repeated} twice in {class_list}", "every class once")
    else:
        names = sorted({path.name for folder in folders for path in _class_folders(folder)})
    return {name: index for index, name in enumerate(names)}


def _labelled_files(folder: Path, class_indices: dict[str, int]) -> LabelledFiles:
    files: list[Path] = []
    targets: list[int] = []
    for class_folder in _class_folders(folder):
        if class_folder.name not in class_indices:
            raise ConfigError("dataset.root", str(class_folder), f"a folder named by a line of {CLASS_LIST}")
        found = find_images(class_folder)
        if not found:
            raise ConfigError("dataset.root", str(class_folder), "a class folder with at least one image")
        files += found
        targets += [class_indices[class_folder.name]] * len(found)
    return LabelledFiles(files, targets)
