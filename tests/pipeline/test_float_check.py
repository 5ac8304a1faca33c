"""What is said of the float model before anything is computed for it, and of its figures afterwards."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import ConfigError, quantize
from nncf_mcq.config.goal import Goal
from nncf_mcq.config.output_files import RunResult
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.float_check import check_float_model
from nncf_mcq.summaries.result import result_lines
from tests.models import SAMPLE_SIZE, as_dataset, make_model, random_images, small_network
from tests.test_api import PRECISIONS, config


def test_kinds_that_do_not_fit_are_named() -> None:
    model = make_model(lambda data: opset.reduce_mean(data, opset.constant([1, 2, 3]), keep_dims=False), (1, 3, 8, 8))
    name = describe_outputs(model)[0].name
    with pytest.raises(ConfigError, match=r"^outputs: .*kinds that fit the outputs"):
        check_float_model(model, Samples(random_images(8)), 1, {name: "classes"}, None)


@pytest.mark.parametrize(
    ("goal", "is_met"), [({"box_map50": 0.9}, False), ({"kl": 0.1}, True), ({"top1_drop": 1}, True)]
)
def test_a_goal_of_other_outputs_is_found_before_anything_is_computed(goal: dict[str, float], is_met: bool) -> None:
    model, images = to_openvino(small_network(), list(SAMPLE_SIZE)), Samples(random_images(8))
    check = functools.partial(check_float_model, model, images, 1, {}, Goal.model_validate(goal))
    if is_met:
        check()
    else:
        with pytest.raises(ConfigError, match=r"found 'box_map50', .*recognized outputs: .*: classes\)"):
            check()


def test_agreement_is_no_goal_of_maps() -> None:
    maps = make_model(lambda data: opset.relu(data), (1, 3, 8, 8))
    with pytest.raises(ConfigError, match=r"found 'agreement', .* the model is no classifier"):
        check_float_model(maps, Samples(random_images(8)), 1, {}, Goal(agreement=0.9))


@pytest.mark.parametrize("bias", [0.0, 100.0])
def test_one_answer_to_all_images_is_said_before_and_after(
    bias: float, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    last = torch.nn.Linear(144, 3)
    last.bias.data[1] += bias
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), last)
    images = 5 * np.random.default_rng(0).normal(size=(24, 3, 8, 8)).astype(np.float32)
    with caplog.at_level(logging.WARNING, logger="nncf_mcq"):
        result = quantize(
            model, as_dataset(images), config(PRECISIONS["uniform"]), report_dataset=as_dataset(images[:20])
        )
    result.save(tmp_path)
    written = RunResult.model_validate_json((tmp_path / "result.json").read_text())
    told = [*caplog.messages, *result_lines(result, tmp_path), *written.warnings]
    found = [line for line in told if "gives class 1 to" in line]
    if bias:
        assert [line[:58] for line in found] == [
            "the float model gives class 1 to 12 of 12 images: that a q",
            "warning: the float model gives class 1 to 20 of 20 images:",
            "the float model gives class 1 to 20 of 20 images: that a q",
        ]
    else:
        assert found == []
