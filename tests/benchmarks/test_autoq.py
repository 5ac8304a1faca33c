from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.autoq import __main__ as command
from benchmarks.autoq import comparison, environment, process, tables
from benchmarks.autoq.comparison import RL, RL_SAME_WIDTHS, UNIFORM, Comparison, read_job
from benchmarks.autoq.environment import AutoqError, prepare_environment
from benchmarks.autoq.mapping import match_layers
from benchmarks.autoq.task import AUTOQ, BITS, AutoqEvaluation, AutoqResult, AutoqTask
from nncf_mcq.errors import ConfigError
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from tests.models import SAMPLE_SIZE, random_images, small_network

NETWORK = """
import torch
from nncf_mcq.errors import ConfigError

def create():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 4, stride=4), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3, groups=4), torch.nn.ReLU()]
    return torch.nn.Sequential(torch.nn.Sequential(*layers), torch.nn.Flatten(), torch.nn.Linear(100, 10)).eval()
"""
MODULES = ("0.0", "0.2", "2")
EVALUATIONS = 8


@pytest.fixture(scope="module")
def job_file(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Path:
    folder = tmp_path_factory.mktemp("job")
    (folder / "tiny.py").write_text(NETWORK)
    config = {
        "model": "tiny.py:create",
        "input_info": {"sample_size": [1, 1, 28, 28]},
        "dataset": {
            "type": "fashion_mnist",
            "root": str(project_root / "recipes" / "fashion_mnist" / "data"),
            "split": {"calibration": 16, "search": 16, "report": 32},
        },
        "metric": "top1",
        "compression": {
            "weights": {"bits": [3, 4, 5, 8]},
            "initializer": {
                "num_init_samples": 16,
                "precision": {"type": "ilp", "budget": {"weight_size": {"average_bits": 4.5}}},
            },
        },
        "runtime": {"threads": 1},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


@pytest.fixture(scope="module")
def prepared(job_file: Path) -> Comparison:
    job, average_bits = read_job(job_file, {}, None)
    return Comparison(job, average_bits, EVALUATIONS, seed=1, progress=lambda stage, done, total: None)


def autoq_result(compared: Comparison, bits: tuple[tuple[int, ...], ...], policies: tuple[str, ...]) -> AutoqResult:
    """A result as AutoQ's process writes it, with outputs of the float model and made-up scores."""
    outputs = compared._outputs(compared.preparation.calibrated.quantizable.model)
    evaluations = tuple(AutoqEvaluation(0.5 * (i + 1), 1 / (i + 1), item, (8,)) for i, item in enumerate(bits))
    return AutoqResult(
        layers=MODULES,
        evaluations=evaluations,
        final=bits[-1],
        float_score=1e-12,
        policies=dict.fromkeys(policies, 0.1),
        outputs=dict.fromkeys(policies, outputs),
        seconds={"preparation": 3.0, "search": 0.5 * len(bits)},
        cpu_seconds=0.25 * len(bits),
        threads=1,
        parameters={"target_device": "NPU"},
        versions={"nncf": "2.19.0"},
    )


def test_layers_are_found_by_their_weights() -> None:
    network = small_network()
    weights = {name: network.get_parameter(f"{name}.weight") for name in ("head", "pointwise", "depthwise", "stem")}
    quantizable = find_layers(to_openvino(network, list(SAMPLE_SIZE)))
    found = match_layers(weights, quantizable)
    assert sorted(found) == sorted(quantizable.groups)
    assert all(module in group for group, module in found.items())
    assert len(set(found.values())) == 4


def test_equal_weights_are_taken_in_order() -> None:
    class Twins(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)
            self.second.load_state_dict(self.first.state_dict())

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.second(torch.relu(self.first(images)))
            return result

    twins = Twins()
    quantizable = find_layers(to_openvino(twins, list(SAMPLE_SIZE)))
    weights = {"first": twins.first.weight, "second": twins.second.weight}
    if len(quantizable.groups) == 2:
        assert list(match_layers(weights, quantizable).values()) == ["first", "second"]


def test_other_weights_are_no_match() -> None:
    network = small_network()
    quantizable = find_layers(to_openvino(network, list(SAMPLE_SIZE)))
    weights = {name: small_network(seed=1).get_parameter(f"{name}.weight") for name in ("head", "pointwise", "stem")}
    with pytest.raises(AutoqError, match="no torch module has the weights of this layer"):
        match_layers(weights, quantizable)


def test_the_task_is_written(tmp_path: Path) -> None:
    images, network = random_images(2), small_network()
    task = AutoqTask(
        "model.py:create", {"classes": 5}, SAMPLE_SIZE, images, images[:1], images[:1, 0, 0], images, 4.5, 20, 3, 2,
        {"uniform": {"stem": 4}},
    )  # fmt: skip
    file = task.write(tmp_path / "new", network.state_dict())
    data = json.loads(file.read_text())
    assert data["compression_ratio"] == 4.5 / 32
    assert (data["bits"], data["evaluations"], data["seed"], data["threads"]) == (list(BITS), 20, 3, 2)
    assert data["policies"] == {"uniform": {"stem": 4}}
    assert data["model_arguments"] == {"classes": 5}
    with np.load(file.with_name(data["arrays"])) as arrays:
        assert set(arrays.files) == {"calibration", "search", "reference", "report"}
        assert np.array_equal(arrays["calibration"], images)
    state = torch.load(file.with_name(data["state"]), weights_only=True)
    assert torch.equal(state["stem.weight"], network.stem.weight)


# What AutoQ's process does, without AutoQ.
WRITE_RESULT = """
import json, pathlib, sys
import numpy as np
file = pathlib.Path(sys.argv[1])
task = json.loads(file.read_text())
print("a line of NNCF")
for number in range(task["evaluations"]):
    print("scored", number + 1, flush=True)
if task["seed"] == 13:
    raise SystemExit("no luck")
scored = [{"seconds": 1.0 + i, "score": s, "weight_bits": b, "activation_bits": [8]}
          for i, (s, b) in enumerate([(0.5, [4, 2]), (0.25, [2, 4]), (0.5, [4, 2])])]
np.savez(file.with_name(task["outputs"]), autoq=np.ones((3, 2), np.float32))
result = {"layers": ["stem", "head"], "evaluations": scored, "final": [2, 4], "float_score": 0.0,
          "policies": {"autoq": 0.25}, "seconds": {"preparation": 1.0, "search": 3.0}, "cpu_seconds": 2.0,
          "threads": 1, "parameters": {}, "versions": {}}
file.with_name(task["result"]).write_text(json.dumps(result))
"""


def write_task(folder: Path, seed: int = 0) -> Path:
    images = random_images(1)
    task = AutoqTask("m.py:f", {}, SAMPLE_SIZE, images, images, images[:, 0, 0], images, 4.0, 3, seed, 1)
    return task.write(folder, {})


def test_the_result_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(WRITE_RESULT)
    monkeypatch.setattr(process, "SCRIPT", script)
    seen: list[int] = []
    found = process.run_task(Path(sys.executable), write_task(tmp_path), seen.append)
    assert seen == [1, 2, 3]
    assert found.best == AutoqEvaluation(2.0, 0.25, (2, 4), (8,))
    assert found.policy == {"stem": 2, "head": 4}
    assert (len(found.evaluations), found.unique) == (3, 2)
    assert found.outputs[AUTOQ].shape == (3, 2)
    assert (tmp_path / process.LOG_FILE).read_text() == "a line of NNCF\n"


def test_a_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(WRITE_RESULT)
    monkeypatch.setattr(process, "SCRIPT", script)
    with pytest.raises(AutoqError, match=r"^AutoQ failed: no luck") as caught:
        process.run_task(Path(sys.executable), write_task(tmp_path, seed=13))
    assert "\n" not in str(caught.value)
    # The result of an earlier run is not taken for this one's.
    with pytest.raises(AutoqError, match="no result of AutoQ"):
        AutoqResult.read(tmp_path)


@pytest.mark.parametrize(
    "change", [{"evaluations": []}, {"layers": ["stem"]}, {"surprise": 1}, {"evaluations": [{"score": 1}]}]
)
def test_a_result_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        WRITE_RESULT.replace('file.with_name(task["result"])', f'result |= {change!r}\nfile.with_name(task["result"])')
    )
    monkeypatch.setattr(process, "SCRIPT", script)
    with pytest.raises(AutoqError, match="no result of AutoQ"):
        process.run_task(Path(sys.executable), write_task(tmp_path))


def test_the_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], folder: Path) -> None:
        commands.append(command)
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / "python").touch()

    monkeypatch.setattr(environment, "_run", run)
    lines: list[str] = []
    python = prepare_environment(lines.append, tmp_path / "made")
    assert python == tmp_path / "made" / "bin" / "python"
    assert len(commands) == 3
    assert len(lines) == 2
    assert prepare_environment(lines.append, tmp_path / "made") == python
    assert (len(commands), len(lines)) == (3, 2)
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "other.txt")
    (tmp_path / "other.txt").write_text("nncf==2.18.0\n")
    prepare_environment(lines.append, tmp_path / "made")
    assert len(commands) == 6


