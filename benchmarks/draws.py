"""What benchmarks share that quantize all layers of a classifier to one bit-width, for several draws of the images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.command import add_config, read_job
from nncf_mcq.data.chunks import iterate_samples, stack_inputs
from nncf_mcq.job import Job
from nncf_mcq.metrics.metrics import agreements
from nncf_mcq.metrics.scores import get_score, image_values
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import Policy
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.weight_table import WeightTable


def add_options(parser: argparse.ArgumentParser, bits: Sequence[int]) -> None:
    """CONFIG, and the options that say what is drawn.

    Args:
        parser: Of the command line.
        bits: Bit-widths by default.
    """
    add_config(parser, " of a classifier")
    parser.add_argument("--bits", type=int, nargs="+", default=bits, metavar="B", help="bit-widths of all layers")
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="seeds of the split of the images")
    parser.add_argument(
        "--section", default="dataset", help="data set whose split is drawn: dataset, or calibration where it has one"
    )


def read_draw(parsed: argparse.Namespace, seed: int, *changes: str) -> Job:
    """The job of one draw.

    Args:
        parsed: What `add_options` added.
        seed: Of the split.
        changes: Further values, PATH=VALUE.
    """
    drawn = f"{parsed.section}.split.seed={seed}"
    return read_job(parsed, drawn, *changes)


@dataclass(frozen=True)
class CalibratedDraw:
    """A network with the statistics of the calibration images of one draw, and its test images.

    Attributes:
        job: Of the draw.
        calibrated: The network.
        test: Inputs of the test images.
        expected: (images, classes) of the float network's first output.
    """

    job: Job
    calibrated: CalibratedModel
    test: Sequence[NDArray[np.generic]]
    expected: NDArray[np.float32]

    @classmethod
    def prepare(cls, job: Job, stages: Stages, images: int | None = None) -> CalibratedDraw:
        """Loads and calibrates.

        Args:
            job: Of a classifier.
            stages: Reports the progress.
            images: Test images at most; None for all of the report.
        """
        model, splits = job.openvino_model(), job.load_dataset(stages)
        calibrated = job.calibrate(model, splits, stages)
        test = stack_inputs([sample for sample, _ in iterate_samples(splits.report)][:images])
        runtime = job.config.runtime
        expected = ModelRunner.compile(model, runtime.threads, batch_size=runtime.batch_size)(test)[0]
        return cls(job, calibrated, test, expected)

    def uniform_policy(self, bits: int) -> Policy:
        """All layers at one bit-width."""
        layers = self.calibrated.quantizable.layers
        return Policy({layer.name: bits for layer in layers}, self.calibrated.activation_bits)

    def image_scores(self, names: Sequence[str], policy: Policy, table: WeightTable) -> NDArray[np.float64]:
        """Scores and agreement of a quantized network on the test images.

        Args:
            names: Of the scores.
            policy: Of the network.
            table: Its weights.

        Returns:
            (names + 1, images), agreement last, 0 or 1.
        """
        runtime, quantized = self.job.config.runtime, self.calibrated.build(policy, table, packed=False)
        found = ModelRunner.compile(quantized, runtime.threads, batch_size=runtime.batch_size)(self.test)[0]
        scores = [image_values(get_score(name), found, self.expected) for name in names]
        return np.stack([*scores, agreements(found, self.expected)])
