"""What is saved when all goes well, when the file is not what was scored, and when it cannot be written."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch

from nncf_mcq import OutputError, Policy, QuantizationResult, VerificationError, quantize
from nncf_mcq.config.output_files import LayerResult
from nncf_mcq.summaries.result import result_lines, result_table
from tests.files import no_room_for_more_than
from tests.models import SAMPLE_SIZE, as_dataset, noisy_model, random_images, small_config, small_network

REPORTS = {"policy.json", "config.json", "result.json", "histograms.json"}
IMAGES = random_images(8)


@pytest.fixture(scope="module")
def quantized() -> QuantizationResult:
    return quantize(small_network(), as_dataset(IMAGES), small_config(type="uniform", bits=4))


@pytest.fixture
def result(quantized: QuantizationResult) -> QuantizationResult:
    metrics, layers = copy.deepcopy(quantized.metrics), copy.deepcopy(quantized.layers)
    return dataclasses.replace(quantized, metrics=metrics, layers=layers)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_that_is_not_what_was_scored_is_kept_with_all_that_was_computed(
    result: QuantizationResult, tmp_path: Path
) -> None:
    noisy = dataclasses.replace(result, model=noisy_model(SAMPLE_SIZE))
    with pytest.raises(VerificationError, match="the outputs of the scored one: input 0, output 0: ") as caught:
        noisy.save(tmp_path)
    assert str(caught.value).endswith(f"kept as {tmp_path / 'model.unverified.xml'}")
    assert names_in(tmp_path) == REPORTS | {"model.unverified.xml", "model.unverified.bin"}
    saved = read(tmp_path)
    assert saved["verified"] is False
    assert saved["verification"]["difference"] > saved["verification"]["tolerance"]
    assert saved["verification"]["problems"][0].startswith("input 0, output 0: ")
    assert Policy.from_file(tmp_path / "policy.json") == result.policy

    result.save(tmp_path)
    assert names_in(tmp_path) == REPORTS | {"model.xml", "model.bin"}
    assert read(tmp_path)["verified"] is True
    assert read(tmp_path)["verification"]["difference"] == 0


def test_without_room_the_policy_is_kept(result: QuantizationResult, tmp_path: Path) -> None:
    with no_room_for_more_than(1000), pytest.raises(OutputError) as caught:
        result.save(tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'out'}: cannot be written: OpenVINO cannot write a model where ")
    assert message.endswith("; the policy is kept in policy.unsaved.json")
    assert names_in(tmp_path / "out") == {"policy.unsaved.json"}
    assert Policy.from_file(tmp_path / "out" / "policy.unsaved.json") == result.policy

    result.save(tmp_path / "out")
    assert names_in(tmp_path / "out") == REPORTS | {"model.xml", "model.bin"}


@pytest.mark.parametrize("size", [0, 100, 500, 900, 1500, 2500, 4000, 6000, 9000, 15_000, 25_000])
@pytest.mark.parametrize("is_there", [False, True])
def test_at_any_size_of_the_disk_all_files_are_written_or_none(
    size: int, is_there: bool, result: QuantizationResult, tmp_path: Path
) -> None:
    if is_there:
        result.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    whole = REPORTS | {"model.xml", "model.bin"}
    with no_room_for_more_than(size):
        try:
            result.save(tmp_path)
        except OutputError as error:
            assert f"{tmp_path}: cannot be written: " in str(error)
            assert names_in(tmp_path) - {"policy.unsaved.json"} == set(before)
            assert {name: (tmp_path / name).read_bytes() for name in before} == before
        else:
            assert names_in(tmp_path) == whole


def test_where_nothing_can_be_written_one_message_says_so(result: QuantizationResult, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out: cannot be written: Not a directory$"):
        result.save(tmp_path / "file" / "out")


def test_the_size_of_the_float_model_may_be_unknown(result: QuantizationResult, tmp_path: Path) -> None:
    images = random_images(1)
    large = ov.convert_model(torch.nn.Conv2d(3, 4000, 3), example_input=torch.from_numpy(images))
    result = dataclasses.replace(result, float_model=large)
    with no_room_for_more_than(200_000):
        result.save(tmp_path)
    assert read(tmp_path)["verified"] is True
    assert "bin_bytes" not in read(tmp_path)["metrics"]["float"]
    assert result_table(result).row_count


@pytest.mark.parametrize(("is_half", "bytes_of_a_weight"), [(False, 4), (True, 2)])
def test_a_float_model_of_half_precision_is_as_small_as_that(
    result: QuantizationResult, is_half: bool, bytes_of_a_weight: int, tmp_path: Path
) -> None:
    layer = torch.nn.Conv2d(3, 400, 3, bias=False)
    layer = layer.half().float() if is_half else layer
    float_model = ov.convert_model(layer, example_input=torch.from_numpy(random_images(1)))
    dataclasses.replace(result, float_model=float_model).save(tmp_path)
    assert read(tmp_path)["metrics"]["float"]["bin_bytes"] == pytest.approx(400 * 27 * bytes_of_a_weight, rel=0.01)


def test_a_layer_that_runs_in_float_is_told_with_its_cause(tmp_path: Path) -> None:
    class Padded(torch.nn.Module):
        """Ones around an image, which the plugin does not pad on integers."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            values = torch.nn.functional.pad(torch.relu(self.first(images)), (1, 1, 1, 1), value=1.0)
            result: torch.Tensor = self.second(values)
            return result

    torch.manual_seed(0)
    result = quantize(Padded().eval(), as_dataset(IMAGES), small_config(type="uniform", bits=4))
    result.save(tmp_path)
    saved = read(tmp_path)
    first, second = saved["layers"]
    assert first["runtime_precision"] in ("i8", "u8")
    assert second["runtime_precision"] == "f32"
    assert "float_cause" not in first
    assert second["float_cause"].startswith("the plugin does not run Pad ")
    assert saved["verified"] is True
    [warning] = saved["verification"]["warnings"]
    assert warning == f"layer '{second['name']}' runs in f32: {second['float_cause']}"
    assert f"warning: {warning}" in list(result_lines(result, tmp_path))
    np.testing.assert_equal(second["bits"], 4)


def test_records_are_read_by_their_keys_in_the_json_too() -> None:
    layer = LayerResult(name="first", bits=4)
    assert (layer["name"], layer["bits"]) == (layer.name, layer.bits)
    with pytest.raises(KeyError):
        layer["nothing"]


def test_without_test_images_the_quality_is_said_to_be_of_calibration_images(
    result: QuantizationResult, tmp_path: Path
) -> None:
    result.save(tmp_path)
    quality = read(tmp_path)["quality"]
    assert (quality["images"], quality["count"]) == ("calibration", len(IMAGES))
    (output,) = quality["outputs"]
    assert output["metrics"].keys() == {"agreement", "kl", "sqnr_db", "relative_error"}
    # Among the metrics they would be taken for those of new images.
    assert not read(tmp_path)["metrics"]["quantized"].keys() & output["metrics"].keys()
    lines = "\n".join(result_lines(result, tmp_path))
    assert f"on {len(IMAGES)} calibration images, which the quantization has seen: of others it may be lower" in lines
