"""From a policy to the quantized model that is saved: final weights, measurements, and the result."""

from __future__ import annotations

import logging

import openvino as ov

from nncf_mcq.config.output_files import FloatWeight
from nncf_mcq.config.schema import Config
from nncf_mcq.ir.float_weights import find_float_weights
from nncf_mcq.latency.budget import LatencyCheck
from nncf_mcq.pipeline.final_weights import FinalWeights, make_final_weights
from nncf_mcq.pipeline.measurement import Measure, Measurement, with_costs
from nncf_mcq.pipeline.preparation import Preparation
from nncf_mcq.precision_init.base import PrecisionResult, PrecisionTask
from nncf_mcq.result import QuantizationResult, describe_layers, search_report
from nncf_mcq.training.module import QuantizedNetwork
from nncf_mcq.training.tuning import TuningStage
from nncf_mcq.training.tuning.stage import Tuned
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.histograms import weight_histograms

_logger = logging.getLogger(__name__)

VERIFICATION_IMAGES = 16
"""Calibration images on which a saved file must equal the scored model."""


def complete(
    found: PrecisionResult,
    search_score: float | None,
    prepared: Preparation,
    task: PrecisionTask,
    settings: Config,
    measure: Measure,
    stages: Stages,
    tuning: TuningStage | None = None,
) -> QuantizationResult:
    """Makes the final weights of a policy, builds its model, tunes and measures it.

    After a search that its time limit ended, the sequential pass and the tuning are left out. After Ctrl-C, in the
    search or here, all is left out that computes anything again: the model is the one that was scored. The result says
    what was left out.

    Args:
        found: The policy, and how it was found.
        search_score: Of the policy, where policies are scored.
        prepared: What the search started from.
        task: The task of the search, which knows what it has scored.
        settings: The configuration that led to the policy.
        measure: Of the float and the quantized model.
        stages: Reports the progress.
        tuning: Of the model; None for none.
    """
    policy, calibrated, fold = found.policy, prepared.calibrated, prepared.folds[0]
    ended_by, final, source = found.ended_by, FinalWeights(fold.table), calibrated
    quantized: ov.Model | None = None
    latency: LatencyCheck | None = None
    floats: list[FloatWeight] | None = None
    measured: Measurement | None = None
    tuned: Tuned | None = None
    try:
        if ended_by != "interrupted":
            # A time limit is for what takes long: the images are measured all the same.
            final = make_final_weights(policy, prepared, task.evaluator, stages, sequential=ended_by is None)
            quantized = calibrated.build(policy, final.table)
            if tuning is not None and ended_by is None:
                network = QuantizedNetwork(quantized, calibrated.quantizable, policy, settings.compression.weights)
                tuned = tuning(network, prepared.score, prepared.runtime, stages)
                quantized = tuned.model or quantized
            latency = calibrated.check_latency(quantized, policy, stages)
            with stages.stage("report"):
                floats = find_float_weights(quantized, calibrated.quantizable, policy)
                measured = measure(calibrated.float_model, quantized, calibrated.calibration)
    except KeyboardInterrupt:
        ended_by = "interrupted"
        _logger.warning("interrupted: the policy that was found is saved without what was still to do")
    if quantized is None:
        # As it was scored: nothing is computed again.
        final, source = FinalWeights(fold.table), fold.calibrated
        quantized = source.build(policy, fold.table)
    left_out = {
        "sequential pass": prepared.sequential and final.sequential_score is None,
        "weights made from all calibration images": final.table is fold.table and fold.calibrated is not calibrated,
        "tuning": tuning is not None and tuned is None,
        "latency": calibrated.limit is not None and latency is None,
        "test images": measure.has_images and measured is None,
    }
    if floats is None:
        floats = find_float_weights(quantized, calibrated.quantizable, policy)
    compression, trained = settings.compression, None if tuned is None else tuned.table
    search = search_report(
        compression.initializer.precision.type, found, task, search_score, prepared.images, final, latency
    )
    if tuned is not None:
        search = search.model_copy(update={"tuning": tuned.report})
    if ended_by is not None:
        words = tuple(what for what, is_left_out in left_out.items() if is_left_out)
        search = search.model_copy(update={"ended_by": ended_by, "left_out": words})
    is_coded = final.table.is_coded(policy.weight_bits)
    return QuantizationResult(
        model=quantized,
        model_on_grids=source.build(policy, final.table.on_grids()) if is_coded else None,
        float_model=calibrated.float_model,
        policy=policy,
        config=settings,
        metrics=with_costs({} if measured is None else measured.metrics, prepared.costs, policy, floats),
        # What a table tells of rules and errors is not true of tuned weights.
        layers=describe_layers(calibrated.quantizable, policy, final.table if trained is None else None),
        search=search,
        seconds=stages.seconds,
        verification_images=calibrated.calibration[:VERIFICATION_IMAGES],
        histograms=weight_histograms(calibrated.quantizable, policy, trained or final.table, compression.weights),
        float_weights=floats,
        quality=None if measured is None else measured.quality,
    )
