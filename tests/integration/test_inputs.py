"""Models of several inputs, from the data set to the verified file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from numpy.typing import NDArray
from openvino import opset13 as opset
from torch import Tensor, nn

from nncf_mcq import quantize
from nncf_mcq.data.datasets import build_dataset
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.job import Job
from nncf_mcq.model.inference import core
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import Arrays

RANDOM = np.random.default_rng(0)
SHARED = (RANDOM.standard_normal((8, 3, 3, 3)) * 0.3).astype(np.float32)
HEAD = (RANDOM.standard_normal((4, 8)) * 0.5).astype(np.float32)
FIRST = (RANDOM.standard_normal((8, 5)) * 0.5).astype(np.float32)

COMPRESSION = {
    "weights": {"bits": [2, 4, 8]},
    "correction": {"sequential": False},
    "initializer": {
        "num_init_samples": 16,
        "precision": {"type": "greedy", "budget": {"weight_size": {"average_bits": 4}}},
    },
}
RUNTIME = {"threads": 1, "batch_size": 4}


def siamese() -> ov.Model:
    """The difference of what one network makes of two images."""
    kernel = opset.constant(SHARED)
    images = [opset.parameter([1, 3, 8, 8], np.float32, name=name) for name in ("left", "right")]
    made = []
    for image in images:
        name = image.get_friendly_name()
        values = opset.convolution(image, kernel, [2, 2], [1, 1], [1, 1], [1, 1], name=f"convolution_{name}")
        made.append(opset.reduce_mean(opset.relu(values), np.array([2, 3]), keep_dims=False))
    output = opset.matmul(opset.subtract(*made), HEAD, False, True, name="head")
    for image in images:
        image.output(0).set_names({image.get_friendly_name()})
    return ov.Model([opset.result(output)], images, "siamese")


def image_and_vector() -> ov.Model:
    """An image and a vector of the same sample."""
    image = opset.parameter([1, 3, 8, 8], np.float32, name="image")
    vector = opset.parameter([1, 5], np.float32, name="vector")
    values = opset.relu(opset.convolution(image, SHARED, [2, 2], [1, 1], [1, 1], [1, 1], name="convolution"))
    pooled = opset.reduce_mean(values, np.array([2, 3]), keep_dims=False)
    inner = opset.relu(opset.add(pooled, opset.matmul(vector, FIRST, False, True, name="first")))
    for parameter in (image, vector):
        parameter.output(0).set_names({parameter.get_friendly_name()})
    return ov.Model([opset.result(opset.matmul(inner, HEAD, False, True, name="head"))], [image, vector], "both")


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.first, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(5, 8), nn.Linear(8, 4)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        pooled = self.convolution(image).relu().mean(dim=(2, 3))
        result: Tensor = self.head((pooled + self.first(vector)).relu())
        return result


def arrays(model: ov.Model, count: int, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """Random samples by name of each input."""
    random = np.random.default_rng(seed)
    return {
        port.get_any_name(): random.standard_normal((count, *list(port.get_shape())[1:])).astype(np.float32)
        for port in model.inputs
    }


def outputs(model: ov.Model, values: dict[str, NDArray[np.float32]]) -> Arrays:
    return ModelRunner.compile(model, 1, batch_size=1)([values[port.get_any_name()] for port in model.inputs])


@pytest.mark.parametrize(
    ("build", "form"),
    [
        (siamese, "tuples"),
        *((image_and_vector, form) for form in ("tuples", "dictionaries", "batches")),
        *(pytest.param(siamese, form, marks=pytest.mark.slow) for form in ("dictionaries", "batches")),
    ],
)
def test_several_inputs_from_the_data_set_to_the_file(build: type, form: str, tmp_path: Path) -> None:
    model: ov.Model = build()
    known = arrays(model, 16)
    items: list[object] = [{name: values[index : index + 1] for name, values in known.items()} for index in range(16)]
    if form == "tuples":
        items = [tuple(item.values()) for item in items if isinstance(item, dict)]
    if form == "batches":
        # Another order: they are taken by name.
        items = [
            {name: values[start : start + 4] for name, values in reversed(known.items())} for start in (0, 4, 8, 12)
        ]
    dataset = nncf.Dataset(items)
    compression = COMPRESSION | {"correction": {"sequential": form == "tuples"}}
    result = quantize(model, dataset, {"compression": compression, "runtime": RUNTIME}, report_dataset=dataset)
    assert set(result.metrics["quantized"]) >= {"agreement", "kl"}
    test = arrays(model, 32, seed=2)
    found, expected = (outputs(item, test)[0] for item in (result.model, model))
    noise = np.square(found - expected).sum() / np.square(expected).sum()
    assert 1e-7 < noise < 0.1
    # Each input counts: with the samples of one in another order the outputs are other ones.
    for name in test:
        turned = test | {name: test[name][::-1]}
        assert np.square(outputs(result.model, turned)[0] - expected).sum() > 4 * np.square(found - expected).sum()
    xml = result.save(tmp_path)
    np.testing.assert_array_equal(outputs(core().read_model(xml), test)[0], found)


def test_all_forms_of_a_data_set_are_the_same() -> None:
    model = image_and_vector()
    known = arrays(model, 8)
    rows = [{name: values[index : index + 1] for name, values in known.items()} for index in range(8)]
    forms = [rows, [tuple(row.values()) for row in rows], [known], [{k: torch.from_numpy(v) for k, v in known.items()}]]
    settings = {"compression": {"weights": {"bits": [4]}, "correction": {"sequential": False}}, "runtime": RUNTIME}
    results = [outputs(quantize(model, nncf.Dataset(form), settings).model, known)[0] for form in forms]
    for found in results[1:]:
        np.testing.assert_array_equal(found, results[0])


def test_the_baseline_and_the_fisher_information_know_several_inputs() -> None:
    model = image_and_vector()
    dataset = nncf.Dataset([arrays(model, 8)])
    precision = {"type": "ilp", "sensitivity": "fisher", "budget": {"weight_size": {"average_bits": 4}}}
    for compression in (
        {"algorithm": "quantization"},
        COMPRESSION | {"initializer": {"precision": precision}},
        COMPRESSION | {"initializer": {"precision": precision | {"sensitivity": "hessian_trace"}}},
    ):
        result = quantize(model, dataset, {"compression": compression, "runtime": RUNTIME})
        assert result.policy.weight_bits.keys() == {"convolution", "first", "head"}


@pytest.mark.parametrize(
    "info",
    [
        [{"sample_size": [1, 3, 8, 8]}, {"sample_size": [1, 5]}],
        [{"sample_size": [1, 5], "keyword": "vector"}, {"sample_size": [1, 3, 8, 8], "keyword": "image"}],
    ],
)
def test_a_torch_module_of_several_inputs(info: list[dict[str, object]]) -> None:
    module = Both()
    known = arrays(image_and_vector(), 8)
    result = quantize(
        module, nncf.Dataset([known]), {"input_info": info, "compression": COMPRESSION, "runtime": RUNTIME}
    )
    expected = module(*(torch.from_numpy(known[name]) for name in ("image", "vector"))).detach().numpy()
    np.testing.assert_allclose(outputs(result.float_model, known)[0], expected, rtol=1e-3, atol=1e-4)
    assert {port.get_any_name() for port in result.model.inputs} == {"image", "vector"}


def test_an_example_input_gives_the_shapes() -> None:
    example = (torch.zeros(2, 3, 8, 8), torch.zeros(2, 5))
    for given in (example, dict(zip(("image", "vector"), example, strict=True))):
        shapes = [list(port.get_shape()) for port in to_openvino(Both(), None, given).inputs]
        assert shapes == [[1, 3, 8, 8], [1, 5]]


def write_job(folder: Path, model: ov.Model, **config: object) -> Path:
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
    known = arrays(model, 40)
    kept: dict[str, Any] = {**known, "targets": outputs(model, known)[0].argmax(axis=1)}
    np.savez(folder / "samples.npz", **kept)
    dataset = {"type": "arrays", "file": "samples.npz", "split": {"calibration": 16, "report": 24}}
    document = {"model": "model.xml", "dataset": dataset, "metric": "top1", "compression": COMPRESSION}
    path = folder / "config.json"
    path.write_text(json.dumps(document | {"runtime": RUNTIME} | config))
    return path


@pytest.mark.parametrize("build", [siamese, image_and_vector])
def test_arrays_are_a_data_set_of_the_command_line(build: type, tmp_path: Path) -> None:
    result = Job.read(write_job(tmp_path, build())).run()
    assert result.metrics["float"]["top1"] == 1.0
    assert result.metrics["quantized"]["top1"] == pytest.approx(result.metrics["quantized"]["agreement"])
    assert result.metrics["quantized"]["top1"] > 0.5
    result.save(tmp_path / "saved")


def test_mistakes_are_one_message(tmp_path: Path) -> None:
    model = image_and_vector()
    known = arrays(model, 4)
    for item, message in (
        (known["image"], "item 0 of the data set: found 1 values, allowed: the 2 inputs of the model"),
        ({"image": known["image"], "vektor": known["vector"]}, "found image, vektor, allowed: .* vector is missing"),
        ({"image": known["image"], "vector": known["vector"][:3]}, r"found shape \(4, 3, 8, 8\) and \(3, 5\), allowed"),
    ):
        with pytest.raises(QuantizationError, match=message):
            quantize(model, nncf.Dataset([item]), {"runtime": RUNTIME})
    for info, message in (
        ({"sample_size": [1, 3, 8, 8]}, "input_info: .*image, vector"),
        ([{"sample_size": [1, 5], "keyword": "vektor"}], r"input_info\[0\]\.keyword: found .vektor., .*image, vector"),
        ([{"sample_size": [1, 5]}, {}], r"input_info\[1\]\.sample_size: .*the key is required"),
        ([{"sample_size": [1, 5], "size": 1}], r"input_info\[0\]\.size: .*unknown key size"),
        ([], "input_info: "),
        (3, "input_info: "),
    ):
        with pytest.raises(ConfigError, match=message):
            quantize(model, nncf.Dataset([known]), {"input_info": info, "runtime": RUNTIME})
    path = write_job(tmp_path, model)
    np.savez(tmp_path / "samples.npz", image=np.zeros((40, 3, 8, 8), np.float32))
    with pytest.raises(QuantizationError, match="the samples: found 1 inputs, allowed: 2, as the model has"):
        Job.read(path).run()


def test_archives_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(ConfigError, match=r"^dataset\.file: .*" + message):
            build_dataset({"type": "arrays", "file": "samples.npz"}, tmp_path)

    file = tmp_path / "samples.npz"
    refused(re.escape("an existing .npz file"))
    file.write_bytes(b"no archive")
    refused(re.escape("an .npz file of arrays of numbers"))
    np.savez(file, targets=np.zeros(3))
    refused("an array for each input")
    np.savez(file, image=np.array(["a"]))
    refused("arrays of numbers")
    np.savez(file, image=np.zeros((3, 2)), targets=np.array([1, np.nan, 2]))
    refused("numbers")
    np.savez(file, image=np.zeros((3, 2)), vector=np.zeros((4, 2)))
    refused("the same number of samples")
