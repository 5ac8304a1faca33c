"""Preparation of a search: the weight table, the images that policies are scored on, and the task."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import nncf
import numpy as np
import openvino as ov

from nncf_mcq.calibration.images import collect_images
from nncf_mcq.config.quality_report import OutputKind
from nncf_mcq.config.schema import CompressionConfig, WeightsConfig
from nncf_mcq.config.source import RuntimeConfig
from nncf_mcq.data.splits import Target
from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics.output_scores import OutputScores, ScoreChoice, choose_scores
from nncf_mcq.model.batching import find_batch_size
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import AnySamples, Arrays, Samples, as_samples
from nncf_mcq.pipeline.activation_choice import choose_activation_rule
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.pipeline.float_check import check_float_model
from nncf_mcq.policy import FLOAT_CHOICE, INT8_BITS, Policy, PolicyKey
from nncf_mcq.precision_init.base import PrecisionInitializer, PrecisionTask
from nncf_mcq.precision_init.costs import CostModel
from nncf_mcq.precision_init.estimate import ImageScores
from nncf_mcq.precision_init.evaluator import Evaluator, Fold
from nncf_mcq.precision_init.second_order import second_order_sensitivities
from nncf_mcq.precision_init.segment_library import BitWidths
from nncf_mcq.precision_init.study import StudyStorage, Subject
from nncf_mcq.precision_init.study.subject import images_digest, model_digest
from nncf_mcq.utils.json_values import JsonObject
from nncf_mcq.utils.progress import Stages
from nncf_mcq.weights.weight_table import WeightTable

_logger = logging.getLogger(__name__)

MOMENT_IMAGES_OF_INT8 = 32
"""Samples that the moments of the layers' inputs are made from where all weights have 8 bits: more change nothing that
can be measured, and take most of the time."""

_PURPOSES = (" for search", " for search, other half")
"""Appended to the names of the stages of each fold."""


@dataclass(frozen=True)
class SearchFold:
    """One part of a search: weights, and images that they were not made from.

    Attributes:
        calibrated: The model with the statistics that the weights are made from.
        table: Its weight table.
        images: Samples that policies are scored on.
        reference: (N, ...) for each output of the float model on them.
        targets: Of the samples, where they are known.
    """

    calibrated: CalibratedModel
    table: WeightTable
    images: Samples = field(repr=False)
    reference: Arrays = field(repr=False)
    targets: Sequence[Target] | None = field(default=None, repr=False)

    def build(self, policy: Policy) -> ov.Model:
        """The model of a policy, in the form that is compiled fastest."""
        return self.calibrated.build(policy, self.table, packed=False)


@dataclass(frozen=True)
class Preparation:
    """Everything that is computed before the first policy is scored.

    Attributes:
        calibrated: The model with the statistics of all calibration images: the final weights are made from it.
        folds: Of the search: one with separate search images, or with two halves of the calibration images, of which
            each is scored with the weights made from the other.
        score: Distance of all outputs from the reference.
        costs: Costs of policies.
        sequential: Whether the sequential pass is worth trying on the policy found.
        runtime: How models are run; its batch size is one that changes no output.
        settings: The part of the configuration that the scores and the search depend on.
        output_kinds: Name of an output to what it is, where the configuration says so.
    """

    calibrated: CalibratedModel
    folds: tuple[SearchFold, ...]
    score: OutputScores
    costs: CostModel
    sequential: bool
    runtime: RuntimeConfig
    settings: JsonObject = field(default_factory=dict, repr=False)
    output_kinds: Mapping[str, OutputKind] = field(default_factory=dict, repr=False)

    @property
    def images(self) -> int:
        """Number of images that a policy is scored on."""
        return sum(len(fold.images) for fold in self.folds)

    @property
    def subject(self) -> Subject:
        """Identity of the search: the model, the images and the settings."""
        quantizable = self.calibrated.quantizable
        return Subject(
            model_digest(self.calibrated.float_model, [layer.name for layer in quantizable.layers]),
            images_digest(
                array
                for samples in (self.calibrated.calibration, *(fold.images for fold in self.folds))
                for array in samples.arrays
            ),
            self.settings,
        )

    def task(
        self,
        stages: Stages | None = None,
        *,
        threads: int | None = None,
        shared_scores: MutableMapping[PolicyKey, ImageScores] | None = None,
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
        first, quantizable = self.folds[0], self.calibrated.quantizable
        choices = self.calibrated.choices
        stored = None if storage is None else storage.start(self.subject)
        evaluator = Evaluator(
            [
                Fold(fold.build, fold.images, fold.reference, fold.targets, _bit_widths(quantizable, fold.table))
                for fold in self.folds
            ],
            self.score,
            threads=threads or self.runtime.threads,
            batch_size=self.runtime.batch_size,
            shared_scores=shared_scores,
            memo=None if stored is None else stored.memo,
            random_order=stored is not None and stored.mode == "join",
        )
        task = PrecisionTask(
            quantizable=quantizable,
            choices=choices,
            activation_bits=self.calibrated.activations.config.largest,
            errors=_mean_errors([_errors(fold) for fold in self.folds]),
            costs=self.costs,
            evaluator=evaluator,
            stored=stored,
            output_kinds=self.output_kinds,
            second_order=lambda kind, progress: second_order_sensitivities(
                quantizable, first.table, first.calibrated.curvature.of(kind, progress)
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
    search_targets: Sequence[Target] | None = None,
    score: ScoreChoice = None,
    output_kinds: Mapping[str, OutputKind] | None = None,
) -> Preparation:
    """Collects the statistics, builds the weight table and runs the float model on the search images.

    Args:
        model: Float model.
        calibration: Samples of it for the statistics.
        compression: That section of the configuration.
        runtime: How models are run.
        initializer: Says which widths the table must hold and whether policies are scored, and finds mistakes early.
        stages: Reports the progress.
        search_dataset: Inputs that policies are scored on; by default each half of the calibration images with the
            weights made from the other half, where anything is scored at all.
        search_targets: Targets of the samples that policies are scored on, for goals that need them.
        score: Distance of each output from the float model's; defaults that suit each output.
        output_kinds: Name of an output to what it is, where that is known better than it can be recognized.

    Raises:
        BudgetError: No policy meets the budget.
        ConfigError: A scope of the configuration matches nothing, or there are more or fewer targets than images.
        QuantizationError: The model or the data cannot be quantized.
    """
    calibration = as_samples(calibration)
    check_float_model(model, calibration, runtime.threads, output_kinds or {}, compression.initializer.precision.aim)
    required = initializer.required_bits(tuple(compression.weights.bits))
    is_int8 = min(required, default=INT8_BITS) >= INT8_BITS
    calibrated = CalibratedModel.prepare(
        model,
        calibration,
        compression,
        runtime.threads,
        stages,
        initializer.check,
        MOMENT_IMAGES_OF_INT8 if is_int8 else None,
        required,
    )
    bits: Sequence[int] | Mapping[str, int] | None = initializer.known_bits(calibrated.quantizable)
    if bits is None:
        bits = required
    # At 8 bits the pass has nothing to gain that would be worth its time.
    smallest = min(bits.values() if isinstance(bits, Mapping) else bits, default=INT8_BITS)
    sequential = compression.correction.sequential and smallest < INT8_BITS
    parts = [(calibrated, calibration if search_dataset is None else collect_images(search_dataset, None, model))]
    targets = [search_targets if search_targets is None else _checked_targets(search_targets, len(parts[0][1]))]
    if search_dataset is None and len(calibration) == 1:
        # Nothing can be held out to tell whether the sequential pass wins.
        sequential = False
    elif search_dataset is None and (initializer.searches or sequential):
        # Rounding fits the images that it is computed from: a score on them would favour the layers that overfit most.
        # What is decided once, between two sets of weights, needs no second fold.
        half, folds = len(calibration) // 2, 2 if initializer.searches else 1
        halves = [slice(half), slice(half, None)]
        parts = [
            (calibrated.observe(calibration[halves[index]], stages, purpose), calibration[halves[1 - index]])
            for index, purpose in enumerate(_PURPOSES[:folds])
        ]
        targets = [known if known is None else known[halves[1 - index]] for index in range(folds) for known in targets]
    tables = [part.weight_table(bits, stages) for part, _ in parts]
    with stages.stage("float reference"):
        runtime = _with_batch_size(model, parts[0][1], runtime)
        run = functools.partial(ModelRunner.compile, threads=runtime.threads, batch_size=runtime.batch_size)
        float_runner = run(model)
        references = [float_runner(images.arrays) for _, images in parts]
        scores = choose_scores(describe_outputs(model), references[0], score)
    rule = choose_activation_rule(calibrated, scores, run, stages)
    final = calibrated.with_activation_rule(rule)
    made = [final if part is calibrated else part.with_activation_rule(rule) for part, _ in parts]
    return Preparation(
        calibrated=final,
        folds=tuple(
            SearchFold(part, table, images, reference, known)
            for part, table, (_, images), reference, known in zip(made, tables, parts, references, targets, strict=True)
        ),
        costs=made[0].costs(tables[0]),
        sequential=sequential,
        runtime=runtime,
        score=scores,
        settings=_settings(compression, calibrated.scheme.weights, scores),
        output_kinds=output_kinds or {},
    )


def _bit_widths(quantizable: QuantizableModel, table: WeightTable) -> BitWidths:
    return {
        tuple(layer.name for layer in members): tuple(table.entries[group])
        for group, members in quantizable.groups.items()
    }


def _checked_targets(targets: Sequence[Target], images: int) -> Sequence[Target]:
    if len(targets) != images:
        raise ConfigError("search_targets", f"{len(targets)} targets", f"one for each of the {images} search images")
    return targets


def _errors(fold: SearchFold) -> dict[str, dict[int, float]]:
    """Group name and width to the relative error in a fold, of weights and activations."""
    calibrated = fold.calibrated
    weights = {group: fold.table.errors(group) | {FLOAT_CHOICE: 0.0} for group in calibrated.quantizable.groups}
    return weights | calibrated.activations.relative_errors(calibrated.choices)


def _mean_errors(folds: Sequence[Mapping[str, Mapping[int, float]]]) -> dict[str, dict[int, float]]:
    return {
        group: {bits: float(np.mean([fold[group][bits] for fold in folds])) for bits in widths}
        for group, widths in folds[0].items()
    }


def _with_batch_size(model: ov.Model, images: Samples, runtime: RuntimeConfig) -> RuntimeConfig:
    """The runtime with a batch size for which all outputs are those of each sample alone."""
    size, reason = find_batch_size(model, images, runtime.batch_size, runtime.threads)
    if reason and "batch_size" in runtime.model_fields_set:
        _logger.warning("runtime.batch_size: found %d, used: 1 (%s)", runtime.batch_size, reason)
    return runtime.model_copy(update={"batch_size": size})


def _settings(compression: CompressionConfig, weights: WeightsConfig, score: OutputScores) -> JsonObject:
    """Part of the configuration that a search depends on; how fast and how long it searches is not in it."""
    values = compression.model_dump(mode="json", exclude_none=True)
    values["weights"]["coding"] = weights.coding
    # They come after the search.
    del values["correction"]["sequential"]
    values.pop("tuning", None)
    for name in compression.initializer.precision.may_change:
        values["initializer"]["precision"].pop(name, None)
    return {"compression": values, "score": score.to_dict()}
