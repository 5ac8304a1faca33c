from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nncf_mcq.errors import ConfigError
from nncf_mcq.task.datasets import NO_TARGET, build_dataset
from nncf_mcq.task.image_files import ImageFiles, classified, find_images
from nncf_mcq.task.preprocessing import PreprocessingParameters, Preprocessor
from tests.task.conftest import CLASS_NAMES, IMAGES_PER_CLASS, write_class_folders, write_jpeg

PREPROCESSING = {"crop": 8, "scale": "0-1", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
BYTES_PER_IMAGE = 3 * 8 * 8 * 4


def imagenet(root: str, **values) -> dict[str, object]:
    split = {"calibration": 3, "search": 2}
    return {"type": "imagenet", "root": root, "preprocessing": PREPROCESSING, "split": split, **values}


def preprocess(path: Path) -> bytes:
    with Image.open(path) as image:
        return Preprocessor(PreprocessingParameters(**PREPROCESSING))(image).tobytes()


def targets_by_image(folder: Path, order: list[str]) -> dict[bytes, int]:
    return {preprocess(path): order.index(path.parent.name) for path in folder.rglob("*.JPEG")}


def samples(*parts) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), target) for part in parts for image, target in (part[i] for i in range(len(part)))]


def test_class_folders_directly_in_root(class_folders: Path):
    splits = build_dataset(imagenet("images"), class_folders.parent)
    assert (len(splits.calibration), len(splits.search), len(splits.report)) == (3, 2, 7)
    found = samples(splits.calibration, splits.search, splits.report)
    assert len({image for image, _ in found}) == len(CLASS_NAMES) * IMAGES_PER_CLASS
    assert dict(found) == targets_by_image(class_folders, sorted(CLASS_NAMES))
    assert splits.source == "ImageNet folders: images"
    assert splits.has_targets


def test_class_list_gives_the_indices(class_folders: Path):
    order = ["n00", "n02", "n03", "n99", "n01"]
    (class_folders / "wnids.txt").write_text("\n".join(order) + "\n")
    splits = build_dataset(imagenet("images"), class_folders.parent)
    found = samples(splits.calibration, splits.search, splits.report)
    assert dict(found) == targets_by_image(class_folders, order)


@pytest.mark.parametrize("name", ["train", "val"])
def test_single_subset_folder_serves_all_parts(tmp_path: Path, name: str):
    write_class_folders(tmp_path / name)
    (tmp_path / "wnids.txt").write_text("n01\nn02\nn03\n")
    splits = build_dataset(imagenet("."), tmp_path)
    assert len(splits.report) == 7
    assert splits.source == f"ImageNet folders: {name} of ."


def test_validation_folder_serves_the_report(tmp_path: Path):
    write_class_folders(tmp_path / "train")
    for seed in range(3):
        write_jpeg(tmp_path / "val" / "n02" / f"{seed}.JPEG", seed=100 + seed)
    splits = build_dataset(imagenet(".", split={"calibration": 6, "search": 6}), tmp_path)
    train = targets_by_image(tmp_path / "train", sorted(CLASS_NAMES))
    assert dict(samples(splits.calibration, splits.search)) == train
    assert dict(samples(splits.report)) == targets_by_image(tmp_path / "val", sorted(CLASS_NAMES))
    assert splits.source == "ImageNet folders: train and val of ."


def test_same_seed_gives_the_same_images(class_folders: Path):
    first = build_dataset(imagenet("images"), class_folders.parent)
    again = build_dataset(imagenet("images"), class_folders.parent)
    other = build_dataset(imagenet("images", split={"calibration": 3, "search": 2, "seed": 5}), class_folders.parent)
    assert samples(first.calibration, first.search) == samples(again.calibration, again.search)
    assert samples(first.calibration, first.search) != samples(other.calibration, other.search)


