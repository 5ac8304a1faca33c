from __future__ import annotations

from typing import Any

import pytest

from nncf_mcq import load_config
from nncf_mcq.config.nncf2 import translate
from nncf_mcq.errors import ConfigError


def section(precision: Any = None, **more: Any) -> dict[str, Any]:
    initializer = {} if precision is None else {"precision": precision}
    return {"algorithm": "quantization", "initializer": {**initializer, **more.pop("initializer", {})}, **more}


@pytest.mark.parametrize(
    "found",
    [
        {"algorithm": "quantization"},
        section(initializer={"range": {"type": "mean_min_max"}}),
        section(initializer={"range": {"num_init_samples": 8}}),
        section(initializer={"range": [{"target_scopes": "a"}, {"type": "percentile", "target_scopes": "b"}]}),
    ],
)
def test_what_names_nothing_of_this_package_is_left_alone(found: dict[str, Any]) -> None:
    assert translate(found) is None


def test_autoq_becomes_rl_with_its_ratio_and_length() -> None:
    precision = {"type": "autoq", "bits": [2, 8], "compression_ratio": 0.1, "iter_number": 30, "warmup_iter_number": 5}
    found = translate(section(precision))
    assert found is not None and found.scopes is None
    settings = load_config({"compression": found.compression}).compression
    assert settings.weights.bits == [2, 8]
    assert settings.activations.widths == (8,)
    assert settings.initializer.precision.model_dump(exclude_unset=True) == {
        "type": "rl",
        "budget": {"weight_size": {"ratio": 0.1}},
        "evaluations": 30,
    }
    for part in (
        "autoq: rl",
        "iter_number: evaluations 30",
        "warmup_iter_number: not used",
        "bits [2, 8]: for weights",
    ):
        assert any(part in notice for notice in found.notices), part


def test_the_ratio_of_hawq_is_the_reciprocal() -> None:
    found = translate(section({"type": "hawq", "bits": [4, 8], "compression_ratio": 1.6, "tolerance": 1e-3}))
    assert found is not None
    precision = load_config({"compression": found.compression}).compression.initializer.precision
    assert precision.type == "ilp"
    assert precision.limits is not None and precision.limits.bops is not None
    assert precision.limits.bops.ratio == pytest.approx(1 / 1.6)
    assert any("tolerance: not used" in notice for notice in found.notices)


@pytest.mark.parametrize(("kind", "bits"), [("autoq", [2, 4, 8]), ("hawq", [2, 4, 8])])
def test_defaults_are_those_of_nncf_2(kind: str, bits: list[int]) -> None:
    found = translate(section({"type": kind}))
    assert found is not None
    assert found.compression["weights"]["bits"] == bits
    budget = found.compression["initializer"]["precision"]["budget"]
    assert budget == ({"weight_size": {"ratio": 0.15}} if kind == "autoq" else {"bops": {"ratio": 1 / 1.5}})
    assert found.compression["initializer"]["num_init_samples"] == 256


def test_bits_by_hand_are_the_default_type() -> None:
    scopes = [[4, "Net/NNCFConv2d[a]/conv2d_0|WEIGHT"]]
    found = translate(section({"bitwidth_per_scope": scopes}, activations={"mode": "asymmetric", "bits": 4}))
    assert found is not None and found.scopes == scopes
    assert "precision" not in found.compression["initializer"]
    assert found.compression["activations"] == {"mode": "asymmetric", "bits": 4}


def test_own_types_keep_their_parameters() -> None:
    precision = {"type": "rl", "bits": [2, 3, 4], "budget": {"weight_size": {"average_bits": 3}}, "seed": 7}
    ranges = {"type": "mixed_clipping", "num_init_samples": 32, "params": {"rules": ["max", "mse"]}}
    found = translate(section(precision, initializer={"range": ranges}, weights={"mode": "symmetric"}))
    assert found is not None and found.activation_rule is None
    settings = load_config({"compression": found.compression}).compression
    assert settings.weights.bits == [2, 3, 4]
    assert settings.weights.mode == "symmetric"
    assert settings.initializer.num_init_samples == 32
    assert settings.initializer.precision.model_dump()["seed"] == 7
    rules = settings.initializer.range.model_dump()["rules"]  # type: ignore[union-attr]
    assert [rule["type"] for rule in rules] == ["max", "mse"]


