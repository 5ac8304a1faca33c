"""Preparation of a search: the weight table, the images that policies are scored on, and the task."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import MutableMapping
from dataclasses import dataclass, field

import nncf
import openvino as ov

from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.schema import CompressionConfig, RuntimeConfig
from nncf_mcq.metrics.output_scores import OutputScores, ScoreChoice, choose_scores
from nncf_mcq.model.batching import find_batch_size
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import AnySamples, Arrays, Samples, as_samples
from nncf_mcq.pipeline.activation_choice import choose_activation_rule
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import FLOAT_CHOICE, INT8_BITS, PolicyKey
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionTask
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.evaluator import Evaluator
from nncf_mcq.precision_init.second_order import second_order_sensitivities
from nncf_mcq.precision_init.study import StudyStorage, Subject
from nncf_mcq.precision_init.study.subject import images_digest, model_digest
from nncf_mcq.utils.json_values import JsonObject
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.weight_table import WeightTable

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """Everything that is computed before the first policy is scored.

    Attributes:
        calibrated: The model with the statistics of all calibration images: the final weights are made from it.
        search_model: The calibrated model of the search: `calibrated` itself, or that of one half of the calibration
            images.
        table: The weight table of the search.
        images: Samples that policies are scored on.
        reference: (N, ...) for each output of the float model on them.
        score: Distance of all outputs from the reference.
        costs: Costs of policies.
        sequential: Whether the sequential pass is worth trying on the policy found.
        runtime: How models are run; its batch size is one that changes no output.
        settings: The part of the configuration that the scores and the search depend on.
    """

    calibrated: CalibratedModel
    search_model: CalibratedModel
    table: WeightTable
    images: Samples = field(repr=False)
    reference: Arrays = field(repr=False)
    score: OutputScores
    costs: CostModel
    sequential: bool
    runtime: RuntimeConfig
    settings: JsonObject = field(default_factory=dict, repr=False)

    @property
    def subject(self) -> Subject:
        """Identity of the search: the model, the images and the settings."""
        quantizable = self.search_model.quantizable
        return Subject(
            model_digest(quantizable.model, [layer.name for layer in quantizable.layers]),
            images_digest(
                array
                for samples in (self.calibrated.calibration, self.search_model.calibration, self.images)
                for array in samples.arrays
            ),
            self.settings,
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
        quantizable = self.search_model.quantizable
        stored = None if storage is None else storage.start(self.subject)
        evaluator = Evaluator(
            lambda policy: self.search_model.build(policy, self.table, packed=False),
            self.images,
            self.reference,
            self.score,
            threads=threads or self.runtime.threads,
            batch_size=self.runtime.batch_size,
            shared_scores=shared_scores,
            memo=None if stored is None else stored.memo,
            random_order=stored is not None and stored.mode == "join",
        )
        task = PrecisionTask(
            quantizable=quantizable,
            choices=self.search_model.choices,
            activation_bits=self.calibrated.activations.config.largest,
            errors={group: self.table.errors(group) | {FLOAT_CHOICE: 0.0} for group in quantizable.groups}
            | self.search_model.activations.relative_errors(self.search_model.choices),
            costs=self.costs,
            evaluator=evaluator,
            stored=stored,
            second_order=lambda kind, progress: second_order_sensitivities(
                quantizable, self.table, self.search_model.curvature.of(kind, progress)
            ),
        )
        return task if stages is None else dataclasses.replace(task, progress=stages.report)


def prepare(
    model: ov.Model,
    calibration: AnySamples,
    compression: CompressionConfig,
    runtime: RuntimeConfig,
    initializer: PrecisionInitializer,
    stages: Stages,
    *,
    search_dataset: nncf.Dataset | None = None,
    score: ScoreChoice = None,
) -> Preparation:
    """Collects the statistics, builds the weight table and runs the float model on the search images.

    Args:
        model: Float model.
        calibration: Samples of it for the statistics.
        compression: That section of the configuration.
        runtime: How models are run.
        initializer: Says which widths the table must hold and whether policies are scored, and finds mistakes early.
        stages: Reports the progress.
        search_dataset: Inputs that policies are scored on; by default one half of the calibration images, where
            anything is scored at all.
        score: Distance of each output from the float model's; defaults that suit each output.

    Raises:
        BudgetError: No policy meets the budget.
        ConfigError: A scope of the configuration matches nothing.
        QuantizationError: The model or the data cannot be quantized.
    """
    calibration = as_samples(calibration)
    calibrated = CalibratedModel.prepare(model, calibration, compression, runtime.threads, stages, initializer.check)
    search_model, images = calibrated, calibration
    bits = initializer.required_bits(tuple(compression.weights.bits))
    # At 8 bits the pass has nothing to gain that would be worth its time.
    sequential = compression.correction.sequential and min(bits) < INT8_BITS
    if search_dataset is not None:
        images = collect_images(search_dataset, None, model)
    elif len(calibration) == 1:
        # Nothing can be held out to tell whether the sequential pass wins.
        sequential = False
    elif initializer.searches or sequential:
        # Rounding fits the images that it is computed from: a score on them would favour the layers that overfit most.
        half = len(calibration) // 2
        images = calibration[half:]
        search_model = calibrated.observe(calibration[:half], stages, " for search")
    table = search_model.weight_table(bits, stages)
    with stages.stage("float reference"):
        runtime = _with_batch_size(model, images, runtime)
        run = functools.partial(ModelRunner.compile, threads=runtime.threads, batch_size=runtime.batch_size)
        reference = run(model)(images.arrays)
        scores = choose_scores(describe_outputs(model), reference, score)
    rule = choose_activation_rule(calibrated, table, scores, run, stages)
    is_one = search_model is calibrated
    calibrated = calibrated.with_activation_rule(rule)
    search_model = calibrated if is_one else search_model.with_activation_rule(rule)
    return Preparation(
        calibrated=calibrated,
        search_model=search_model,
        table=table,
        images=images,
        reference=reference,
        costs=search_model.costs(table),
        sequential=sequential,
        runtime=runtime,
        score=scores,
        settings=_settings(compression, scores),
    )


def _with_batch_size(model: ov.Model, images: Samples, runtime: RuntimeConfig) -> RuntimeConfig:
    """The runtime with a batch size for which all outputs are those of each sample alone."""
    size, reason = find_batch_size(model, images, runtime.batch_size, runtime.threads)
    if reason and "batch_size" in runtime.model_fields_set:
        _logger.warning("runtime.batch_size: found %d, used: 1 (%s)", runtime.batch_size, reason)
    return runtime.model_copy(update={"batch_size": size})


def _settings(compression: CompressionConfig, score: OutputScores) -> JsonObject:
    """Part of the configuration that a search depends on; how fast and how long it searches is not in it."""
    values = compression.model_dump(mode="json", exclude_none=True)
    # It is decided after the search.
    del values["correction"]["sequential"]
    for name in compression.initializer.precision.may_change:
        values["initializer"]["precision"].pop(name, None)
    return {"compression": values, "score": score.to_dict()}
