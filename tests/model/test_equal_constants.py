from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import torch
from openvino import opset13 as opset

import nncf_mcq
from nncf_mcq.model.equal_constants import share_equal_weights
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.nodes import constant_of, operations_by_name
from tests.models import convolution, make_model, random_constant, random_images

SHAPE = (1, 6, 8, 8)


class Siamese(torch.nn.Module):
    """One tower for both halves of the channels, with a batch normalization that is folded into each use."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [torch.nn.Conv2d(3, 16, 3, bias=False), torch.nn.Conv2d(16, 32, 3, bias=False)]
        norms = [torch.nn.BatchNorm2d(16), torch.nn.BatchNorm2d(32)]
        for norm in norms:
            torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
        self.tower = torch.nn.Sequential(convolutions[0], norms[0], torch.nn.ReLU(), convolutions[1], norms[1])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.abs(self.tower(images[:, :3]) - self.tower(images[:, 3:])).mean((2, 3))


def siamese() -> torch.nn.Module:
    torch.manual_seed(0)
    return Siamese().eval()


def test_the_uses_of_a_tower_are_groups() -> None:
    quantizable = find_layers(to_openvino(siamese(), SHAPE))
    assert [len(members) for members in quantizable.groups.values()] == [2, 2]
    assert quantizable.quantizable_weights == 16 * 3 * 9 + 32 * 16 * 9


def test_a_tower_is_stored_once(tmp_path: Path) -> None:
    images = random_images(4, SHAPE)
    dataset = nncf.Dataset([image[None] for image in images])
    result = nncf_mcq.quantize(siamese(), dataset, {"input_info": {"sample_size": list(SHAPE)}})
    result.save(tmp_path)
    float_model = ov.convert_model(siamese(), example_input=torch.zeros(SHAPE))
    ov.save_model(nncf.quantize(float_model, dataset, subset_size=4), tmp_path / "nncf.xml")
    assert (tmp_path / "model.bin").stat().st_size <= 1.1 * (tmp_path / "nncf.bin").stat().st_size


def test_only_equal_weights_are_shared_and_biases_never() -> None:
    def build(data: ov.Node) -> ov.Node:
        values = data
        for name, seed in (("first", 0), ("second", 0), ("other", 1)):
            values = convolution(values, random_constant(3, 3, 1, 1, seed=seed), name)
            values = opset.relu(opset.add(values, random_constant(1, 3, 1, 1, seed=2), name=f"{name}/bias"))
        # Of the same bytes, but of another shape.
        return convolution(
            values, opset.constant(random_constant(3, 3, 1, 1).get_data().reshape(1, 9, 1, 1)[:, :3]), "l"
        )

    model = make_model(build, (1, 3, 4, 4))
    names = {node.get_friendly_name() for node in model.get_ops()}
    operations = operations_by_name(share_equal_weights(model))
    weights = {name: constant_of(operations[name], 1).get_friendly_name() for name in ("first", "second", "other")}
    assert weights["first"] == weights["second"] != weights["other"]
    assert set(operations) < names
    biases = {constant_of(operations[f"{name}/bias"], 1).get_friendly_name() for name in weights}
    assert len(biases) == len(weights)


def test_a_difference_of_one_bit_is_a_difference() -> None:
    values = random_constant(3, 3, 1, 1).get_data()
    changed = values.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(np.inf))

    def build(data: ov.Node) -> ov.Node:
        return convolution(convolution(data, opset.constant(values), "first"), opset.constant(changed), "second")

    operations = operations_by_name(share_equal_weights(make_model(build, (1, 3, 4, 4))))
    assert constant_of(operations["first"], 1).get_name() != constant_of(operations["second"], 1).get_name()
