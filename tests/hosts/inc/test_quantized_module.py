"""The quantized model as a torch module: outputs, inputs, batches."""

from __future__ import annotations

import contextlib
import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from neural_compressor.torch.quantization import quantize
from torch import Tensor

from nncf_mcq import QuantizationError
from nncf_mcq.inc import MixedClippingConfig, QuantizedModule

IMAGES = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VECTORS = torch.rand(12, 5, generator=torch.Generator().manual_seed(1))


class Single(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Any:
        return self.convolution(images)


class Pair(Single):
    def forward(self, images: Tensor) -> Any:
        features = self.convolution(images)
        return features, features.mean((2, 3))


class Named(Single):
    def forward(self, images: Tensor) -> Any:
        features = self.convolution(images)
        return OrderedDict(out=features, aux=features.mean((2, 3)))


class Two(Single):
    """Two inputs, the second of which may be missing."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(5, 4)

    def forward(self, images: Tensor, vector: Tensor, mask: Tensor | None = None) -> Any:  # type: ignore[override]
        assert mask is None
        return self.convolution(images) + self.linear(vector)[:, :, None, None]


def quantized(model: torch.nn.Module, *inputs: Tensor, **named: Any) -> QuantizedModule:
    torch.manual_seed(0)
    found = quantize(model.eval(), MixedClippingConfig(bits=8), run_fn=lambda model: model(*inputs, **named))
    assert isinstance(found, QuantizedModule)
    return found


def test_outputs_come_as_from_the_float_module() -> None:
    for model in (Single(), Pair(), Named()):
        expected, found = model(IMAGES), quantized(model, IMAGES)(IMAGES)
        assert type(found) is type(expected)
        if isinstance(expected, dict):
            assert list(found) == list(expected)
            expected, found = tuple(expected.values()), tuple(found.values())
        for one, other in zip(*(x if isinstance(x, tuple) else (x,) for x in (expected, found)), strict=True):
            torch.testing.assert_close(other, one, atol=0.05, rtol=0)


def test_a_run_fn_may_leave_the_module_early() -> None:
    def run(prepared: torch.nn.Module) -> None:
        def leave(*_: object) -> None:
            raise StopIteration

        handle = prepared.convolution.register_forward_hook(leave)  # type: ignore[union-attr]
        for images in IMAGES.split(4):
            with contextlib.suppress(StopIteration):
                prepared(images)
        handle.remove()

    module = quantize(Pair().eval(), MixedClippingConfig(bits=8), run_fn=run)
    assert len(module.result.verification_images) > 4
    assert [tuple(output.shape) for output in module(IMAGES)] == [(12, 4, 8, 8), (12, 4)]


def test_any_number_of_images_gives_what_each_gives_alone() -> None:
    module = quantized(Single(), IMAGES)
    alone = torch.cat([module(image[None]) for image in IMAGES])
    for count in (1, 5, 12):
        torch.testing.assert_close(module(IMAGES[:count]), alone[:count], atol=1e-5, rtol=0)
    torch.testing.assert_close(module(torch.cat([IMAGES] * 3)), torch.cat([alone] * 3), atol=1e-5, rtol=0)


def test_inputs_are_taken_by_place_and_by_name() -> None:
    model = Two()
    for module in (
        quantized(model, IMAGES, VECTORS),
        quantized(model, IMAGES, vector=VECTORS),
        quantized(model, vector=VECTORS, images=IMAGES, mask=None),
    ):
        expected = module(IMAGES, VECTORS)
        torch.testing.assert_close(expected, model(IMAGES, VECTORS), atol=0.1, rtol=0)
        assert torch.equal(module(images=IMAGES, vector=VECTORS), expected)
        assert torch.equal(module(IMAGES, vector=VECTORS), expected)


@pytest.mark.parametrize(
    ("inputs", "named", "message"),
    [
        ((IMAGES[:, :2], VECTORS), {}, r"an input of the model: found shape \(12, 2, 8, 8\), allowed: \(N, 3, 8, 8\)"),
        ((IMAGES, VECTORS[:3]), {}, r"the inputs: found \[3, 12\] samples, allowed: as many of each input"),
        ((IMAGES,), {}, "the inputs: found 1, allowed: the 2 of the model"),
        ((IMAGES,), {"vectors": VECTORS}, "vector is missing"),
    ],
)
def test_wrong_inputs_are_refused(inputs: tuple[Tensor, ...], named: dict[str, Tensor], message: str) -> None:
    module = quantized(Two(), IMAGES, VECTORS)
    with pytest.raises(QuantizationError, match=message):
        module(*inputs, **named)


def test_a_copy_computes_the_same() -> None:
    module = quantized(Single(), IMAGES)
    assert torch.equal(copy.deepcopy(module)(IMAGES), module(IMAGES))
    assert torch.equal(copy.copy(module)(IMAGES), module(IMAGES))


def test_what_it_shows_and_how_it_is_not_saved(tmp_path: Path) -> None:
    module = quantized(Single(), IMAGES)
    assert repr(module) == "QuantizedModule(1 layer of 8 bits, 8.00 on average)"
    with pytest.raises(QuantizationError, match=r"found pickle or torch.save, allowed: its own save\(folder\)"):
        torch.save(module, tmp_path / "module.pt")


def test_a_sample_of_several_rows_is_given_as_example() -> None:
    class Sequence(torch.nn.Module):
        """Rows are steps: each depends on the one before."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(5, 4)

        def forward(self, steps: Tensor) -> Tensor:
            return self.linear(steps).cumsum(0)

    model = Sequence().eval()
    config = MixedClippingConfig(bits=8, num_init_samples=2)

    def run(prepared: torch.nn.Module) -> None:
        for steps in VECTORS.split(4):
            prepared(steps)

    module = quantize(model, config, run_fn=run, example_inputs=VECTORS[:4])
    assert len(module.result.verification_images) == 2
    torch.testing.assert_close(module(VECTORS[:4]), model(VECTORS[:4]), atol=0.1, rtol=0)
