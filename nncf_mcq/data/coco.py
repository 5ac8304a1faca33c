"""COCO, or any data set of images with boxes in one of its two layouts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from nncf_mcq.config.parameters import PathMarker
from nncf_mcq.data.image_files import DecodingParameters, ImageFiles, find_images
from nncf_mcq.data.letterbox import Letterbox, LetterboxParameters
from nncf_mcq.data.objects import Objects
from nncf_mcq.data.splits import DatasetSplits, make_splits
from nncf_mcq.data.text_files import read_text
from nncf_mcq.errors import ConfigError

IMAGES, LABELS = "images", "labels"
SOURCE = (
    "COCO's images and annotations are at https://cocodataset.org, its first 128 training images, with `images` and "
    "`labels`, at https://github.com/ultralytics/assets/releases/download/v0.0.0/coco128.zip"
)


class Boxes(NamedTuple):
    """The objects of one image, before the image is opened.

    Attributes:
        corners: (objects, 4) corners x, y, x, y.
        classes: (objects,) class indices.
        crowd: (objects,) whether each is a group.
        relative: Whether the corners are in units of the image's width and height rather than pixels.
    """

    corners: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    relative: bool


class LabelledImages(NamedTuple):
    """Image files and the objects in each."""

    files: list[Path]
    boxes: list[Boxes]


class CocoDataset:
    """Images with boxes.

    With `annotations`, that is COCO's JSON, and `root` the folder that its file names start from; class indices are the
    places in the sorted category ids. Without, `root` has the folders `images` and `labels`, and the labels of
    `images/train2017/1.jpg` are in `labels/train2017/1.txt`: a line an object, its class index, and its centre x, y,
    width and height relative to the image. An image without labels has no object.
    """

    class Parameters(DecodingParameters):
        """Parameters of `coco`."""

        type: Literal["coco"] = "coco"
        root: Annotated[str, PathMarker()] = Field(
            description="Folder of the images, or of `images` and `labels`; relative to that of the configuration."
        )
        annotations: Annotated[str | None, PathMarker()] = Field(
            default=None, description="COCO's JSON, e.g. instances_val2017.json; null reads YOLO's text files."
        )
        preprocessing: LetterboxParameters

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> DatasetSplits:
        """Reads the labels; decoding waits until a sample is asked for.

        Raises:
            ConfigError: A file or folder is missing or damaged, or there are fewer images than the split asks for.
        """
        root = base_directory / parameters.root
        if not root.is_dir():
            raise ConfigError(
                "dataset.root", parameters.root, f"a folder; there is none at {root.absolute()}. {SOURCE}"
            )
        if parameters.annotations is None:
            labelled = _read_text_layout(root)
        else:
            labelled = _read_annotations(base_directory / parameters.annotations, root)
        letterbox = Letterbox(parameters.preprocessing)
        dataset = ImageFiles(
            labelled.files,
            labelled.boxes,
            lambda image, boxes: _sample(letterbox, image, boxes),
            parameters,
        )
        return make_splits(parameters.split, dataset, f"images with boxes: {parameters.root}")

    @staticmethod
    def class_names(parameters: Parameters, base_directory: Path) -> list[str] | None:
        """The categories' names in the order of the class indices; None where there are no annotations.

        Raises:
            ConfigError: The annotations cannot be read.
        """
        if parameters.annotations is None:
            return None
        path = base_directory / parameters.annotations
        try:
            categories = sorted(_read_json(path)["categories"], key=lambda category: category["id"])
            return [str(category["name"]) for category in categories]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError("dataset.annotations", str(path), f"COCO's layout ({error!r})") from error


def _sample(letterbox: Letterbox, image: Image.Image, boxes: Boxes) -> tuple[npt.NDArray[np.float32], Objects]:
    pixels, placement = letterbox(image)
    height, width = placement.image_size
    unit = np.array([width, height, width, height] if boxes.relative else [1, 1, 1, 1], dtype=np.float64)
    return pixels, Objects(boxes.corners * unit, boxes.classes, boxes.crowd, placement)


def _read_text_layout(root: Path) -> LabelledImages:
    for name in (IMAGES, LABELS):
        if not (root / name).is_dir():
            raise ConfigError("dataset.root", str(root), f"a folder with the folders {IMAGES} and {LABELS}. {SOURCE}")
    files = find_images(root / IMAGES)
    texts = [root / LABELS / file.relative_to(root / IMAGES).with_suffix(".txt") for file in files]
    if files and not any(text.is_file() for text in texts):
        raise ConfigError("dataset.root", str(root), f"labels of at least one image, e.g. {texts[0]}")
    return LabelledImages(files, [_read_text(text) for text in texts])


def _read_text(path: Path) -> Boxes:
    """Labels of one image; none where there is no such file."""
    lines = read_text(path, "dataset.root").splitlines() if path.is_file() else []
    rows = [_read_line(line, f"line {number} of {path}") for number, line in enumerate(lines, start=1) if line.strip()]
    values = np.array(rows, dtype=np.float64).reshape(-1, 5)
    classes, sizes = values[:, 0].astype(np.int64), values[:, 3:]
    corners = np.concatenate([values[:, 1:3] - sizes / 2, values[:, 1:3] + sizes / 2], axis=1)
    return Boxes(np.clip(corners, 0.0, 1.0), classes, np.zeros(len(classes), dtype=np.bool_), relative=True)


def _read_line(line: str, place: str) -> list[float]:
    """Class index, centre x, y, width and height of one object."""
    allowed = "a class index, a whole number from 0, and centre x, y, width and height, all from 0 to 1"
    try:
        values = [float(item) for item in line.split()]
    except ValueError as error:
        raise ConfigError("dataset.root", f"{place}: {line.strip()}", allowed) from error
    # Comparisons with NaN are false.
    is_valid = (
        len(values) == 5 and values[0].is_integer() and values[0] >= 0 and all(0 <= item <= 1 for item in values[1:])
    )
    if not is_valid:
        raise ConfigError("dataset.root", f"{place}: {line.strip()}", allowed)
    return values


_Record = Mapping[str, Any]
"""An object of COCO's JSON that nobody has checked yet."""


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        found = f"a readable file ({error.strerror}). {SOURCE}"
        raise ConfigError("dataset.annotations", str(path), found) from error
    except ValueError as error:
        raise ConfigError("dataset.annotations", str(path), f"valid JSON ({error})") from error
    except RecursionError as error:
        raise ConfigError("dataset.annotations", str(path), "valid JSON (it is nested too deeply)") from error


