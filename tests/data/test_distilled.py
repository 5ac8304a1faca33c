from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nncf_mcq import distilled_dataset
from nncf_mcq.config.catalog import find_config
from nncf_mcq.data.datasets import NO_TARGET, ModelSource, build_dataset
from nncf_mcq.data.distillation import distill, steps
from nncf_mcq.data.distillation_parameters import DistillationParameters
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.job import Job
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.utils.progress import SilentProgress, Stages
from tests.models import small_network

SHAPE = (3, 8, 8)
FEW = {"images": 6, "report": 4, "batch_size": 3, "iterations": 4}
QUICK: dict[str, Any] = {
    "runtime.threads": 1,
    "dataset.full_root": None,
    "compression.initializer.range": "max",
    "compression.correction": {"rounding": "nearest", "sequential": False},
    "compression.initializer.precision": {"type": "uniform", "bits": 8},
}


def source(model: Any = None, sample_size: list[int] | None = None) -> ModelSource:
    return ModelSource(lambda: model or small_network(), sample_size or [1, *SHAPE])


def distance(network: torch.nn.Module, images: torch.Tensor) -> float:
    """Largest difference of a channel's mean and deviation from the running ones, before each normalization."""
    found: list[float] = []

    def compare(part: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        deviation = (part.running_var + part.eps).sqrt()
        found.append(float(((inputs[0].mean((0, 2, 3)) - part.running_mean) / deviation).abs().max()))
        found.append(float((inputs[0].std((0, 2, 3)) / deviation - 1).abs().max()))

    handles = [
        part.register_forward_pre_hook(compare) for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)
    ]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return max(found)


def trained_on(images: torch.Tensor) -> torch.nn.Module:
    """A network whose running statistics are those of the images."""
    network = small_network().train()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        network(images)
    return network.eval()


def test_images_have_the_statistics_of_the_training_images() -> None:
    training = 0.7 * torch.randn((64, *SHAPE), generator=torch.Generator().manual_seed(1)) + 1.3
    network = trained_on(training)
    parameters = DistillationParameters(iterations=200, class_weight=0.0, smoothness=0.0)
    images = torch.from_numpy(distill(network, SHAPE, 32, parameters))
    noise = torch.randn((32, *SHAPE), generator=torch.Generator().manual_seed(2))
    assert distance(network, noise) > 0.5
    assert distance(network, images) < 0.1


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 7), st.integers(1, 4), st.floats(-2, 2), st.floats(0.1, 3))
def test_any_number_of_images_within_the_range(count: int, batch_size: int, low: float, width: float) -> None:
    parameters = DistillationParameters(iterations=2, batch_size=batch_size, input_range=[low, low + width])
    ticks: list[None] = []
    images = distill(small_network(), SHAPE, count, parameters, progress=lambda: ticks.append(None))
    assert (images.shape, images.dtype) == ((count, *SHAPE), np.float32)
    assert np.isfinite(images).all()
    assert images.min() >= np.float32(low) - 1e-6
    assert images.max() <= np.float32(low + width) + 1e-6
    assert len(ticks) == steps(SHAPE, count, parameters)


def test_images_depend_on_the_seed_and_not_on_the_threads() -> None:
    network = small_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    some = [
        distill(network, SHAPE, 6, DistillationParameters(seed=seed, batch_size=2, iterations=3), threads=threads)
        for seed, threads in ((0, 1), (0, 3), (1, 1))
    ]
    np.testing.assert_array_equal(some[0], some[1])
    assert not np.isclose(some[0], some[2]).any(axis=(1, 2, 3)).all()
    assert len(np.unique(some[0].reshape(6, -1), axis=0)) == 6
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.requires_grad for value in network.parameters())


def test_large_images_are_made_at_half_their_size_first() -> None:
    sizes: list[tuple[int, ...]] = []

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(tuple(images.shape[2:]))
            result: torch.Tensor = self.norm(images)
            return result

    parameters = DistillationParameters(iterations=2, refinements=1)
    assert distill(Network(), (1, 130, 140), 1, parameters).shape == (1, 1, 130, 140)
    # Once more at the beginning, to find out what the network yields.
    assert sizes == [(65, 70)] * 3 + [(130, 140)]


