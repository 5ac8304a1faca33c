from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import pytest
from openvino import opset13 as opset

from nncf_mcq import ConfigError, Policy, quantize
from nncf_mcq.model.algorithm import ActivationPoint
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.pipeline.preparation import prepare
from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.precision_init import ManualPrecision, PrecisionTask
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.testing.networks import IMAGES, image_dataset, images, small_config, small_network
from nncf_mcq.utils.progress import SilentProgress, Stages
from tests.models import layer, make_evaluator, make_model

PATH = "compression.initializer.precision"
QUANTIZABLE = QuantizableModel(
    model=make_model(lambda data: opset.relu(data), (1, 1)),
    layers=(layer("stem/conv", 9), layer("body/conv", 9), layer("body/again", 9, group="body/conv"), layer("head", 9)),
    activation_points=tuple(ActivationPoint(name, (), False) for name in ("image", "left", "right")),
    unified_scales=(("left", "right"),),
    ignored_scope=nncf.IgnoredScope(),
)
TASK = PrecisionTask(
    quantizable=QUANTIZABLE,
    choices=QUANTIZABLE.choices((2, 4, 8), (8,)),
    activation_bits=8,
    errors={},
    costs=CostModel(QUANTIZABLE, {}, lambda: 0),
    evaluator=make_evaluator(),
)


def manual(**parameters: Any) -> ManualPrecision:
    return ManualPrecision(ManualPrecision.Parameters(**parameters))


def find(**parameters: Any) -> Policy:
    return manual(**parameters).find_policy(TASK).policy


def test_names_get_their_bits_and_the_others_the_default() -> None:
    policy = find(bitwidth_per_scope=[(3, "head")], default_bits=6)
    assert policy.weight_bits == {"stem/conv": 6, "body/conv": 6, "body/again": 6, "head": 3}
    assert policy.activation_bits == {"image": 8, "left": 8, "right": 8}


def test_patterns_are_searched_and_names_are_matched_whole() -> None:
    assert find(bitwidth_per_scope=[(3, "{re}^body/")]).weight_bits == {
        "stem/conv": 8,
        "body/conv": 3,
        "body/again": 3,
        "head": 8,
    }
    assert find(bitwidth_per_scope=[(4, "{re}ea")]).weight_bits["head"] == 4
    with pytest.raises(ConfigError):
        find(bitwidth_per_scope=[(3, "hea")])


def test_later_pairs_win() -> None:
    policy = find(bitwidth_per_scope=[(3, "{re}."), (5, "head"), (4, "stem/conv"), (2, "stem/conv")])
    assert policy.weight_bits == {"stem/conv": 2, "body/conv": 3, "body/again": 3, "head": 5}


def test_activations_have_pairs_of_their_own() -> None:
    policy = find(activation_bitwidth_per_scope=[(4, "image"), (5, "{re}left|right")])
    assert policy.activation_bits == {"image": 4, "left": 5, "right": 5}
    with pytest.raises(ConfigError, match=rf"{PATH}.activation_bitwidth_per_scope\[0\]\[1\]: found 'head'"):
        find(activation_bitwidth_per_scope=[(4, "head")])


def test_an_unknown_name_is_an_error_that_suggests_a_known_one() -> None:
    message = f"{PATH}.bitwidth_per_scope[1][1]: found 'stem/convs', allowed: a name in the model, e.g. stem/conv"
    with pytest.raises(ConfigError, match=re.escape(message)):
        find(bitwidth_per_scope=[(3, "head"), (3, "stem/convs")])
    with pytest.raises(ConfigError, match=r"e\.g\. stem/conv, body/conv, body/again"):
        find(bitwidth_per_scope=[(3, "{re}xyz$")])


def test_a_pattern_that_is_no_regular_expression_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"bitwidth_per_scope\[0\]\[1\]: found '{re}\(', allowed: a regular expression"
    ):
        find(bitwidth_per_scope=[(3, "{re}(")])


