"""At every moment while an IR is replaced, the old model or the new one can be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from nncf_mcq.ir.pair import replace_pair
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.inference import compile_model
from tests.files import no_room_for_more_than
from tests.models import convolution, convolution_model, make_model, random_constant, random_images

SHAPE = (1, 3, 8, 8)
RENAMES = 5


class Killed(BaseException):
    """A process ends."""


def output(model: ov.Model) -> NDArray[np.float32]:
    return np.array(compile_model(model, 1)(random_images(1, SHAPE)[0][None])[0])


def models(old: int, new: int) -> tuple[ov.Model, ov.Model]:
    """Two convolutions with so many filters."""
    return convolution_model(SHAPE, (old, 3, 3, 3)), convolution_model(SHAPE, (new, 3, 5, 5))


@pytest.mark.parametrize(("old", "new"), [(4, 900), (900, 4), (400, 400)])
@pytest.mark.parametrize("renames", range(RENAMES + 1))
def test_a_kill_between_two_renames_leaves_one_of_the_two(
    old: int, new: int, renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = models(old, new)
    target = save_atomically(first, tmp_path, "model")
    source = save_atomically(second, tmp_path / "new", "model")
    expected = [output(model) for model in (first, second)]
    rename, done = Path.replace, 0

    def replace(self: Path, name: Path) -> Path:
        nonlocal done
        if done == renames:
            raise Killed
        done += 1
        return rename(self, name)

    monkeypatch.setattr(Path, "replace", replace)
    if renames < RENAMES:
        with pytest.raises(Killed):
            replace_pair(source, target)
    else:
        replace_pair(source, target)
        # One file's own, whatever stood in between.
        assert target.with_suffix(".bin").stat().st_size < 4096 * (1 + new * 300 // 4096)
    monkeypatch.undo()
    # What stands there is a model from the first rename to the last.
    assert done == renames
    np.testing.assert_array_equal(output(ov.Core().read_model(target)), expected[renames > 1])
    assert {path.name for path in tmp_path.iterdir()} == {"model.xml", "model.bin", "new"}


def killed_after(monkeypatch: pytest.MonkeyPatch, renames: int) -> list[Path]:
    """Lets so many renames pass; returns the names that they gave."""
    rename = Path.replace
    given: list[Path] = []

    def replace(self: Path, name: Path) -> Path:
        if len(given) == renames:
            raise Killed
        given.append(Path(name))
        return rename(self, name)

    monkeypatch.setattr(Path, "replace", replace)
    return given


def test_files_of_one_size_and_time_need_not_be_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = convolution_model(SHAPE, (4, 3, 3, 3))
    weights = random_constant(4, 3, 3, 3, seed=1)
    second = make_model(lambda data: convolution(data, weights, "layer"), SHAPE)
    target = save_atomically(first, tmp_path, "model")
    source = save_atomically(second, tmp_path / "new", "model")
    for xml in (target, source):
        os.utime(xml.with_suffix(".bin"), (0, 0))
    assert target.with_suffix(".bin").stat().st_size == source.with_suffix(".bin").stat().st_size
    killed_after(monkeypatch, 1)
    with pytest.raises(Killed):
        replace_pair(source, target)
    np.testing.assert_array_equal(output(ov.Core().read_model(target)), output(first))


def test_equal_constants_need_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = convolution_model(SHAPE, (4, 3, 3, 3))
    target = save_atomically(first, tmp_path, "model")
    source = save_atomically(first, tmp_path / "new", "model")
    given = killed_after(monkeypatch, RENAMES)
    replace_pair(source, target)
    assert given == [target.with_suffix(".bin"), target]


def test_without_room_for_more_the_pair_is_replaced_all_the_same(tmp_path: Path) -> None:
    first, second = models(40, 40)
    target = save_atomically(first, tmp_path, "model")
    source = save_atomically(second, tmp_path / "new", "model")
    with no_room_for_more_than(1000):
        replace_pair(source, target)
    np.testing.assert_array_equal(output(ov.Core().read_model(target)), output(second))
    assert {path.name for path in tmp_path.iterdir()} == {"model.xml", "model.bin", "new"}


def test_half_a_pair_is_nothing_to_keep(tmp_path: Path) -> None:
    _, second = models(4, 4)
    target = tmp_path / "model.xml"
    target.write_text("no model")
    replace_pair(save_atomically(second, tmp_path / "new", "model"), target)
    np.testing.assert_array_equal(output(ov.Core().read_model(target)), output(second))


def test_where_nothing_was_an_xml_never_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, second = models(4, 4)
    source = save_atomically(second, tmp_path / "new", "model")
    rename, done = Path.replace, 0

    def replace(self: Path, name: Path) -> Path:
        nonlocal done
        if done:
            raise Killed
        done += 1
        return rename(self, name)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(Killed):
        replace_pair(source, tmp_path / "model.xml")
    assert {path.name for path in tmp_path.iterdir()} == {"model.bin", "new"}
