from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from nncf_mcq import load_config
from nncf_mcq.config.json_files import read_json
from nncf_mcq.config.nncf2_file import read_nncf2
from nncf_mcq.errors import ConfigError
from nncf_mcq.job import Job

AUTOQ: dict[str, Any] = {
    "model": "mobilenet_v2",
    "pretrained": True,
    "num_classes": 1000,
    "batch_size": 64,
    "epochs": 3,
    "input_info": {"sample_size": [2, 3, 224, 224]},
    "optimizer": {"type": "Adam", "base_lr": 1e-5},
    "dataset": "imagenet",
    "target_device": "TRIAL",
    "compression": {
        "algorithm": "quantization",
        "initializer": {
            "range": {"num_init_samples": 32, "type": "mean_min_max"},
            "precision": {"type": "autoq", "bits": [2, 4, 8], "iter_number": 40, "compression_ratio": 0.15},
            "batchnorm_adaptation": {"num_bn_adaptation_samples": 0},
        },
        "preset": "mixed",
    },
}


def manual(*pairs: tuple[int, str], **more: Any) -> dict[str, Any]:
    precision = {"bitwidth_per_scope": [list(pair) for pair in pairs]}
    return {"compression": [{"algorithm": "quantization", "initializer": {"precision": precision}, **more}]}


def test_a_file_of_an_example_of_nncf_2_is_one_of_this_package(caplog: pytest.LogCaptureFixture) -> None:
    before = copy.deepcopy(AUTOQ)
    with caplog.at_level(logging.WARNING):
        found = read_nncf2(AUTOQ)
    assert before == AUTOQ
    found["dataset"]["root"] = "images"
    config = load_config(found)
    assert (config.model, config.pretrained, config.target_device) == ("torchvision.models:mobilenet_v2", True, "CPU")
    assert config.compression.algorithm == "mixed_clipping_quantization"
    assert config.compression.weights.bits == [2, 4, 8]
    assert found["dataset"]["preprocessing"]["resize"] == 256
    precision = config.compression.initializer.precision
    assert precision.model_dump(exclude_unset=True) == {
        "type": "rl",
        "budget": {"weight_size": {"ratio": 0.15}},
        "evaluations": 40,
    }
    for part in ("epochs: not used", "optimizer: not used", "compression.preset: not used", "autoq: rl", "TRIAL: CPU"):
        assert any(part in message for message in caplog.messages), part
    assert all("algorithm" not in message for message in caplog.messages)


def test_scopes_become_modules_and_what_they_return(caplog: pytest.LogCaptureFixture) -> None:
    scopes = manual(
        (4, "Net/Sequential[features]/Block[1]/NNCFConv2d[conv]/conv2d_0|WEIGHT"),
        (8, "/nncf_model_input_0|OUTPUT"),
        (6, "Net/Sequential[features]/ReLU[relu]/relu__1|OUTPUT"),
        (5, "Net/Block[last]/__add___0|OUTPUT"),
        (3, "Net/Block[last]/__add___0|INPUT0"),
        ignored_scopes="Net/NNCFLinear[head]/linear_0",
        weights={"bits": 6},
    )
    with caplog.at_level(logging.WARNING):
        config = load_config(read_nncf2(scopes)).compression
    precision = config.initializer.precision.model_dump()
    assert precision["bitwidth_per_scope"] == [(4, "{module}features.1.conv")]
    assert precision["activation_bitwidth_per_scope"] == [
        (8, "{output}/nncf_model_input_0"),
        (6, "{output}features.relu/relu__1"),
        (5, "{output}last/__add___0"),
    ]
    assert precision["default_bits"] == 6
    assert config.ignored_scopes == ["{module}head"]
    assert any("no outputs of operations: Net/Block[last]/__add___0|INPUT0" in item for item in caplog.messages)


