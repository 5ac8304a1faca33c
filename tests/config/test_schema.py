from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nncf_mcq import (
    ACTIVATION_RANGE_INITIALIZERS,
    PRECISION_INITIALIZERS,
    RANGE_INITIALIZERS,
    Config,
    ConfigError,
    json_schema,
    load_config,
)
from nncf_mcq.range_init import MixedClippingRange

RULES = ", ".join(name for name in RANGE_INITIALIZERS if name != "mixed_clipping")


LATENCY = {"latency": {"ratio_to_int8": 1.2}}


def weights(**values: Any) -> dict[str, Any]:
    return {"compression": {"weights": values}}


def initializer(**values: Any) -> dict[str, Any]:
    return {"compression": {"initializer": values}}


def activations(**values: Any) -> dict[str, Any]:
    return {"compression": {"activations": values}}


def ilp(budget: Any) -> dict[str, Any]:
    return initializer(precision={"type": "ilp", "budget": budget})


def mixed(*rules: Any) -> dict[str, Any]:
    return initializer(range={"type": "mixed_clipping", "rules": list(rules)})


PRECISION = "compression.initializer.precision"
RANGE = "compression.initializer.range"
ACTIVATION_RANGE = "compression.activations.range"
SCOPED: list[Any] = [
    {"type": "percentile", "percentile": 99.0, "target_scopes": ["stem", "{re}head"]},
    {"type": "mixed_clipping", "rules": ["max", "mse"], "target_scopes": ["body"]},
    "max",
]


