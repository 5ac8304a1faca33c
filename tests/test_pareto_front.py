"""`nncf_mcq.pareto`: the front of a small network, and the models that are taken from it."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import pytest

from nncf_mcq import BudgetError, Config, ConfigError, ParetoFront, Policy, load_config, pareto, quantize
from nncf_mcq.config.pareto_file import ParetoReport
from nncf_mcq.precision_init.study import StudyStorage
from nncf_mcq.summaries.pareto import front_lines
from nncf_mcq.testing.networks import images, small_config, small_network
from nncf_mcq.utils.documents import DocumentError, read_document
from nncf_mcq.utils.progress import SilentProgress

COUNT = 24
BITS = (2, 3, 4, 6, 8)


class Stages(SilentProgress):
    """The names of the stages."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def start(self, stage: str, total: int) -> None:
        self.names.append(stage)


def dataset(count: int = COUNT) -> nncf.Dataset:
    return nncf.Dataset([image[None] for image in images(count)])


def configuration(precision: Any = "uniform", *, sequential: bool = False, **more: Any) -> Config:
    values = small_config(precision=precision, weight_bits=BITS, **more).to_dict()
    values["compression"]["initializer"]["num_init_samples"] = COUNT
    values["compression"]["correction"]["sequential"] = sequential
    return load_config(values)


def find(config: Config | None = None, **options: Any) -> ParetoFront:
    return pareto(small_network(), dataset(), config or configuration(), **{"points": 7, **options})


@pytest.fixture(scope="module")
def front() -> ParetoFront:
    return find()


