"""What `nncf.quantize` has made is no model to start a mixed policy from: it is refused, and says what is."""

from __future__ import annotations

from collections.abc import Iterator

import nncf
import openvino as ov
import pytest
import torch
from nncf.torch.quantization.extensions import QuantizedFunctionsCPU
from nncf.torch.quantization.reference import ReferenceQuantizedFunctions

import nncf_mcq
from nncf_mcq.errors import QuantizationError
from tests.models import SAMPLE_SIZE, SmallNetwork, as_dataset, random_images, small_network

CONFIG = {"input_info": {"sample_size": list(SAMPLE_SIZE)}}
IMAGES = random_images(8)
MESSAGE = (
    r": the model is quantized already \(a FakeQuantize\): give the float model that it was made from, with images; "
    r"the weights or biases of this one were changed to suit its quantizers$"
)


@pytest.fixture
def eager_quantizers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """NNCF's own Python quantizers, without a compilation that takes a minute."""
    monkeypatch.setattr(QuantizedFunctionsCPU, "_loaded_namespace", ReferenceQuantizedFunctions)
    with torch.compiler.set_stance("force_eager"):
        yield


def float_model() -> ov.Model:
    return ov.convert_model(small_network(), example_input=torch.zeros(SAMPLE_SIZE))


def test_an_openvino_model_is_refused() -> None:
    quantized = nncf.quantize(float_model(), as_dataset(IMAGES))
    with pytest.raises(QuantizationError, match=MESSAGE):
        nncf_mcq.quantize(quantized, as_dataset(IMAGES), CONFIG)
    assert nncf_mcq.quantize(float_model(), as_dataset(IMAGES), CONFIG).policy.weight_bits


@pytest.mark.usefixtures("eager_quantizers")
def test_a_torch_module_is_refused_as_its_biases_are_not_those_of_the_float_model() -> None:
    made = small_network()
    quantized = nncf.quantize(made, nncf.Dataset([torch.from_numpy(image[None]) for image in IMAGES]))
    with pytest.raises(QuantizationError, match=MESSAGE):
        nncf_mcq.quantize(quantized, as_dataset(IMAGES), CONFIG)
    # The float weights are still there, but this is why they are of no use.
    before, after = small_network().state_dict(), quantized.state_dict()
    assert torch.equal(before["stem.weight"], after["stem.weight"])
    assert not torch.allclose(before["depthwise_norm.bias"], after["depthwise_norm.bias"], atol=1e-2)
    # What was given to NNCF is left as it was.
    assert isinstance(made, SmallNetwork)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