@pytest.mark.parametrize(
    ("data", "path", "found", "allowed"),
    [
        (
            {"modle": "x"},
            "modle",
            "unknown key modle",
            "one of the keys model, model_arguments, pretrained, checkpoint, input_info, dataset, calibration, metric, "
            "outputs, runtime, score, target_device, compression",
        ),
        (
            weights(bit=[4]),
            "compression.weights.bit",
            "unknown key bit",
            "one of the keys bits, per_channel, mode",
        ),
        ({"input_info": {"size": [1]}}, "input_info.size", "unknown key size", "one of the keys sample_size, keyword"),
        (
            {"input_info": {}},
            "input_info.sample_size",
            None,
            "a value: the key is required (shape of one input with the batch dimension, e.g. [1, 3, 224, 224])",
        ),
        (weights(bits=[4, 8, 9]), "compression.weights.bits[2]", 9, "less than or equal to 8"),
        (weights(bits=[1]), "compression.weights.bits[0]", 1, "greater than or equal to 2"),
        (weights(bits=[True]), "compression.weights.bits[0]", True, "a valid integer"),
        (weights(bits=4), "compression.weights.bits", 4, "a valid list"),
        (weights(mode="odd"), "compression.weights.mode", "odd", "'symmetric' or 'asymmetric'"),
        ({"target_device": "VPU"}, "target_device", "VPU", "'CPU', 'GPU', 'NPU' or 'ANY'"),
        (
            {"target_device": "NPU", **weights(bits=[2, 4, 8])},
            "compression.weights.bits",
            2,
            "4 and 8, the bit-widths of weights with target_device NPU",
        ),
        (
            {"target_device": "ANY", **weights(bits=[3, 4])},
            "compression.weights.bits",
            [3, 4],
            "8, the bit-widths of weights with target_device ANY",
        ),
        (
            {"target_device": "ANY", **weights(fully_connected="packed")},
            "compression.weights.fully_connected",
            "packed",
            "int8, with target_device ANY",
        ),
        (
            {"target_device": "ANY", **weights(coding="trellis")},
            "compression.weights.coding",
            "trellis",
            "uniform, with target_device ANY",
        ),
        (
            weights(coding="trellis", fully_connected="packed"),
            "compression.weights.fully_connected",
            "packed",
            'int8, with "coding": "trellis" in the weights',
        ),
        (
            {"target_device": "NPU", **weights(mode="asymmetric")},
            "compression.weights.mode",
            "asymmetric",
            "symmetric, with target_device NPU",
        ),
        (
            {"target_device": "GPU", "compression": {"activations": {"bits": [6, 8]}}},
            "compression.activations.bits",
            [6, 8],
            "8, with target_device GPU",
        ),
        (
            {"target_device": "GPU", **initializer(precision={"type": "ilp", "budget": LATENCY})},
            "compression.initializer.precision.budget",
            "latency",
            "weight_size and bops: with target_device GPU there is no latency to measure here",
        ),
        (
            initializer(num_init_samples=0),
            "compression.initializer.num_init_samples",
            0,
            "greater than 0",
        ),
        (
            initializer(precision={"type": "autp"}),
            f"{PRECISION}.type",
            "autp",
            f"a precision initializer: {', '.join(PRECISION_INITIALIZERS)}",
        ),
        (
            initializer(range="minmax"),
            f"{RANGE}.type",
            "minmax",
            f"a range initializer: {', '.join(RANGE_INITIALIZERS)}",
        ),
        (initializer(precision={"bits": 4}), f"{PRECISION}.type", None, "a precision initializer: "),
        (
            initializer(precision=4),
            PRECISION,
            4,
            f"a precision initializer: {', '.join(PRECISION_INITIALIZERS)}",
        ),
        (initializer(precision="ilp"), f"{PRECISION}.budget", None, "a budget, or a goal in its place"),
        (
            initializer(precision={"type": "ilp", "goal": {"kl": 0.1}, "budget": {"bops": {"ratio": 0.5}}}),
            f"{PRECISION}.goal",
            {"kl": 0.1, "confidence": 0.95},
            "exactly one of budget and goal",
        ),
        *(
            (
                initializer(precision={"type": method, "goal": {"kl": 0.1}}),
                f"{PRECISION}.goal",
                {"kl": 0.1},
                "a goal only with the types ilp and greedy; the others take a budget",
            )
            for method in ("rl", "optuna", "uniform")
        ),
        *(
            (
                initializer(precision={"type": "greedy", "goal": goal}),
                f"{PRECISION}.goal",
                goal,
                "exactly one of agreement, kl, box_map50, box_map, miou_to_float, pixel_agreement, or METRIC_drop",
            )
            for goal in (
                {},
                {"confidence": 0.9},
                {"kl": 0.1, "agreement": 0.9},
                {"kl": 0.1, "top1_drop": 1},
                {"top1": 1},
                {"box_map": 0.9, "box_map50": 0.9},
                {"top1_drop": -1},
                {"top1_drop": "1"},
                {"top1_drop": True},
            )
        ),
        (
            initializer(precision={"type": "ilp", "goal": {"agreement": 1}}),
            f"{PRECISION}.goal.agreement",
            1,
            "less than 1",
        ),
        (ilp({}), f"{PRECISION}.budget", {}, "at least one of weight_size, bops"),
        (
            ilp({"weight_size": {"ratio": 0.1, "bytes": 9}}),
            f"{PRECISION}.budget.weight_size",
            {"ratio": 0.1, "bytes": 9},
            "exactly one of average_bits, bytes, ratio",
        ),
        (ilp({"bops": {}}), f"{PRECISION}.budget.bops", {}, "exactly one of total, ratio"),
        (
            ilp({"weight_size": {"bits": 4}}),
            f"{PRECISION}.budget.weight_size.bits",
            "unknown key bits",
            "one of the keys average_bits, bytes, ratio",
        ),
        (
            ilp({"weight_size": {"average_bits": 0}}),
            f"{PRECISION}.budget.weight_size.average_bits",
            0,
            "greater than 0",
        ),
        (
            initializer(precision={"type": "manual", "bitwidth_per_scope": [[4, "a"], [9, "b"]]}),
            f"{PRECISION}.bitwidth_per_scope[1][0]",
            9,
            "less than or equal to 8",
        ),
        (
            initializer(range={"type": "percentile", "percentile": 101}),
            f"{RANGE}.percentile",
            101,
            "less than or equal to 100",
        ),
        (
            initializer(range={"type": "percentile", "share": 1}),
            f"{RANGE}.share",
            "unknown key share",
            "one of the keys type, percentile",
        ),
        (initializer(range=[]), RANGE, [], "a range initializer: "),
        (initializer(range=["max", "mse"]), f"{RANGE}[0].target_scopes", None, "layer names or {re}PATTERN: without"),
        (
            initializer(range=[SCOPED[0], "max", SCOPED[1]]),
            f"{RANGE}[1].target_scopes",
            None,
            "layer names or {re}PATTERN: without, the entries after [1] could match nothing",
        ),
        (
            initializer(range=[{"type": "max", "target_scopes": []}]),
            f"{RANGE}[0].target_scopes",
            [],
            "list should have",
        ),
        (
            initializer(range=[{"type": "max", "target_scopes": ["a", 1]}]),
            f"{RANGE}[0].target_scopes[1]",
            1,
            "a valid string",
        ),
        (
            initializer(range=[{"type": "max", "target_scopes": "a"}]),
            f"{RANGE}[0].target_scopes",
            "a",
            "a valid list",
        ),
        (
            initializer(range=[SCOPED[0], {"type": "minmax", "target_scopes": ["a"]}]),
            f"{RANGE}[1].type",
            "minmax",
            f"a range initializer: {', '.join(RANGE_INITIALIZERS)}",
        ),
        (
            initializer(range=[SCOPED[0], {"type": "percentile", "share": 1, "target_scopes": ["a"]}]),
            f"{RANGE}[1].share",
            "unknown key share",
            "one of the keys type, percentile, target_scopes",
        ),
        (initializer(range=[SCOPED[0], {"target_scopes": ["a"]}]), f"{RANGE}[1].type", None, "a range initializer: "),
        (initializer(range=[SCOPED[0], 3]), f"{RANGE}[1]", 3, "a range initializer: "),
        (
            initializer(range=[{"type": "mixed_clipping", "rules": ["max", "odd"], "target_scopes": ["a"]}]),
            f"{RANGE}[0].rules[1].type",
            "odd",
            "a range initializer: ",
        ),
        (
            initializer(range={"type": "max", "target_scopes": ["a"]}),
            f"{RANGE}.target_scopes",
            "unknown key target_scopes",
            "one of the keys type",
        ),
        (
            activations(range="minmax"),
            f"{ACTIVATION_RANGE}.type",
            "minmax",
            f"an activation range initializer: {', '.join(ACTIVATION_RANGE_INITIALIZERS)}",
        ),
        (
            activations(range={"type": "moving_max", "momentum": 1.0}),
            f"{ACTIVATION_RANGE}.momentum",
            1.0,
            "less than 1",
        ),
        (
            activations(range={"type": "mse", "candidates": 1}),
            f"{ACTIVATION_RANGE}.candidates",
            1,
            "greater than or equal to 2",
        ),
        (
            activations(range={"type": "percentile", "percentile": 50}),
            f"{ACTIVATION_RANGE}.percentile",
            50,
            "greater than 50",
        ),
        (
            activations(range={"type": "max", "momentum": 0.5}),
            f"{ACTIVATION_RANGE}.momentum",
            "unknown key momentum",
            "one of the keys type",
        ),
    ],
)
def test_a_wrong_value_is_an_error_with_path_found_and_allowed(
    data: Mapping[str, Any], path: str, found: Any, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(data)
    assert (caught.value.path, caught.value.found) == (path, found)
    assert caught.value.allowed.startswith(allowed)
    assert str(caught.value) == f"{path}: found {found!r}, allowed: {caught.value.allowed}"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (weights(per_channel="yes"), "compression.weights.per_channel"),
        ({"runtime": {"threads": "2"}}, "runtime.threads"),
        ({"input_info": {"sample_size": [1, "3"]}}, "input_info.sample_size[1]"),
        ({"pretrained": 1}, "pretrained"),
        (ilp({"weight_size": {"average_bits": "4"}}), f"{PRECISION}.budget.weight_size.average_bits"),
    ],
)
def test_a_value_of_another_type_is_an_error_and_not_converted(data: Mapping[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(data)
    assert caught.value.path == path


@pytest.mark.parametrize("rule", ["minmax", {"type": "minmax"}, "mixed_clipping", 3, {"type": ["max"]}])
def test_an_unknown_rule_of_mixed_clipping_is_an_error_that_names_the_known_ones(rule: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(mixed("max", rule))
    assert caught.value.path.startswith(f"{RANGE}.rules")
    assert RULES in caught.value.allowed


@pytest.mark.parametrize(
    ("rule", "path", "allowed"),
    [
        ({"type": "percentile", "percentile": 3}, "[1].percentile", "greater than 50"),
        ({"type": "percentile", "share": 3}, "[1].share", "one of the keys type, percentile"),
    ],
)
def test_a_wrong_parameter_of_a_rule_of_mixed_clipping_is_named_with_its_place(
    rule: dict[str, Any], path: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(mixed("max", rule))
    assert caught.value.path == f"{RANGE}.rules{path}"
    assert caught.value.allowed == allowed


def test_a_file_that_is_missing_or_not_json_or_not_an_object_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"allowed: a readable JSON file \(No such file"):
        load_config(tmp_path / "missing.json")
    for text, allowed in (("{", "valid JSON"), ("[]", "a JSON object")):
        (tmp_path / "wrong.json").write_text(text)
        with pytest.raises(ConfigError, match=f"allowed: {allowed}"):
            load_config(str(tmp_path / "wrong.json"))


def test_bits_are_sorted_and_unique() -> None:
    assert load_config(weights(bits=[8, 2, 4, 2])).compression.weights.bits == [2, 4, 8]


FULL: dict[str, Any] = {
    "model": "network.xml",
    "input_info": {"sample_size": [1, 3, 8, 8]},
    "compression": {
        "weights": {"bits": [2, 4], "per_channel": False, "mode": "symmetric"},
        "activations": {"bits": 6, "range": "max"},
        "correction": {"rounding": "nearest", "bias": False, "gain": "none"},
        "initializer": {
            "range": {"type": "mixed_clipping", "rules": ["max", {"type": "percentile", "percentile": 99.0}]},
            "precision": {"type": "ilp", "budget": {"bops": {"ratio": 0.5}}, "measured_widths": None},
            "num_init_samples": 7,
        },
        "ignored_scopes": ["{re}head"],
    },
    "runtime": {"threads": 1, "batch_size": 3},
}


@pytest.mark.parametrize(
    "data",
    [
        {},
        FULL,
        initializer(precision="uniform", range="max"),
        initializer(range=SCOPED),
        activations(range={"type": "moving_max", "momentum": 0.5}),
        ilp({"weight_size": {"bytes": 100}}),
    ],
)
def test_the_resolved_configuration_reads_back_as_itself(data: dict[str, Any]) -> None:
    config = load_config(data)
    written = json.loads(json.dumps(config.to_dict()))
    assert load_config(written) == config
    assert load_config(config) is config
    assert written["compression"]["initializer"]["precision"]["type"]


def rules_of(config: Config) -> list[Any]:
    assert isinstance(config.compression.initializer.range, MixedClippingRange.Parameters)
    return list(config.compression.initializer.range.rules or [])


def test_the_rules_of_a_list_are_written_with_their_defaults_and_scopes() -> None:
    written = load_config(initializer(range=SCOPED)).to_dict()["compression"]["initializer"]["range"]
    assert written[0] == SCOPED[0]
    assert written[1] == {
        "type": "mixed_clipping",
        "rules": [rules_of(load_config(mixed(rule)))[0].model_dump() for rule in ("max", "mse")],
        "choose_per": "channel",
        "target_scopes": ["body"],
    }
    assert written[2] == {"type": "max"}


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_accepts_the_recipes(project_root: Path) -> None:
    files = sorted((project_root / "recipes").glob("*/config.json"))
    assert files
    for file in files:
        validator().validate(json.loads(file.read_text()))
        load_config(file)


ACCEPTED = [
    {},
    FULL,
    initializer(range="max", precision="uniform"),
    initializer(range=SCOPED),
    initializer(range=SCOPED[:2]),
    activations(range="percentile"),
    activations(range={"type": "mse", "candidates": 8, "smallest_ratio": 0.5}),
    load_config(FULL).to_dict(),
    load_config(initializer(range=SCOPED)).to_dict(),
    Config().to_dict(),
]
REJECTED = [
    {"modle": "x"},
    weights(bit=[4]),
    weights(bits=[9]),
    initializer(precision={"type": "autp"}),
    initializer(precision={"type": "ilp"}),
    initializer(precision={"bits": 4}),
    initializer(range={"type": "percentile", "share": 1}),
    initializer(range=[]),
    initializer(range=[{"type": "percentile", "share": 1, "target_scopes": ["a"]}]),
    initializer(range=[{"type": "max", "target_scopes": []}]),
    initializer(range=[{"type": "max", "target_scopes": "a"}]),
    initializer(range={"type": "max", "target_scopes": ["a"]}),
    activations(range="minmax"),
    activations(range={"type": "max", "momentum": 0.5}),
    ilp({"weight_size": {"bits": 4}}),
]


def undescribed(schema: Any, path: str = "schema") -> list[str]:
    """Places of fields without a description, apart from objects, which describe themselves."""
    if isinstance(schema, list):
        return [place for index, item in enumerate(schema) for place in undescribed(item, f"{path}[{index}]")]
    if not isinstance(schema, dict):
        return []
    fields = schema.get("properties", {})
    found = [
        f"{path}.{key}"
        for key, value in fields.items()
        if key != "type" and "description" not in value and "$ref" not in json.dumps(value)
    ]
    return found + [place for key, value in schema.items() for place in undescribed(value, f"{path}.{key}")]


def test_every_field_has_a_description_that_says_what_it_is() -> None:
    assert undescribed(json_schema()) == []
    definitions: Any = json_schema()["$defs"]
    budget = definitions["WeightSizeBudget"]["properties"]
    assert budget["ratio"]["description"] == (
        "Bits of the quantizable weights relative to FP32: 0.125 means 4 bits on average."
    )


@pytest.mark.parametrize("data", ACCEPTED)
def test_the_schema_accepts_what_is_loaded(data: dict[str, Any]) -> None:
    load_config(data)
    assert validator().is_valid(data)


@pytest.mark.parametrize("data", REJECTED)
def test_the_schema_rejects_what_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        load_config(data)
    assert not validator().is_valid(data)


@pytest.mark.parametrize(("device", "expected"), [("CPU", "any"), ("ANY", "any"), ("GPU", "vnni"), ("NPU", "vnni")])
def test_levels_are_limited_for_cpus_only(device: str, expected: str) -> None:
    assert load_config({"target_device": device}).compression.weights.isa == expected
    asked = {"target_device": device, "compression": {"weights": {"isa": "any"}}}
    assert load_config(asked).compression.weights.isa == "any"