def test_an_environment_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(AutoqError, match=r"^the environment of AutoQ cannot be made: .*No such file") as caught:
        prepare_environment(lambda line: None, tmp_path / "made")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(AutoqError, match="cannot be made: no message"):
        prepare_environment(lambda line: None, tmp_path / "made")


def test_processes_of_the_environment_report_to_nobody_and_see_no_other_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    found = environment.variables(Path("folder"))
    assert (found["CI"], found["NNCF_CI"], found["NNCF_TORCH_LEGACY_TRACING"]) == ("true", "1", "1")
    assert "PYTHONPATH" not in found
    assert found["PATH"].startswith(str(Path("folder/bin")))


def test_policies_go_there_and_back(prepared: Comparison) -> None:
    assert sorted(prepared.modules.values()) == sorted(MODULES)
    bits = dict(zip(MODULES, (8, 4, 2), strict=True))
    policy = prepared.policy(bits)
    assert prepared.module_bits(policy) == bits
    weights = {
        group: members[0].weights for group, members in prepared.preparation.calibrated.quantizable.groups.items()
    }
    assert sorted(policy.weight_bits.items()) == sorted((group, bits[name]) for group, name in prepared.modules.items())
    assert weights[next(group for group, name in prepared.modules.items() if name == "2")] == 1000
    assert set(policy.activation_bits.values()) == {8}


