from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nncf_mcq.data.datasets import NO_TARGET, build_dataset
from nncf_mcq.data.image_files import (
    BYTES_PER_MEGABYTE,
    DecodingParameters,
    ImageFiles,
    classified,
    find_images,
)
from nncf_mcq.data.preprocessing import PreprocessingParameters, Preprocessor
from nncf_mcq.data.splits import ImageDataset, Subset
from nncf_mcq.errors import ConfigError
from tests.data.conftest import CLASS_NAMES, IMAGES_PER_CLASS, write_class_folders, write_jpeg

PREPROCESSING = {"crop": 8, "scale": "0-1", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
BYTES_PER_IMAGE = 3 * 8 * 8 * 4


def imagenet(root: str, **values: object) -> dict[str, object]:
    split = {"calibration": 3, "search": 2}
    return {"type": "imagenet", "root": root, "preprocessing": PREPROCESSING, "split": split, **values}


def preprocess(path: Path) -> bytes:
    with Image.open(path) as image:
        return Preprocessor(PreprocessingParameters.model_validate(PREPROCESSING))(image).tobytes()


def targets_by_image(folder: Path, order: list[str]) -> dict[bytes, int]:
    return {preprocess(path): order.index(path.parent.name) for path in folder.rglob("*.JPEG")}


def samples(*parts: ImageDataset) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), target) for part in parts for image, target in (part[i] for i in range(len(part)))]


def test_class_folders_directly_in_root(class_folders: Path) -> None:
    splits = build_dataset(imagenet("images"), class_folders.parent)
    assert (len(splits.calibration), len(splits.search), len(splits.report)) == (3, 2, 7)
    found = samples(splits.calibration, splits.search, splits.report)
    assert len({image for image, _ in found}) == len(CLASS_NAMES) * IMAGES_PER_CLASS
    assert dict(found) == targets_by_image(class_folders, sorted(CLASS_NAMES))
    assert splits.source == "ImageNet folders: images"
    assert splits.has_targets


def test_class_list_gives_the_indices(class_folders: Path) -> None:
    order = ["n00", "n02", "n03", "n99", "n01"]
    (class_folders / "wnids.txt").write_text("\n".join(order) + "\n")
    splits = build_dataset(imagenet("images"), class_folders.parent)
    found = samples(splits.calibration, splits.search, splits.report)
    assert dict(found) == targets_by_image(class_folders, order)


@pytest.mark.parametrize("name", ["train", "val"])
def test_single_subset_folder_serves_all_parts(tmp_path: Path, name: str) -> None:
    write_class_folders(tmp_path / name)
    (tmp_path / "wnids.txt").write_text("n01\nn02\nn03\n")
    splits = build_dataset(imagenet("."), tmp_path)
    assert len(splits.report) == 7
    assert splits.source == f"ImageNet folders: {name} of ."


