"""A network of NNCF 2 beside the OpenVINO model that it converts to: which quantizer is which layer and activation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import openvino as ov
import torch
from nncf.common.graph.utils import get_target_dim_for_compression_legacy
from nncf.common.quantization.structs import QuantizerId
from nncf.torch.module_operations import UpdateParameter, UpdateParameterList
from nncf.torch.nncf_network import NNCFNetwork
from nncf.torch.quantization.layers import BaseQuantizer, QuantizersSwitcher
from nncf.torch.utils import get_model_device, training_mode_switcher
from numpy.typing import NDArray

from nncf_mcq.calibration.module_outputs import are_same, point_values
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.nncf2.images import Inputs


@dataclass(frozen=True)
class ModuleWeights:
    """Weights of a module that NNCF 2 quantizes.

    Attributes:
        weights: The parameter.
        channel_axis: Its axis of output channels.
    """

    weights: torch.Tensor
    channel_axis: int

    def rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """(channels, columns) of values in the shape of the weights."""
        return np.moveaxis(values, self.channel_axis, 0).reshape(values.shape[self.channel_axis], -1)

    @torch.no_grad()
    def replace(self, rows: NDArray[np.float32]) -> None:
        """Replaces the weights.

        Args:
            rows: (channels, columns), as of `rows`.
        """
        moved = self.weights.movedim(self.channel_axis, 0)
        moved.copy_(torch.from_numpy(rows).reshape(moved.shape))

    @property
    def channels_first(self) -> torch.Tensor:
        """The weights with the output channels first."""
        return self.weights.detach().movedim(self.channel_axis, 0)


def convert(network: NNCFNetwork, sample_size: Any) -> ov.Model:
    """The float model of a network, without any of its quantizers; as `nncf_mcq.quantize` would convert the module.

    Args:
        network: Not edited.
        sample_size: As in `to_openvino`.

    Raises:
        ConversionError: OpenVINO cannot convert it.
    """
    with _on_cpu(network), _same_operations(network), network.nncf.temporary_clean_view() as clean:
        return to_openvino(clean, sample_size)


def module_weights(network: NNCFNetwork, names: Sequence[str]) -> dict[str, ModuleWeights]:
    """Weights of the modules that operations belong to, by the operation's name; those without one tensor are left out.

    Args:
        network: The network.
        names: Names of operations of NNCF 2.
    """
    graph = network.nncf.get_original_graph()
    found = {}
    for name in names:
        weights = getattr(network.nncf.get_containing_module(name), "weight", None)
        # A recurrent module has several, and a function none.
        if isinstance(weights, torch.Tensor):
            attributes = graph.get_node_by_name(name).layer_attributes
            found[name] = ModuleWeights(weights, int(get_target_dim_for_compression_legacy(attributes)))
    return found


def match_activations(
    network: NNCFNetwork,
    quantizers: Mapping[QuantizerId, BaseQuantizer],
    quantizable: QuantizableModel,
    images: Sequence[Inputs],
) -> dict[str, QuantizerId]:
    """Finds the quantizer of each activation point: the one that reads the same values.

    Args:
        network: In floating point it computes what the OpenVINO model does.
        quantizers: Of its activations.
        quantizable: The OpenVINO model's layers and activation points.
        images: Of which the first is run on both sides.

    Returns:
        Name of an activation point to the quantizer; points that have none are left out.
    """
    read = _quantizer_inputs(network, quantizers, images[0])
    found = {}
    for name, values in point_values(quantizable, images[0].arrays).items():
        for identifier, tensor in read.items():
            if are_same(values, tensor):
                found[name] = identifier
                break
    return found


@torch.no_grad()
def _quantizer_inputs(
    network: NNCFNetwork, quantizers: Mapping[QuantizerId, BaseQuantizer], image: Inputs
) -> dict[QuantizerId, NDArray[np.float32]]:
    """What each quantizer would round, while none rounds."""
    found: dict[QuantizerId, NDArray[np.float32]] = {}
    every = [module for module in network.modules() if isinstance(module, BaseQuantizer)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_on_cpu(network))
        stack.enter_context(training_mode_switcher(network, is_training=False))
        switcher = QuantizersSwitcher(every)
        switcher.disable_quantizers()
        stack.callback(switcher.enable_quantizers)
        for identifier, quantizer in quantizers.items():

            def keep(_: object, inputs: tuple[Any, ...], identifier: QuantizerId = identifier) -> None:
                found[identifier] = torch.Tensor.as_subclass(inputs[0].detach(), torch.Tensor).float().numpy().copy()

            handle = quantizer.register_forward_pre_hook(keep)
            stack.callback(handle.remove)
        network(
            *(value.cpu() for value in image.positional), **{name: value.cpu() for name, value in image.named.items()}
        )
    return found


@contextlib.contextmanager
def masked_parameters(network: NNCFNetwork) -> Iterator[None]:
    """Gives the modules the parameters that they compute with: without what sparsity and pruning have taken away.

    Args:
        network: Has its own parameters again afterwards.
    """
    kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
    try:
        with torch.no_grad(), training_mode_switcher(network, is_training=False):
            for module in network.modules():
                parameters = dict(module.named_parameters(recurse=False))
                used = SimpleNamespace(**parameters)
                for operation in getattr(module, "pre_ops", {}).values():
                    is_of_parameters = isinstance(operation, UpdateParameter | UpdateParameterList)
                    if is_of_parameters and not isinstance(operation.operand, BaseQuantizer):
                        operation(used, None)
                for name, parameter in parameters.items():
                    values = getattr(used, name)
                    if values is not parameter:
                        kept.append((parameter, parameter.detach().clone()))
                        parameter.copy_(values)
        yield
    finally:
        with torch.no_grad():
            for parameter, values in kept:
                parameter.copy_(values)


@contextlib.contextmanager
def _same_operations(network: NNCFNetwork) -> Iterator[None]:
    """Puts the operations of the modules back themselves, the quantizers of weights among them.

    A clean view leaves copies of them, so that the controller would hold quantizers that nobody trains any more.
    """
    kept = [
        (module, module.pre_ops, module.post_ops)
        for module in network.modules()
        if hasattr(module, "pre_ops") and hasattr(module, "post_ops")
    ]
    before = [(dict(pre_ops), dict(post_ops)) for _, pre_ops, post_ops in kept]
    try:
        yield
    finally:
        for (module, pre_ops, post_ops), (pre, post) in zip(kept, before, strict=True):
            pre_ops.update(pre)
            post_ops.update(post)
            module.pre_ops, module.post_ops = pre_ops, post_ops


@contextlib.contextmanager
def _on_cpu(network: NNCFNetwork) -> Iterator[None]:
    device = get_model_device(network)
    network.to("cpu")
    try:
        yield
    finally:
        network.to(device)
