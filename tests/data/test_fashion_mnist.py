from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from nncf_mcq.data.datasets import build_dataset
from nncf_mcq.data.fashion_mnist import read_idx, read_labelled_images
from nncf_mcq.data.splits import ImageDataset
from nncf_mcq.errors import ConfigError


def images_of(part: ImageDataset) -> set[bytes]:
    return {part[index][0].tobytes() for index in range(len(part))}


def test_splits_of_the_embedded_data(fashion_mnist_data: Path) -> None:
    section = {"type": "fashion_mnist", "root": "data", "split": {"calibration": 100, "search": 200}}
    splits = build_dataset(section, fashion_mnist_data.parent)
    assert (len(splits.calibration), len(splits.search), len(splits.report)) == (100, 200, 4000)
    calibration, search, report = (images_of(part) for part in (splits.calibration, splits.search, splits.report))
    assert not calibration & search
    assert not (calibration | search) & report
    assert splits.describe()["source"] == "train files of data, test images from the t10k files of data"


def test_samples_are_normalized_images_with_labels(fashion_mnist_data: Path) -> None:
    section = {"type": "fashion_mnist", "root": ".", "mean": 0.25, "std": 0.5, "split": {"report": "rest"}}
    splits = build_dataset(section, fashion_mnist_data)
    stored = read_labelled_images(fashion_mnist_data, "t10k")
    expected = {image.tobytes(): label for image, label in zip(*stored, strict=True)}
    for index in range(50):
        image, target = splits.report[index]
        assert image.dtype == np.float32
        assert image.shape == (1, 28, 28)
        pixels = (image[0] * 0.5 + 0.25) * 255
        np.testing.assert_allclose(pixels, pixels.round(), atol=1e-3)
        assert expected[pixels.round().astype(np.uint8).tobytes()] == target


def test_default_normalization_centres_the_pixels(fashion_mnist_data: Path) -> None:
    splits = build_dataset({"type": "fashion_mnist", "root": ".", "split": {"calibration": 1024}}, fashion_mnist_data)
    pixels = np.stack([splits.calibration[index][0] for index in range(1024)])
    assert abs(pixels.mean()) < 0.02
    assert pixels.std() == pytest.approx(1.0, abs=0.02)


def test_changing_a_sample_does_not_change_the_data_set(fashion_mnist_data: Path) -> None:
    splits = build_dataset({"type": "fashion_mnist", "root": "."}, fashion_mnist_data)
    before = splits.calibration[0][0].copy()
    splits.calibration[0][0][:] = 7
    np.testing.assert_array_equal(splits.calibration[0][0], before)


def test_full_data_serve_the_report_where_they_exist(fashion_mnist_data: Path, tmp_path: Path) -> None:
    section = {"type": "fashion_mnist", "root": str(fashion_mnist_data), "full_root": "full"}
    without = build_dataset(section, tmp_path)
    assert len(without.report) == 4000
    assert "full" not in without.source

    (tmp_path / "full").mkdir()
    for kind in ("images-idx3", "labels-idx1"):
        source = fashion_mnist_data / f"train-{kind}-ubyte.gz"
        shutil.copy(source, tmp_path / "full" / f"t10k-{kind}-ubyte.gz")
    with_full = build_dataset(section, tmp_path)
    assert len(with_full.report) == 1024
    assert with_full.source.endswith("test images from the t10k files of full")
    assert images_of(with_full.calibration) == images_of(without.calibration)


def test_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    section = {"type": "fashion_mnist", "root": "nowhere"}
    with pytest.raises(ConfigError, match=r"dataset\.root: found '.*nowhere', allowed: an existing folder"):
        build_dataset(section, tmp_path)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(ConfigError, match=r"found '.*train-images-idx3-ubyte\.gz', allowed: a folder with this file"):
        build_dataset(section, tmp_path)


def test_split_larger_than_the_data_is_an_error(fashion_mnist_data: Path) -> None:
    section = {"type": "fashion_mnist", "root": ".", "split": {"calibration": 1000, "search": 25}}
    with pytest.raises(ConfigError, match=r"1000 images for calibration and 25 more for search.*1024 images"):
        build_dataset(section, fashion_mnist_data)


def test_idx_file_is_read_in_row_order(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "values.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2, 3, 4) + values.tobytes()))
    np.testing.assert_array_equal(read_idx(path), values)


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (b"no gzip", "a readable gzip file"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x03abc")[:-9], "a readable gzip file"),
        (gzip.compress(b"\0\0\x0d\x01\0\0\0\x03abc"), "an idx file of unsigned bytes"),
        (gzip.compress(b"\0\0\x08\x02\0\0\0\x03"), "an idx file with a header of 12 bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x04abc"), r"\(4,\) values as its header says, not 3"),
    ],
    ids=["no gzip", "truncated", "other type", "short header", "short content"],
)
def test_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: bytes, allowed: str) -> None:
    path = tmp_path / "broken.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"broken\.gz', allowed: {allowed}"):
        read_idx(path)


def test_images_and_labels_must_be_equally_many(fashion_mnist_data: Path, tmp_path: Path) -> None:
    shutil.copy(fashion_mnist_data / "train-images-idx3-ubyte.gz", tmp_path)
    shutil.copy(fashion_mnist_data / "t10k-labels-idx1-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz")
    with pytest.raises(ConfigError, match=r"images of shape \(1024, 28, 28\) and labels of shape \(4000,\)"):
        read_labelled_images(tmp_path, "train")
