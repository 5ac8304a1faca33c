"""What a search starts from: the weight table, the images that policies are scored on, and the task."""

from __future__ import annotations

import dataclasses
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.schema import Config
from nncf_mcq.metrics.scores import Score
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import FLOAT, PolicyKey
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionTask
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.precision_init.second_order import second_order_sensitivities
from nncf_mcq.precision_init.study import StudyStorage, Subject
from nncf_mcq.precision_init.study.subject import images_digest, model_digest
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.weight_table import WeightTable


@dataclass(frozen=True)
class Preparation:
    """All that is computed before the first policy is scored.

    Attributes:
        calibrated: The model with the statistics of all calibration images: the final weights are made from it.
        search_model: The calibrated model of the search: `calibrated` itself, or that of one half of the calibration
            images.
        table: The weight table of the search.
        images: (N, ...) images that policies are scored on.
        reference: (N, ...) outputs of the float model on them.
        costs: Costs of policies.
        sequential: Whether the sequential pass is worth trying on the policy found.
        score: Distance of outputs from the reference; `default_score` if None.
    """

    calibrated: CalibratedModel
    search_model: CalibratedModel
    table: WeightTable
    images: NDArray[np.float32] = field(repr=False)
    reference: NDArray[np.float32] = field(repr=False)
    costs: CostModel
    sequential: bool
    score: Score | None = None

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.calibrated.config

    @property
    def subject(self) -> Subject:
        """All that the scores and the search depend on; how fast and how long it searches is no part of that."""
        compression = self.config.compression.model_dump(mode="json", exclude_none=True)
        # It is decided after the search.
        del compression["correction"]["sequential"]
        for name in getattr(self.config.compression.initializer.precision, "may_change", ()):
            compression["initializer"]["precision"].pop(name, None)
        settings: dict[str, Any] = {"compression": compression}
        if self.score is not None:
            settings["score"] = getattr(self.score, "__qualname__", type(self.score).__qualname__)
        quantizable = self.search_model.quantizable
        return Subject(
            model_digest(quantizable.model, [layer.name for layer in quantizable.layers]),
            images_digest([self.calibrated.calibration, self.search_model.calibration, self.images]),
            settings,
        )

    def task(
        self,
        stages: Stages | None = None,
        *,
        threads: int | None = None,
        shared_scores: MutableMapping[PolicyKey, float] | None = None,
        storage: StudyStorage | None = None,
    ) -> PrecisionTask:
        """A task whose evaluator has scored nothing yet, or what a storage holds.

        Args:
            stages: Reports the progress of the search.
            threads: Inference threads; the configured number by default.
            shared_scores: See `Evaluator`.
            storage: Where the search is kept; by default in memory only.

        Raises:
            ConfigError: The storage holds a search of another subject, or a worker finds none to join.
        """
        runtime, quantizable = self.config.runtime, self.search_model.quantizable
        stored = None if storage is None else storage.start(self.subject)
        evaluator = Evaluator(
            lambda policy: self.search_model.build(policy, self.table, packed=False),
            self.images,
            self.reference,
            threads=threads or runtime.threads,
            batch_size=runtime.batch_size,
            score=self.score,
            shared_scores=shared_scores,
            memo=None if stored is None else stored.memo,
            random_order=stored is not None and stored.mode == "join",
        )
        task = PrecisionTask(
            quantizable=quantizable,
            choices=self.search_model.choices,
            activation_bits=self.config.compression.activations.largest,
            errors={group: self.table.errors(group) | {FLOAT: 0.0} for group in quantizable.groups}
            | self.search_model.activation_errors,
            costs=self.costs,
            evaluator=evaluator,
            stored=stored,
            second_order=lambda kind, progress: second_order_sensitivities(
                quantizable, self.table, self.search_model.curvature(kind, progress)
            ),
        )
        if stages is None:
            return task
        report = stages.report
        return dataclasses.replace(task, progress=lambda done, total, _: report(done, total))


def prepare(
    model: ov.Model,
    calibration_dataset: nncf.Dataset,
    config: Config,
    initializer: PrecisionInitializer,
    stages: Stages,
    *,
    search_dataset: nncf.Dataset | None = None,
    score: Score | None = None,
) -> Preparation:
    """Collects the statistics, builds the weight table and runs the float model on the search images.

    Args:
        model: Float model of batch size 1.
        calibration_dataset: Inputs for the statistics.
        config: The configuration.
        initializer: Says which widths the table must hold and whether policies are scored, and finds mistakes early.
        stages: Reports the progress.
        search_dataset: Inputs that policies are scored on; by default one half of the calibration images, where
            anything is scored at all.
        score: Distance of a policy's outputs from the float outputs.

    Raises:
        BudgetError: No policy meets the budget.
        ConfigError: A scope of the configuration matches nothing.
        QuantizationError: The model or the data cannot be quantized.
    """
    shape = tuple(model.input(0).get_shape())
    calibration = collect_images(calibration_dataset, config.compression.initializer.num_init_samples, shape)
    calibrated = CalibratedModel.prepare(model, calibration, config, stages, initializer.check)
    search_model, images = calibrated, calibration
    bits = initializer.required_bits(tuple(config.compression.weights.bits))
    # At 8 bits the pass has nothing to gain that would be worth its time.
    sequential = config.compression.correction.sequential and min(bits) < 8
    if search_dataset is not None:
        images = collect_images(search_dataset, None, shape)
    elif len(calibration) == 1:
        # Nothing can be held out to tell whether the sequential pass wins.
        sequential = False
    elif initializer.searches or sequential:
        # Rounding fits the images that it is computed from: a score on them would favour the layers that overfit most.
        half = len(calibration) // 2
        images = calibration[half:]
        search_model = calibrated.observe(calibration[:half], stages, " for search")
    table = search_model.weight_table(search_model.ranges, bits, stages)
    runtime = config.runtime
    with stages.stage("float reference"):
        runner = ModelRunner.compile(model, runtime.threads, batch_size=runtime.batch_size)
        reference = runner([images])[0]
    return Preparation(calibrated, search_model, table, images, reference, search_model.costs(table), sequential, score)
