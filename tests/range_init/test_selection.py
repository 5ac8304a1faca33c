from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nncf_mcq import ConfigError, load_config, quantize
from nncf_mcq.calibration.statistics import collect_statistics
from nncf_mcq.config.schema import CorrectionConfig, WeightsConfig
from nncf_mcq.model.layers import QuantizableLayer, find_layers
from nncf_mcq.range_init import MaxRange, MixedClippingRange
from nncf_mcq.range_init.selection import RangeSelection, select_ranges
from nncf_mcq.weights.scheme import WeightScheme
from nncf_mcq.weights.weight_table import build_weight_table
from tests.models import as_dataset, layer, random_images, shared_weights_model, small_calibrated_model

PATH = "compression.initializer.range"
LAYERS = (layer("stem/conv", 9), layer("body/conv", 9), layer("body/again", 9, group="body/conv"), layer("head", 9))


def section(value: Any) -> dict[str, Any]:
    return {"compression": {"initializer": {"range": value}}}


def select(value: Any, layers: Sequence[QuantizableLayer] = LAYERS) -> RangeSelection:
    return select_ranges(load_config(section(value)).compression.initializer.range, layers)


def rules(value: Any) -> list[str]:
    selection = select(value)
    return [selection.for_layer(item.name).parameters.type for item in LAYERS]


def test_one_rule_is_for_every_layer() -> None:
    assert rules("max") == ["max"] * 4
    assert rules([{"type": "max"}]) == rules(["max"]) == ["max"] * 4
    rule = MaxRange(MaxRange.Parameters())
    assert rule.for_layer("any") is rule


def test_the_first_entry_that_matches_wins_and_the_last_is_for_the_rest() -> None:
    entries = [
        {"type": "max", "target_scopes": ["head"]},
        {"type": "mse", "target_scopes": ["{re}e", "stem/conv"]},
        "kl",
    ]
    assert rules(entries) == ["mse", "kl", "kl", "max"]
    assert rules([entries[1], entries[0], "kl"]) == ["mse", "kl", "kl", "mse"]


def test_a_name_is_matched_whole_and_a_pattern_is_searched() -> None:
    assert rules([{"type": "max", "target_scopes": ["{re}conv$"]}, "kl"]) == ["max", "max", "max", "kl"]
    with pytest.raises(ConfigError, match="found 'conv'"):
        rules([{"type": "max", "target_scopes": ["conv"]}])


def test_layers_that_no_entry_matches_get_mixed_clipping() -> None:
    selection = select([{"type": "max", "target_scopes": ["head"]}])
    found = selection.for_layer("stem/conv")
    assert found.parameters == MixedClippingRange.Parameters()
    assert selection.for_layer("head").parameters.type == "max"


def test_layers_that_share_their_weights_get_the_rule_of_the_first() -> None:
    assert rules([{"type": "max", "target_scopes": ["body/conv"]}, "kl"]) == ["kl", "max", "max", "kl"]
    assert rules([{"type": "max", "target_scopes": ["body/again"]}, "kl"]) == ["kl"] * 4
    entries = [{"type": "max", "target_scopes": ["body/again"]}, {"type": "mse", "target_scopes": ["body/conv"]}, "kl"]
    assert rules(entries) == ["kl", "mse", "mse", "kl"]


def test_parameters_belong_to_their_entry() -> None:
    found = select(
        [
            {"type": "percentile", "percentile": 99.0, "target_scopes": ["head"]},
            {"type": "percentile", "percentile": 90.0},
        ]
    )
    assert [found.for_layer(name).parameters.percentile for name in ("head", "stem/conv")] == [99, 90]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("entries", "path", "found", "allowed"),
    [
        (
            [{"type": "mse", "target_scopes": ["head"]}, {"type": "max", "target_scopes": ["head", "heads"]}],
            "[1].target_scopes[1]",
            "heads",
            "a name in the model, e.g. head",
        ),
        ([{"type": "max", "target_scopes": ["{re}^x"]}], "[0].target_scopes[0]", "{re}^x", "a name in the model"),
        ([{"type": "max", "target_scopes": ["{re}("]}], "[0].target_scopes[0]", "{re}(", "a regular expression ("),
    ],
)
def test_a_scope_that_matches_nothing_is_an_error(entries: list[Any], path: str, found: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select(entries)
    assert (caught.value.path, caught.value.found) == (PATH + path, found)
    assert caught.value.allowed.startswith(allowed)


def test_the_weight_table_clips_each_layer_by_its_rule() -> None:
    calibrated, _ = small_calibrated_model()
    first, second, *_ = [item.name for item in calibrated.quantizable.layers]
    value = [{"type": "max", "target_scopes": [first]}, {"type": "kl", "target_scopes": [second]}, "mse"]

    def build(rule: Any) -> Any:
        ranges = select(rule, calibrated.quantizable.layers)
        scheme = dataclasses.replace(calibrated.scheme, ranges=ranges)
        return build_weight_table(calibrated.quantizable, calibrated.statistics.layers, scheme, (3,))

    table = build(value)
    assert [table[name, 3].rule for name in table.entries] == ["max", "kl", "mse", "mse"]
    for name, entries in table.entries.items():
        alone = build(entries[3].rule)[name, 3]
        np.testing.assert_array_equal(entries[3].levels, alone.levels)
        np.testing.assert_array_equal(entries[3].scale, alone.scale)


def test_shared_weights_are_clipped_by_the_rule_of_the_first_layer() -> None:
    quantizable = find_layers(shared_weights_model())
    images = random_images(2, (1, 4, 6, 6))
    statistics = collect_statistics(quantizable, (image[None] for image in images), threads=1).layers
    ranges = select([{"type": "max", "target_scopes": ["second"]}, "mse"], quantizable.layers)
    table = build_weight_table(quantizable, statistics, WeightScheme(WeightsConfig(), CorrectionConfig(), ranges), (3,))
    assert [table[name, 3].rule for name in ("first", "second", "last")] == ["mse"] * 3


def test_quantize_reports_the_rule_of_each_layer_and_fails_before_it_calibrates() -> None:
    images = random_images(2, (1, 4, 6, 6))
    value = [{"type": "max", "target_scopes": ["last"]}, {"type": "mse"}]
    result = quantize(shared_weights_model(), as_dataset(images), section(value))
    assert {item.name: item.rule for item in result.layers} == {"first": "mse", "second": "mse", "last": "max"}
    assert load_config(result.config.to_dict()) == result.config
    stages: list[str] = []

    class Recorder:
        def start(self, stage: str, total: int) -> None:
            stages.append(stage)

        def update(self, done: int, total: int) -> None: ...

        def finish(self) -> None: ...

    with pytest.raises(ConfigError, match=r"range\[0\].target_scopes\[0\]: found 'lost', allowed: a name in the model"):
        quantize(
            shared_weights_model(),
            as_dataset(images),
            section([{"type": "max", "target_scopes": ["lost"]}]),
            progress=Recorder(),
        )
    assert stages == ["layers"]
