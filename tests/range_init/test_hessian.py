from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import QuantizationError, load_config, quantize
from nncf_mcq.calibration.fisher import FISHER_IMAGES, collect_fisher
from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.model.layers import weight_matrices
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline import curvature as curvature_module
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import Policy
from nncf_mcq.range_init import HessianRange, MaxRange, MixedClippingRange, MseRange, RangeInitializer, RangeTask
from nncf_mcq.range_init.grid import Grid
from nncf_mcq.range_init.selection import select_ranges
from nncf_mcq.utils.progress import SilentProgress, Stages
from tests.models import SAMPLE_SIZE, as_dataset, make_model, random_constant, random_images, small_network

HESSIAN = HessianRange(HessianRange.Parameters())
MSE = MseRange(MseRange.Parameters())


def make_task(weights: torch.Tensor, fisher: torch.Tensor | None, *, per_channel: bool = True) -> RangeTask:
    groups, _, columns = weights.shape
    statistics = LayerStatistics(torch.zeros(groups, columns), None, torch.ones(groups, columns))

    def error(grid: Grid) -> torch.Tensor:
        return (grid.quantize(weights) - weights).square().sum(dim=-1)

    return RangeTask(weights, 3, "symmetric", per_channel, statistics, error, fisher)


def weights_with_outliers() -> torch.Tensor:
    """Two rows, each with one weight far beyond the others."""
    weights = torch.randn(1, 2, 64, generator=torch.Generator().manual_seed(0))
    weights[0, :, 3] = 8.0
    return weights


def thresholds(task: RangeTask, rule: Any = HESSIAN) -> list[float]:
    high: list[float] = rule.find_range(task).grid.range_high[0].tolist()
    return high


def test_keeps_the_range_of_weights_with_high_fisher_row_by_row() -> None:
    weights = weights_with_outliers()
    fisher = torch.ones_like(weights)
    fisher[0, 0, 3], fisher[0, 1, 3] = 1000.0, 0.0
    high = thresholds(make_task(weights, fisher))
    assert high[0] > 7.9
    assert high[1] < 4.0
    assert thresholds(make_task(weights, fisher), MSE)[0] < high[0]


def test_per_tensor_the_rows_weigh_by_their_fisher() -> None:
    weights = weights_with_outliers()
    weights[0, 1, 3] = 0.0
    fisher = torch.ones_like(weights)
    found = []
    for importance in (1e-4, 1e4):
        fisher[0, 0] = importance
        fisher[0, 0, 3] = 1000 * importance
        high = thresholds(make_task(weights, fisher, per_channel=False))
        assert high[0] == high[1]
        found.append(high[0])
    assert found[0] < 4.0
    assert found[1] > 7.9


@pytest.mark.parametrize("per_channel", [True, False])
def test_equal_fisher_of_any_size_is_mse(per_channel: bool) -> None:
    weights = weights_with_outliers()
    expected = thresholds(make_task(weights, None, per_channel=per_channel), MSE)
    for size in (1e-36, 1.0, 1e30):
        assert thresholds(make_task(weights, torch.full_like(weights, size), per_channel=per_channel)) == expected


@pytest.mark.parametrize("per_channel", [True, False])
def test_dead_layers_fall_back_to_the_unweighted_error(per_channel: bool) -> None:
    weights = weights_with_outliers()
    task = make_task(weights, torch.zeros_like(weights), per_channel=per_channel)
    assert thresholds(task) == thresholds(task, MSE)


def test_a_dead_row_falls_back_alone() -> None:
    weights = weights_with_outliers()
    fisher = torch.zeros_like(weights)
    fisher[0, 0, 3] = 1.0
    task = make_task(weights, fisher)
    assert thresholds(task)[0] > 7.9
    assert thresholds(task)[1] == thresholds(task, MSE)[1]
    # Where the rows share a range, the dead one has no say.
    assert thresholds(dataclasses.replace(task, per_channel=False))[1] > 7.9


def test_no_candidate_has_a_smaller_weighted_error() -> None:
    weights = weights_with_outliers()
    fisher = torch.rand(weights.shape, generator=torch.Generator().manual_seed(1))
    task = make_task(weights, fisher)
    errors = [
        ((rule.find_range(task).grid.quantize(weights) - weights).square() * fisher).sum(dim=2)
        for rule in (HESSIAN, MSE, MaxRange(MaxRange.Parameters()))
    ]
    assert all(bool((errors[0] <= other * (1 + 1e-5)).all()) for other in errors[1:])


def test_says_what_is_missing() -> None:
    with pytest.raises(QuantizationError, match=r"hessian needs the Fisher information"):
        HESSIAN.find_range(make_task(weights_with_outliers(), None))


def test_which_rules_need_it() -> None:
    assert HESSIAN.needs_fisher
    assert not MSE.needs_fisher
    assert not MixedClippingRange(MixedClippingRange.Parameters()).needs_fisher
    assert MixedClippingRange(MixedClippingRange.Parameters.model_validate({"rules": ["max", "hessian"]})).needs_fisher
    layers = small_workspace_of("max", Stages(SilentProgress())).quantizable.layers
    for entries, expected in (
        ([{"type": "max", "target_scopes": [layers[0].name]}, "mse"], False),
        ([{"type": "hessian", "target_scopes": [layers[0].name]}, "mse"], True),
        ([{"type": "max", "target_scopes": ["{re}."]}, "hessian"], False),
    ):
        assert select_ranges(load_config(section(entries)).compression.initializer.range, layers).needs_fisher == (
            expected
        )


