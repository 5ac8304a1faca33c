from __future__ import annotations

from pathlib import Path

import pytest

from nncf_mcq.cli import main
from nncf_mcq.ir.runtime_graph import runtime_precisions
from nncf_mcq.latency import LatencyModels, TimedModel, latency_key, measure_interleaved, measure_ratio, measure_table
from nncf_mcq.latency.cache import structure_digest
from nncf_mcq.latency.measure import METHOD_VERSION, count_variants, neighbours
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.nodes import operations_by_name
from tests.models import SAMPLE_SIZE, convolution_model, shared_weights_model, small_calibrated_model, small_network


@pytest.fixture(scope="module")
def quantizable() -> QuantizableModel:
    return small_calibrated_model()[0].quantizable


@pytest.fixture(scope="module")
def models(quantizable: QuantizableModel) -> LatencyModels:
    return LatencyModels(quantizable, small_calibrated_model()[0].activations.fake_quantized)


def test_only_the_chosen_layers_are_float(models: LatencyModels, quantizable: QuantizableModel) -> None:
    names = list(quantizable.groups)
    for chosen in ([], names[1:2], names):
        model = models.build(chosen)
        found = runtime_precisions(compile_model(model, 1), model)
        assert {name for name in names if found[name] == "f32"} == set(chosen)


def test_activations_keep_their_sign(models: LatencyModels) -> None:
    """Kernels for signed and for unsigned inputs differ."""
    lows = {
        name.removesuffix("/fq_output_0"): float(node.input_value(1).get_node().get_data().min())
        for name, node in operations_by_name(models.build()).items()
        if name.endswith("/fq_output_0")
    }
    assert lows and all((low == 0.0) == ("lamp" in name or "elu" in name) for name, low in lows.items()), lows


def test_every_layer_and_switch_is_measured(models: LatencyModels, quantizable: QuantizableModel) -> None:
    steps: list[int] = []
    key = latency_key(quantizable, 1, "f32")
    table = measure_table(models, key, seconds=0.001, progress=lambda: steps.append(1))
    assert len(steps) == count_variants(quantizable)
    assert list(table.layers) == list(quantizable.groups)
    assert {(item.source, item.target) for item in table.precision_conversions} == set(neighbours(quantizable))
    assert all(item.ms >= 0.0 for item in table.precision_conversions)
    assert table.predict(table.layers) == pytest.approx(table.float_ms, rel=0.2)


def test_neighbours_are_found_through_what_lies_between(quantizable: QuantizableModel) -> None:
    found = neighbours(quantizable)
    names = [layer.name for layer in quantizable.layers]
    stem, depthwise, pointwise, head = names
    assert set(found) >= {(stem, depthwise), (depthwise, pointwise), (pointwise, head)}
    assert (depthwise, head) not in found
    assert found[stem, depthwise] == 8 * 4 * 4
    # Layers that share their weights are one decision, and do not switch between each other.
    assert set(neighbours(find_layers(shared_weights_model()))) == {("first", "last")}


def test_time_of_four_times_the_work() -> None:
    small, large = (convolution_model((1, 16, size, size), (16, 16, 3, 3)) for size in (32, 64))
    times = measure_interleaved(
        {"small": TimedModel.compile(small, 1, "f32"), "large": TimedModel.compile(large, 1, "f32")}, 0.05
    )
    assert times["large"] > 2 * times["small"]


def test_a_model_takes_as_long_as_itself() -> None:
    model = convolution_model((1, 16, 32, 32), (16, 16, 3, 3))
    larger = convolution_model((1, 16, 64, 64), (16, 16, 3, 3))
    ratios = measure_ratio({"one": model, "same": model, "larger": larger}, "one", 1, "f32", 0.05)
    assert ratios["one"] == 1.0
    assert 0.5 < ratios["same"] < 2.0 < ratios["larger"]


def test_identity_is_structure_and_not_weights(quantizable: QuantizableModel) -> None:
    other, larger = (
        find_layers(to_openvino(small_network(seed), shape)) for seed, shape in ((1, SAMPLE_SIZE), (0, (1, 3, 16, 16)))
    )
    assert structure_digest(other) == structure_digest(quantizable)
    assert structure_digest(larger) != structure_digest(quantizable)


@pytest.fixture
def small_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command that measures a small model in no time, and predicts a policy with one float layer."""
    import openvino as ov

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("nncf_mcq.latency.measure.SECONDS", 0.001)
    ov.save_model(to_openvino(small_network(), SAMPLE_SIZE), tmp_path / "model.xml", compress_to_fp16=False)
    config, policy = tmp_path / "config.json", tmp_path / "policy.json"
    config.write_text('{"model": "model.xml", "runtime": {"threads": 1}}', encoding="utf-8")
    names = [layer.name for layer in find_layers(ov.Core().read_model(tmp_path / "model.xml")).layers]
    widths = ", ".join(f'"{name}": {"4" if index else chr(34) + "float" + chr(34)}' for index, name in enumerate(names))
    policy.write_text(f'{{"weight_bits": {{{widths}}}}}', encoding="utf-8")
    return ["latency-table", str(config), "--policy", str(policy), "-o", str(tmp_path / "out")]


def run_command(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["nncf-mcq", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code


def test_the_command_keeps_its_table(
    small_job: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second call measures nothing."""
    outputs = []
    for _ in range(2):
        run_command(small_job, monkeypatch)
        outputs.append(capsys.readouterr())
    assert "latency table f32" in outputs[0].err and "latency table f32" not in outputs[1].err
    assert "1 layers in f32" in outputs[1].out
    assert "reduce size, not latency" in outputs[1].out
    assert (tmp_path / "out" / "latency-f32.json").is_file()
    (kept,) = (tmp_path / "cache").rglob("*.json")
    assert f"saved in {kept}" in outputs[1].out


def test_a_table_of_another_method_is_measured_anew(
    small_job: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(small_job, monkeypatch)
    capsys.readouterr()
    monkeypatch.setattr("nncf_mcq.latency.cache.METHOD_VERSION", METHOD_VERSION + 1)
    run_command(small_job, monkeypatch)
    assert "latency table f32" in capsys.readouterr().err


def test_a_table_that_cannot_be_kept_is_used(
    small_job: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "cache").write_text("not a folder", encoding="utf-8")
    run_command(small_job, monkeypatch)
    printed = capsys.readouterr().out
    assert "1 layers in f32" in printed and "saved in" not in printed
    assert (tmp_path / "out" / "latency-f32.json").is_file()
    (record,) = [item for item in caplog.records if item.name == "nncf_mcq.latency.cache"]
    assert "is used but not cached" in record.getMessage() and str(tmp_path / "cache") in record.getMessage()
