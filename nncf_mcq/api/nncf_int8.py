"""NNCF INT8 beside a result: what a user has without this package, on the same model and images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory

from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.metrics.report import Report
from nncf_mcq.model import int8
from nncf_mcq.model.samples import Samples
from nncf_mcq.result import QuantizationResult, file_sizes
from nncf_mcq.utils.progress import Stages


def compared_with_nncf_int8(
    result: QuantizationResult, calibration: Samples, report: Report, stages: Stages
) -> QuantizationResult:
    """A result with the metrics and the size of the model that `nncf.quantize` makes.

    Args:
        result: Of `quantize`.
        calibration: Samples that it was calibrated on.
        report: Has measured the float model and the result.
        stages: Reports the progress.
    """
    with stages.stage("NNCF INT8"):
        model = int8.nncf_int8(result.float_model, calibration, result.config.compression.ignored_scopes)
        with TemporaryDirectory() as folder:
            xml = save_atomically(model.clone(), Path(folder))
            sizes, reference = file_sizes(xml), result.describe_reference(xml)
        metrics = report(model) | sizes
    return dataclasses.replace(
        result,
        metrics={**result.metrics, int8.METRICS_KEY: metrics},
        references={**result.references, int8.METRICS_KEY: reference},
        seconds={**result.seconds, **stages.seconds},
    )
