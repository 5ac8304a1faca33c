"""Whatever the policy, the written file runs on int8 kernels, is as small as it says, and equals the scored model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.catalog import find_config
from nncf_mcq.job import Job
from nncf_mcq.model.inference import core
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import SUPPORTED_BITS, Policy
from nncf_mcq.range_init.base import RANGE_INITIALIZERS
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights.weight_table import WeightTable
from tests.exporting import export
from tests.models import run

IMAGES = 16
BYTES_OF_A_SCALE_A_BIAS_AND_A_ZERO_POINT = 9
Prepared = tuple[CalibratedModel, WeightTable, Samples]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    job = Job.read(find_config("fashion_mnist"), {"dataset.full_root": None})
    dataset = job.load_dataset().calibration
    images = collect_images([dataset[index][0][None] for index in range(IMAGES)], None, job.openvino_model())
    stages = Stages(SilentProgress())
    calibrated = CalibratedModel.prepare(job.openvino_model(), images, job.config.compression, 1, stages)
    rule = RANGE_INITIALIZERS["max"]
    scheme = dataclasses.replace(calibrated.scheme, ranges=rule(rule.Parameters(type="max")))
    calibrated = dataclasses.replace(calibrated, scheme=scheme)
    return calibrated, calibrated.weight_table(SUPPORTED_BITS, stages), images


@settings(max_examples=4)
@given(data=st.data())
def test_any_policy_runs_in_int8_and_equals_the_scored_model(
    data: st.DataObject, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> None:
    calibrated, table, images = prepared
    widths = st.sampled_from(SUPPORTED_BITS)
    policy = Policy(
        {layer.name: data.draw(widths) for layer in calibrated.quantizable.layers},
        {point.name: data.draw(widths) for point in calibrated.quantizable.activation_points},
    )
    names = list(policy.weight_bits)
    # Raises when a layer is not on an int8 kernel, or an output differs in one bit.
    exported = export(
        calibrated.build(policy, table),
        tmp_path_factory.mktemp("ir"),
        "model",
        names,
        images,
        information={},
        threads=1,
    )
    assert set(exported.runtime_precisions) >= set(names)
    # Searches score a form of the weights that is compiled faster.
    scored = run(calibrated.build(policy, table, packed=False), images, threads=1, batch_size=1)
    shipped = run(core().read_model(exported.xml), images, threads=1, batch_size=1)
    np.testing.assert_array_equal(scored, shipped)


@pytest.mark.parametrize("bits", SUPPORTED_BITS)
def test_the_file_is_as_small_as_its_bits(bits: int, prepared: Prepared, tmp_path: Path) -> None:
    calibrated, table, images = prepared
    layers = calibrated.quantizable.layers
    model = calibrated.build(Policy({layer.name: bits for layer in layers}, calibrated.activation_bits), table)
    xml = export(model, tmp_path, "model", [], images[:1], information={}, threads=1).xml
    of_channel = BYTES_OF_A_SCALE_A_BIAS_AND_A_ZERO_POINT
    expected = sum(layer.weights * bits / 8 + layer.output_channels * of_channel for layer in layers)
    assert xml.with_suffix(".bin").stat().st_size == pytest.approx(expected, rel=0.05)