def _read_annotations(path: Path, root: Path) -> LabelledImages:
    content = _read_json(path)
    try:
        indices = {category: index for index, category in enumerate(sorted(_ids(content["categories"])))}
        records: dict[object, list[_Record]] = defaultdict(list)
        for record in content["annotations"]:
            records[record["image_id"]].append(record)
        images = sorted(content["images"], key=lambda image: image["file_name"])
        files = [root / image["file_name"] for image in images]
        boxes = [_boxes(records[image["id"]], indices, path) for image in images]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError("dataset.annotations", str(path), f"COCO's layout ({error!r})") from error
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise ConfigError("dataset.root", str(missing), f"every image of {path.name}. {SOURCE}")
    return LabelledImages(files, boxes)


def _ids(categories: list[_Record]) -> set[int]:
    return {category["id"] for category in categories}


def _boxes(records: list[_Record], indices: Mapping[int, int], path: Path) -> Boxes:
    values = np.array([record["bbox"] for record in records], dtype=np.float64).reshape(-1, 4)
    is_wrong = ~np.isfinite(values).all(axis=1) | (values[:, 2:] < 0).any(axis=1)
    if is_wrong.any():
        record = records[int(is_wrong.argmax())]
        found = f"bbox {record['bbox']} of annotation {record.get('id')} in {path}"
        raise ConfigError(
            "dataset.annotations", found, "finite x, y, width and height in pixels, none of the sizes negative"
        )
    return Boxes(
        np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1),
        np.array([indices[record["category_id"]] for record in records], dtype=np.int64),
        np.array([bool(record.get("iscrowd", 0)) for record in records], dtype=np.bool_),
        relative=False,
    )