def test_validation_folder_serves_the_report(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    for seed in range(3):
        write_jpeg(tmp_path / "val" / "n02" / f"{seed}.JPEG", seed=100 + seed)
    splits = build_dataset(imagenet(".", split={"calibration": 6, "search": 6}), tmp_path)
    train = targets_by_image(tmp_path / "train", sorted(CLASS_NAMES))
    assert dict(samples(splits.calibration, splits.search)) == train
    assert dict(samples(splits.report)) == targets_by_image(tmp_path / "val", sorted(CLASS_NAMES))
    assert splits.source == "ImageNet folders: train and val of ."


def test_same_seed_gives_the_same_images(class_folders: Path) -> None:
    first = build_dataset(imagenet("images"), class_folders.parent)
    again = build_dataset(imagenet("images"), class_folders.parent)
    other = build_dataset(imagenet("images", split={"calibration": 3, "search": 2, "seed": 5}), class_folders.parent)
    assert samples(first.calibration, first.search) == samples(again.calibration, again.search)
    assert samples(first.calibration, first.search) != samples(other.calibration, other.search)


def test_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        build_dataset(imagenet("nowhere"), tmp_path)
    place = tmp_path / "nowhere"
    message = str(caught.value)
    assert message.startswith(f"dataset.root: found 'nowhere', allowed: an existing folder; there is none at {place}. ")
    assert "train/<wnid>" in message


def test_split_larger_than_the_data_is_an_error(class_folders: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"8 images for calibration and 5 more for search.*allowed: at most 12 images"
    ):
        build_dataset(imagenet("images", split={"calibration": 8, "search": 5}), class_folders.parent)


def test_unknown_class_folder_is_an_error(class_folders: Path) -> None:
    (class_folders / "wnids.txt").write_text("n01\nn03\n")
    with pytest.raises(ConfigError, match=r"found '.*n02', allowed: a folder named by a line of wnids\.txt"):
        build_dataset(imagenet("images"), class_folders.parent)


def test_repeated_class_is_an_error(class_folders: Path) -> None:
    (class_folders / "wnids.txt").write_text("n01\nn02\nn03\nn02\n")
    with pytest.raises(ConfigError, match=r"found 'n02 twice in .*wnids\.txt', allowed: every class once"):
        build_dataset(imagenet("images"), class_folders.parent)
    (class_folders / "wnids.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"wnids\.txt', allowed: a readable text file"):
        build_dataset(imagenet("images"), class_folders.parent)


def test_empty_class_folder_is_a_class_and_is_named(class_folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = build_dataset(imagenet("images"), class_folders.parent)
    (class_folders / "n00").mkdir()
    splits = build_dataset(imagenet("images"), class_folders.parent)
    assert f"no images of class n00: {class_folders / 'n00'} is empty" in caplog.text
    shifted = [target + 1 for _, target in samples(before.calibration, before.search, before.report)]
    assert [target for _, target in samples(splits.calibration, splits.search, splits.report)] == shifted


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "truncated"])
def test_unreadable_image_is_named_when_it_is_read(class_folders: Path, content: bytes | None) -> None:
    path = class_folders / "n01" / "n01_0.JPEG"
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    splits = build_dataset(imagenet("images"), class_folders.parent)
    with pytest.raises(ConfigError, match=r"found '.*n01_0\.JPEG', allowed: a readable image"):
        samples(splits.calibration, splits.search, splits.report)


def test_image_folder_has_no_targets(class_folders: Path) -> None:
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


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="allowed: at most 0 images"):
        build_dataset({"type": "image_folder", "root": ".", "preprocessing": PREPROCESSING}, tmp_path)


class CountingPreprocessor(Preprocessor):
    calls = 0

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        self.calls += 1
        return super().__call__(image)


@pytest.mark.parametrize(("cached", "expected_calls"), [(0, 12), (1, 10), (4, 4), (100, 4)])
def test_cache_spares_decoding_up_to_its_limit(class_folders: Path, cached: int, expected_calls: int) -> None:
    preprocessor = CountingPreprocessor(PreprocessingParameters.model_validate(PREPROCESSING))
    files = find_images(class_folders / "n01")
    share = cached * BYTES_PER_IMAGE / (512 * BYTES_PER_MEGABYTE)
    parameters = DecodingParameters(workers=1)
    dataset = ImageFiles(files, [0] * len(files), classified(preprocessor), parameters, share)
    passes = [samples(dataset) for _ in range(3)]
    assert passes[0] == passes[1] == passes[2]
    assert preprocessor.calls == expected_calls


def test_changing_a_sample_does_not_change_the_data_set(class_folders: Path) -> None:
    splits = build_dataset(imagenet("images"), class_folders.parent)
    before = splits.calibration[0][0].copy()
    splits.calibration[0][0][:] = 7
    np.testing.assert_array_equal(splits.calibration[0][0], before)


@pytest.mark.parametrize("labels", ["{0} {1}", "{0}\t{2}"], ids=["indices", "wnids"])
@pytest.mark.parametrize("subfolder", ["", "val"])
def test_labels_of_images_in_one_folder(tmp_path: Path, labels: str, subfolder: str) -> None:
    folder = tmp_path / "data" / subfolder
    for seed in range(6):
        write_jpeg(folder / f"ILSVRC 2012_{seed}.JPEG", seed)
    lines = [labels.format(f"ILSVRC 2012_{seed}.JPEG", seed % 3, f"n0{seed % 3}") for seed in range(6)]
    (tmp_path / "val.txt").write_text("\n".join([*lines, ""]))
    splits = build_dataset(imagenet("data", labels="val.txt", split={"calibration": 2}), tmp_path)
    expected = {preprocess(folder / f"ILSVRC 2012_{seed}.JPEG"): seed % 3 for seed in range(6)}
    assert dict(samples(splits.calibration, splits.report)) == expected


