from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nncf_mcq.errors import ConfigError
from nncf_mcq.model.darknet import load_darknet_weights

PARAMETERS = 4 * 2 + 2 * 3 * 9 + 4 + 4 * 2


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 2, 3, bias=False), nn.BatchNorm2d(2), nn.LeakyReLU(), nn.Sequential(nn.Conv2d(2, 4, 1))
    )


def write(path: Path, count: int, version: tuple[int, int, int] = (0, 2, 0)) -> Path:
    seen = struct.pack("<q" if version[:2] >= (0, 2) else "<i", 7)
    path.write_bytes(struct.pack("<3i", *version) + seen + np.arange(count, dtype="<f4").tobytes())
    return path


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5), (1, 0, 0)])
def test_order_is_that_of_the_file(tmp_path: Path, version: tuple[int, int, int]) -> None:
    model = network()
    load_darknet_weights(model, write(tmp_path / "x.weights", PARAMETERS, version))
    norm = ("1.bias", "1.weight", "1.running_mean", "1.running_var")
    state = model.state_dict()
    found = [state[name] for name in (*norm, "0.weight", "3.0.bias", "3.0.weight")]
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in found])
    assert flat.tolist() == list(range(PARAMETERS))


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_another_number_of_parameters_is_an_error_and_changes_nothing(tmp_path: Path, change: int) -> None:
    model = network()
    before = model.state_dict()["0.weight"].clone()
    path = write(tmp_path / "x.weights", PARAMETERS + change)
    with pytest.raises(ConfigError, match=rf"{PARAMETERS} parameters as the network has, not {PARAMETERS + change:,}$"):
        load_darknet_weights(model, path)
    assert torch.equal(model.state_dict()["0.weight"], before)


def test_a_file_cut_within_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "x.weights", PARAMETERS)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=rf"{PARAMETERS} parameters as the network has, not {PARAMETERS - 0.25}$"):
        load_darknet_weights(network(), path)


def test_a_file_without_header_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.weights").write_bytes(b"123")
    with pytest.raises(ConfigError, match=r"a darknet weight file; it has 3 bytes$"):
        load_darknet_weights(network(), tmp_path / "x.weights")
    with pytest.raises(ConfigError, match=r"a readable darknet weight file"):
        load_darknet_weights(network(), tmp_path / "y.weights")
