from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from nncf_mcq import (
    ACTIVATION_RANGE_INITIALIZERS,
    PRECISION_INITIALIZERS,
    RANGE_INITIALIZERS,
    ConfigError,
    NncfMcqError,
    json_schema,
    load_config,
    quantize,
)
from nncf_mcq.config.parameters import NamedParameters, Parameters, PathMarker
from nncf_mcq.config.registry import Configurable, ParameterModels, Registry, load_plugins
from tests.models import SAMPLE_SIZE, as_dataset, random_images, small_network

PLUGIN = "tests.third_party_plugin"


@pytest.fixture
def plugin() -> Iterator[None]:
    sys.modules.pop(PLUGIN, None)
    importlib.import_module(PLUGIN)
    yield
    RANGE_INITIALIZERS.unregister("fixed")
    ACTIVATION_RANGE_INITIALIZERS.unregister("fixed")
    PRECISION_INITIALIZERS.unregister("largest_layer")
    sys.modules.pop(PLUGIN, None)


@pytest.mark.usefixtures("plugin")
def test_third_party_initializers_are_used_from_the_json() -> None:
    config = {
        "input_info": {"sample_size": list(SAMPLE_SIZE)},
        "compression": {
            "weights": {"bits": [2, 8], "mode": "symmetric"},
            "activations": {"range": {"type": "fixed", "limit": 0.75}},
            "correction": {"rounding": "nearest", "gain": "none"},
            "initializer": {
                "range": {"type": "fixed", "threshold": 0.5},
                "precision": {"type": "largest_layer", "few": 2, "many": 8},
            },
        },
        "runtime": {"threads": 1},
    }
    result = quantize(small_network(), as_dataset(random_images(2)), config)
    largest = max(result.layers, key=lambda item: item.weights or 0)
    assert result.policy.weight_bits == {item.name: 2 if item is largest else 8 for item in result.layers}
    assert {item.rule for item in result.layers} == {"fixed"}
    assert result.search.method == "largest_layer"
    assert result.search.details["score"] == result.search.score
    assert load_config(result.config.to_dict()) == result.config
    highs = [
        float(operation.input_value(2).get_node().get_data())
        for operation in result.model.get_ops()
        if operation.get_friendly_name() in {f"{name}/fq_output_0" for name in result.policy.activation_bits}
    ]
    assert highs == [0.75] * len(result.policy.activation_bits)


@pytest.mark.usefixtures("plugin")
def test_third_party_initializers_are_in_the_schema_and_their_parameters_are_checked() -> None:
    text = str(json_schema())
    assert "'threshold'" in text
    assert "largest_layer" in text
    assert "'limit'" in text
    with pytest.raises(ConfigError, match=r"activations.range.threshold: found 'unknown key threshold'"):
        load_config({"compression": {"activations": {"range": {"type": "fixed", "threshold": 1}}}})
    with pytest.raises(
        ConfigError, match=r"range.limit: found 'unknown key limit', allowed: one of the keys type, thres"
    ):
        load_config({"compression": {"initializer": {"range": {"type": "fixed", "limit": 1}}}})


@pytest.mark.usefixtures("plugin")
def test_a_third_party_rule_stands_in_a_list_with_target_scopes() -> None:
    entries = [{"type": "fixed", "threshold": 0.5, "target_scopes": ["a"]}, "fixed"]
    config = load_config({"compression": {"initializer": {"range": entries}}})
    parameters: Any = config.compression.initializer.range
    assert [RANGE_INITIALIZERS.create(item).parameters for item in parameters] == parameters
    assert [item.threshold for item in parameters] == [0.5, 1.0]
    assert load_config(config.to_dict()) == config


@pytest.mark.usefixtures("plugin")
def test_a_third_party_rule_is_a_candidate_of_mixed_clipping() -> None:
    config = load_config({"compression": {"initializer": {"range": {"type": "mixed_clipping", "rules": ["fixed"]}}}})
    parameters: Any = config.compression.initializer.range
    initializer: Any = RANGE_INITIALIZERS.create(parameters)
    assert [rule.parameters.threshold for rule in initializer.rules(per_channel=True)] == [1.0]


