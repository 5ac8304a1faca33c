from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.sweep.__main__ import main, sweep
from benchmarks.sweep.aims import aims
from benchmarks.sweep.images import smooth
from benchmarks.sweep.measure import measure_network, signal_to_noise
from benchmarks.sweep.networks import NETWORKS, Network
from benchmarks.sweep.networks.blocks import conv
from benchmarks.sweep.record import NetworkRecord, Settings, read_record
from benchmarks.sweep.runner import is_done, run_network
from benchmarks.sweep.statistics import build_module
from benchmarks.sweep.tables import to_markdown
from tests.cpu import has_vnni

SETTINGS = Settings(calibration_images=4, test_images=2, rounds=1, seconds=0.001)


class TwoOutputs(nn.Module):
    """A map and classes; of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.map, self.classes = conv(2, 8), nn.Conv2d(8, 2, 1), nn.Linear(11, 4)

    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = self.features(image)
        return self.map(values), self.classes(torch.cat([values.mean((2, 3)), vector], 1))


def classifier() -> nn.Module:
    return nn.Sequential(conv(3, 8, 3, 2), nn.Flatten(), nn.Linear(128, 5))


TINY = (
    Network("classifier", classifier, ((1, 3, 8, 8),), "onnx", note="from ONNX"),
    Network("two_outputs", TwoOutputs, ((1, 2, 6, 6), (1, 3))),
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[NetworkRecord]:
    return [measure_network(network, SETTINGS, tmp_path_factory.mktemp(network.name)) for network in TINY]


def test_everything_is_measured_of_each_network(records: list[NetworkRecord]) -> None:
    for record, layers, outputs in zip(records, (2, 3), (1, 2), strict=True):
        assert record.errors == {}
        assert list(record.files) == ["nncf", "8", "4"]
        for model, file in record.files.items():
            # NNCF's weights take all levels: without VNNI its sums saturate.
            least = 10 if model != "nncf" or has_vnni() else 0
            assert file.integer_layers == file.compute_layers == layers
            assert len(file.signal_to_noise) == outputs
            assert all(least < value < 100 for value in file.signal_to_noise)
            assert file.compile_seconds > 0
            assert file.latency_ms > 0
        for run in record.runs.values():
            assert run.layers == layers
            assert run.verified
            assert run.seconds > 0
            assert run.peak_megabytes >= run.before_megabytes > 10
        assert record.runs["8"].average_weight_bits == 8
        assert 2 <= record.runs["4"].average_weight_bits <= 4
        assert record.files["4"].bin_bytes < record.files["8"].bin_bytes < 8000
        assert record.files["nncf"].latency_ratio == 1
    # Convolution and its bias, or batch normalization folded into it, and the classifier.
    assert 8 * 27 + 8 + 5 * 128 + 5 <= records[0].parameters < 1000


def test_the_page_holds_each_network_and_the_aims(records: list[NetworkRecord]) -> None:
    page = to_markdown(TINY, records)
    rows = [line for line in page.splitlines() if line.startswith("| classifier |")]
    assert len(rows) == 3
    assert "2/2" in rows[0]
    assert rows[2].endswith("ONNX file | from ONNX |")
    assert "saved and verified at 8 bits and at an average of 4: 2 of 2" in page
    assert "Failures" not in page


def test_what_misses_an_aim_is_named(records: list[NetworkRecord]) -> None:
    nncf, own = records[0].files["nncf"], records[0].files["8"]
    worse = own.model_copy(
        update={
            "integer_layers": nncf.integer_layers - 1,
            "signal_to_noise": [value - 1.01 for value in nncf.signal_to_noise],
            "bin_bytes": round(1.03 * nncf.bin_bytes),
        }
    )
    missing = records[0].model_copy(update={"files": {**records[0].files, "8": worse}, "runs": {}})
    assert [aim.missed for aim in aims([missing, records[1]])] == [("classifier",)] * 4
    failed = NetworkRecord(name="classifier", settings=SETTINGS, errors={"classifier": "killed"})
    assert [aim.missed for aim in aims([failed])] == [("classifier",)] * 4
    assert "- classifier, classifier: killed" in to_markdown(TINY[:1], [failed])


def test_a_failure_of_one_model_leaves_the_others(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"precision": "no such initializer"})
    record = measure_network(TINY[0], settings, tmp_path)
    assert list(record.files) == ["nncf", "8"]
    assert list(record.errors) == ["4"]
    assert "no such initializer" in record.errors["4"]
    assert not is_done(record)


def test_records_are_read_as_they_were_written(records: list[NetworkRecord], tmp_path: Path) -> None:
    exact = records[0].files["8"].model_copy(update={"signal_to_noise": [math.inf]})
    record = records[0].model_copy(update={"files": {"8": exact}})
    record.save(tmp_path)
    assert read_record(tmp_path, "classifier", SETTINGS) == record
    assert read_record(tmp_path, "another") is None


def test_a_network_with_a_record_is_not_measured_again(records: list[NetworkRecord], tmp_path: Path) -> None:
    name = next(iter(NETWORKS))
    records[0].model_copy(update={"name": name}).save(tmp_path)
    before = (tmp_path / f"{name}.json").stat().st_mtime_ns
    sweep([name], SETTINGS, tmp_path, limit=0.001)
    assert (tmp_path / f"{name}.json").stat().st_mtime_ns == before


def test_records_of_other_settings_are_refused(
    records: list[NetworkRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(iter(NETWORKS))
    records[0].model_copy(update={"name": name}).save(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["--output", str(tmp_path), "--networks", name])
    assert caught.value.code == 2
    assert "another calibration_images, test_images, rounds, seconds: use a new folder" in capsys.readouterr().err


def test_tables_need_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--output", str(tmp_path), "--report-only"])
    assert caught.value.code == 2
    assert "no records of the networks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(60)", "killed after 0.5 seconds"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("raise SystemExit('no memory left')", "no memory left"),
        ("raise SystemExit(3)", "ended with exit status 3"),
        ("pass", "ended without a record"),
    ],
)
def test_a_process_that_fails_has_a_record_that_says_so(program: str, reason: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    limit = 0.5 if "sleep" in program else 30
    record = run_network("classifier", SETTINGS, tmp_path, limit, [sys.executable, "-c", program])
    assert time.perf_counter() - start < 20
    assert record.errors == {"classifier": reason}
    assert read_record(tmp_path, "classifier") == record


def test_a_network_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    record = run_network("tflite_classifier", SETTINGS, tmp_path, 300)
    assert record.errors == {}
    assert record.files["8"].integer_layers == 8
    # Neither the files of the models nor the output of the process are left.
    assert [path.name for path in tmp_path.iterdir()] == ["tflite_classifier.json"]


def test_networks_have_names_of_their_own_and_there_are_enough() -> None:
    assert len(NETWORKS) >= 40
    assert all(name == network.name for name, network in NETWORKS.items())
    assert {network.source for network in NETWORKS.values()} == {"torch", "program", "onnx", "ir"}


def test_random_networks_have_the_statistics_of_trained_ones() -> None:
    module = build_module(TINY[0])
    assert not module.training
    with torch.no_grad():
        images = torch.from_numpy(smooth(64, (3, 8, 8), 5))
        activations, logits = module[0][0](images), module(images)  # type: ignore[index]
    norm = module[0][1]  # type: ignore[index]
    expected = (activations.mean((0, 2, 3)), activations.var((0, 2, 3)))
    assert torch.allclose(norm.running_mean, expected[0], atol=0.3)
    assert torch.allclose(norm.running_var, expected[1], rtol=0.6)
    assert 0.5 < float(logits.std()) < 2
    again = build_module(TINY[0])
    assert torch.equal(again(images), module(images))


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 64), (3, 4, 8, 8)])
def test_inputs_are_smooth_and_of_one_range(shape: tuple[int, ...]) -> None:
    values = smooth(8, shape, 0)
    assert values.shape == (8, *shape)
    assert values.dtype == np.float32
    assert np.abs(values).max() <= 2
    assert np.abs(np.diff(values, axis=-1)).mean() < 0.7 * np.abs(values).mean()
    assert np.array_equal(values, smooth(8, shape, 0))
    assert not np.array_equal(values, smooth(8, shape, 1))


def test_inputs_with_their_channels_last() -> None:
    values = smooth(2, (8, 8, 3), 0, channels_last=True)
    assert np.array_equal(values, np.moveaxis(smooth(2, (3, 8, 8), 0), 1, -1))


def test_signal_to_noise() -> None:
    reference = np.array([3.0, 4.0], np.float32)
    assert signal_to_noise(reference + np.array([0.3, 0.4]), reference) == pytest.approx(20, abs=1e-4)
    assert signal_to_noise(reference, reference) == math.inf
