from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq import ConfigError, Policy
from nncf_mcq.policy import FLOAT_CHOICE

BITS = st.dictionaries(st.text(max_size=5), st.integers(2, 8), max_size=4)


WEIGHT_BITS = st.dictionaries(st.text(max_size=5), st.integers(2, 8) | st.just(FLOAT_CHOICE), max_size=4)


@given(WEIGHT_BITS, BITS)
def test_a_policy_reads_back_from_its_json(weight_bits: dict[str, int], activation_bits: dict[str, int]) -> None:
    policy = Policy(weight_bits, activation_bits)
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


def test_equal_policies_have_equal_keys_whatever_the_order() -> None:
    assert Policy({"a": 2, "b": 3}).key == Policy({"b": 3, "a": 2}).key
    assert Policy({"a": 2}).key != Policy({"a": 3}).key
    assert Policy({"a": 2}).key != Policy({}, {"a": 2}).key


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"policy: found \[\], allowed: an object with weight_bits"),
        ({}, r"policy: found \{\}, allowed: an object with weight_bits"),
        (
            {"weight_bits": {"a": 9}},
            r"\['a'\]: found 9, allowed: one of \[2, 3, 4, 5, 6, 7, 8, 'float'\]",
        ),
        ({"weight_bits": {}, "activation_bits": {"a": 1}}, r"policy.activation_bits\['a'\]: found 1"),
        ({"weight_bits": {}, "activation_bits": {"a": "float"}}, r"policy.activation_bits\['a'\]: found 'float'"),
        ({"weight_bits": {"a": "4"}}, r"policy.weight_bits\['a'\]: found '4'"),
        ({"weight_bits": 4}, "policy.weight_bits: found 4"),
        ({"weight_bits": {}, "activation_bits": []}, r"policy.activation_bits: found \[\]"),
        ({"weight_bits": {}, "activations": {}}, "activations"),
    ],
)
def test_what_is_no_policy_is_an_error(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Policy.from_dict(data)


def test_a_policy_file_is_read_alone_or_inside_of_a_result(tmp_path: Path) -> None:
    policy = Policy({"a": 3}, {"b": 4})
    for data in (policy.to_dict(), {"policy": policy.to_dict()}):
        (tmp_path / "policy.json").write_text(json.dumps(data))
        assert Policy.from_file(tmp_path / "policy.json") == policy


def test_a_policy_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text("no json")
    for name in ("policy.json", "missing.json"):
        with pytest.raises(ConfigError, match=r"allowed: a readable policy\.json"):
            Policy.from_file(tmp_path / name)
