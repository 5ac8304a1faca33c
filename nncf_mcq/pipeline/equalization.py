"""The step before all others: a float model that computes the same and is quantized with less error."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import openvino as ov

from nncf_mcq.calibration.channel_moments import collect_channel_moments
from nncf_mcq.config.schema import CompressionConfig
from nncf_mcq.model.channel_groups import find_channel_groups
from nncf_mcq.model.channel_scales import factors_of, round_factors, scale_channels
from nncf_mcq.model.input_scales import layers_of_own_input, scale_inputs
from nncf_mcq.model.layers import QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.samples import Samples, input_shapes
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.equalization import Reader, find_group_factors, find_input_factors

IMAGES = 32
"""Number of samples, the first ones, that the moments of channels are made from: far fewer numbers than of weights."""

LARGEST_BITS = 5
"""Above, weights lose little beside activations: scales with operations of their own gained nothing at 6 bits and lost
something at 8, and those of residual sums, whose terms are quantized as well, lost at both."""


SMALLEST_BITS = 4
"""Below, scales are made as for so many: those made for 3 bits burden the inputs, and gained half as much."""

INPUT_ERRORS = 3
"""Scales that layers absorb are those of all values of a group: what is added up has been quantized several times."""


def equalize(
    quantizable: QuantizableModel,
    calibration: Samples,
    compression: CompressionConfig,
    weight_bits: Sequence[int],
    threads: int,
    stages: Stages,
    *,
    multiplications: bool = True,
) -> QuantizableModel:
    """The layers of the model whose channels have scales; as it was where none would help.

    Where layers on both sides of a value can absorb them, scales are free; other layers multiply an input that they
    have to themselves.

    Args:
        quantizable: The float model and its layers.
        calibration: The calibration samples.
        compression: That section of the configuration.
        weight_bits: Bit-widths that weights may get. The median tells how the error is shared between weights and
            inputs, but see `SMALLEST_BITS`; above `LARGEST_BITS` only what one layer makes has scales, and what it
            absorbs. Nothing is done where all rows of a layer share a step: it made some networks worse.
        threads: Of OpenVINO.
        stages: Reports the progress.
        multiplications: Whether operations may be added.
    """
    bits = statistics.median_low(weight_bits)
    weights = compression.weights
    if not weights.equalization or not weights.per_channel:
        return quantizable
    groups = find_channel_groups(quantizable)
    if bits > LARGEST_BITS:
        groups, multiplications = [group for group in groups if len(group.producers) == 1], False
    alone = {group.readers[0] for group in groups if len(group.readers) == 1}
    with_input = layers_of_own_input(quantizable) if multiplications else []
    own = [layer.name for layer in with_input if layer.name not in alone]
    deciding = {group.name: [name for name in group.readers if name not in own] for group in groups}
    names = {*own, *(name for readers in deciding.values() for name in readers)}
    if not names:
        return quantizable
    images = calibration[:IMAGES]
    with stages.stage("equalization", len(images)) as advance:
        shapes = input_shapes(quantizable.model)
        moments = collect_channel_moments(
            quantizable.model,
            [layer for layer in quantizable.layers if layer.name in names],
            (images.tensors(index, shapes) for index in range(len(images))),
            threads=threads,
            progress=advance,
        )

        def read(name: str, operations: Mapping[str, ov.Node], input_errors: float = 1) -> Reader:
            (matrix,) = weight_matrices(quantizable.layer(name), operations[name])
            return Reader(
                matrix.reshape(len(matrix), len(moments[name].mean), -1),
                moments[name],
                max(bits, SMALLEST_BITS),
                compression.activations.widths[-1],
                input_errors=input_errors,
            )

        steps = {}
        operations = operations_by_name(quantizable.model)
        for group in groups:
            found = find_group_factors([read(name, operations, INPUT_ERRORS) for name in deciding[group.name]])
            if found is not None:
                steps[group.name] = round_factors(found)
                moments |= {
                    name: moments[name].scaled(factors_of(steps[group.name])) for name in group.readers if name in own
                }
        absorbed = scale_channels(quantizable, groups, steps)
        operations = operations_by_name(absorbed.model)
        factors = {name: find_input_factors(read(name, operations)) for name in own}
        return scale_inputs(
            absorbed,
            {name: found for name, found in factors.items() if found is not None},
            compression.ignored_scopes,
            compression.activations.per_channel,
        )
