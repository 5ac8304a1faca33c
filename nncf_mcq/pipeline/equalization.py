"""The step before all others: a float model that computes the same and is quantized with less error."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from nncf_mcq.calibration.channel_moments import collect_channel_moments
from nncf_mcq.config.schema import CompressionConfig
from nncf_mcq.model.input_scales import layers_of_own_input, scale_inputs
from nncf_mcq.model.layers import QuantizableModel, layer_weight
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.samples import Samples, input_shapes
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.equalization import find_input_factors

IMAGES = 32
"""Number of samples, the first ones, that the moments of channels are made from: far fewer numbers than of weights."""

LARGEST_BITS = 5
"""Above, weights lose little beside activations: at 6 bits nothing was gained, at 8 bits something lost."""


SMALLEST_BITS = 4
"""Below, scales are made as for so many: those made for 3 bits burden the inputs, and gained half as much."""


def equalize(
    quantizable: QuantizableModel,
    calibration: Samples,
    compression: CompressionConfig,
    weight_bits: Sequence[int],
    threads: int,
    stages: Stages,
) -> QuantizableModel:
    """The layers of the model whose inputs have scales, see `find_input_factors`; as it was where none would help.

    Args:
        quantizable: The float model and its layers.
        calibration: The calibration samples.
        compression: That section of the configuration.
        weight_bits: Bit-widths that weights may get. The median tells how the error is shared between weights and
            inputs, but see `SMALLEST_BITS`; above `LARGEST_BITS` nothing is done.
        threads: Of OpenVINO.
        stages: Reports the progress.
    """
    bits = statistics.median_low(weight_bits)
    layers = layers_of_own_input(quantizable)
    if not compression.weights.equalization or bits > LARGEST_BITS or not layers:
        return quantizable
    images = calibration[:IMAGES]
    with stages.stage("equalization", len(images)) as advance:
        shapes = input_shapes(quantizable.model)
        inputs = (images.tensors(index, shapes) for index in range(len(images)))
        moments = collect_channel_moments(quantizable.model, layers, inputs, threads=threads, progress=advance)
        operations = operations_by_name(quantizable.model)
        factors = {}
        for layer in layers:
            weights = layer_weight(layer, operations[layer.name])
            found = find_input_factors(
                weights.reshape(*weights.shape[:2], -1),
                moments[layer.name],
                max(bits, SMALLEST_BITS),
                compression.activations.widths[-1],
                per_channel=compression.weights.per_channel,
            )
            if found is not None:
                factors[layer.name] = found
        return scale_inputs(quantizable, factors, compression.ignored_scopes, compression.activations.per_channel)
