"""The command line as a user meets it: its output and its exit code, and once for each kind those of a real process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import openvino as ov
import pytest

from nncf_mcq.utils.output_folder import LOCK_FILE
from tests.commands import finish, run, start, write_config

SMALL = [
    "--set",
    "dataset.split.calibration=32",
    "--set",
    "dataset.split.search=32",
    "--set",
    "dataset.split.report=64",
    "--set",
    "dataset.full_root=null",
]
ALONE = ["--baseline", "none"]
"""Without NNCF INT8 beside the result, which takes seconds."""

UNIFORM = ["--set", 'compression.initializer.precision={"type": "uniform", "bits": 4}']


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cli") / "out"
    command = [sys.executable, "-m", "nncf_mcq.cli", "quantize", "fashion_mnist", "--output", str(output)]
    done = subprocess.run([*command, *SMALL, *UNIFORM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Stages where there is no terminal: a line each, and no line of a library's.
    stages = dict.fromkeys(line.split(":")[0] for line in done.stderr.splitlines())
    assert list(stages) == list(json.loads((output / "result.json").read_text())["timing"]["seconds"])
    assert f"IR: {output / 'model.xml'}" in done.stdout
    rows = {line.split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    assert re.search(r"0 of 27 +27 of 27 +27 of 27", rows["layers on int8 kernels"])
    assert re.search(r" 32 +8 +4\.00 ", rows["bits per weight"])
    return output


def test_json_and_nothing_else_on_standard_output(tmp_path: Path, project_root: Path) -> None:
    output = tmp_path / "out"
    command = ["quantize", str(write_config(tmp_path, {"type": "ilp"})), "-o", str(output), *UNIFORM]
    printed_json, errors = finish(start(project_root, *command, "--json", "--quiet", "--deploy"))
    assert errors == ""
    assert (output / "deployment" / "config.json").is_file()
    printed = json.loads(printed_json)
    assert printed.pop("model") == str(output / "model.xml")
    assert printed == json.loads((output / "result.json").read_text())
    again = run(*command, *ALONE)
    warning = f"warning: {output / 'deployment'} has an earlier model: nncf-mcq deploy {output} replaces it"
    assert again.stderr.splitlines()[-1] == warning


def test_quantize_writes_the_ir_and_its_reports(quantized: Path) -> None:
    expected = {"model.xml", "model.bin", "policy.json", "config.json", "result.json", "histograms.json"}
    assert {path.name for path in quantized.iterdir()} - {LOCK_FILE} == expected
    result = json.loads((quantized / "result.json").read_text())
    assert result["metrics"]["float"]["top1"] > 0.8
    assert result["metrics"]["quantized"]["top1"] > 0.7
    int8 = result["metrics"]["nncf_int8"]
    assert int8["top1"] > 0.8
    assert int8["agreement"] > 0.9
    assert int8["bin_bytes"] > result["metrics"]["quantized"]["bin_bytes"]
    assert result["references"] == {
        "float": {"average_weight_bits": 32.0, "integer_layers": 0, "layers": 27},
        "nncf_int8": {"average_weight_bits": 8.0, "integer_layers": 27, "layers": 27},
    }
    assert result["quality"]["count"] == 64
    (output,) = result["quality"]["outputs"]
    assert (output["kind"], output["metrics"]["kl"]) == ("classes", result["metrics"]["quantized"]["kl"])
    assert {layer["bits"] for layer in result["layers"]} == {4}
    assert result["origin"]["config"] == "fashion_mnist"
    assert result["origin"]["command"].startswith("nncf-mcq quantize fashion_mnist --output ")
    assert {layer["runtime_precision"] for layer in result["layers"]} <= {"i8", "u8"}
    assert result["metrics"]["quantized"]["bin_bytes"] == (quantized / "model.bin").stat().st_size
    histograms = json.loads((quantized / "histograms.json").read_text())["layers"]
    for layer in result["layers"]:
        found = histograms[layer["name"]]
        assert sum(found["float_counts"]) == sum(found["level_counts"]) == layer["weights"]
        assert len(found["level_counts"]) == 16
    assert result["metrics"]["quantized"]["xml_bytes"] == (quantized / "model.xml").stat().st_size


def test_policy_and_config_travel_in_the_ir(quantized: Path) -> None:
    model = ov.Core().read_model(quantized / "model.xml")
    policy = json.loads(model.get_rt_info(["nncf_mcq", "policy"]).astype(str))
    assert policy == json.loads((quantized / "policy.json").read_text())
    config = json.loads(model.get_rt_info(["nncf_mcq", "config"]).astype(str))
    assert config == json.loads((quantized / "config.json").read_text())


def test_layers_lists_every_layer_and_the_reachable_budgets(quantized: Path) -> None:
    done = run("layers", "fashion_mnist")
    assert done.returncode == 0, done.stderr
    result = json.loads((quantized / "result.json").read_text())
    for layer in result["layers"]:
        assert layer["name"] in done.stdout
    assert "weight_size.average_bits" in done.stdout
    listed = json.loads(run("layers", "fashion_mnist", "--json").stdout)
    assert [layer["name"] for layer in listed] == [layer["name"] for layer in result["layers"]]


def test_schema_accepts_the_recipes(project_root: Path) -> None:
    schema = json.loads(finish(start(project_root, "schema"))[0])
    jsonschema.Draft202012Validator.check_schema(schema)
    for config in project_root.glob("recipes/*/config.json"):
        jsonschema.validate(json.loads(config.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"compression": {"weigths": {}}}, schema)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.json"], "CONFIG: found 'nowhere.json', allowed: a JSON file, or a recipe: "),
        (["fashion_mnist", "--set", "compression.weights.bits=[1]"], "compression.weights.bits[0]: found 1, allowed: "),
        (["fashion_mnist", "--set", "dataset.root=nowhere"], "nowhere"),
        (["fashion_mnist", "--set", "model=model.py:nothing"], "model.py:nothing', allowed: a callable of "),
        (["fashion_mnist", "--set", "checkpoint=config.json"], "checkpoint: found "),
        (
            ["fashion_mnist", "--set", "compression.initializer.precision.budget.weight_size.average_bits=1"],
            "budget.weight_size.average_bits: found 1 bits, which no policy meets; reachable: 2 to 8 bits",
        ),
    ],
    ids=["no file", "impossible value", "no data", "no callable", "no checkpoint", "unreachable budget"],
)
def test_bad_input_is_one_message_and_an_exit_code(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run("quantize", *arguments, "--output", str(tmp_path / "out"), *SMALL)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_known_before_the_work_starts(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run("quantize", "fashion_mnist", "--output", str(file / "out"), *SMALL)
    expected = f"error: --output: found '{file / 'out'}', allowed: a folder that can be written ({file} is no folder)"
    assert (done.returncode, done.stderr.strip()) == (2, expected)


def test_the_smallest_model_for_a_goal_and_what_it_promises(tmp_path: Path) -> None:
    goal = {"type": "ilp", "measured_widths": 1, "goal": {"top1_drop": 12, "confidence": 0.9}}
    correction = {"rounding": "nearest", "sequential": False}
    rough = [f"compression.correction={json.dumps(correction)}", "compression.initializer.range=max"]
    small = ["compression.weights.bits=[3, 8]", "dataset.split.search=128"]
    overrides = [f"compression.initializer.precision={json.dumps(goal)}", *rough, *small]
    options = [part for override in overrides for part in ("--set", override)]
    done = run("quantize", "fashion_mnist", "--output", str(tmp_path), *SMALL, *options, *ALONE)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "result.json").read_text())["search"]["goal"]
    assert found["quantity"] == "top1_drop"
    assert found["images"] == 128
    assert found["value"] < found["bound"] <= 12
    side = f"at most {found['bound']:.4g} points at 90 % confidence, on 128 search images; asked for: at most 12 points"
    assert f"goal: top-1 drop {found['value']:.4g} points, {side}" in done.stdout
    assert 3 <= found["average_bits"] < 8


def test_recipes_can_be_listed() -> None:
    lines = run("recipes").stdout.splitlines()
    assert all(line.split()[0] == "needs" for line in lines[1::2])
    assert [line.split()[0] for line in lines[::2]] == [
        "efficientnet_lite0",
        "fashion_mnist",
        "fashion_mnist_resnet18",
        "mobilenet_v2",
        "ppocr_rec",
        "resnet18",
        "resnet50",
        "yolov3",
        "yolov3_tiny",
        "yolov8n",
    ]


def test_layers_names_samples_that_do_not_fit_and_lists_all_the_same(tmp_path: Path, project_root: Path) -> None:
    config = write_config(tmp_path, {"type": "ilp"})
    listed, errors = finish(start(project_root, "layers", config, "--json"))
    assert errors == ""
    small = ["--set", "dataset.preprocessing.resize=6"]
    done = run("layers", str(config), "--json", *small)
    assert done.returncode == 2
    assert done.stdout == listed
    assert done.stderr == run("quantize", str(config), "-o", str(tmp_path / "out"), *small).stderr
    assert done.stderr.startswith("error: the test images: found shape (3, 6, 6), allowed: (3, 8, 8), which the model")
    assert done.stderr.count("\n") == 1
    missing = run("layers", str(config), "--set", "dataset.root=nowhere")
    assert missing.returncode == 0
    assert missing.stderr.startswith("note: the images are not checked: dataset.root: found '")
