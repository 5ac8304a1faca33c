"""Which module of NNCF 2 is which layer, and which of its quantizers is which activation point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nncf.common.quantization.structs import QuantizerId
from nncf.torch.nncf_network import NNCFNetwork
from nncf.torch.quantization.layers import BaseQuantizer
from numpy.typing import NDArray

from nncf_mcq.model.layers import QuantizableModel, find_layers, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.weight_matching import channel_factors, match_weights
from nncf_mcq.nncf2.images import Inputs
from nncf_mcq.nncf2.network import ModuleWeights, convert, match_activations, module_weights
from nncf_mcq.policy import INT8_BITS, Policy


@dataclass(frozen=True)
class Alignment:
    """A network of NNCF 2 and the layers of the OpenVINO model that it converts to.

    Attributes:
        quantizable: The OpenVINO model's layers.
        modules: Name of the first layer of a group to the operation of NNCF 2 whose module has its weights.
        weights: Of these modules, by the operation.
        activations: Name of an activation point to the quantizer that reads the same values.
    """

    quantizable: QuantizableModel
    modules: Mapping[str, str]
    weights: Mapping[str, ModuleWeights]
    activations: Mapping[str, QuantizerId]

    @property
    def unmatched_layers(self) -> list[str]:
        """Names of the layers that NNCF 2 does not quantize."""
        return [layer.name for layer in self.quantizable.layers if layer.group not in self.modules]

    @property
    def unmatched_points(self) -> list[str]:
        """Names of the activation points that NNCF 2 does not quantize."""
        return [point.name for point in self.quantizable.activation_points if point.name not in self.activations]

    def policy(self, weight_bits: Mapping[str, int], activation_bits: Mapping[QuantizerId, int]) -> Policy:
        """The policy that quantizers of NNCF 2 are; activations that share their bits get the largest.

        Args:
            weight_bits: By the operation of NNCF 2.
            activation_bits: By the quantizer.
        """
        quantizable = self.quantizable
        activations = {name: activation_bits[identifier] for name, identifier in self.activations.items()}
        for members in quantizable.activation_groups.values():
            largest = max((activations[name] for name in members if name in activations), default=INT8_BITS)
            activations |= dict.fromkeys(members, largest)
        weights = {
            layer.name: weight_bits[self.modules[layer.group]]
            for layer in quantizable.layers
            if layer.group in self.modules
        }
        return Policy(weights, activations)

    def manual_precision(self, policy: Policy) -> dict[str, Any]:
        """The precision initializer that gives a policy, without points that only layers in floating point read.

        Args:
            policy: Bits of the layers that NNCF 2 quantizes, and of activations.
        """
        ignored = self.unmatched_layers
        remaining = find_layers(self.quantizable.model, ignored) if ignored else self.quantizable
        points = {point.name for point in remaining.activation_points}
        activation_bits = {name: bits for name, bits in policy.activation_bits.items() if name in points}
        return {
            "type": "manual",
            "bitwidth_per_scope": [[bits, name] for name, bits in policy.weight_bits.items()],
            "activation_bitwidth_per_scope": [[bits, name] for name, bits in activation_bits.items()],
        }

    def factors(self, group: str) -> NDArray[np.float64]:
        """(channels,) what the weights of a module were multiplied by on the way to its layer."""
        layer = self.quantizable.layer(group)
        operation = operations_by_name(self.quantizable.model)[layer.name]
        folded = weight_matrices(layer, operation).reshape(layer.output_channels, -1)
        weights = self.weights[self.modules[group]]
        return channel_factors(folded, weights.rows(weights.weights.detach().cpu().numpy()))


def align(
    network: NNCFNetwork,
    weight_operations: Sequence[str],
    activation_quantizers: Mapping[QuantizerId, BaseQuantizer],
    images: Sequence[Inputs],
    sample_size: Any,
    per_channel_activations: bool,
) -> Alignment:
    """Converts a network and finds what belongs together.

    Args:
        network: With its quantizers.
        weight_operations: Operations whose weights NNCF 2 quantizes.
        activation_quantizers: All others.
        images: Of which the first is run.
        sample_size: As in `to_openvino`.
        per_channel_activations: As in `find_layers`.

    Raises:
        ConversionError: OpenVINO cannot convert the network.
        QuantizationError: There is nothing to quantize.
    """
    quantizable = find_layers(convert(network, sample_size), (), per_channel_activations)
    weights = module_weights(network, weight_operations)
    modules = match_weights({name: found.channels_first for name, found in weights.items()}, quantizable)
    activations = match_activations(network, activation_quantizers, quantizable, images)
    return Alignment(quantizable, modules, weights, activations)
