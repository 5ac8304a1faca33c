"""What a user of a network has, and the `openvino.Model` that `nncf.quantize` is given."""

from __future__ import annotations

import warnings
from pathlib import Path

import openvino as ov
import torch

from benchmarks.sweep.networks.network import Network, Source
from benchmarks.sweep.statistics import build_module
from nncf_mcq.model.loading import FloatModel, load_model


def load_network(network: Network, folder: Path) -> FloatModel:
    """What is given to `nncf_mcq.quantize`.

    Args:
        network: Which.
        folder: Where a file of it is written.
    """
    if network.source == "ir":
        model = network.build()
        assert isinstance(model, ov.Model)
        return model
    module = build_module(network)
    if network.source == "torch":
        return module
    example = tuple(torch.zeros(shape) for shape in network.shapes)
    path = folder / f"{network.name}{_SUFFIXES[network.source]}"
    if network.source == "program":
        torch.export.save(torch.export.export(module, example), path)
    else:
        # The exporter of TorchScript needs nothing but onnx; it warns that there is a newer one.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, example, str(path), dynamo=False, input_names=["x:0"], output_names=["output"])
    return load_model(str(path), base_directory=folder)


def to_float_model(model: FloatModel, network: Network) -> ov.Model:
    """The float model as users convert it for `nncf.quantize`, with static shapes; the one that is given is kept."""
    if isinstance(model, ov.Model):
        converted = model.clone()
    elif isinstance(model, torch.nn.Module):
        with torch.no_grad():
            converted = ov.convert_model(model, example_input=tuple(torch.zeros(shape) for shape in network.shapes))
    else:
        converted = ov.convert_model(model)
    converted.reshape({port: list(shape) for port, shape in zip(converted.inputs, network.shapes, strict=True)})
    return converted


_SUFFIXES: dict[Source, str] = {"program": ".pt2", "onnx": ".onnx"}
