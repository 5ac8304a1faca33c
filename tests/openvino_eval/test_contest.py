from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncf_mcq import PRECISION_INITIALIZERS, Policy, load_config
from nncf_mcq.policy import FLOAT_CHOICE, PolicyKey
from nncf_mcq.precision_init import ImageScores, OptunaPrecision, PrecisionResult, PrecisionTask, SearchInitializer
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.utils.progress import SilentProgress, Stages
from openvino_eval.cli import main
from openvino_eval.contest.contest import title
from openvino_eval.contest.runner import ContestRunner
from openvino_eval.contest.scores import ScoreFile
from openvino_eval.contest.settings import ContestSettings
from tests.openvino_eval.contests import (
    EVALUATIONS,
    ILP_PASSES,
    WARM_START_PASSES,
    load_comparison,
    load_records,
    write_config,
)

METHODS = "ilp,tpe,random"
ARMS = ("warm", "cold")
NAMES = {"ilp-0"} | {f"{method}-{arm}-{seed}" for method in ("tpe", "random") for arm in ARMS for seed in "01"}
HALF = np.array([0.1, 0.9], np.float32)
QUARTER = np.array([0.2, 0.3], np.float32)
TIMES = {"own_seconds", "scoring_seconds"}


def contest(config: Path, output: Path, *options: object, methods: str = METHODS) -> int:
    """Runs the command line in this process; returns the exit code."""
    arguments = ["--methods", methods, "--evaluations", EVALUATIONS, "--seeds", 2, "--output", output, *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["openvino-eval", "compare", str(config), *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
    return int(caught.value.code or 0)


def found(output: Path) -> dict[str, dict[str, Any]]:
    """All that is reproducible of the runs."""
    return {name: record.model_dump(exclude=TIMES) for name, record in load_records(output).items()}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("contest"))


@pytest.fixture(scope="module")
def finished(config: Path) -> Path:
    output = config.parent / "finished"
    assert contest(config, output) == 0
    return output


def test_every_run_is_kept_with_its_curve(finished: Path) -> None:
    records = load_records(finished)
    assert set(records) == NAMES
    for name, record in records.items():
        counts, scores = zip(*record.curve, strict=True)
        assert list(counts) == sorted(set(counts))
        assert list(scores) == sorted(set(scores), reverse=True)
        assert scores[-1] == record.score
        assert record.average_bits <= 4.5
        if "cold" in name:
            assert (counts[0], record.evaluations) == (1, EVALUATIONS)
        elif "warm" in name:
            # The budget is so tight that no policy of the sensitivities keeps it.
            assert (counts[0], record.evaluations) == (WARM_START_PASSES + 1, EVALUATIONS)
        else:
            assert record.evaluations == counts[0] == ILP_PASSES + 1
    assert records["tpe-cold-0"].policy != records["tpe-cold-1"].policy or records["tpe-cold-0"].curve != (
        records["tpe-cold-1"].curve
    )


def test_a_run_finds_what_it_finds_alone(finished: Path, config: Path) -> None:
    record = load_records(finished)["tpe-warm-1"]
    settings = ContestSettings(config, ("tpe",), EVALUATIONS, 2, finished)
    preparation = settings.read_job().prepare(Stages(SilentProgress()))
    precision = load_config({"compression": {"initializer": {"precision": record.parameters}}}).compression.initializer
    task = preparation.task(threads=1)
    result = PRECISION_INITIALIZERS.create(precision.precision).find_policy(task)
    assert isinstance(precision.precision, SearchInitializer.Parameters)
    assert (precision.precision.seed, precision.precision.warm_start) == (1, "ilp")
    assert Policy.from_dict(record.policy) == result.policy
    assert [list(point) for point in record.curve] == result.details["curve"]
    assert task.evaluator.score(result.policy) == record.score
    assert task.evaluator.evaluations == record.evaluations


def test_the_results_say_who_is_best(finished: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = load_comparison(finished)
    records = load_records(finished)
    assert comparison["complete"]
    assert (comparison["runs"], comparison["finished_runs"]) == (9, 9)
    by_name = {(entry["method"], entry["arm"]): entry for entry in comparison["methods"]}
    assert list(by_name) == [("ilp", "-"), ("tpe", "warm"), ("tpe", "cold"), ("random", "warm"), ("random", "cold")]
    cold = by_name["tpe", "cold"]
    scores = [records[f"tpe-cold-{seed}"].score for seed in (0, 1)]
    assert cold["scores"] == scores
    assert cold["median_final_score"] == pytest.approx(sum(scores) / 2)
    assert list(cold["score_after"]) == ["2", "5", "10"]
    assert by_name["tpe", "warm"]["score_after"]["2"] == {"median": None, "quartiles": [None, None]}
    assert set(cold["report"]) == {"top1", "agreement", "kl"}
    assert comparison["float_report"]["top1"] <= 1.0
    assert comparison["setup"]["images"]["report"] == 30
    assert str(config.parent) not in json.dumps(comparison["setup"]["config"])
    capsys.readouterr()
    assert contest(config, finished) == 0
    shown = capsys.readouterr().out
    table = (finished / "comparison.md").read_text(encoding="utf-8")
    assert comparison["verdict"] in table
    assert comparison["verdict"] in shown
    curves = (finished / "curves.svg").read_text(encoding="utf-8")
    for name in ("ilp", "tpe (warm)", "tpe (cold)", "random (warm)", "random (cold)"):
        assert f">{name}<" in curves
        assert f"| {name.split()[0]} |" in table


def test_a_finished_contest_prepares_and_computes_nothing(
    finished: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ContestRunner, "prepare", None)
    before = load_comparison(finished)
    assert contest(config, finished) == 0
    assert load_comparison(finished) == before


def test_a_repeated_run_takes_every_score_from_the_file(
    finished: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found(finished)
    seconds = load_records(finished)["tpe-warm-0"].scoring_seconds
    (finished / "runs" / "tpe-warm-0.json").unlink()
    monkeypatch.setattr(Evaluator, "_run_folds", None)
    assert contest(config, finished) == 0
    assert found(finished) == before
    record = load_records(finished)["tpe-warm-0"]
    # What it cost, not what it cost this time.
    assert record.scoring_seconds == seconds > 0.0


def test_an_interrupted_contest_goes_on(
    finished: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep = ScoreFile.__setitem__
    computed = []

    def interrupt(self: ScoreFile, key: PolicyKey, score: ImageScores) -> None:
        keep(self, key, score)
        computed.append(key)
        # In the second run: the first takes 8 policies.
        if len(computed) == 12:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ScoreFile, "__setitem__", interrupt)
    assert contest(config, tmp_path / "out") == 130
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == "interrupted: repeat the command to continue"
    assert "best policy so far" not in error
    records = load_records(tmp_path / "out")
    assert list(records) == ["ilp-0"]
    assert records["ilp-0"].report is None
    comparison = load_comparison(tmp_path / "out")
    assert (comparison["complete"], comparison["finished_runs"]) == (False, 1)
    assert contest(config, tmp_path / "out") == 0
    assert len(computed) == len(set(computed))
    assert found(tmp_path / "out") == found(finished)


def test_processes_find_the_same(finished: Path, config: Path, tmp_path: Path) -> None:
    assert contest(config, tmp_path / "out", "--jobs", 2) == 0
    assert found(tmp_path / "out") == found(finished)


def test_an_error_of_a_process_is_one_line(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option = ["--set", f"dataset.split.calibration={16}", "--arms", "warm", "--evaluations", 4, "--jobs", 2]
    assert contest(config, tmp_path / "out", *option) == 2
    message = "error: --evaluations: found 4, allowed: 5 or more, since the sensitivities that tpe (warm) starts with"
    assert message in capsys.readouterr().err


def test_a_method_that_exceeds_the_budget_is_found_out(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cheat(self: OptunaPrecision, task: PrecisionTask) -> PrecisionResult:
        return PrecisionResult(task.policy(dict.fromkeys(task.quantizable.groups, 8)))

    monkeypatch.setattr(OptunaPrecision, "find_policy", cheat)
    assert contest(config, tmp_path / "out", "--arms", "cold", methods="tpe") == 2
    assert "error: tpe (cold) seed 0: the policy that it returned exceeds the budget" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "tpe,magic"), "--methods: found 'magic', allowed: rl, ddpg, ilp, "),
        (("--methods", "tpe,tpe"), "--methods: 'tpe' is named twice"),
        (("--arms", "hot"), "--arms: found 'hot', allowed: warm, cold"),
        (("--bf16",), "--bf16: is for models, not for --methods"),
        (("--json", "file.json"), "--json: is for models, not for --methods"),
        (("--set", "compression.initializer.precision=uniform"), "precision.budget: found None, allowed: the budget"),
        (("--set", "metric=speed"), "metric: found 'speed'"),
        (("--output", "{output}", "--evaluations", 11), "{output}: holds a contest with evaluations 10: restore that"),
        (("--output", "{output}", "--set", "compression.weights.bits=[2, 8]"), "compression.weights.bits [2, 4, 8]"),
        (("--output", "{folder}"), "found other files, needed: a new folder"),
        (("--output", "{folder}/config.json"), "config.json is no folder"),
        (("--evaluations", 4), "--evaluations: found 4, allowed: 5 or more"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    finished: Path,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    message: str,
) -> None:
    places = {"output": finished, "folder": config.parent}
    assert contest(config, tmp_path / "out", *(str(option).format(**places) for option in options)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message.format(**places) in error
    assert not (tmp_path / "out" / "runs").exists()


def test_scores_of_other_images_are_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = write_config(tmp_path / "own")
    output = tmp_path / "out"
    options = ("--arms", "cold", "--seeds", 1, "--evaluations", 1)
    assert contest(own, output, *options, methods="random") == 0
    images = config.parent / "t10k-images-idx3-ubyte.gz"
    (own.parent / "train-images-idx3-ubyte.gz").write_bytes(images.read_bytes())
    (own.parent / "train-labels-idx1-ubyte.gz").write_bytes((config.parent / "t10k-labels-idx1-ubyte.gz").read_bytes())
    (own.parent / "config.json").write_text(config.read_text().replace('"search": 16', '"search": 14'))
    assert contest(own, output, *options, methods="random") == 2
    (own.parent / "config.json").write_text(config.read_text())
    capsys.readouterr()


def test_options_of_a_contest_need_methods(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["openvino-eval", "compare", str(config), "--seeds", "2"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: --seeds: needs --methods\n"


def test_scores_of_float_layers_come_back(tmp_path: Path) -> None:
    key = Policy({"a": 2, "b": FLOAT_CHOICE, "c": 8}, {"x": 8}).key
    arguments = (tmp_path / "scores.jsonl", {"model": "m"}, "abc", "x")
    ScoreFile(*arguments)[key] = HALF
    found = ScoreFile(*arguments)
    assert key in found
    np.testing.assert_array_equal(found[key], HALF)


def test_the_first_score_of_a_policy_counts_for_every_process(tmp_path: Path) -> None:
    key = Policy({"a": 2}, {"x": 8}).key
    arguments = (tmp_path / "scores.jsonl", {"model": "m"}, "a", "x")
    first, second = ScoreFile(*arguments), ScoreFile(*arguments)
    assert key not in second
    first[key] = HALF
    second[key] = QUARTER
    third = ScoreFile(*arguments)
    assert key in third
    for scores in (first, second, third):
        np.testing.assert_array_equal(scores[key], HALF)
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2


def test_what_a_killed_process_left_unfinished_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    keys = [Policy({"a": bits}, {"x": 8}).key for bits in (2, 3)]
    ScoreFile(path, {"model": "m"}, "a", "x")[keys[0]] = HALF
    with path.open("ab") as stream:
        stream.write(b'{"weights": "3", "act')
    ScoreFile(path, {"model": "m"}, "a", "x")[keys[1]] = QUARTER
    found = ScoreFile(path, {"model": "m"}, "a", "x")
    assert all(key in found for key in keys)
    np.testing.assert_array_equal([found[key] for key in keys], [HALF, QUARTER])


@pytest.mark.parametrize("file", ["small/config.json", "elsewhere/small.json"])
def test_the_title_names_the_configuration(file: str, tmp_path: Path) -> None:
    settings = ContestSettings(Path(file), ("tpe",), 40, 1, tmp_path)
    assert title(settings) == "Contest: small, 40 evaluations, 1 seed"
