from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from nncf_mcq import ConfigError, QuantizationError, QuantizationResult, load_config, pareto, quantize
from nncf_mcq.metrics.scores import SCORES
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.summaries.result import result_lines
from nncf_mcq.training.module import parts
from nncf_mcq.training.quantizers import QuantizedWeights
from nncf_mcq.training.tuning import TUNINGS, Tuning, TuningTask, checkpoint, open_tuning
from tests.models import (
    SAMPLE_SIZE,
    as_dataset,
    make_model,
    random_constant,
    random_images,
    small_calibrated_model,
    small_network,
)
from tests.models import run as run_model

IMAGES = 48
DISTILLATION: dict[str, Any] = {"type": "distillation", "steps": 12, "batch_size": 16, "learning_rate": 0.05}


def float_model() -> ov.Model:
    return to_openvino(small_network(), SAMPLE_SIZE)


def images(count: int = IMAGES, seed: int = 0) -> np.ndarray:
    return random_images(count, SAMPLE_SIZE, seed=seed)


def configured(
    tuning: Mapping[str, Any] | str | None,
    bits: int = 2,
    threads: int = 1,
    *,
    equalization: bool = True,
    correction: Mapping[str, Any] = {"sequential": False},
    **initializer: Any,
) -> dict[str, Any]:
    return {
        "compression": {
            "weights": {"equalization": equalization},
            "initializer": {"num_init_samples": 16, "precision": {"type": "uniform", "bits": bits}, **initializer},
            "correction": correction,
            "tuning": tuning,
        },
        "runtime": {"threads": threads},
    }


def tuned(
    changes: Mapping[str, Any], *, count: int = IMAGES, bits: int = 2, threads: int = 1, **options: Any
) -> QuantizationResult:
    configuration = configured({**DISTILLATION, **changes}, bits, threads)
    return quantize(float_model(), as_dataset(images(count)), configuration, **options)


def untuned(count: int = IMAGES, bits: int = 2) -> QuantizationResult:
    return quantize(float_model(), as_dataset(images(count)), configured(None, bits))


def run(model: ov.Model, inputs: np.ndarray) -> np.ndarray:
    return run_model(model, inputs, threads=1, batch_size=1)


def constants(result: QuantizationResult) -> list[np.ndarray]:
    return [node.data for node in result.model.get_ordered_ops() if node.get_type_name() == "Constant"]


def are_equal(first: QuantizationResult, second: QuantizationResult) -> bool:
    return all(np.array_equal(*pair) for pair in zip(constants(first), constants(second), strict=True))


class StopAfter:
    """Progress that ends as Ctrl-C does, after some steps of the tuning."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._stage = ""

    def start(self, stage: str, total: int) -> None:
        self._stage = stage

    def update(self, done: int, total: int) -> None:
        if self._stage == "tuning" and done == self._steps:
            raise KeyboardInterrupt

    def finish(self) -> None:
        self._stage = ""


@pytest.fixture
def spoiling() -> Iterator[str]:
    """A method that leaves a weight that is not finite."""

    class Spoiling(Tuning):
        class Parameters(Tuning.Parameters):
            type: Literal["spoiling"] = "spoiling"

        steps = 1

        def tune(self, task: TuningTask) -> None:
            parts(task.module.quantized, QuantizedWeights)[0].scaled.data.fill_(float("nan"))

    TUNINGS.register(Spoiling)
    yield "spoiling"
    TUNINGS.unregister("spoiling")


def test_distillation_makes_two_bits_better_on_other_images(tmp_path: Path) -> None:
    others = images(64, seed=5)
    wanted = run(float_model(), others)
    # Rounded so badly that what is gained is no luck: the table's own weights are too good for 50 images to tell.
    poor = {"sequential": False, "rounding": "nearest", "gain": "none", "bias": False}
    before, after = (
        quantize(float_model(), as_dataset(images(400)), configuration)
        for configuration in (
            configured(tuning, equalization=False, correction=poor, range={"type": "max"})
            for tuning in (None, {**DISTILLATION, "steps": 200, "learning_rate": 0.01, "scale_learning_rate": 0.005})
        )
    )
    errors = [SCORES["softened_kl"](run(result.model, others), wanted) for result in (before, after)]

    report = after.search.tuning
    assert report is not None and report.kept
    assert report.images == 350 and report.held_out_images == 50
    assert report.before is not None and report.after is not None and report.after < report.before
    assert errors[1] < 0.4 * errors[0]
    xml = after.save(tmp_path)
    assert np.allclose(run(ov.Core().read_model(xml), others), run(after.model, others), atol=1e-5)
    assert all(layer.bits == 2 and layer.rule is None for layer in after.layers)


def test_a_model_that_gets_worse_is_not_kept() -> None:
    result = tuned({"learning_rate": 3.0}, bits=4)

    report = result.search.tuning
    assert report is not None and not report.kept
    assert report.difference is not None and report.difference > 0
    assert are_equal(result, untuned(bits=4))
    assert all(layer.rule is not None for layer in result.layers)
    (line,) = [line for line in result_lines(result, Path()) if line.startswith("distillation")]
    assert "not kept" in line and f"on {report.held_out_images} others" in line


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    first, second = (tuned({}, threads=threads) for threads in (1, 2))

    assert first.search.tuning == second.search.tuning


def test_a_time_limit_of_the_search_leaves_out_the_tuning() -> None:
    configuration = configured(DISTILLATION)
    configuration["compression"]["initializer"]["precision"] = {
        "type": "rl",
        "budget": {"weight_size": {"average_bits": 4}},
        "measured_widths": 1,
        "time_limit": 1e-6,
    }
    result = quantize(float_model(), as_dataset(images()), configuration)
    assert (result.search.ended_by, result.search.left_out) == ("time_limit", ("tuning",))
    assert result.search.tuning is None


def test_an_interrupted_tuning_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    file = tmp_path / "tuning.pt"
    undisturbed = tuned({})

    stopped = tuned({}, progress=StopAfter(5), tuning_checkpoint=file)
    assert stopped.search.tuning is None and "tuning" in stopped.search.left_out
    assert are_equal(stopped, untuned())
    assert any("--resume" in line for line in result_lines(stopped, Path()))
    assert file.exists()
    kept = file.read_bytes()
    resumed = tuned({}, tuning_checkpoint=file, resume=True)

    assert resumed.search.tuning == undisturbed.search.tuning
    assert are_equal(resumed, undisturbed)
    assert not file.exists()
    # What was learned was used: without it the steps begin again.
    file.write_bytes(kept)
    steps = _steps_run(monkeypatch)
    tuned({}, tuning_checkpoint=file, resume=True)
    assert len(steps) == 12 - 4


def _steps_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each step of the optimizer."""
    found: list[int] = []
    step = torch.optim.Adam.step

    def counted(self: torch.optim.Adam, *arguments: Any) -> Any:
        found.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    return found


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint_is_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tuning.pt"
    file.write_bytes(content)

    assert tuned({}, tuning_checkpoint=file, resume=True).search.tuning == tuned({}).search.tuning


