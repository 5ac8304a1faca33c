"""Fashion-MNIST, or any data set of grey images in the same four idx files."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nncf_mcq.config.parameters import PathMarker
from nncf_mcq.data.splits import DatasetParameters, DatasetSplits, Sample, SplitParameters, make_splits
from nncf_mcq.data.text_files import read_text
from nncf_mcq.errors import ConfigError

IDX_UNSIGNED_BYTE = 0x08
NAMES_FILE = "labels.txt"
FILE_NAMES = "{subset}-images-idx3-ubyte.gz and {subset}-labels-idx1-ubyte.gz"


class LabelledImages(NamedTuple):
    """Images as stored.

    Attributes:
        images: uint8 (samples, height, width).
        labels: uint8 (samples,), class indices.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Reads a gzipped idx file of unsigned bytes.

    Args:
        path: The `.gz` file.

    Returns:
        uint8 array of the shape that the file's header gives.

    Raises:
        ConfigError: The file is missing, is no gzip file, or its content does not match its header.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError("dataset.root", str(path), "a folder with this file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError("dataset.root", str(path), f"a readable gzip file ({error})") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, IDX_UNSIGNED_BYTE]):
        raise ConfigError("dataset.root", str(path), "an idx file of unsigned bytes")
    dimensions = content[3]
    header_size = 4 + 4 * dimensions
    if len(content) < header_size:
        raise ConfigError("dataset.root", str(path), f"an idx file with a header of {header_size} bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:header_size])
    pixels = np.frombuffer(content, dtype=np.uint8, offset=header_size)
    if pixels.size != np.prod(shape, dtype=np.int64):
        raise ConfigError("dataset.root", str(path), f"{shape} values as its header says, not {pixels.size}")
    return pixels.reshape(shape)


def read_labelled_images(folder: Path, subset: str) -> LabelledImages:
    """Reads the images and labels of one subset.

    Args:
        folder: Where the four files are.
        subset: `train` or `t10k`, the prefix of the file names.

    Returns:
        The images with their labels.

    Raises:
        ConfigError: A file is missing or damaged, or the two do not fit together.
    """
    if not folder.is_dir():
        raise ConfigError("dataset.root", str(folder), f"an existing folder with {FILE_NAMES.format(subset=subset)}")
    images = read_idx(folder / f"{subset}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{subset}-labels-idx1-ubyte.gz")
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        found = f"images of shape {images.shape} and labels of shape {labels.shape} in {folder}"
        raise ConfigError("dataset.root", found, "(samples, height, width) with (samples,)")
    return LabelledImages(images, labels)


class GreyImages:
    """Samples of images held in memory as stored, normalized when asked for.

    Args:
        source: The images with their labels.
        mean: Mean of the pixels, scaled to 0 to 1.
        std: Standard deviation of the pixels, same unit.
    """

    def __init__(self, source: LabelledImages, mean: float, std: float) -> None:
        self._source = source
        # Normalized value of each of the 256 pixel values.
        self._table = ((np.arange(256, dtype=np.float64) / 255.0 - mean) / std).astype(np.float32)

    def __len__(self) -> int:
        return len(self._source.labels)

    def __getitem__(self, index: int, /) -> Sample:
        """Returns the image as (1, height, width) and its class index."""
        return self._table[self._source.images[index]][None], int(self._source.labels[index])


class FashionMnistDataset:
    """Grey images in four idx files: train files for calibration and search, t10k files for the test."""

    class Parameters(DatasetParameters):
        """Parameters of `fashion_mnist`."""

        type: Literal["fashion_mnist"] = "fashion_mnist"
        root: Annotated[str, PathMarker()] = Field(
            description="Folder of the four .gz files, relative to the folder of the configuration."
        )
        full_root: Annotated[str | None, PathMarker()] = Field(
            default=None, description="Folder of the full data set; if it exists, test images come from its t10k files."
        )
        split: SplitParameters = SplitParameters()
        mean: Annotated[float, Field(allow_inf_nan=False)] = Field(
            default=0.2860, description="Mean of the pixels, scaled to 0 to 1."
        )
        std: Annotated[float, Field(allow_inf_nan=False, gt=0)] = Field(
            default=0.3530, description="Standard deviation of the pixels, same unit."
        )

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> DatasetSplits:
        """Reads the files.

        Raises:
            ConfigError: A file is missing or damaged, or there are fewer images than the split asks for.
        """
        report_root = parameters.root
        if parameters.full_root is not None and (base_directory / parameters.full_root).is_dir():
            report_root = parameters.full_root
        train = read_labelled_images(base_directory / parameters.root, "train")
        report = read_labelled_images(base_directory / report_root, "t10k")
        return make_splits(
            parameters.split,
            GreyImages(train, parameters.mean, parameters.std),
            source=f"train files of {parameters.root}, test images from the t10k files of {report_root}",
            report_dataset=GreyImages(report, parameters.mean, parameters.std),
        )

    @staticmethod
    def class_names(parameters: Parameters, base_directory: Path) -> list[str] | None:
        """The lines of `root/labels.txt`, one class each; None where there is no such file.

        Raises:
            ConfigError: It is no text.
        """
        file = base_directory / parameters.root / NAMES_FILE
        return read_text(file, "dataset.root").splitlines() if file.is_file() else None