def test_a_class_that_is_not_registered_is_unknown() -> None:
    with pytest.raises(ConfigError, match="found 'fixed', allowed: a range initializer"):
        load_config({"compression": {"initializer": {"range": "fixed"}}})


class First(Configurable):
    class Parameters(NamedParameters):
        type: Literal["same"] = "same"
        value: int = 1


class Second(Configurable):
    class Parameters(NamedParameters):
        type: Literal["same"] = "same"


class Nameless(Configurable):
    class Parameters(NamedParameters):
        type: str = "name"


class Typeless(Configurable):
    class Parameters(Parameters):
        value: int = 1


def registry_of_things() -> tuple[Registry[Configurable], ParameterModels]:
    models = ParameterModels("thing")
    return Registry(models), models


def test_a_name_belongs_to_one_class() -> None:
    registry, models = registry_of_things()
    assert registry.register(First) is First
    registry.register(First)  # A module that is imported twice is no conflict.
    with pytest.raises(NncfMcqError, match="a thing named 'same' is registered already: First"):
        registry.register(Second)
    assert list(registry) == list(models) == ["same"]
    assert (registry["same"], models["same"]) == (First, First.Parameters)
    registry.unregister("same")
    registry.unregister("same")
    assert "same" not in registry
    assert list(models) == []


def test_parameters_make_an_object_of_the_class_that_they_are_for() -> None:
    registry, _ = registry_of_things()
    registry.register(First)
    made = registry.create(First.Parameters(value=3))
    assert isinstance(made, First)
    assert made.parameters == First.Parameters(value=3)
    for wrong in (Second.Parameters(), Nameless.Parameters(), NamedParameters(type="same")):
        with pytest.raises(NncfMcqError, match=r"Parameters: not the parameters of a thing"):
            registry.create(wrong)


@pytest.mark.parametrize("wrong", [Nameless, Typeless])
def test_a_class_without_a_literal_name_cannot_be_registered(wrong: type[Configurable]) -> None:
    registry, models = registry_of_things()
    with pytest.raises(NncfMcqError, match=f"{wrong.__name__}.Parameters must declare `type: Literal.* to be a thing"):
        registry.register(wrong)
    assert list(registry) == list(models) == []


def test_plugins_are_loaded_from_their_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "nncf_mcq_example-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: nncf-mcq-example\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[nncf_mcq.plugins]\nexample = nncf_mcq_example_plugin\n")
    (tmp_path / "nncf_mcq_example_plugin.py").write_text(
        "from typing import Literal\n"
        "from nncf_mcq import RANGE_INITIALIZERS\n"
        "from nncf_mcq.range_init import MaxRange, RangeInitializer\n"
        "@RANGE_INITIALIZERS.register\n"
        "class Example(MaxRange):\n"
        "    class Parameters(RangeInitializer.Parameters):\n"
        "        type: Literal['example'] = 'example'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        load_plugins()
        load_plugins()
        config = load_config({"compression": {"initializer": {"range": "example"}}})
        found = config.compression.initializer.range
        assert not isinstance(found, list)
        assert found.type == "example"
    finally:
        RANGE_INITIALIZERS.unregister("example")
        sys.modules.pop("nncf_mcq_example_plugin", None)


class WithPath(Parameters):
    path: Annotated[str, PathMarker()] = "file"


class Nested(Parameters):
    items: list[Any]


def test_paths_are_found_in_lists_of_parameters() -> None:
    mapped = Nested(items=[WithPath(), "file", WithPath(path="other")]).map_paths(lambda path: f"/{path}")
    assert mapped.items == [WithPath(path="/file"), "file", WithPath(path="/other")]


def test_parameters_do_not_change() -> None:
    parameters = First.Parameters()
    with pytest.raises(ValueError, match="frozen"):
        parameters.value = 2