def test_labelled_images_beside_class_folders_serve_the_report(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    write_jpeg(tmp_path / "val" / "a.JPEG", seed=70)
    (tmp_path / "val.txt").write_text("a.JPEG n02\n")
    splits = build_dataset(imagenet(".", labels="val.txt"), tmp_path)
    assert samples(splits.report) == [(preprocess(tmp_path / "val" / "a.JPEG"), sorted(CLASS_NAMES).index("n02"))]
    assert splits.source == "ImageNet, labels in val.txt: train and val of ."


@pytest.mark.parametrize(
    ("lines", "found", "allowed"),
    [
        ("a.JPEG\n", "line 1 of .*: a.JPEG", "the name of an image, a space"),
        ("a.JPEG 0\na.JPEG 1\n", "line 2 of .*: a.JPEG 1", "every image once"),
        ("b.JPEG 0\n", ".*b.JPEG", "images that are there"),
        ("a.JPEG n99\n", "line 1 of .*: n99", r"a class index, a whole number from 0, or a line of wnids\.txt"),
        ("\na.JPEG -1\n", "line 2 of .*: -1", "a class index, a whole number from 0"),
        ("a.JPEG 0.5\n", r"line 1 of .*: 0\.5", "a class index, a whole number from 0"),
        ("a.JPEG nan\n", "line 1 of .*: nan", "a class index, a whole number from 0"),
        ("\n", ".*", "a line for each image"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, lines: str, found: str, allowed: str) -> None:
    write_jpeg(tmp_path / "a.JPEG", seed=0)
    (tmp_path / "wnids.txt").write_text("n01\n")
    (tmp_path / "val.txt").write_text(lines)
    with pytest.raises(ConfigError, match=rf"dataset\.labels: found '{found}', allowed: .*{allowed}"):
        build_dataset(imagenet(".", labels="val.txt"), tmp_path)


def test_flat_folder_without_labels_is_told_of_them(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "a.JPEG", seed=0)
    with pytest.raises(ConfigError, match='"labels" is for images directly in'):
        build_dataset(imagenet("."), tmp_path)


@pytest.mark.parametrize("separate", [False, True])
def test_corrupt_images_are_named_and_the_next_take_their_place(
    tmp_path: Path, separate: bool, caplog: pytest.LogCaptureFixture
) -> None:
    write_class_folders(tmp_path / "train")
    if separate:
        write_class_folders(tmp_path / "val")
    section = imagenet(".", corrupt="skip", split={"calibration": 3, "search": 2})
    before = build_dataset(section, tmp_path)
    parts = [samples(part) for part in (before.calibration, before.search, before.report)]
    contents = {preprocess(path): path for path in (tmp_path / "train").rglob("*.JPEG")}
    victim = contents[parts[0][1][0]]
    victim.write_bytes(victim.read_bytes()[:400])
    with pytest.raises(ConfigError, match=r'allowed: a readable image .*; "corrupt": "skip" leaves such images out'):
        samples(build_dataset(section | {"corrupt": "fail"}, tmp_path).calibration)
    caplog.clear()
    after = build_dataset(section, tmp_path)
    (record,) = caplog.records
    assert "skipped 1 of 12 images that cannot be read" in record.getMessage()
    assert victim.name in record.getMessage()
    assert after.describe()["skipped"] == [str(victim)]
    now = [samples(part) for part in (after.calibration, after.search, after.report)]
    assert [len(part) for part in now[:2]] == [3, 2]
    used, report = (parts[0] + parts[1], parts[2])
    if separate:
        assert now[2] == report
        assert (now[0] + now[1])[:4] == [used[0], *used[2:]]
    else:
        assert now[0] + now[1] + now[2] == [used[0], *used[2:], *report]


def test_too_few_readable_images_is_an_error(class_folders: Path) -> None:
    for path in (class_folders / "n01").iterdir():
        path.write_bytes(b"")
    section = imagenet("images", corrupt="skip", split={"calibration": 9})
    with pytest.raises(ConfigError, match="allowed: at most the 8 images that can be read"):
        build_dataset(section, class_folders.parent)


def test_decoding_ahead_reads_the_same_and_each_image_once(class_folders: Path) -> None:
    preprocessor = CountingPreprocessor(PreprocessingParameters.model_validate(PREPROCESSING))
    files = find_images(class_folders)
    order = list(np.random.default_rng(0).permutation(len(files)))
    passes = {}
    for workers in (1, 3):
        parameters = DecodingParameters(workers=workers)
        # Nothing is cached: what was decoded ahead must serve the one who asks for it.
        dataset = ImageFiles(files, list(range(len(files))), classified(preprocessor), parameters, share=0.0)
        preprocessor.calls = 0
        passes[workers] = samples(Subset(dataset, order))
        assert preprocessor.calls == len(files)
    assert passes[1] == passes[3]
