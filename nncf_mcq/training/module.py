"""The quantized model as a PyTorch module: what is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import openvino as ov
import torch
from torch import Tensor

from nncf_mcq.config.nncf2 import ALGORITHM as INT8_ALGORITHM
from nncf_mcq.config.schema import WeightsConfig
from nncf_mcq.errors import ConfigError
from nncf_mcq.model.channel_groups import find_channel_groups
from nncf_mcq.model.channel_scales import channel_steps, scale_channels
from nncf_mcq.model.input_scales import input_factors, scale_inputs
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.torch_graph import TorchGraph
from nncf_mcq.policy import Policy
from nncf_mcq.result import QuantizationResult
from nncf_mcq.training.quantizers import ActivationQuantizer, Bias, FloatWeights, LayerWeights

Part = TypeVar("Part", bound=torch.nn.Module)


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """A quantized model and what it was made from.

    Attributes:
        model: The quantized model.
        quantizable: The float model and its layers.
        policy: Bits of every layer and activation quantizer.
        weights: Settings that the grids of the weights follow.
    """

    model: ov.Model
    quantizable: QuantizableModel
    policy: Policy
    weights: WeightsConfig

    @classmethod
    def of(cls, result: QuantizationResult) -> QuantizedNetwork:
        """The model of a result.

        Raises:
            ConfigError: It is NNCF's own INT8.
        """
        compression = result.config.compression
        if compression.algorithm == INT8_ALGORITHM:
            raise ConfigError(
                "compression.algorithm", compression.algorithm, "mixed_clipping_quantization, to train it"
            )
        scopes, per_channel = compression.ignored_scopes, compression.activations.per_channel
        quantizable = find_layers(result.float_model, scopes, per_channel)
        model = result.model_on_grids or result.model
        scaled = scale_channels(quantizable, find_channel_groups(quantizable), channel_steps(model))
        return cls(
            model,
            scale_inputs(scaled, input_factors(model, quantizable), scopes, per_channel),
            result.policy,
            compression.weights,
        )


@dataclass(frozen=True, eq=False)
class Source:
    """What a module was made from; copies of the module share it.

    Attributes:
        network: The quantized model before the training.
        result: The result that it is of; None where there is none yet.
        quantized: Layers that share their weights, for each of the module's quantized weights.
        floats: Operations that share their weights, for each of the module's float weights.
        biases: Friendly name of the addition, for each of the module's biases.
        grids: FakeQuantize nodes that share their grid, for each of the module's activation quantizers.
    """

    network: QuantizedNetwork
    result: QuantizationResult | None
    quantized: tuple[tuple[str, ...], ...]
    floats: tuple[tuple[str, ...], ...]
    biases: tuple[str, ...]
    grids: tuple[tuple[str, ...], ...]

    def __deepcopy__(self, memo: object) -> Source:
        return self


class TrainingModule(torch.nn.Module):
    """A quantized model that trains in any loop: made by `prepare_training`, brought back by `finish_training`.

    Forward it computes what the OpenVINO IR does: weights on the levels of their bit-widths, and activations on their
    grids. Backward, gradients pass straight through the rounding. Float weights, steps of weights and activations, and
    biases are its parameters. Batch normalization is folded into them: training and evaluation mode are the same.

    Args:
        graph: The quantized model, with `biases` and `activations` among its functions.
        teacher: The float model.
        quantized: Weights on grids, and trellis-coded ones.
        floats: Weights in floating point.
        biases: Of the layers.
        activations: Grids.
        source: What it is made from.
    """

    def __init__(
        self,
        graph: TorchGraph,
        teacher: TorchGraph,
        quantized: Sequence[LayerWeights],
        floats: Sequence[FloatWeights],
        biases: Sequence[Bias],
        activations: Sequence[ActivationQuantizer],
        source: Source,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.teacher = teacher
        self.quantized = torch.nn.ModuleList(quantized)
        self.floats = torch.nn.ModuleList(floats)
        self.biases = torch.nn.ModuleList(biases)
        self.activations = torch.nn.ModuleList(activations)
        self.source = source

    def forward(self, *inputs: Tensor) -> Any:
        """Runs the quantized model.

        Args:
            inputs: (N, ...) for each input of the model; N need not be the model's own batch size.

        Returns:
            The output, or a tuple of all outputs where there are several.

        Raises:
            QuantizationError: An input has the wrong shape, or the model computes across images and N is not its own
                batch size.
        """
        return _single(self.graph.outputs(inputs, weights=self.weights()))

    @torch.no_grad()
    def float_outputs(self, *inputs: Tensor) -> Any:
        """Outputs of the float model, the teacher of a distillation; as `forward`, without gradients."""
        return _single(self.teacher.outputs(inputs))

    def weights(self) -> Mapping[str, Tensor]:
        """Weights of all layers as the next pass computes with them, by the layer's name."""
        found: dict[str, Tensor] = {}
        for modules, names in ((self.quantized, self.source.quantized), (self.floats, self.source.floats)):
            for module, members in zip(modules, names, strict=True):
                found |= dict.fromkeys(members, module())
        return found


def _single(outputs: tuple[Tensor, ...]) -> Any:
    return outputs[0] if len(outputs) == 1 else outputs


def parts(modules: torch.nn.ModuleList, kind: type[Part]) -> list[Part]:
    """The modules of a list, all of which are of one kind."""
    return [module for module in modules if isinstance(module, kind)]