def test_missing_root_is_named(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        build_dataset(imagenet("nowhere"), tmp_path)
    place = tmp_path / "nowhere"
    assert str(caught.value) == f"dataset.root: found 'nowhere', allowed: an existing folder; there is none at {place}"


def test_split_larger_than_the_data_is_an_error(class_folders: Path):
    with pytest.raises(ConfigError, match=r"8 images for calibration and 5 more for search.*allowed: 12 images"):
        build_dataset(imagenet("images", split={"calibration": 8, "search": 5}), class_folders.parent)


def test_unknown_class_folder_is_an_error(class_folders: Path):
    (class_folders / "wnids.txt").write_text("n01\nn03\n")
    with pytest.raises(ConfigError, match=r"found '.*n02', allowed: a folder named by a line of wnids\.txt"):
        build_dataset(imagenet("images"), class_folders.parent)


def test_repeated_class_is_an_error(class_folders: Path):
    (class_folders / "wnids.txt").write_text("n01\nn02\nn03\nn02\n")
    with pytest.raises(ConfigError, match=r"found 'n02 twice in .*wnids\.txt', allowed: every class once"):
        build_dataset(imagenet("images"), class_folders.parent)


def test_empty_class_folder_is_an_error(class_folders: Path):
    (class_folders / "n04").mkdir()
    with pytest.raises(ConfigError, match=r"found '.*n04', allowed: a class folder with at least one image"):
        build_dataset(imagenet("images"), class_folders.parent)


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "truncated"])
def test_unreadable_image_is_named_when_it_is_read(class_folders: Path, content: bytes | None):
    path = class_folders / "n01" / "n01_0.JPEG"
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    splits = build_dataset(imagenet("images"), class_folders.parent)
    with pytest.raises(ConfigError, match=r"found '.*n01_0\.JPEG', allowed: a readable image"):
        samples(splits.calibration, splits.search, splits.report)


def test_image_folder_has_no_targets(class_folders: Path):
    (class_folders / ".hidden").mkdir()
    write_jpeg(class_folders / ".hidden" / "hidden.jpg", seed=50)
    write_jpeg(class_folders / "top.jpg", seed=51)
    (class_folders / "notes.txt").write_text("no image")
    section = {
        "type": "image_folder",
        "root": "images",
        "preprocessing": PREPROCESSING,
        "split": {"calibration": 4, "report": 5},
    }
    splits = build_dataset(section, class_folders.parent)
    assert len(find_images(class_folders)) == 13
    assert splits.describe() == {
        "source": "images in images",
        "has_targets": False,
        "calibration": 4,
        "search": 4,
        "search_is_calibration": True,
        "report": 5,
    }
    assert {target for _, target in samples(splits.calibration, splits.report)} == {NO_TARGET}
    assert len({image for image, _ in samples(splits.calibration, splits.report)}) == 9


def test_folder_without_images_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigError, match="allowed: 0 images"):
        build_dataset({"type": "image_folder", "root": ".", "preprocessing": PREPROCESSING}, tmp_path)


class CountingPreprocessor(Preprocessor):
    calls = 0

    def __call__(self, image):
        self.calls += 1
        return super().__call__(image)


@pytest.mark.parametrize(("cached", "expected_calls"), [(0, 12), (1, 10), (4, 4), (100, 4)])
def test_cache_spares_decoding_up_to_its_limit(class_folders: Path, cached: int, expected_calls: int):
    preprocessor = CountingPreprocessor(PreprocessingParameters(**PREPROCESSING))
    files = find_images(class_folders / "n01")
    dataset = ImageFiles(files, [0] * len(files), classified(preprocessor), cache_bytes=cached * BYTES_PER_IMAGE)
    passes = [samples(dataset) for _ in range(3)]
    assert passes[0] == passes[1] == passes[2]
    assert preprocessor.calls == expected_calls


def test_changing_a_sample_does_not_change_the_data_set(class_folders: Path):
    splits = build_dataset(imagenet("images"), class_folders.parent)
    before = splits.calibration[0][0].copy()
    splits.calibration[0][0][:] = 7
    np.testing.assert_array_equal(splits.calibration[0][0], before)
