"""Every data set of ours in the public suite."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nncf_mcq import DATASETS
from nncf_mcq.data.datasets import ModelSource
from nncf_mcq.testing import DatasetTestCase, Section, SplitDatasetTestCase
from tests.data.conftest import write_class_folders, write_jpeg
from tests.models import SAMPLE_SIZE, small_network

SPLIT = {"calibration": 4, "search": 3, "report": "rest"}
PREPROCESSING = {"resize": 20, "crop": 16, "scale": "0-1", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
LETTERBOX = {"size": [16, 32]}


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def write_fashion_mnist(folder: Path, images: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for subset in ("train", "t10k"):
        write_idx(folder / f"{subset}-images-idx3-ubyte.gz", random.integers(0, 256, (images, 28, 28), np.uint8))
        write_idx(folder / f"{subset}-labels-idx1-ubyte.gz", random.integers(0, 10, images, np.uint8))


class TestImagenet(SplitDatasetTestCase):
    @pytest.fixture
    def base_directory(self, tmp_path: Path) -> Path:
        write_class_folders(tmp_path / "images")
        return tmp_path

    @pytest.fixture
    def image_shape(self) -> tuple[int, ...]:
        return (3, 16, 16)

    @pytest.fixture
    def section(self) -> Section:
        return {"type": "imagenet", "root": "images", "split": SPLIT, "preprocessing": PREPROCESSING}


class TestImagenetWithValidationFolder(TestImagenet):
    """Calibration and search from one folder, the report from another."""

    @pytest.fixture
    def base_directory(self, tmp_path: Path) -> Path:
        write_class_folders(tmp_path / "images" / "train")
        for number, name in enumerate(("n01", "n02", "n03")):
            write_jpeg(tmp_path / "images" / "val" / name / "image.JPEG", seed=100 + number)
        return tmp_path


class TestImageFolder(TestImagenet):
    @pytest.fixture
    def section(self) -> Section:
        return {
            "type": "image_folder",
            "root": "images",
            "split": SPLIT,
            "preprocessing": PREPROCESSING,
            "workers": 1,
            "cache_megabytes": 0,
        }


class TestFashionMnist(SplitDatasetTestCase):
    @pytest.fixture
    def base_directory(self, tmp_path: Path) -> Path:
        write_fashion_mnist(tmp_path / "images", 12)
        return tmp_path

    @pytest.fixture
    def image_shape(self) -> tuple[int, ...]:
        return (1, 28, 28)

    @pytest.fixture
    def section(self) -> Section:
        return {"type": "fashion_mnist", "root": "images", "split": SPLIT}


class TestArrays(SplitDatasetTestCase):
    """One input: the samples are those of a data set of images."""

    @pytest.fixture
    def base_directory(self, tmp_path: Path) -> Path:
        images = np.random.default_rng(0).standard_normal((24, 3, 8, 8)).astype(np.float32)
        np.savez(tmp_path / "samples.npz", data=images, targets=np.arange(24))
        return tmp_path

    @pytest.fixture
    def image_shape(self) -> tuple[int, ...]:
        return (3, 8, 8)

    @pytest.fixture
    def section(self) -> Section:
        return {"type": "arrays", "file": "samples.npz", "split": SPLIT}


class TestCoco(SplitDatasetTestCase):
    """YOLO's text files."""

    @pytest.fixture
    def base_directory(self, tmp_path: Path) -> Path:
        for image in range(9):
            write_jpeg(tmp_path / "coco" / "images" / f"{image}.jpg", seed=image)
            label = tmp_path / "coco" / "labels" / f"{image}.txt"
            label.parent.mkdir(exist_ok=True)
            label.write_text("3 0.5 0.5 0.2 0.4\n0 0.25 0.25 0.1 0.1\n")
        return tmp_path

    @pytest.fixture
    def image_shape(self) -> tuple[int, ...]:
        return (3, 16, 32)

    @pytest.fixture
    def section(self) -> Section:
        return {"type": "coco", "root": "coco", "split": SPLIT, "preprocessing": LETTERBOX}


class TestCocoAnnotations(TestCoco):
    """COCO's JSON."""

    @pytest.fixture
    def base_directory(self, tmp_path: Path) -> Path:
        images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(9)]
        for number in range(9):
            write_jpeg(tmp_path / "coco" / f"{number}.jpg", seed=number)
        boxes = [{"image_id": image["id"], "category_id": 7, "bbox": [1, 2, 10, 20]} for image in images]
        content = {"images": images, "categories": [{"id": 7}], "annotations": boxes}
        (tmp_path / "annotations.json").write_text(json.dumps(content))
        return tmp_path

    @pytest.fixture
    def section(self) -> Section:
        return {
            "type": "coco",
            "root": "coco",
            "annotations": "annotations.json",
            "split": SPLIT,
            "preprocessing": LETTERBOX,
        }


class TestDistilled(DatasetTestCase):
    @pytest.fixture(scope="class")
    def network(self) -> object:
        return small_network()

    @pytest.fixture
    def model(self, network: object) -> ModelSource:
        return ModelSource(lambda: network, SAMPLE_SIZE)

    @pytest.fixture
    def image_shape(self) -> tuple[int, ...]:
        return SAMPLE_SIZE[1:]

    @pytest.fixture
    def section(self) -> Section:
        return {"type": "distilled", "images": 4, "report": 3, "batch_size": 2, "iterations": 3}


def test_every_registered_data_set_is_tested() -> None:
    tested = {"arrays", "imagenet", "image_folder", "fashion_mnist", "coco", "distilled"}
    assert tested == set(DATASETS)