def test_a_model_of_an_earlier_torchvision_is_one_of_this(caplog: pytest.LogCaptureFixture) -> None:
    data = {key: value for key, value in AUTOQ.items() if key != "dataset"}
    found = read_nncf2({**data, "model": "mobilenet_v2_tv_092", "no_strip_on_export": True})
    assert found["model"] == "torchvision.models:mobilenet_v2"
    assert found["dataset"]["type"] == "imagenet"
    assert "no_strip_on_export" not in found
    assert "NNCF 2: dataset: the type imagenet; dataset.root names its folder" in caplog.messages


@pytest.mark.parametrize(
    ("bits", "weights", "device"),
    [([4, 8], {}, "NPU"), ([2, 4, 8], {}, "CPU"), ([4, 8], {"mode": "asymmetric"}, "CPU")],
)
def test_a_device_that_has_no_such_weights_is_the_cpu(bits: list[int], weights: dict[str, str], device: str) -> None:
    section = {
        "algorithm": "quantization",
        "weights": weights,
        "initializer": {"precision": {"type": "hawq", "bits": bits}},
    }
    config = load_config(read_nncf2({"target_device": "NPU", "compression": section}))
    assert config.target_device == device
    assert config.compression.weights.bits == bits


def test_without_bits_it_is_the_int8_of_nncf() -> None:
    config = load_config(read_nncf2({"epochs": 1, "compression": {"algorithm": "quantization"}}))
    assert config.compression.algorithm == "quantization"


def test_an_overflow_fix_that_is_turned_off_asks_for_vnni() -> None:
    assert load_config(read_nncf2(manual((4, "Net/A[b]/c_0|WEIGHT")))).compression.weights.isa == "any"
    turned_off = read_nncf2(manual((4, "Net/A[b]/c_0|WEIGHT"), overflow_fix="disable"))
    assert load_config(turned_off).compression.weights.isa == "vnni"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"compression": {}},
        {"compression": {"algorithm": "quantization"}},
        {"compression": {"initializer": {"precision": {"type": "manual", "bitwidth_per_scope": [[4, "a"]]}}}},
        {"compression": 3},
        {"compression": [3]},
        {"compression": {"algorithm": "quantization", "initializer": None}},
        {
            "compression": {
                "algorithm": "quantization",
                "initializer": {"range": {"type": ["a"]}, "precision": {"type": []}},
            }
        },
    ],
)
def test_what_is_not_of_nncf_2_stays(data: dict[str, Any]) -> None:
    assert read_nncf2(data) is data


def test_what_this_package_writes_stays() -> None:
    for algorithm in ("quantization", "mixed_clipping_quantization"):
        data = load_config({"compression": {"algorithm": algorithm}}).to_dict()
        assert read_nncf2(data) is data


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ({"compression": [{"algorithm": "quantization"}, {"algorithm": "magnitude_sparsity"}]}, "magnitude_sparsity"),
        (manual((4, "{re}.*conv.*")), "the name of a module"),
        (manual((4, "conv2d_0|WEIGHT")), r"precision\.bitwidth_per_scope: .*the name of a module"),
        (manual((4, "Net/A[b]/c_0|WEIGHT"), ignored_scopes=["{re}.*"]), r"compression\.ignored_scopes: "),
    ],
)
def test_what_cannot_be_done_is_said(data: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        read_nncf2(data)


def test_a_job_reads_such_a_file(tmp_path: Path) -> None:
    file = tmp_path / "nncf2.json"
    file.write_text(json.dumps(AUTOQ))
    job = Job.read(file, {"dataset.root": str(tmp_path)})
    assert job.config.compression.initializer.precision.type == "rl"


def test_comments_are_read_over(tmp_path: Path) -> None:
    file = tmp_path / "nncf2.json"
    text = '{ // one {"\n"a": "//no /*comment*/ \\" // nor this", /* " \n two */ "b": [1, // last\n 2]}'
    file.write_text(text)
    assert read_json(file) == {"a": '//no /*comment*/ " // nor this', "b": [1, 2]}
    for broken, where in (('{"a": 1 // x\n "b": 2}', "line 2 column 2"), ('{"a": /* x 1}', "line 1 column 7")):
        file.write_text(broken)
        with pytest.raises(ConfigError, match=where):
            read_json(file)