def test_layers_that_share_weights_cannot_have_different_bits() -> None:
    with pytest.raises(ConfigError) as caught:
        find(bitwidth_per_scope=[(3, "body/again")])
    assert caught.value.path == f"{PATH}.bitwidth_per_scope"
    assert caught.value.found == {"body/conv": 8, "body/again": 3}
    assert caught.value.allowed == "equal bits: these layers share body/conv's weights"


def test_activations_that_share_a_scale_cannot_have_different_bits() -> None:
    with pytest.raises(ConfigError, match=r"found {'left': 4, 'right': 8}, allowed: equal bits: these share a scale"):
        find(activation_bitwidth_per_scope=[(4, "left")])


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(Policy({"stem/conv": 2, "head": 3}, {"image": 4}).to_dict()))
    return file


def test_a_policy_file_gives_the_bits_and_pairs_override_it(policy_file: Path) -> None:
    policy = find(policy=str(policy_file), default_bits=7, bitwidth_per_scope=[(5, "head")])
    assert policy.weight_bits == {"stem/conv": 2, "body/conv": 7, "body/again": 7, "head": 5}
    assert policy.activation_bits == {"image": 4, "left": 8, "right": 8}


def test_a_policy_file_of_another_model_is_an_error(policy_file: Path) -> None:
    policy_file.write_text(json.dumps({"weight_bits": {"heads": 3}}))
    with pytest.raises(ConfigError, match=f"{PATH}.policy: found 'heads', allowed: layers of this model, e.g. head"):
        find(policy=str(policy_file))


def test_the_table_must_hold_the_widths_that_are_named(policy_file: Path) -> None:
    assert manual(bitwidth_per_scope=[(3, "head"), (5, "stem")], default_bits=7).required_bits((2, 4)) == (3, 5, 7)
    assert set(manual(policy=str(policy_file)).required_bits((4,))) >= {2, 3, 8}


def test_each_layer_is_quantized_at_its_own_bit_width_only(policy_file: Path) -> None:
    assert manual(policy=str(policy_file), default_bits=7).known_bits(QUANTIZABLE) == {
        "stem/conv": 2,
        "body/conv": 7,
        "body/again": 7,
        "head": 3,
    }
    config = small_config(precision={"type": "manual", "bitwidth_per_scope": [[4, "{re}."]]}, weight_bits=(4, 8))
    prepared = functools.partial(
        prepare, small_network(), images(IMAGES), config.compression, config.runtime, stages=Stages(SilentProgress())
    )
    layers = [item.name for item in prepared(manual()).calibrated.quantizable.layers]
    (fold,) = prepared(manual(bitwidth_per_scope=[(4, layers[-1])])).folds
    bits = dict.fromkeys(layers, 8) | {layers[-1]: 4}
    assert {name: list(entries) for name, entries in fold.table.entries.items()} == {
        name: [bits[name]] for name in layers
    }
    # What a table of all bit-widths holds is the same.
    full = fold.calibrated.weight_table((4, 8), Stages(SilentProgress()))
    for name in layers:
        ours, theirs = fold.table[name, bits[name]], full[name, bits[name]]
        for attribute in ("levels", "scale", "zero_point", "bias_shift"):
            np.testing.assert_array_equal(getattr(ours, attribute), getattr(theirs, attribute))


def test_layers_left_in_floating_point_have_no_entries(tmp_path: Path) -> None:
    network = small_network()
    layers = [item.name for item in find_layers(network).layers]
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(Policy({layers[0]: FLOAT_CHOICE}, {}).to_dict()))
    config = small_config(precision={"type": "manual", "policy": str(file)}, activation_range="automatic")
    result = quantize(network, image_dataset(IMAGES), config)
    assert result.policy.weight_bits == dict.fromkeys(layers, 8) | {layers[0]: FLOAT_CHOICE}
    assert result.save(tmp_path / "out").exists()
