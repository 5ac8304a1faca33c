"""What a compression of NNCF 2 starts from: this package's own quantization of the network, and its ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from nncf.common.logging import nncf_logger
from nncf.common.quantization.structs import QuantizerId
from numpy.typing import NDArray

from nncf_mcq.api import RunOptions, quantize_normalized
from nncf_mcq.api.headline import headline
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.nncf2.alignment import Alignment
from nncf_mcq.nncf2.images import Inputs, as_dataset
from nncf_mcq.nncf2.quantizers import Grid
from nncf_mcq.policy import INT8_BITS, Policy
from nncf_mcq.result import QuantizationResult
from nncf_mcq.training.module import QuantizedNetwork, TrainingModule, parts
from nncf_mcq.training.preparation import make_module
from nncf_mcq.training.quantizers import ActivationQuantizer, QuantizedWeights
from nncf_mcq.utils.progress import StageLog


@dataclass(frozen=True)
class WeightStart:
    """Quantized weights of a module.

    Attributes:
        grid: Of each channel.
        values: (channels, columns) on the grid.
    """

    grid: Grid
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Start:
    """Bits and ranges to start a training from.

    Attributes:
        result: This package's quantization.
        weights: By the operation of NNCF 2.
        activations: Grid of each quantizer of activations.
    """

    result: QuantizationResult
    weights: Mapping[str, WeightStart]
    activations: Mapping[QuantizerId, Grid]


def find_start(alignment: Alignment, settings: Config, images: Sequence[Inputs], given: Policy | None = None) -> Start:
    """Quantizes the network's OpenVINO model as `nncf_mcq.quantize` does, and brings bits and ranges back.

    Args:
        alignment: Of the network.
        settings: The configuration; layers that NNCF 2 leaves in floating point are ignored.
        images: Of the loader that is registered.
        given: The policy, in the place of the configuration's precision initializer.

    Raises:
        BudgetError: No policy meets the budget.
        QuantizationError: The model or the images cannot be quantized.
    """
    values = settings.to_dict()
    values["compression"]["ignored_scopes"] = alignment.unmatched_layers
    if given is not None:
        values["compression"]["initializer"]["precision"] = alignment.manual_precision(given)
    options = RunOptions(progress=StageLog(_tell))
    result = quantize_normalized(alignment.quantizable.model, as_dataset(images), load_config(values), options)
    _tell(headline(result))
    module = make_module(QuantizedNetwork.of(result))
    return Start(result, dict(_weights(alignment, module)), dict(_activations(alignment, module)))


def _tell(text: str) -> None:
    nncf_logger.info(f"nncf_mcq: {text}")


def _weights(alignment: Alignment, module: TrainingModule) -> Iterator[tuple[str, WeightStart]]:
    for part, (name, *_) in zip(parts(module.quantized, QuantizedWeights), module.source.quantized, strict=True):
        layer = alignment.quantizable.layer(name)
        step, zero_point, levels = (
            np.broadcast_to(values.detach().cpu().double().numpy(), shape)
            for values, shape in (
                (part.step(), layer.channel_shape()),
                (part.zero_point, layer.channel_shape()),
                (part.levels(), layer.weight_shape),
            )
        )
        rows = layer.output_channels
        bits = int(part.bits)
        # Below 8 bits the quantizers of NNCF 2 use all levels.
        lowest = part.lowest if bits == INT8_BITS else 0
        folded = Grid(step.reshape(rows), zero_point.reshape(rows), bits, lowest, part.highest)
        inverse = _inverse(alignment.factors(layer.group))
        grid = folded.scaled(inverse)
        matrices = folded.turned(layer.to_matrices(levels).reshape(rows, -1), inverse)
        values = (matrices - grid.zero_point[:, None]) * grid.step[:, None]
        yield alignment.modules[layer.group], WeightStart(grid, values.astype(np.float32))


def _inverse(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / factors; of a channel that was multiplied by 0 nothing is seen, whatever its grid is."""
    return np.divide(1.0, factors, out=np.ones_like(factors), where=factors != 0)


def _activations(alignment: Alignment, module: TrainingModule) -> Iterator[tuple[QuantizerId, Grid]]:
    points = {point.fake_quantize_name: point.name for point in alignment.quantizable.activation_points}
    for part, names in zip(parts(module.activations, ActivationQuantizer), module.source.grids, strict=True):
        step, zero_point = (values.detach().cpu().double().numpy() for values in (part.step(), part.zero_point))
        grid = Grid(step, np.broadcast_to(zero_point, step.shape), int(part.bits), 0, part.highest)
        for name in names:
            if points[name] in alignment.activations:
                yield alignment.activations[points[name]], grid