def test_networks_without_batch_normalization_are_refused(tmp_path: Path) -> None:
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(QuantizationError, match="no batch normalization with running statistics"):
        distill(plain, SHAPE, 1, DistillationParameters())
    for model, allowed in (
        (plain, "the model has no batch normalization with running statistics"),
        (to_openvino(small_network(), [1, *SHAPE]), "they are distilled from torch models (MODULE:CALLABLE) only"),
    ):
        with pytest.raises(ConfigError) as caught:
            build_dataset({"type": "distilled"}, tmp_path, source(model))
        assert str(caught.value) == f"dataset.type: found 'distilled', allowed: a data set of images: {allowed}"


def test_images_are_kept_in_a_file(tmp_path: Path) -> None:
    section = {"type": "distilled", "file": "kept/images.npz", **FEW}
    first = build_dataset(section, tmp_path, source())
    assert not (tmp_path / "kept").exists()
    images = [first.calibration[index][0] for index in range(6)]
    assert first.calibration[0][1] == NO_TARGET
    file = tmp_path / "kept" / "images.npz"
    with np.load(file) as archive:
        marked, identity = archive["images"] + 1, archive["identity"]
    np.savez(file, images=marked, identity=identity)
    again = build_dataset(section, tmp_path, source()).calibration
    np.testing.assert_array_equal(again[0][0], images[0] + 1)
    for changed in (source(small_network(seed=1)), source(sample_size=[1, 3, 9, 9])):
        assert not np.array_equal(build_dataset(section, tmp_path, changed).calibration[0][0], marked[0])
    other = build_dataset(section | {"seed": 5}, tmp_path, source()).calibration
    assert not np.array_equal(other[0][0], images[0])
    file.write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="a file that `distilled` wrote"):
        build_dataset(section, tmp_path, source()).calibration[0]


def test_report_on_real_images_or_on_held_out_distilled_ones() -> None:
    distilled = {"type": "distilled", **FEW}
    real = Job.read(find_config("fashion_mnist"), {**QUICK, "calibration": distilled, "dataset.split.report": 50})
    result = real.run()
    described = result.search.dataset
    assert (described.calibration_source or "").startswith("6 images distilled from the model's batch normalization")
    assert (described.calibration, described.report, described.has_targets) == (6, 50, True)
    assert described.remark is None
    assert result.metrics["quantized"]["top1"] > 0.8
    assert result.seconds["distillation"] > 0
    none = Job.read(find_config("fashion_mnist"), {**QUICK, "dataset": distilled}).run()
    assert (none.search.dataset.remark or "").startswith(
        "there are no test images: top-1 agreement and KL divergence are of 4"
    )
    assert set(none.metrics["quantized"]) >= {"agreement", "kl"}
    assert "top1" not in none.metrics["quantized"]
    json.dumps(none.to_dict())


def test_report_images_are_not_those_of_the_calibration(tmp_path: Path) -> None:
    splits = build_dataset({"type": "distilled", **FEW}, tmp_path, source())
    parts = [[part[index][0].tobytes() for index in range(len(part))] for part in (splits.calibration, splits.report)]
    assert len({*parts[0], *parts[1]}) == 10


def test_stage_is_reported_once() -> None:
    stages = Stages(SilentProgress())
    job = Job.read(find_config("fashion_mnist"), {"dataset": {"type": "distilled", **FEW}})
    splits = job.load_dataset(stages)
    assert stages.seconds == {}
    splits.calibration[0]
    assert list(stages.seconds) == ["distillation"]


def test_images_for_the_python_api() -> None:
    dataset = distilled_dataset(small_network(), [1, *SHAPE], FEW)
    images = list(dataset.get_inference_data())
    splits = build_dataset({"type": "distilled", **FEW}, Path(), source())
    assert [image.shape for image in images] == [(1, *SHAPE)] * 6
    np.testing.assert_array_equal(np.concatenate(images), [splits.calibration[index][0] for index in range(6)])
    with pytest.raises(ConfigError, match=r"dataset\.imges: found 'unknown key imges'"):
        distilled_dataset(small_network(), [1, *SHAPE], {"imges": 3})
