"""Bad input: one message, which says what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from neural_compressor.torch.quantization import RTNConfig, convert, prepare, quantize

from nncf_mcq import BudgetError, ConfigError, NncfMcqError, QuantizationError
from nncf_mcq.inc import MixedClippingConfig
from tests.hosts.inc.conftest import FAST


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"averge_bits": 3.0}, "mixed_clipping: found 'unknown key averge_bits', allowed: one of the keys dtype, "),
        (
            {"average_bits": 3.0, "goal": {"kl": 1}},
            r"mixed_clipping: found \['average_bits', 'goal'\], allowed: one of",
        ),
        ({"average_bits": -1.0}, r"mixed_clipping.average_bits: found -1.0, allowed: "),
        ({"budget": {"weight_size": {"byte": 5}}}, "mixed_clipping.budget.weight_size.byte: found 'unknown key byte'"),
        ({"goal": {"top1_drop": 1.0}}, "mixed_clipping.goal: found .*, allowed: agreement or kl: run_fn passes no lab"),
        ({"precision": "best"}, "mixed_clipping.precision: found 'best', allowed: .*ilp"),
        ({"seed": 1}, "mixed_clipping.seed: found 1, allowed: no value: precision ilp has none"),
        ({"bits": 9}, "mixed_clipping.bits: found 9, allowed: "),
        ({"weight_bits": [2, 9]}, r"mixed_clipping.weight_bits\[1\]: found 9, allowed: "),
        ({"clipping": "none"}, "mixed_clipping.clipping: found 'none', allowed: .*mse"),
        ({"num_init_samples": 0}, "mixed_clipping.num_init_samples: found 0, allowed: "),
        ({"threads": 0}, "mixed_clipping.threads: found 0, allowed: "),
        ({"dtype": "int4"}, "mixed_clipping.dtype: found 'int4', allowed: int, or in set_local fp32"),
        ({"compression": "fast"}, "mixed_clipping.compression: found 'fast', allowed: an object"),
        ({"compression": {"weight": {}}}, "mixed_clipping.compression.weight: found 'unknown key weight', allowed: "),
        (
            {"weight_bits": [4], "compression": {"weights": {"bits": [2]}}},
            r"mixed_clipping.weight_bits: found \[4\], allowed: no value, as compression has one for weights.bits",
        ),
    ],
)
def test_values_of_a_config(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MixedClippingConfig(**parameters)


def test_values_that_are_set_later() -> None:
    config = MixedClippingConfig(average_bits=3.0)
    with pytest.raises(ConfigError, match=r"mixed_clipping.average_bits: found 0.0"):
        config.average_bits = 0.0


def test_other_algorithms_cannot_be_added() -> None:
    with pytest.raises(ConfigError, match=r"mixed_clipping \+ rtn"):
        MixedClippingConfig(bits=4) + RTNConfig()


def feed(model: torch.nn.Module) -> None:
    model(torch.rand(4, 1, 28, 28))


def test_a_model_without_inputs(model: torch.nn.Module) -> None:
    config = MixedClippingConfig(bits=4)
    for run_fn in (None, lambda prepared: None):
        with pytest.raises(QuantizationError, match="calibration: found no inputs, allowed: a run_fn that passes batc"):
            quantize(model, config, run_fn=run_fn)


def test_a_model_that_was_not_prepared(model: torch.nn.Module) -> None:
    with pytest.raises(QuantizationError, match="the model is not prepared"):
        convert(model, MixedClippingConfig(bits=4))


def test_a_model_that_is_quantized_already(model: torch.nn.Module) -> None:
    quantized = quantize(model, MixedClippingConfig(bits=8, **FAST), run_fn=feed)
    with pytest.raises(QuantizationError, match="the model is quantized already"):
        prepare(quantized, MixedClippingConfig(bits=4))


def test_inputs_that_are_no_tensors() -> None:
    class Scaled(torch.nn.Linear):
        def forward(self, values: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
            return super().forward(values) * factor

    for run_fn, found in (
        (lambda prepared: prepared(torch.rand(2, 3), 0.5), "input 1 of the model: found float"),
        (lambda prepared: prepared(torch.rand(2, 3), factor=0.5), "input factor of the model: found float"),
    ):
        with pytest.raises(QuantizationError, match=found):
            quantize(Scaled(3, 2), MixedClippingConfig(bits=4), run_fn=run_fn)


@pytest.mark.parametrize(
    ("parameters", "kind", "message"),
    [
        ({"average_bits": 1.0}, BudgetError, "2"),
        ({"dtype": "fp32"}, ConfigError, "mixed_clipping.dtype: found 'fp32', allowed: int; fp32 is for modules"),
        (
            {"precision": "rl", "average_bits": 3.0, "evaluations": 5},
            ConfigError,
            "mixed_clipping.evaluations: found 5, allowed: at least ",
        ),
    ],
)
def test_values_that_do_not_suit_the_model(
    parameters: dict[str, Any], kind: type[NncfMcqError], message: str, model: torch.nn.Module
) -> None:
    with pytest.raises(kind, match=message):
        quantize(model, MixedClippingConfig(**parameters, **FAST), run_fn=feed)
