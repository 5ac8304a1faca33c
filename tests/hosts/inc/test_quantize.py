"""The entries of Intel Neural Compressor: quantize, prepare and convert, dictionaries; beside `nncf_mcq.quantize`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nncf
import pytest
import torch
from neural_compressor.torch.quantization import convert, prepare, quantize, save
from torch import Tensor

import nncf_mcq
from nncf_mcq.inc import MixedClippingConfig, QuantizedModule
from tests.hosts import demo
from tests.hosts.inc.conftest import FAST, FISHER, fast

Calibrate = Callable[[torch.nn.Module], None]

SEARCH: dict[str, Any] = {"average_bits": 3.0, "precision": "rl", "evaluations": 8, "seed": 3}
SCORED = fast(warm_start="none")


def hooks_of(model: torch.nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


def test_the_policy_and_the_file_are_those_of_our_own_entry(
    model: torch.nn.Module, batches: tuple[Tensor, ...], calibrate: Calibrate, evaluate: Callable[..., float]
) -> None:
    config = MixedClippingConfig(**SEARCH, **SCORED)
    quantized = quantize(model, config, run_fn=calibrate)
    assert isinstance(quantized, QuantizedModule)
    ours = nncf_mcq.quantize(
        model,
        nncf.Dataset(batches),
        {**config.configuration().to_dict(), "input_info": {"sample_size": [1, 1, 28, 28]}},
    )
    assert quantized.result.policy == ours.policy
    assert len(set(ours.policy.weight_bits.values())) > 1

    save(quantized, "theirs")
    ours.save("ours")
    for name in ("model.bin", "policy.json"):
        assert Path("theirs", name).read_bytes() == Path("ours", name).read_bytes()
    report = json.loads(Path("theirs/result.json").read_text())
    assert report["verified"] is True
    assert report["metrics"]["quantized"]["average_weight_bits"] <= 3
    assert {layer["runtime_precision"] for layer in report["layers"]} <= {"i8", "u8"}
    assert evaluate(quantized) > evaluate(model) - 0.1


def test_the_demo_has_the_policy_and_the_file_of_the_other_hosts() -> None:
    """In NNCF 2 its tests compare with the same."""
    config = MixedClippingConfig(
        precision="rl",
        average_bits=3.0,
        evaluations=demo.PRECISION["evaluations"],
        seed=demo.PRECISION["seed"],
        num_init_samples=demo.CALIBRATION_IMAGES,
        compression={"weights": demo.WEIGHTS},
    )
    images, _ = demo.images("train")
    quantized = quantize(demo.network(), config, run_fn=lambda model: model(images[: demo.CALIBRATION_IMAGES]))
    expected = demo.quantize()
    assert isinstance(quantized, QuantizedModule)
    assert quantized.result.policy == expected.policy
    quantized.save("theirs")
    expected.save("ours")
    assert Path("theirs/model.bin").read_bytes() == Path("ours/model.bin").read_bytes()


def test_another_seed_is_passed_on(model: torch.nn.Module) -> None:
    searches = [MixedClippingConfig(**{**SEARCH, "seed": seed}, **SCORED).configuration() for seed in (3, 4)]
    found = [search.compression.initializer.precision.model_dump()["seed"] for search in searches]
    assert found == [3, 4]


@pytest.mark.parametrize("inplace", [True, False])
def test_prepare_and_convert_do_what_quantize_does(
    inplace: bool, model: torch.nn.Module, calibrate: Calibrate, batches: tuple[Tensor, ...]
) -> None:
    config = MixedClippingConfig(average_bits=3.0, **FISHER)
    expected = quantize(model, config, run_fn=calibrate).result
    assert hooks_of(model) == 0

    before = model(batches[0])
    prepared = prepare(model, config, inplace=inplace)
    assert torch.equal(prepared(batches[0]), before)
    for images in batches[1:]:
        prepared(images)
    assert hooks_of(prepared) == 2
    converted = convert(prepared, inplace=inplace)
    assert converted.result.policy == expected.policy
    if inplace:
        assert prepared is model
        assert hooks_of(prepared) == 0
    assert torch.equal(model(batches[0]), before)


def test_a_model_that_is_prepared_again_has_only_the_new_config(
    model: torch.nn.Module, batches: tuple[Tensor, ...]
) -> None:
    prepare(model, MixedClippingConfig(bits=8, **FAST))(batches[0])
    prepared = prepare(model, MixedClippingConfig(bits=4, **FAST))
    assert hooks_of(prepared) == 2
    prepared(batches[1])
    quantizer: Any = prepared.quantizer
    assert [len(item) for item in quantizer.recorder.items] == [16]
    assert set(convert(prepared).result.policy.weight_bits.values()) == {4}


def test_a_dictionary_is_a_config(model: torch.nn.Module, calibrate: Calibrate) -> None:
    values = {"mixed_clipping": {"global": {"bits": 4, **FAST}, "local": {"classifier": {"bits": 8}}}}
    policy = quantize(model, values, run_fn=calibrate).result.policy
    name = "__module.classifier/aten::linear/MatMul"
    assert policy.weight_bits[name] == 8
    assert {bits for layer, bits in policy.weight_bits.items() if layer != name} == {4}
    written = MixedClippingConfig.from_dict(values["mixed_clipping"]).to_dict()
    assert MixedClippingConfig.from_dict(written) == MixedClippingConfig.from_dict(values["mixed_clipping"])


def test_only_the_first_samples_are_kept(model: torch.nn.Module, batches: tuple[Tensor, ...]) -> None:
    prepared = prepare(model, MixedClippingConfig(bits=4, num_init_samples=17))
    for images in batches:
        prepared(images)
    quantizer: Any = prepared.quantizer
    assert [len(item) for item in quantizer.recorder.items] == [16, 16]


def test_a_run_fn_that_fails_leaves_no_hooks(model: torch.nn.Module) -> None:
    def fail(prepared: torch.nn.Module) -> None:
        raise RuntimeError("no images")

    with pytest.raises(RuntimeError, match="no images"):
        quantize(model, MixedClippingConfig(bits=4), run_fn=fail)
    assert hooks_of(model) == 0
