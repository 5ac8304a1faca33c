"""Whatever stands in a configuration, it is read, or refused in one message that can be printed."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nncf_mcq import ConfigError, load_config
from nncf_mcq.config.catalog import find_config, recipe_names
from nncf_mcq.config.json_files import DEEPEST, read_json
from nncf_mcq.errors import LONGEST_VALUE
from nncf_mcq.job import Job

CASES = 5000
LONGEST_MESSAGE = 2000
# Parts of paths that are pydantic's words, not keys.
TAGS = re.compile(r"(\.|^)((str|int|float|bool)(?=[.\[]|$)|list\[|dict\[|function-|tagged-|constrained-|literal\[)")

SECTIONS: list[dict[str, Any]] = [
    {"type": "rl", "budget": {"weight_size": {"average_bits": 4}}, "evaluations": 5, "seed": 1, "time_limit": 3.5},
    {"type": "optuna", "sampler": "tpe", "budget": {"bops": {"ratio": 0.5}}},
    {"type": "ilp", "goal": {"agreement": 0.99, "confidence": 0.9}, "sensitivity": "fisher"},
    {"type": "manual", "bitwidth_per_scope": [[3, "{re}conv"]], "default_bits": 6},
    {"type": "autoq", "bits": [2, 4, 8], "iter_number": 10},
]
MODELS = ["torchvision.models:resnet18", "model.xml", "file.py:build"]


def starts() -> Iterator[dict[str, Any]]:
    """Configurations that are read."""
    for section in SECTIONS[:-1]:
        yield {
            "model": MODELS[0],
            "input_info": {"sample_size": [1, 3, 8, 8]},
            "dataset": {
                "type": "image_folder",
                "root": "images",
                "preprocessing": {"scale": "0-1", "mean": [0.5], "std": [1]},
            },
            "metric": ["top1", "top5"],
            "score": {"output": {"type": "kl", "weight": 2.0}},
            "compression": {
                "weights": {"bits": [2, 4, 8], "mode": "symmetric"},
                "activations": {"bits": 8, "range": {"type": "percentile"}},
                "initializer": {"range": {"type": "mixed_clipping"}, "precision": section},
                "ignored_scopes": ["a", "{re}b.*"],
            },
            "runtime": {"threads": 2},
        }
    for name in recipe_names():
        yield read_json(find_config(name))


STARTS = list(starts())
NASTY: list[Any] = [
    *("", "\0", "\ud800", "x" * 6000, "{re}(", "../" * 2000, "a:b", "\u202e", "NaN", "../../etc/passwd"),
    *(-1, 0, 10**30, 10**400, 1e308, -0.0, float("nan"), float("inf"), True, None, [], {}, [[]], {"": {}}),
    *SECTIONS,
]
VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
        max_leaves=8,
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All paths in JSON values."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


@st.composite
def configurations(draw: st.DrawFn) -> Any:
    """A configuration in which some values or keys were replaced, added or removed."""
    data = copy.deepcopy(draw(st.sampled_from(STARTS)))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(list(places(data)) or [("model",)]))
        holder: Any = data
        for part in parents:
            holder = holder[part]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "remove":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(["type", "bits", "weights"]) | st.text(max_size=10))] = copy.deepcopy(
                    draw(VALUES)
                )
            case _:
                holder[last] = copy.deepcopy(draw(VALUES))
    return data


def check(data: Any, folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(data))
    for read in (lambda: load_config(data), lambda: Job.read(file)):
        try:
            read()
        except ConfigError as error:
            message = str(error)
            assert message.encode()
            assert len(message) < LONGEST_MESSAGE, len(message)
            assert "\n" not in message
            assert not TAGS.search(error.path), message


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


OPTIONS = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@settings(OPTIONS, max_examples=150)
@given(data=configurations())
def test_what_is_mutated_is_read_or_refused(data: Any, folder: Path) -> None:
    check(data, folder)


@pytest.mark.slow
@settings(OPTIONS, max_examples=CASES)
@given(data=configurations())
def test_thousands_of_mutations_are_read_or_refused(data: Any, folder: Path) -> None:
    check(data, folder)


def test_the_starts_are_read(folder: Path) -> None:
    assert len(STARTS) > len(SECTIONS)
    for start in STARTS:
        load_config(start)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf{}", None),
        (b'{"model": "a:b", "model": "c:d"}', "the key 'model' stands twice in one object"),
        (b'{"model_arguments": ' + b'{"a":' * 150 + b"1" + b"}" * 150 + b"}", f"nested no more than {DEEPEST} deep"),
        ("{}".encode("utf-16"), "valid JSON"),
        (b'{"runtime": {"threads": ' + b"9" * 5000 + b"}}", "valid JSON"),
    ],
    ids=["byte-order mark", "twice", "deep", "utf-16", "long number"],
)
def test_files_of_all_kinds(content: bytes, message: str | None, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    if message is None:
        assert load_config(file) == load_config({})
        return
    with pytest.raises(ConfigError, match=message):
        load_config(file)


def test_long_values_are_shown_by_their_beginning() -> None:
    for value in ("x" * 100_000, list(range(100_000)), {"a": "x" * 100_000}, 10**5000):
        with pytest.raises(ConfigError, match=r"runtime.threads: found ") as caught:
            load_config({"runtime": {"threads": value}})
        assert len(str(caught.value)) < LONGEST_VALUE + 150


def test_keys_of_any_kind_are_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^a\\n\\u202eb: found ") as caught:
        load_config({"a\n\u202eb": 1})
    assert len(str(caught.value).splitlines()) == 1


def test_values_that_may_be_several_are_told_in_words() -> None:
    with pytest.raises(ConfigError, match=r"^metric: found 3, allowed: a name or a list of names$"):
        load_config({"metric": 3})
    values: list[object] = [3, "1x3", []]
    for value in values:
        with pytest.raises(ConfigError, match=r"^input_info: found .*, allowed: an object with sample_size, or a list"):
            load_config({"input_info": value})


@pytest.mark.parametrize("path", ["x" * 5000, "a/" * 2500 + "b", "y" * 256, "a\0b"])
def test_paths_that_no_file_can_have(path: str) -> None:
    for data in ({"checkpoint": path}, {"model": path + ".onnx"}):
        with pytest.raises(ConfigError, match="a path that a file can have"):
            load_config(data)
