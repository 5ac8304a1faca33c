from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nncf_mcq.data.datasets import build_dataset
from nncf_mcq.data.objects import Objects
from nncf_mcq.data.splits import DatasetSplits
from nncf_mcq.errors import ConfigError

WIDTH, HEIGHT = 40, 20


def section(**values: object) -> dict[str, object]:
    split = {"calibration": 1, "report": "rest"}
    return {"type": "coco", "root": "data", "preprocessing": {"size": [32, 32]}, "split": split, **values}


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50)).save(path)


def write_text_layout(root: Path, below: str) -> None:
    for name in ("a", "b", "c"):
        write_image(root / "images" / below / f"{name}.jpg")
    labels = root / "labels" / below
    labels.mkdir(parents=True, exist_ok=True)
    (labels / "a.txt").write_text("3 0.5 0.5 0.5 1.0\n\n0 0.1 0.25 0.2 0.5\n")
    (labels / "b.txt").write_text("")


def write_annotations(root: Path) -> None:
    for name in ("a", "b"):
        write_image(root / f"{name}.jpg")
    content = {
        "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 9, "file_name": "a.jpg"}],
        "categories": [{"id": 90, "name": "last"}, {"id": 1, "name": "first"}, {"id": 13, "name": "second"}],
        "annotations": [
            {"image_id": 9, "category_id": 90, "bbox": [10, 5, 20, 10], "iscrowd": 1},
            {"image_id": 9, "category_id": 1, "bbox": [0, 0, 8, 4]},
        ],
    }
    (root / "instances.json").write_text(json.dumps(content))


def objects_of(splits: DatasetSplits) -> list[Objects]:
    found = [part[index][1] for part in (splits.calibration, splits.report) for index in range(len(part))]
    return sorted(found, key=lambda target: -len(target.classes))


@pytest.mark.parametrize("below", ["", "train2017"])
def test_text_layout(tmp_path: Path, below: str) -> None:
    write_text_layout(tmp_path / "data", below)
    splits = build_dataset(section(), tmp_path)
    assert splits.has_targets
    first, *others = objects_of(splits)
    assert first.boxes.tolist() == [[10.0, 0.0, 30.0, 20.0], [0.0, 0.0, 8.0, 10.0]]
    assert first.classes.tolist() == [3, 0]
    assert first.placement.image_size == (HEIGHT, WIDTH)
    # One has an empty file of labels, one has none.
    assert [len(target.classes) for target in others] == [0, 0]
    assert splits.calibration[0][0].shape == (3, 32, 32)


def test_annotations_number_the_classes_by_their_sorted_ids(tmp_path: Path) -> None:
    write_annotations(tmp_path / "data")
    first, second = objects_of(build_dataset(section(annotations="data/instances.json"), tmp_path))
    assert first.boxes.tolist() == [[10.0, 5.0, 30.0, 15.0], [0.0, 0.0, 8.0, 4.0]]
    assert first.classes.tolist() == [2, 0]
    assert first.crowd.tolist() == [True, False]
    assert len(second.classes) == 0


def test_samples_are_cached_with_their_targets(tmp_path: Path) -> None:
    write_text_layout(tmp_path / "data", "")
    splits = build_dataset(section(), tmp_path)
    before = splits.report[0]
    for path in (tmp_path / "data" / "images").iterdir():
        path.unlink()
    image, target = splits.report[0]
    assert np.array_equal(image, before[0])
    assert target is before[1]


def test_missing_data_says_what_to_fetch_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^dataset\.root: found 'data', allowed: a folder; .*data\. .*coco128\.zip$"):
        build_dataset(section(), tmp_path)
    (tmp_path / "data" / "images").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"a folder with the folders images and labels\. .*coco128\.zip$"):
        build_dataset(section(), tmp_path)
    with pytest.raises(ConfigError, match=r"^dataset\.annotations: .*a readable file \(No such file or directory\)"):
        build_dataset(section(annotations="nowhere.json"), tmp_path)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"^dataset\.annotations: .*valid JSON \(it is nested too deeply\)"):
        build_dataset(section(annotations="deep.json"), tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "3 0.5 0.5 0.5",
        "cat 0.5 0.5 0.5 0.5",
        "1.5 0.5 0.5 0.5 0.5",
        "1 0.5 0.5 20 10",
        "-1 .5 .5 .1 .1",
        "nan .5 .5 .1 .1",
        "1 nan .5 .1 .1",
    ],
)
def test_damaged_labels_name_the_file(tmp_path: Path, line: str) -> None:
    write_text_layout(tmp_path / "data", "")
    (tmp_path / "data" / "labels" / "a.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{line}")
    with pytest.raises(ConfigError, match=r"^dataset\.root: found 'line 2 of .*a\.txt: "):
        build_dataset(section(), tmp_path)


@pytest.mark.parametrize("box", [[0, 0, -1, 2], [0, float("nan"), 1, 1]])
def test_impossible_boxes_name_the_annotation(tmp_path: Path, box: list[float]) -> None:
    write_annotations(tmp_path / "data")
    path = tmp_path / "data" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"bbox": box, "id": 77}
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"annotation 77 in .*instances\.json"):
        build_dataset(section(annotations="data/instances.json"), tmp_path)


def test_no_labels_at_all(tmp_path: Path) -> None:
    write_text_layout(tmp_path / "data", "")
    for path in (tmp_path / "data" / "labels").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match=r"labels of at least one image, e\.g\. .*a\.txt$"):
        build_dataset(section(), tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"categories": []}, r"COCO's layout \(KeyError"),
        ({"images": None}, r"COCO's layout \(TypeError"),
        ({"images": [{"id": 1, "file_name": "gone.jpg"}]}, r"^dataset\.root: found '.*gone\.jpg'"),
    ],
)
def test_damaged_annotations(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_annotations(tmp_path / "data")
    path = tmp_path / "data" / "instances.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        build_dataset(section(annotations="data/instances.json"), tmp_path)


def test_a_corrupt_image_is_named(tmp_path: Path) -> None:
    write_text_layout(tmp_path / "data", "")
    for image in (tmp_path / "data" / "images").iterdir():
        image.write_bytes(b"no image")
    splits = build_dataset(section(), tmp_path)
    with pytest.raises(ConfigError, match=r"^dataset\.root: found '.*\.jpg', allowed: a readable image"):
        splits.report[0]
