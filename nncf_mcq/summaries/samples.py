"""Whether the samples of a job are of the shape that its model takes."""

from __future__ import annotations

import dataclasses

import openvino as ov

from nncf_mcq.errors import NncfMcqError
from nncf_mcq.job import Job


def check_samples(job: Job, model: ov.Model) -> str | None:
    """Finds samples of another shape than the model takes, as `quantize` does. Distilled images are not made for it.

    Args:
        job: The job.
        model: Of the job.

    Returns:
        Why they could not be looked at; None where there is nothing to say.

    Raises:
        QuantizationError: The first test image does not fit.
    """
    dataset = job.config.dataset
    if dataset is None or getattr(dataset, "type", None) == "distilled":
        return None
    tested = dataclasses.replace(job, config=job.config.model_copy(update={"calibration": None}))
    try:
        report = tested.report(tested.load_dataset())
    except NncfMcqError as error:
        return str(error)
    report.check_shape(model)
    return None
