"""Values that no library's own checks catch: one message each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from nncf_mcq import ConfigError, load_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.model import int8
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.utils.progress import SilentProgress, Stages
from tests.models import convolution_model, random_images


def test_json_that_is_nested_too_deeply(tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    file.write_text("[" * 200_000)
    with pytest.raises(ConfigError, match=r"deep.json', allowed: valid JSON \(it is nested too deeply\)"):
        load_config(file)
    with pytest.raises(ConfigError, match=r"x: found '\[\[\[.*', allowed: JSON that is not nested so deeply"):
        parse_overrides(["x=" + "[" * 200_000])


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"compression": {"initializer": {"precision": {"type": "\ud800"}}}}, "compression.initializer.precision.type"),
        ({"metric": ["top1", "\udfff"]}, "metric[1]"),
        ({"\ud800": 1}, "config"),
    ],
)
def test_half_characters_that_no_file_can_hold(data: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(data)
    assert (raised.value.path, raised.value.allowed) == (path, "text that can be written as UTF-8")
    assert str(raised.value).encode()


def test_a_shape_that_does_not_fit_into_memory() -> None:
    shape = [1, 1, 10**6, 10**6, 10**4]
    with pytest.raises(ConfigError, match=r"input_info.sample_size: found .*, allowed: an input that fits into memory"):
        to_openvino(nn.Conv2d(1, 1, 1), shape)


@pytest.mark.parametrize("find", ["layers", "int8"])
def test_a_scope_that_is_no_regular_expression(find: str) -> None:
    model = convolution_model((1, 3, 8, 8), (4, 3, 3, 3))
    searches: dict[str, Callable[[], object]] = {
        "layers": lambda: find_layers(model, ["{re}conv("]),
        "int8": lambda: int8.quantize_int8(
            model, random_images(1, (1, 3, 8, 8)), ["{re}conv("], Stages(SilentProgress())
        ),
    }
    with pytest.raises(ConfigError, match=r"compression.ignored_scopes: found '\{re\}conv\(', allowed: a regular expr"):
        searches[find]()