def test_a_rule_of_nncf_2_is_for_activations() -> None:
    rule = {"type": "mean_min_max", "num_init_samples": 8}
    found = translate(section({"type": "uniform", "bits": 4}, initializer={"range": rule}))
    assert found is not None and found.activation_rule == rule
    assert found.compression["initializer"]["range"] == {"type": "mixed_clipping"}
    assert any("range mean_min_max: for activations" in notice for notice in found.notices)


def test_weights_and_activations_may_have_a_rule_each() -> None:
    weights = {"type": "mse", "num_init_samples": 8, "target_quantizer_group": "weights"}
    of_nncf = {"type": "percentile", "num_init_samples": 16, "target_quantizer_group": "activations"}
    found = translate(section(initializer={"range": [of_nncf, weights]}, weights={"bits": 4}))
    assert found is not None and found.activation_rule == of_nncf
    assert found.compression["initializer"]["range"] == {"type": "mse"}
    assert found.compression["initializer"]["num_init_samples"] == 8
    assert "range" not in found.compression["activations"]

    own = {"type": "max", "target_quantizer_group": "activations"}
    found = translate(section(initializer={"range": [own, weights]}))
    assert found is not None and found.activation_rule is None
    assert load_config({"compression": found.compression}).compression.activations.range.type == "max"


def test_a_rule_alone_is_at_the_bits_of_the_weights() -> None:
    found = translate(section(initializer={"range": {"type": "mixed_clipping"}}, weights={"bits": 5}))
    assert found is not None
    assert found.compression["initializer"]["precision"] == {"type": "uniform", "bits": 5}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            section({"type": "none"}),
            r"precision\.type: found 'none', allowed: a precision initializer: autoq, hawq, .*rl",
        ),
        (
            section({"type": "rl"}, initializer={"range": {"type": "none"}}),
            r"range\.type: found 'none', allowed: .*max",
        ),
        (section({"type": "hawq", "compression_ratio": 0}), r"compression_ratio: found 0, allowed: greater than 0"),
        (
            section({"type": "autoq", "iter_number": "9"}),
            r"precision\.iter_number: found '9', allowed: a valid integer",
        ),
        (section({"type": ["rl"]}), r"precision\.type: found \['rl'\], allowed: a valid string"),
        (section("rl"), r"precision: found 'rl', allowed: a JSON object"),
        (section({"type": "hawq"}, weights=3), r"compression\.weights: found 3, allowed: a JSON object"),
        (section({"type": "hawq"}, ignored_scopes=[3]), r"ignored_scopes: found \[3\], allowed: a name, or a list of"),
        (
            section({"bitwidth_per_scope": [[4, "a"], [9, "b"]]}),
            r"precision\.bitwidth_per_scope\[1\]\[0\]: found 9, allowed: 2, 3, 4, 5, 6, 7 or 8",
        ),
        (
            section({"type": "rl"}, initializer={"range": {"type": "max", "num_init_samples": "8"}}),
            r"range\.num_init_samples: found '8', allowed: a valid integer",
        ),
        (
            section({"type": "rl"}, initializer={"range": [{"type": "max"}, {"params": 3}]}),
            r"range\[1\]\.params: found 3, allowed: a JSON object",
        ),
        (
            section({"type": "rl"}, initializer={"range": [{"type": "min_max", "target_scopes": "a"}]}),
            r"range\[0\]: found .*, allowed: one rule for all layers, or one for the group weights and one for",
        ),
        (
            section(initializer={"range": [{"type": "max"}, {"type": "min_max", "target_quantizer_group": "weights"}]}),
            r"range\[1\]: found .*, allowed: one rule for all layers",
        ),
    ],
)
def test_what_cannot_be_translated_is_an_error(found: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        translate(found)
