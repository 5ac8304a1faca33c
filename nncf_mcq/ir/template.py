"""The model with its activation quantizers in place: what every policy of equal activation bits shares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import openvino as ov

from nncf_mcq.algorithm import MixedClippingQuantization, ValueRange, quiet_nncf, run_pipeline
from nncf_mcq.ir.activations import ActivationGrid, set_activation_grids
from nncf_mcq.layers import QuantizableModel
from nncf_mcq.policy import Policy


def build_template(
    quantizable: QuantizableModel, activation_ranges: Mapping[str, ValueRange], activation_bits: Mapping[str, int]
) -> ov.Model:
    """Runs the NNCF algorithm for the activations and puts exact grids in the place of its FakeQuantize nodes.

    Args:
        quantizable: The float model; not edited.
        activation_ranges: Range of every activation point.
        activation_bits: Width of every activation point.

    Returns:
        The model with quantized activations; its weights are placeholders until `assemble` replaces them.
    """
    placeholder = ValueRange(np.array(-1, dtype=np.float32), np.array(1, dtype=np.float32))
    algorithm = MixedClippingQuantization(
        Policy({}, dict(activation_bits)),
        weight_ranges={layer.name: placeholder for layer in quantizable.layers},
        activation_ranges=activation_ranges,
        ignored_scope=quantizable.ignored_scope,
    )
    with quiet_nncf():
        template = run_pipeline(algorithm, quantizable.model.clone())
    grids = {}
    for node in template.get_ops():
        if node.get_type_name() == "FakeQuantize" and not _is_weight(node):
            bits = (int(node.get_attributes()["levels"]) - 1).bit_length()
            grids[node.get_friendly_name()] = ActivationGrid.from_fake_quantize(node, bits)
    set_activation_grids(template, grids)
    return template


def _is_weight(fake_quantize: ov.Node) -> bool:
    source = fake_quantize.input_value(0).get_node()
    while source.get_type_name() in ("Convert", "Reshape", "Transpose"):
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == "Constant")