def test_the_task_has_the_images_and_the_budget(prepared: Comparison) -> None:
    task = prepared.task({})
    assert task.average_bits == 4.5
    assert task.model.endswith("tiny.py:create")
    assert Path(task.model.partition(":")[0]).is_absolute()
    assert (len(task.calibration), len(task.search), len(task.report)) == (16, 16, 32)
    assert task.search is prepared.preparation.folds[0].images.arrays[0]
    assert task.sample_size == (1, 1, 28, 28)


def test_both_sides_are_measured(prepared: Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def run_task(python: Path, file: Path, progress: Any) -> AutoqResult:
        asked.update(json.loads(file.read_text()))
        progress(1)
        return autoq_result(prepared, ((8, 8, 2), (2, 2, 2), (8, 8, 2), (8, 4, 4)), (AUTOQ, *asked["policies"]))

    monkeypatch.setattr(comparison, "run_task", run_task)
    result = json.loads(json.dumps(prepared.run(Path("python"), tmp_path)))
    assert set(asked["policies"]) == {RL_SAME_WIDTHS, UNIFORM}
    assert set(asked["policies"][RL_SAME_WIDTHS].values()) <= set(BITS)
    assert set(asked["policies"][UNIFORM].values()) == {4}

    searches, policies = result["searches"], result["policies"]
    assert set(policies) == {"float", AUTOQ, RL, RL_SAME_WIDTHS, UNIFORM}
    assert (searches[AUTOQ]["evaluations"], searches[AUTOQ]["unique"]) == (4, 3)
    assert searches[AUTOQ]["returns_its_best"]
    # 64, 36 and 1000 weights.
    assert searches[AUTOQ]["average_bits"]["smallest"] == 2
    assert searches[AUTOQ]["average_bits"]["largest"] == pytest.approx((64 * 8 + 36 * 4 + 1000 * 4) / 1100)
    assert policies[AUTOQ]["average_bits"] == pytest.approx(searches[AUTOQ]["average_bits"]["largest"])
    for name in (RL, RL_SAME_WIDTHS):
        assert searches[name]["unique"] == EVALUATIONS
        assert policies[name]["average_bits"] <= 4.5
        assert searches[name]["best_so_far"][-1][1] == pytest.approx(policies[name]["score"])
    assert set(policies[RL_SAME_WIDTHS]["weight_bits"].values()) <= set(BITS)
    assert set(policies[RL]["weight_bits"].values()) <= {3, 4, 5, 8}
    assert policies[RL_SAME_WIDTHS]["score"] <= policies[UNIFORM]["score"]
    # The outputs are those of the float model.
    assert policies[AUTOQ]["simulation"]["report"]["kl"] == 0
    assert "simulation" not in policies[RL]
    assert policies["float"]["report"].keys() == {"top1"}

    console = Console(width=140, record=True)
    for rows in (tables.speed(result), tables.quality(result)):
        console.print(tables.to_console(rows))
    text = console.export_text()
    for part in ("rl, bit-widths of AutoQ", "uniform", f"{policies[AUTOQ]['score']:.4f}", "unique/CPU s"):
        assert part in text
    report = tables.to_markdown(result)
    assert "1100 weights in 3 layers, at most 4.5 bits" in report
    assert f"AutoQ's policies have 2.000 to {searches[AUTOQ]['average_bits']['largest']:.3f} bits" in report
    assert "it returns the best" in report


def test_another_model_or_other_layers_are_refused(prepared: Comparison) -> None:
    good = autoq_result(prepared, ((8, 8, 2),), (AUTOQ,))
    prepared.check(good)
    with pytest.raises(AutoqError, match="computes something else"):
        prepared.check(dataclasses.replace(good, float_score=0.01))
    with pytest.raises(AutoqError, match="computes something else"):
        prepared.check(dataclasses.replace(good, float_score=float("nan")))
    with pytest.raises(AutoqError, match=r"only one side quantizes the weights of 1 modules, e\.g\. 2$"):
        prepared.check(dataclasses.replace(good, layers=MODULES[:2]))


def test_ratios_are_in_the_findings() -> None:
    search = {"evaluations": 100, "unique": 50, "seconds": {"search": 100.0}, "cpu_seconds": 50.0}
    ours = search | {
        "evaluations": 50,
        "seconds": {"search": 5.0},
        "cpu_seconds": 10.0,
        "best_so_far": [[28, 0.3], [30, 0.1]],
    }
    autoq = search | {
        "average_bits": {"smallest": 3.5, "largest": 4.0}, "activation_bits": [8], "returns_its_best": False
    }  # fmt: skip
    searches = {RL: ours, RL_SAME_WIDTHS: ours | {"best_so_far": [[28, 0.3]]}, AUTOQ: autoq}
    policies = {RL: {"score": 0.1}, RL_SAME_WIDTHS: {"score": 0.3}, AUTOQ: {"score": 0.2}}
    first, second, third, last = tables.findings({"searches": searches, "policies": policies})
    assert "10.0 times as many policies per second as AutoQ, 20.0 times as many different ones, and 5.0 times" in first
    assert second == "rl: 0.50 times the KL of AutoQ's policy on the search images, better after 30 of its evaluations"
    assert third.endswith("1.50 times the KL of AutoQ's policy on the search images, never better")
    assert "3.500 to 4.000 bits per weight and activations of 8 bits; it does not return" in last


def test_budgets(job_file: Path) -> None:
    path = "compression.initializer.precision"
    assert read_job(job_file, {}, 3.0)[1] == 3.0
    assert read_job(job_file, {f"{path}.budget": {"weight_size": {"ratio": 0.125}}}, None)[1] == 4.0
    assert read_job(job_file, {path: {"type": "uniform"}}, 5.0)[1] == 5.0
    job, _ = read_job(job_file, {}, None)
    assert job.config.compression.initializer.precision.type == "rl"
    for overrides in ({path: {"type": "uniform"}}, {f"{path}.budget": {"weight_size": {"bytes": 5000}}}):
        with pytest.raises(ConfigError, match="or --average-bits"):
            read_job(job_file, overrides, None)
    with pytest.raises(ConfigError, match=r"compression\.activations\.bits: found 6"):
        read_job(job_file, {"compression.activations.bits": 6}, None)
    with pytest.raises(ConfigError, match=r"PACKAGE\.MODULE:CALLABLE"):
        read_job(job_file, {"model": "model.onnx"}, None)


def test_errors_are_one_line(
    job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "prepare_environment", lambda report: Path(sys.executable))
    for options, message in (
        (["--set", "model=model.onnx"], "error: model: found"),
        (["--average-bits", "1"], "error: compression.initializer.precision.budget.weight_size.average_bits"),
        (["--evaluations", "2"], "error: compression.initializer.precision.evaluations: found 2"),
    ):
        with pytest.raises(SystemExit) as caught:
            command.main([str(job_file), "--output", str(tmp_path), *options])
        assert caught.value.code == 2
        printed = capsys.readouterr().err
        assert printed.startswith(message)
        assert printed.count("\n") == 1
    assert not (tmp_path / command.RESULT_FILE).exists()


@pytest.mark.slow
def test_real_autoq(job_file: Path, tmp_path: Path) -> None:
    if not (environment.FOLDER / "installed-requirements.txt").is_file():
        pytest.skip("needs the environment of AutoQ: run the benchmark once")
    command.main([str(job_file), "--output", str(tmp_path), "--evaluations", str(EVALUATIONS)])
    result = json.loads((tmp_path / command.RESULT_FILE).read_text())
    autoq = result["searches"][AUTOQ]
    assert (autoq["evaluations"], autoq["activation_bits"]) == (EVALUATIONS, [8])
    assert autoq["average_bits"]["largest"] <= 4.5
    assert autoq["returns_its_best"]
    assert result["policies"][AUTOQ]["simulation"]["score"] == pytest.approx(min(x["score"] for x in autoq["scored"]))
    assert result["policies"][RL_SAME_WIDTHS]["simulation"]["score"] > 0
    assert (tmp_path / command.REPORT_FILE).read_text().startswith("# AutoQ beside rl")