def test_the_checkpoint_of_another_training_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    file = tmp_path / "tuning.pt"
    tuned({}, progress=StopAfter(5), tuning_checkpoint=file)

    other = tuned({"seed": 1}, tuning_checkpoint=file, resume=True)

    assert other.search.tuning == tuned({"seed": 1}).search.tuning


@pytest.mark.parametrize(("count", "calibrated"), [(200, 16), (24, 16), (16, 8)])
def test_held_out_images_are_seen_by_nothing_else(count: int, calibrated: int) -> None:
    compression = load_config(configured("distillation")).compression
    numbered = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1) + np.zeros((1, *SAMPLE_SIZE[1:]), np.float32)

    calibration, stage = open_tuning(compression, as_dataset(numbered), float_model())

    assert stage is not None
    seen = [set(samples.arrays[0][:, 0, 0, 0].tolist()) for samples in (calibration, stage.images, stage.held_out)]
    assert len(seen[0]) == calibrated and seen[0] == set(range(calibrated))
    assert not seen[2] & (seen[0] | seen[1])
    assert np.shares_memory(calibration.arrays[0], stage.images.arrays[0])
    assert seen[0] <= seen[1] and seen[1] | seen[2] == set(range(count))


def test_targets_of_held_out_images_are_left_out() -> None:
    configuration = configured({**DISTILLATION, "steps": 1})
    configuration["compression"]["initializer"]["num_init_samples"] = IMAGES
    configuration["compression"]["weights"] = {"bits": [4, 8]}
    targets = (np.arange(IMAGES) % 5).tolist()

    front = pareto(
        float_model(), as_dataset(images()), {**configuration, "metric": "top1"}, search_targets=targets, points=2
    )

    assert front.report.images == IMAGES - 8
    assert "top1_drop" in front.report.points[0].qualities


@pytest.mark.parametrize(("count", "is_few"), [(291, True), (296, False)])
def test_few_images_are_warned_of(count: int, is_few: bool, caplog: pytest.LogCaptureFixture) -> None:
    compression = load_config(configured("distillation")).compression

    _, stage = open_tuning(compression, as_dataset(images(count)), float_model())

    assert stage is not None and (len(stage.images) < 256) == is_few
    assert ("images are few" in caplog.text) == is_few


def test_too_few_images_are_an_error_before_the_work() -> None:
    with pytest.raises(QuantizationError, match="tuning: found 15 calibration images, allowed: 16 or more"):
        tuned({}, count=15)


def test_a_model_that_is_spoilt_is_not_kept(spoiling: str) -> None:
    result = quantize(float_model(), as_dataset(images()), configured(spoiling))

    report = result.search.tuning
    assert report is not None and not report.kept and report.reason is not None
    assert "not finite" in report.reason
    assert are_equal(result, untuned())
    assert any("not tuned" in line for line in result_lines(result, Path()))


def test_a_gpu_that_is_not_there_costs_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = load_config({"compression": {"tuning": {"type": "distillation", "device": "cuda"}}})
    data = as_dataset(random_images(4))
    with pytest.raises(QuantizationError, match=r"^compression\.tuning\.device: found cuda, but PyTorch sees no GPU"):
        open_tuning(config.compression, data, small_calibrated_model()[0].quantizable.model)


def test_changes_of_images_are_refused_where_there_are_none() -> None:
    model = make_model(lambda values: opset.matmul(values, random_constant(12, 4), False, False), (1, 12))
    configuration = configured({**DISTILLATION, "augmentation": ["crop"]})

    result = quantize(model, as_dataset(random_images(IMAGES, (1, 12))), configuration)

    assert result.search.tuning is not None and "augmentation" in str(result.search.tuning.reason)


def test_the_configuration_names_the_method() -> None:
    short = load_config(configured("distillation"))

    assert short == load_config(configured({"type": "distillation"}))
    assert load_config(short.to_dict()) == short
    with pytest.raises(ConfigError, match=r"compression\.tuning\.type.*distillation"):
        load_config(configured("retraining"))
    with pytest.raises(ConfigError, match=r"compression\.tuning\.augmentation"):
        load_config(configured({"type": "distillation", "augmentation": ["blur"]}))