def section(rule: Any, **compression: Any) -> dict[str, Any]:
    return {
        "input_info": {"sample_size": list(SAMPLE_SIZE)},
        "compression": {"initializer": {"range": rule, "precision": {"type": "uniform", "bits": 3}}, **compression},
        "runtime": {"threads": 1, "batch_size": 4},
    }


def small_workspace_of(rule: Any, stages: Stages, images: int = 8) -> CalibratedModel:
    model = to_openvino(small_network(), SAMPLE_SIZE)
    return CalibratedModel.prepare(model, random_images(images), load_config(section(rule)).compression, 1, stages)


def clipped_by(calibrated: CalibratedModel, rule: RangeInitializer) -> CalibratedModel:
    return dataclasses.replace(calibrated, scheme=dataclasses.replace(calibrated.scheme, ranges=rule))


def test_the_weight_table_is_built_with_the_fisher_of_the_calibration_images() -> None:
    stages = Stages(SilentProgress())
    calibrated = small_workspace_of("hessian", stages)
    table = calibrated.weight_table((3,), stages)
    fisher = collect_fisher(calibrated.quantizable, random_images(8), threads=1)
    other = clipped_by(calibrated, MSE).weight_table((3,), stages)
    operations = operations_by_name(calibrated.quantizable.model)
    moved = 0
    for layer in calibrated.quantizable.layers:
        weights = torch.from_numpy(weight_matrices(layer, operations[layer.name]))
        statistics = calibrated.statistics.layers[layer.name]
        task = RangeTask(weights, 3, "asymmetric", True, statistics, lambda grid: grid.scale, fisher[layer.name])
        grid = HESSIAN.find_range(task).grid
        clip = table[layer.name, 3].clip
        np.testing.assert_allclose(clip.high.flatten(), grid.range_high.flatten(), rtol=1e-5)
        assert table[layer.name, 3].rule == "hessian"
        moved += int((clip.high != other[layer.name, 3].clip.high).sum())
    assert moved > 0


def test_is_computed_once_and_only_where_a_rule_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[np.ndarray] = []

    def collect(quantizable: Any, images: Samples, **options: Any) -> dict[str, torch.Tensor]:
        calls.append(images.arrays[0])
        return collect_fisher(quantizable, images, **options)

    monkeypatch.setattr(curvature_module, "collect_fisher", collect)
    stages = Stages(SilentProgress())
    calibrated = small_workspace_of("mse", stages)
    calibrated.weight_table((3,), stages)
    assert not calls
    assert not any("fisher" in stage for stage in stages.seconds)
    clipped_by(calibrated, HESSIAN).weight_table((3,), stages)
    mixed = MixedClippingRange(MixedClippingRange.Parameters.model_validate({"rules": ["max", "hessian"]}))
    clipped_by(calibrated, mixed).weight_table((4,), stages)
    assert [len(images) for images in calls] == [8]
    assert "fisher information" in stages.seconds
    halved = calibrated.observe(random_images(4, seed=1), stages, " for search")
    clipped_by(halved, HESSIAN).weight_table((3,), stages)
    np.testing.assert_array_equal(calls[1], random_images(4, seed=1))
    assert "fisher information for search" in stages.seconds


def test_many_calibration_images_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def collect(quantizable: Any, images: Samples, **_: Any) -> dict[str, torch.Tensor]:
        seen.append(images.arrays[0])
        return {layer.name: torch.ones(layer.groups, layer.rows, layer.columns) for layer in quantizable.layers}

    monkeypatch.setattr(curvature_module, "collect_fisher", collect)
    stages = Stages(SilentProgress())
    calibrated = small_workspace_of("hessian", stages, images=2 * FISHER_IMAGES)
    calibrated.weight_table((3,), stages)
    np.testing.assert_array_equal(seen[0], random_images(2 * FISHER_IMAGES)[::2])


def test_the_sequential_pass_has_it_too() -> None:
    stages = Stages(SilentProgress())
    calibrated = small_workspace_of("mse", stages)
    names = [layer.name for layer in calibrated.quantizable.layers]
    policy = Policy(dict.fromkeys(names, 3), calibrated.activation_bits)
    table = calibrated.weight_table((3,), stages)
    found = clipped_by(calibrated, HESSIAN).requantize_sequentially(policy, table, stages)
    assert {found[name, 3].rule for name in names} == {"hessian"}


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("rule", ["hessian", {"type": "mixed_clipping", "rules": ["max", "hessian"]}])
def test_from_the_json_to_a_quantized_network(rule: Any, sequential: bool) -> None:
    config = section(rule, correction={"sequential": sequential})
    result = quantize(small_network(), as_dataset(random_images(8)), config)
    rules = {item.rule for item in result.layers}
    assert "hessian" in rules
    assert rules <= {"hessian", "max"}
    assert "fisher information" in result.seconds
    assert load_config(result.config.to_dict()) == result.config


def test_a_network_that_cannot_be_differentiated_is_named() -> None:
    model = make_model(
        lambda data: opset.cum_sum(
            opset.matmul(data, random_constant(6, 4), False, False), opset.constant(1), name="sums"
        ),
        (1, 6),
    )
    images = as_dataset(random_images(4, (1, 6)))
    config = section("hessian") | {"input_info": {"sample_size": [1, 6]}}
    with pytest.raises(QuantizationError, match=r"sums.*CumSum"):
        quantize(model, images, config)
    assert quantize(model, images, section("mse") | {"input_info": {"sample_size": [1, 6]}}).policy
