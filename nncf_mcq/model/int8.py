"""NNCF's own INT8, a baseline that is run, measured and saved as everything else is."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import nncf
import openvino as ov

from nncf_mcq.config.nncf2 import ALGORITHM
from nncf_mcq.config.scopes import with_layers_of
from nncf_mcq.config.search_report import FinalWeightsReport, SearchReport
from nncf_mcq.model.algorithm import ignored_scope, quiet_nncf
from nncf_mcq.model.half_precision import keep_halves
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.product_sequences import keep_biases_apart
from nncf_mcq.model.samples import AnySamples, as_samples, input_shapes
from nncf_mcq.policy import INT8_BITS, Policy
from nncf_mcq.utils.progress import Stages

METRICS_KEY = "nncf_int8"
"""Its key among the metrics of a result that it is compared with."""


def quantize_int8(
    model: ov.Model, images: AnySamples, ignored_scopes: Sequence[str], stages: Stages
) -> tuple[QuantizableModel, ov.Model]:
    """The layers of a model, and the model as `nncf.quantize` leaves it with its default preset.

    Args:
        model: Float model; not edited.
        images: The calibration samples.
        ignored_scopes: Operations left in floating point: names, or `{re}PATTERN`.
        stages: Reports the progress.

    Raises:
        ConfigError: An ignored scope matches no operation.
    """
    with stages.stage("layers"):
        quantizable = find_layers(model, ignored_scopes)
    with stages.stage("nncf.quantize"):
        return quantizable, nncf_int8(model, images, ignored_scopes)


def nncf_int8(model: ov.Model, images: AnySamples, ignored_scopes: Sequence[str]) -> ov.Model:
    """The model alone, as in `quantize_int8`, whose layers have been looked at before.

    With `keep_biases_apart`, since what a fault of the runtime makes of it would not be NNCF's accuracy.
    """
    samples, shapes = as_samples(images), input_shapes(model)
    tensors = [samples.tensors(index, shapes) for index in range(len(samples))]
    # Its bars go to standard output, where a result may be printed as JSON.
    with quiet_nncf(), contextlib.redirect_stdout(io.StringIO()):
        quantized: ov.Model = nncf.quantize(
            model.clone(),
            nncf.Dataset([inputs[0] if len(inputs) == 1 else tuple(inputs) for inputs in tensors]),
            subset_size=len(samples),
            ignored_scope=ignored_scope(
                with_layers_of(ignored_scopes, operations_by_name(model), "compression.ignored_scopes")
            ),
        )
    keep_biases_apart(quantized)
    keep_halves(quantized, model)
    return quantized


def int8_policy(quantizable: QuantizableModel) -> Policy:
    """8 bits everywhere."""
    return Policy(
        {layer.name: INT8_BITS for layer in quantizable.layers},
        {point.name: INT8_BITS for point in quantizable.activation_points},
    )


def int8_search_report() -> SearchReport:
    """Entry of result.json for a run without a search."""
    return SearchReport(
        method=ALGORITHM,
        evaluations=0,
        evaluations_of={"resumed": 0, "this_process": 0, "workers": 0},
        storage=None,
        score=None,
        images=0,
        final_weights=FinalWeightsReport(table_score=None, sequential_score=None, kept="table"),
        details={},
    )
