"""A deployment folder does what the quantized model did, and every file in it works."""

from __future__ import annotations

import contextlib
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from filelock import FileLock
from openvino import opset13 as opset
from PIL import Image
from typer.testing import CliRunner

from nncf_mcq.cli import application
from nncf_mcq.config.schema import load_config
from nncf_mcq.data.preprocessing import Preprocessor
from nncf_mcq.deployment import deploy
from nncf_mcq.deployment.check import check
from nncf_mcq.deployment.document import DEPLOYMENT_FILE
from nncf_mcq.deployment.folder import replaced_folder
from nncf_mcq.deployment.image_input import ImageInput, find_input
from nncf_mcq.deployment.serving import ServerConfig
from nncf_mcq.errors import ConfigError, VerificationError
from nncf_mcq.ir.packing import unpack_weight
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.job import Job
from nncf_mcq.model.inference import compile_model
from nncf_mcq.utils.documents import read_document
from nncf_mcq.utils.files import temporary_folder
from tests.deployment.conftest import photograph, with_dataset
from tests.files import no_room_for_more_than

LABELS = [f"kind {index}" for index in range(10)]


@pytest.fixture(scope="module")
def deployed(quantized: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = tmp_path_factory.mktemp("labels") / "names.txt"
    labels.write_text("\n".join(LABELS[: classes(quantized)]))
    deploy(quantized, name="small", labels=labels)
    return quantized / "deployment"


def classes(quantized: Path) -> int:
    return int(ov.Core().read_model(quantized / "model.xml").output(0).get_shape()[1])


def outputs(xml: Path, values: np.ndarray) -> np.ndarray:
    return np.array(compile_model(ov.Core().read_model(xml), 1)(values)[0])


def preprocessed(quantized: Path, image: Path) -> np.ndarray:
    """What the data set makes of an image, by its own code."""
    dataset: Any = load_config(quantized / "config.json").dataset
    with Image.open(image) as opened:
        return Preprocessor(dataset.preprocessing)(opened)[None]


def test_it_gives_the_outputs_of_the_quantized_model_on_the_same_kernels(quantized: Path, deployed: Path) -> None:
    xml = deployed / "model" / "1" / "model.xml"
    for image in sorted((quantized.parent / "images").iterdir())[:8]:
        expected = outputs(quantized / "model.xml", preprocessed(quantized, image))
        assert np.array_equal(outputs(xml, np.asarray(Image.open(image))[None]), expected)
    before, after = (ov.Core().read_model(path) for path in (quantized / "model.xml", xml))
    assert after.input(0).get_element_type() == ov.Type.u8
    assert list(after.input(0).shape) == [1, 8, 8, 3]
    precisions = [runtime_precisions(compile_model(model, 1), model) for model in (before, after)]
    assert precisions[0] == precisions[1]
    assert set(precisions[0].values()) <= {"i8", "u8"}
    # Packed as before: PrePostProcessor would make bytes of the weights.
    grown = xml.with_suffix(".bin").stat().st_size - (quantized / "model.bin").stat().st_size
    assert 0 < grown < 100
    assert after.get_rt_info(["nncf_mcq", "policy"]).astype(str) == before.get_rt_info(["nncf_mcq", "policy"]).astype(
        str
    )


@pytest.mark.parametrize(
    ("preprocessing", "left"),
    [
        ({}, 0),
        ({"resize": 11, "crop": 8}, 2),
        ({"resize": [8, 8]}, 0),
        ({"resize": [10, 9], "crop": [8, 8], "interpolation": "bicubic"}, 2),
        ({"letterbox": [8, 8], "fill": 0.2}, 2),
        ({"channel_order": "BGR", "mean": [0.1, 0.5, 0.7], "std": [0.2, 0.3, 0.4]}, 0),
    ],
    ids=str,
)
def test_the_python_example_prepares_images_as_the_data_set_does(
    preprocessing: dict[str, Any],
    left: int,
    quantized: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = with_dataset(quantized, tmp_path / "out", preprocessing=preprocessing)
    written = deploy(folder)
    assert len(written.left_to_user) == left
    image = photograph(tmp_path / "image.png", (8, 8) if left == 0 and "resize" not in preprocessing else (23, 14))
    monkeypatch.setattr(sys, "argv", ["infer.py", str(image)])
    runpy.run_path(str(folder / "deployment" / "infer.py"))
    scores = outputs(folder / "model.xml", preprocessed(folder, image))[0]
    printed = dict(line.rsplit(": ", 1) for line in capsys.readouterr().out.splitlines())
    # A resize in the model is not Pillow's to the last bit.
    is_resized = preprocessing == {"resize": [8, 8]}
    tolerance = 0.05 * float(np.ptp(scores)) if is_resized else 1e-4
    assert printed
    for name, value in printed.items():
        assert float(value) == pytest.approx(scores[int(name.removeprefix("class "))], abs=tolerance)
    assert (written.check.resize_difference is not None) is is_resized


def test_the_cpp_example_is_compiled_and_runs(quantized: Path, deployed: Path, tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    package = Path(ov.__file__).parent
    libraries = sorted((package / "libs").glob("libopenvino.so*"))
    if not (package / "include" / "openvino" / "openvino.hpp").is_file() or not libraries:
        pytest.skip("needs the headers and libraries of OpenVINO's wheel")
    program, image = tmp_path / "infer", sorted((quantized.parent / "images").iterdir())[3]
    command = ["c++", "-std=c++17", str(deployed / "infer.cpp"), f"-I{package / 'include'}", "-o", str(program)]
    command += [str(libraries[0]), f"-Wl,-rpath,{package / 'libs'}"]
    subprocess.run(command, check=True, capture_output=True)
    np.asarray(Image.open(image)).tofile(tmp_path / "input.raw")
    done = subprocess.run(
        [program, deployed, tmp_path / "input.raw"], check=True, capture_output=True, text=True, timeout=60
    )
    scores = outputs(quantized / "model.xml", preprocessed(quantized, image))[0]
    _, largest = done.stdout.strip().split(": largest at ")
    index, value = largest.split(", ")
    assert int(index) == int(scores.argmax())
    assert float(value) == pytest.approx(float(scores.max()), rel=1e-4)


def test_the_files_for_servers_name_the_model_and_its_properties(quantized: Path, deployed: Path) -> None:
    (entry,) = read_document(deployed / "config.json", ServerConfig).model_config_list
    assert entry.config.name == "small"
    versions = [path for path in (deployed / entry.config.base_path).iterdir() if path.name.isdecimal()]
    assert [sorted(file.name for file in version.iterdir()) for version in versions] == [["model.bin", "model.xml"]]
    properties = json.loads((deployed / "device.json").read_text())["CPU"]
    assert properties == dict(entry.config.plugin_config)
    compiled = ov.Core().compile_model(deployed / "model" / "1" / "model.xml", "CPU", properties)
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 32


def test_the_readme_has_what_was_measured(quantized: Path, deployed: Path) -> None:
    text = (deployed / "README.md").read_text()
    metrics = json.loads((quantized / "result.json").read_text())["metrics"]["quantized"]
    assert f"| top-1 agreement |  | {100 * metrics['agreement']:.2f} % |" in text
    size = (deployed / "model" / "1" / "model.bin").stat().st_size
    assert f"| {size / 1000:,.1f} kB |" in text
    assert "outputs equal those of the quantized model bit for bit" in text
    assert (deployed / "labels.txt").read_text().splitlines() == LABELS[: classes(quantized)]


def test_without_a_known_preprocessing_the_model_stays_as_it_is(
    quantized: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_dataset(quantized, tmp_path / "out", dataset=None)
    written = deploy(folder)
    assert written.reason is not None
    assert "preprocess" in written.reason
    model = folder / "deployment" / "model" / "1" / "model.xml"
    assert model.with_suffix(".bin").read_bytes() == (folder / "model.bin").read_bytes()
    array = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "input.npy", array)
    monkeypatch.setattr(sys, "argv", ["infer.py", str(tmp_path / "input.npy")])
    runpy.run_path(str(folder / "deployment" / "infer.py"))
    name, value = capsys.readouterr().out.splitlines()[0].split(": ")
    scores = outputs(folder / "model.xml", array)[0]
    assert name == f"class {scores.argmax()}"
    assert float(value) == pytest.approx(float(scores.max()), abs=1e-4)


def test_a_wrong_preprocessing_is_not_deployed(quantized: Path, tmp_path: Path) -> None:
    packed, job = ov.Core().read_model(quantized / "model.xml"), Job.read(quantized / "config.json")
    right = find_input(job.config.dataset, packed)
    other = with_dataset(quantized, tmp_path / "out", preprocessing={"mean": [0.1, 0.5, 0.5]})
    wrong = find_input(load_config(other / "config.json").dataset, packed)
    assert isinstance(right, ImageInput)
    assert isinstance(wrong, ImageInput)
    ov.save_model(wrong.built_into(packed), tmp_path / "wrong.xml", compress_to_fp16=False)
    with pytest.raises(VerificationError, match="does not give the outputs of the quantized one"):
        check(packed, tmp_path / "wrong.xml", right, job, "f32")


def test_a_layer_that_leaves_the_int8_kernels_is_not_deployed(quantized: Path, tmp_path: Path) -> None:
    packed, job = ov.Core().read_model(quantized / "model.xml"), Job.read(quantized / "config.json")
    found = find_input(job.config.dataset, packed)
    assert isinstance(found, ImageInput)
    model = found.built_into(packed)
    layer = next(node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution")
    weight = unpack_weight(layer.input_value(1).get_node())
    assert weight is not None
    # The same values, of which the plugin does not know that they are integers.
    layer.input(1).replace_source_output(opset.constant(weight.values).output(0))
    ov.save_model(model, tmp_path / "float.xml", compress_to_fp16=False)
    with pytest.raises(VerificationError, match="1 layers leave int8 kernels"):
        check(packed, tmp_path / "float.xml", found, job, "f32")


def test_a_folder_is_replaced_whole_or_kept(quantized: Path, deployed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"--output: .*allowed: a new or empty folder"):
        deploy(quantized, other)
    output = tmp_path / "deployment"
    shutil.copytree(deployed, output)
    (output / "older.txt").write_text("of an older version")
    with pytest.raises((OSError, RuntimeError)), no_room_for_more_than(1000):
        deploy(quantized, output)
    assert (output / "older.txt").is_file()
    deploy(quantized, output)
    assert not (output / "older.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"other", "deployment"}


def test_what_was_there_comes_back_where_the_new_folder_cannot_take_its_name(tmp_path: Path) -> None:
    output = tmp_path / "deployment"
    output.mkdir()
    (output / DEPLOYMENT_FILE).write_text("{}")
    with pytest.raises(OSError), replaced_folder(output, DEPLOYMENT_FILE) as made:
        made.rmdir()
    assert (output / DEPLOYMENT_FILE).read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"name": "a b"}, "--name: found 'a b'"), ({"labels": "README.md"}, "--labels: found '.* lines in")],
)
def test_mistakes_are_named(quantized: Path, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    names = tmp_path / "README.md"
    names.write_text("only one\n")
    given: dict[str, Any] = {key: names if key == "labels" else value for key, value in arguments.items()}
    with pytest.raises(ConfigError, match=message):
        deploy(quantized, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_what_quantize_did_not_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no model\.xml"):
        deploy(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "missing", "other", "operation"])
def test_a_damaged_model_is_one_message(damage: str, quantized: Path, tmp_path: Path) -> None:
    folder = with_dataset(quantized, tmp_path / "out")
    weights, graph = folder / "model.bin", folder / "model.xml"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "missing":
        weights.unlink()
    elif damage == "other":
        weights.write_bytes(b"\xff" * len(weights.read_bytes()))
    else:
        graph.write_text(graph.read_text().replace('type="Convolution"', 'type="Konvolution"'))
    with pytest.raises((ConfigError, VerificationError)):
        deploy(folder)
    assert not (folder / "deployment").exists()


def test_what_a_killed_deploy_left_is_removed(quantized: Path, tmp_path: Path) -> None:
    folder = with_dataset(quantized, tmp_path / "out")
    left = temporary_folder(folder, "deployment")
    (Path(left.name) / "lock").touch()
    assert CliRunner().invoke(application, ["deploy", str(folder)]).exit_code == 0
    assert not Path(left.name).exists()


def test_a_folder_that_is_being_written_stays(tmp_path: Path) -> None:
    for name, is_held in (("dead", False), ("alive", True)):
        folder = tmp_path / f".deployment-0123456789ab.{name}"
        folder.mkdir()
        (folder / "lock").touch()
        with FileLock(folder / "lock") if is_held else contextlib.nullcontext():
            with replaced_folder(tmp_path / "made", DEPLOYMENT_FILE) as made:
                (made / DEPLOYMENT_FILE).touch()
            assert folder.exists() is is_held
    assert (tmp_path / "made" / DEPLOYMENT_FILE).is_file()


def test_the_command_says_what_is_left_to_the_user(quantized: Path, tmp_path: Path) -> None:
    folder = with_dataset(quantized, tmp_path / "out", preprocessing={"resize": 11, "crop": 8})
    done = CliRunner().invoke(application, ["deploy", str(folder), "--output", str(tmp_path / "made")])
    assert done.exit_code == 0, done.output
    for line in ("input: 8-bit images [1, 8, 8, 3]", "left to you: resize the shorter side to 11 pixels", "README.md"):
        assert line in done.output
    done = CliRunner().invoke(application, ["deploy", str(folder), "--json"])
    assert json.loads(done.output) == json.loads((folder / "deployment" / "deployment.json").read_text())
