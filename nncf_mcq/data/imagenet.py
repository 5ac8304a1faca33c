"""ImageNet, or any data set with one folder of images a class or one list of labelled images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from nncf_mcq.config.parameters import PathMarker
from nncf_mcq.data.image_files import ImageFiles, ImageFilesParameters, classified, find_images, resolve_root
from nncf_mcq.data.preprocessing import Preprocessor
from nncf_mcq.data.splits import DatasetSplits, make_splits
from nncf_mcq.data.text_files import read_text
from nncf_mcq.errors import ConfigError

_logger = logging.getLogger(__name__)

CLASS_LIST = "wnids.txt"
SOURCE = (
    "ImageNet is at https://image-net.org/download-images; its folders are train/<wnid> and val/<wnid>, or <wnid> with "
    "some images of each class"
)


class Label(NamedTuple):
    """Label of an image, from a line of the file.

    Attributes:
        text: A class index or a WordNet id.
        place: File and line, for messages.
    """

    text: str
    place: str


class LabelledFiles(NamedTuple):
    """Image files and the class index of each."""

    files: list[Path]
    targets: list[int]


class ImagenetDataset:
    """Images of classes that are named by their WordNet ids.

    There is one folder of images a class in `root/train`, in `root/val`, or directly in `root`. With both `train` and
    `val`, calibration and search draw from `train` and the report from `val`; otherwise all three draw from what there
    is, disjoint. With `labels`, the images of `val`, or of `root` where there is no `val`, are those that the file
    lists instead. A class index is the line in `root/wnids.txt`; without that file, the place in the sorted WordNet
    ids.
    """

    class Parameters(ImageFilesParameters):
        """Parameters of `imagenet`."""

        type: Literal["imagenet"] = "imagenet"
        labels: Annotated[str | None, PathMarker()] = Field(
            default=None,
            description="File with a line for each image: its path below `root/val`, or `root` where that is "
            "missing, a space, and its class index from 0 or its WordNet id. null: class folders.",
        )

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> DatasetSplits:
        """Finds the images; decoding waits until a sample is asked for.

        Raises:
            ConfigError: There is no such folder or file, a class folder is unknown, a line of the labels
                cannot be used, or there are fewer images than the split asks for.
        """
        root, folders, lines, listed = _layout(parameters, base_directory)
        class_indices = _class_indices(root, [folder for folder in folders if folder != listed], lines or {})
        make_sample = classified(Preprocessor(parameters.preprocessing))
        # Two pools share the limit in halves, which is simpler than one accountant for both.
        pools = [
            ImageFiles(
                *(_listed(folder, lines or {}, class_indices) if folder == listed else _found(folder, class_indices)),
                make_sample=make_sample,
                parameters=parameters,
                share=1 / len(folders),
            )
            for folder in folders
        ]
        names = " and ".join(folder.relative_to(root).as_posix() for folder in folders)
        source = parameters.root if folders == [root] else f"{names} of {parameters.root}"
        layout = "ImageNet folders" if lines is None else f"ImageNet, labels in {parameters.labels}"
        return make_splits(
            parameters.split, pools[0], f"{layout}: {source}", report_dataset=pools[1] if len(pools) > 1 else None
        )

    @staticmethod
    def class_names(parameters: Parameters, base_directory: Path) -> list[str]:
        """The WordNet ids in the order of the class indices.

        Raises:
            ConfigError: As `load`.
        """
        root, folders, lines, listed = _layout(parameters, base_directory)
        return list(_class_indices(root, [folder for folder in folders if folder != listed], lines or {}))


class _Layout(NamedTuple):
    """What lies in the root.

    Attributes:
        root: The folder.
        folders: Of the images.
        lines: Image name to its label, where a file has the labels.
        listed: The folder that these are of.
    """

    root: Path
    folders: list[Path]
    lines: dict[str, Label] | None
    listed: Path | None


def _layout(parameters: ImagenetDataset.Parameters, base_directory: Path) -> _Layout:
    root = resolve_root(parameters.root, base_directory, SOURCE)
    folders = [root / name for name in ("train", "val") if (root / name).is_dir()] or [root]
    lines = None if parameters.labels is None else _read_lines(base_directory / parameters.labels)
    # The last one is `val`, or all there is.
    return _Layout(root, folders, lines, None if lines is None else folders[-1])


def is_class_folder(path: Path) -> bool:
    """Whether what lies beside the images of other classes is a class of its own."""
    return path.is_dir() and not path.name.startswith(".")


def _class_folders(folder: Path) -> list[Path]:
    return sorted(filter(is_class_folder, folder.iterdir()))


def _read_lines(path: Path) -> dict[str, Label]:
    """Image name to its label."""
    lines = read_text(path, "dataset.labels").splitlines()
    found: dict[str, Label] = {}
    for number, line in enumerate(lines, start=1):
        parts = line.rsplit(maxsplit=1)
        if len(parts) == 1 or (parts and parts[0] in found):
            allowed = "the name of an image, a space, and its class index or WordNet id; every image once"
            raise ConfigError("dataset.labels", f"line {number} of {path}: {line.strip()}", allowed)
        if parts:
            found[parts[0]] = Label(parts[1], f"line {number} of {path}")
    if not found:
        raise ConfigError("dataset.labels", str(path), "a line for each image")
    return found


def listed_classes(class_list: Path) -> list[str]:
    """The names of the classes in a file, in their order.

    Args:
        class_list: One name a line.

    Raises:
        ConfigError: It is no text.
    """
    return read_text(class_list, "dataset.root").split()


def _class_indices(root: Path, folders: list[Path], lines: dict[str, Label]) -> dict[str, int]:
    """Class index of each WordNet id."""
    class_list = root / CLASS_LIST
    if class_list.is_file():
        names = listed_classes(class_list)
        repeated = next((name for position, name in enumerate(names) if name in names[:position]), None)
        if repeated is not None:
            raise ConfigError("dataset.root", f"{repeated} twice in {class_list}", "every class once")
    else:
        in_folders = {path.name for folder in folders for path in _class_folders(folder)}
        names = sorted(in_folders | {label.text for label in lines.values() if not _is_number(label.text)})
    return {name: index for index, name in enumerate(names)}


def _listed(folder: Path, lines: dict[str, Label], class_indices: dict[str, int]) -> LabelledFiles:
    """The images of the lines, in the order of their names."""
    files = [folder / name for name in sorted(lines)]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise ConfigError("dataset.labels", str(missing), f"images that are there, their paths below {folder}")
    return LabelledFiles(files, [_class_index(lines[name], class_indices) for name in sorted(lines)])


def _class_index(label: Label, class_indices: dict[str, int]) -> int:
    text = label.text
    if text.isdecimal():
        return int(text)
    if _is_number(text) or text not in class_indices:
        found = f"{label.place}: {text}"
        raise ConfigError("dataset.labels", found, f"a class index, a whole number from 0, or a line of {CLASS_LIST}")
    return class_indices[text]


def _is_number(text: str) -> bool:
    """Whether a label is a number of any kind, be it one that no class can have: -1, 2.5, nan."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _found(folder: Path, class_indices: dict[str, int]) -> LabelledFiles:
    """The images of class folders."""
    files: list[Path] = []
    targets: list[int] = []
    for class_folder in _class_folders(folder):
        if class_folder.name not in class_indices:
            raise ConfigError("dataset.root", str(class_folder), f"a folder named by a line of {CLASS_LIST}")
        found = find_images(class_folder)
        if not found:
            _logger.warning("no images of class %s: %s is empty", class_folder.name, class_folder)
        files += found
        targets += [class_indices[class_folder.name]] * len(found)
    if not files:
        allowed = f'folders of images named by their class; "labels" is for images directly in {folder}'
        raise ConfigError("dataset.root", str(folder), allowed)
    return LabelledFiles(files, targets)