@pytest.fixture(scope="module")
def folder(front: ParetoFront, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("front")
    front.save(folder)
    return folder


def number(value: float | None) -> float:
    assert value is not None
    return value


def between(front: ParetoFront) -> str:
    """A size that no policy of the ladder has."""
    sizes = [point.bytes for point in front.report.points]
    return str((sizes[1] + sizes[2]) // 2)


def test_sizes_and_scores_along_the_front(front: ParetoFront) -> None:
    report = front.report
    points = report.points
    assert len(points) + len(report.dominated) <= 7
    assert len(points) > 2
    sizes, scores = [point.bytes for point in points], [number(point.score.value) for point in points]
    assert sizes == sorted(set(sizes))
    assert scores == sorted(set(scores), reverse=True)
    assert points[0].average_bits == 2
    assert report.images == COUNT
    # One for each policy of the ladder, three for each group, and the one that these are compared with.
    groups = len(report.sensitivities)
    assert 3 * groups + 1 < report.evaluations <= 3 * groups + 1 + 7
    for point in (*points, *report.dominated):
        for interval in (point.score, *point.qualities.values()):
            assert number(interval.low) <= number(interval.value) <= number(interval.high)
        assert set(point.qualities) == {"agreement", "kl"}
    assert points[0].gain is None
    for smaller, point in itertools.pairwise(points):
        assert point.gain is not None
        assert point.gain.mean == pytest.approx(number(smaller.score.value) - number(point.score.value), rel=1e-3)


@pytest.mark.parametrize("index", [0, 1, -1])
def test_a_point_is_taken_as_it_stands(front: ParetoFront, index: int, tmp_path: Path) -> None:
    point = front.report.points[index]
    result = front.take(str(point.bytes))
    assert result.policy == Policy.from_dict(point.policy)
    assert result.search.score == point.score.value
    result.save(tmp_path)
    # The expected size, but for zero points that happen to take less.
    assert point.bytes - 24 <= (tmp_path / "model.bin").stat().st_size <= point.bytes
    assert json.loads((tmp_path / "result.json").read_text())["verified"]


@pytest.mark.parametrize("size", ["between", "3.1bits", "1GB"])
def test_what_is_taken_keeps_the_size_and_quantize_finds_it_too(front: ParetoFront, size: str, tmp_path: Path) -> None:
    size = between(front) if size == "between" else size
    result = front.take(size)
    result.save(tmp_path)
    if size.isdecimal():
        assert (tmp_path / "model.bin").stat().st_size <= int(size)
        # Not only the next smaller point of the ladder.
        assert result.policy not in [Policy.from_dict(point.policy) for point in front.report.points]
    elif size.endswith("bits"):
        assert result.metrics["quantized"]["average_weight_bits"] <= 3.1
    else:
        assert result.policy == Policy.from_dict(front.report.points[-1].policy)
    again = quantize(small_network(), dataset(), tmp_path / "config.json")
    assert again.policy == result.policy


def test_a_front_that_was_stored_gives_the_same_files_without_a_search(
    front: ParetoFront, folder: Path, tmp_path: Path
) -> None:
    size, stages = between(front), Stages()
    # The weights of a later command depend on the search's own scores only with this pass.
    config = configuration(sequential=True)
    later = find(config, known=folder / "pareto.json", progress=stages, at=size)
    assert not later.is_new
    later.take(size).save(tmp_path / "later")
    assert "policy of the size" in stages.names
    assert not {"sensitivities", "front"} & set(stages.names)
    at_once = find(config, at=size)
    at_once.take(size).save(tmp_path / "at once")
    for name in ("model.bin", "model.xml", "policy.json", "config.json"):
        assert (tmp_path / "later" / name).read_bytes() == (tmp_path / "at once" / name).read_bytes()


def test_what_is_written_is_read_back(front: ParetoFront, folder: Path) -> None:
    assert read_document(folder / "pareto.json", ParetoReport).to_dict() == front.report.to_dict()
    assert "Infinity" not in (folder / "pareto.json").read_text()
    assert ParetoReport.model_json_schema()["required"]


@pytest.mark.parametrize(
    ("precision", "differs"),
    [
        ({"type": "rl", "evaluations": 40, "budget": {"weight_size": {"average_bits": 3}}}, False),
        ({"type": "ilp", "goal": {"agreement": 0.9}}, False),
        ({"type": "ilp", "measured_widths": 1, "budget": {"weight_size": {"average_bits": 3}}}, True),
    ],
    ids=["rl", "goal", "other sensitivities"],
)
def test_the_initializer_and_its_budget_do_not_matter_but_its_sensitivities(
    precision: Any, differs: bool, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = find(configuration(precision), known=folder / "pareto.json")
    assert found.is_new == differs
    message = (
        f"{folder / 'pareto.json'} has compression.initializer.precision.measured_widths 3: the front is searched again"
    )
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [message] * differs


def test_activations_keep_their_largest_bit_width(front: ParetoFront) -> None:
    found = find(configuration(activation_bits=[4, 8]), points=2)
    assert set(found.report.sensitivities) == set(front.report.sensitivities)
    assert set(found.report.points[0].policy["activation_bits"].values()) == {8}


def test_a_size_that_no_policy_has_costs_no_search() -> None:
    stages = Stages()
    with pytest.raises(
        BudgetError, match=r"no policy is as small as 100B: the smallest file has \d+ bytes, 2\.00 bits"
    ):
        find(at="100B", progress=stages)
    assert "float reference" in stages.names
    assert "sensitivities" not in stages.names


def broken(report: dict[str, Any], path: Sequence[Any], value: Any) -> dict[str, Any]:
    found = json.loads(json.dumps(report))
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("points",), None, "points: Input should be a valid "),
        (("points", 0, "bytes"), "many", "points.0.bytes: Input should be a valid integer"),
        (("sensitivities",), {}, "sensitivities: other layers or bit-widths than those of the model"),
        (("points", 1, "policy"), {"weight_bits": {"stem": 2}}, "points.1.policy: other layers or bit-widths"),
        (("points", 1, "policy"), {"weight_bits": 2}, "points.1.policy.weight_bits: found 2, allowed: "),
    ],
    ids=["no points", "no number", "no sensitivities", "other layers", "no policy"],
)
def test_a_broken_file_is_one_clear_line(
    path: Sequence[Any], value: Any, message: str, front: ParetoFront, tmp_path: Path
) -> None:
    file = tmp_path / "pareto.json"
    file.write_text(json.dumps(broken(front.report.to_dict(), path, value)))
    with pytest.raises(DocumentError) as caught:
        find(known=file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json_costs_nothing(tmp_path: Path) -> None:
    file, stages = tmp_path / "pareto.json", Stages()
    file.write_text("{")
    with pytest.raises(DocumentError, match="Invalid JSON"):
        find(known=file, progress=stages)
    assert stages.names == []


def test_a_search_that_was_interrupted_goes_on(front: ParetoFront, tmp_path: Path) -> None:
    class Interrupted(Stages):
        def update(self, done: int, total: int) -> None:
            if self.names[-1] == "sensitivities" and done == 5:
                raise KeyboardInterrupt

    storage = tmp_path / "study.journal"
    other = configuration(activation_range="max")
    find(other, study_storage=storage, points=2)
    with pytest.raises(KeyboardInterrupt):
        find(study_storage=storage, progress=Interrupted())
    found = find(study_storage=storage)
    assert found.report.points == front.report.points
    result = found.take(str(front.report.points[0].bytes))
    assert result.search.evaluations_of["resumed"] >= 5
    assert StudyStorage(storage)


def test_a_front_that_is_interrupted_has_the_sizes_so_far(front: ParetoFront, tmp_path: Path) -> None:
    class Interrupted(Stages):
        def update(self, done: int, total: int) -> None:
            if self.names[-1] == "front" and done == 3:
                raise KeyboardInterrupt

    storage = tmp_path / "study.journal"
    found = find(study_storage=storage, progress=Interrupted())
    points = [*found.report.points, *found.report.dominated]
    assert (len(points), found.report.ended_by) == (3, "interrupted")
    assert "sizes are missing" in " ".join(front_lines(found.report, []))
    result = found.take(str(max(point.bytes for point in points)))
    assert (result.search.ended_by, result.search.score) == ("interrupted", found.report.points[-1].score.value)
    result.save(tmp_path / "model")
    # It is not taken for a whole one.
    file = found.save(tmp_path)
    again = find(study_storage=storage, known=file)
    assert again.is_new
    assert again.report.points == front.report.points


def test_labels_tell_the_drop_of_the_metrics() -> None:
    random = np.random.default_rng(0)
    config = configuration().model_copy(update={"metric": "top1"})
    found = find(config, search_targets=random.integers(5, size=COUNT).tolist(), points=2)
    for point in found.report.points:
        assert set(point.qualities) == {"agreement", "kl", "top1_drop"}
    assert isinstance(found.take("1MB").metrics["quantized"]["bops"], int | float)


def test_baselines_and_single_sizes_are_refused() -> None:
    config = configuration()
    baseline = config.model_copy(
        update={"compression": config.compression.model_copy(update={"algorithm": "quantization"})}
    )
    with pytest.raises(ConfigError, match=r"compression\.algorithm: found 'quantization', allowed: mixed_clipping"):
        find(baseline)
    with pytest.raises(ConfigError, match=r"points: found 1, allowed: at least 2 sizes"):
        find(points=1)
