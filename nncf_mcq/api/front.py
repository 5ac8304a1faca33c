"""`pareto`: from a float model to the front of file size against loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nncf
import openvino as ov
from optuna.storages import BaseStorage

from nncf_mcq.api.options import RunOptions
from nncf_mcq.config.pareto_file import ParetoReport
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.config.sizes import parse_size
from nncf_mcq.data.splits import Target
from nncf_mcq.errors import ConfigError
from nncf_mcq.metrics.output_scores import ScoreChoice
from nncf_mcq.metrics.report import Report
from nncf_mcq.model.loading import FloatModel, to_openvino
from nncf_mcq.pareto_front import FrontWork, ParetoFront, front_settings, open_front
from nncf_mcq.pipeline.measurement import Evaluate
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS
from nncf_mcq.precision_init.study import StudyStorage, Subject
from nncf_mcq.utils.documents import read_document
from nncf_mcq.utils.progress import ProgressReporter


def pareto(
    model: FloatModel,
    calibration_dataset: nncf.Dataset,
    config: Config | Mapping[str, object] | str | Path | None = None,
    *,
    points: int = 10,
    known: str | Path | None = None,
    at: str | None = None,
    example_input: Any = None,
    search_dataset: nncf.Dataset | None = None,
    search_targets: Sequence[Target] | None = None,
    report_dataset: nncf.Dataset | None = None,
    evaluate: Evaluate | Report | None = None,
    score: ScoreChoice = None,
    progress: ProgressReporter | None = None,
    study_storage: str | Path | BaseStorage | None = None,
) -> ParetoFront:
    """Finds the front of file size against loss: policies of which no smaller one scores as well.

    The sensitivities of the layers are measured once, and an integer program is solved for each of several sizes. The
    precision initializer of the configuration and its budget are not used, only the bit-widths to choose from.

    Args:
        model: As in `quantize`.
        calibration_dataset: As in `quantize`.
        config: As in `quantize`; of the precision initializers, `ilp` and `greedy` say how sensitivities are measured.
        points: Number of sizes, in geometric steps from the smallest file to the one with the largest bit-widths.
        known: A pareto.json to go on from, which saves the search where it is of the same model, images and settings.
        at: A size that will be taken: one that no policy has is an error before anything is searched.
        example_input: As in `quantize`.
        search_dataset: As in `quantize`.
        search_targets: As in `quantize`, for the drop of the configured metrics.
        report_dataset: As in `quantize`, for the models that are taken.
        evaluate: As in `quantize`, for the models that are taken.
        score: As in `quantize`.
        progress: Shows progress; silent by default.
        study_storage: As in `quantize`; a search of the same model, images and settings in it is gone on with.

    Returns:
        The front. `take("2.5MB")` makes the model of any size, `save(directory)` writes pareto.json.

    Raises:
        ConfigError: The configuration cannot be used.
        BudgetError: No policy is as small as `at`.
        DocumentError: `known` is no pareto.json.
        QuantizationError: The model or the data cannot be quantized.
    """
    settings = load_config({} if config is None else config)
    return pareto_normalized(
        to_openvino(model, settings.sample_size, example_input),
        calibration_dataset,
        settings,
        RunOptions(search_dataset, search_targets, report_dataset, evaluate, score, progress),
        points=points,
        known=known,
        at=at,
        study_storage=study_storage,
    )


def pareto_normalized(
    float_model: ov.Model,
    calibration_dataset: nncf.Dataset,
    settings: Config,
    options: RunOptions,
    *,
    points: int = 10,
    known: str | Path | None = None,
    at: str | None = None,
    study_storage: str | Path | BaseStorage | None = None,
    check: Callable[[Subject], None] | None = None,
) -> ParetoFront:
    """The front of a model that `to_openvino` has brought to its normal form; otherwise as `pareto`.

    `check` is shown what the front is about before anything is scored, and may raise.
    """
    if points < 2:
        raise ConfigError("points", points, "at least 2 sizes")
    settings = front_settings(settings)
    found_before = None if known is None else (Path(known), read_document(Path(known), ParetoReport))
    if at is not None:
        parse_size(at)
    storage = None if study_storage is None else StudyStorage(study_storage, mode="continue")
    stages, initializer = options.stages(), PRECISION_INITIALIZERS.create(settings.compression.initializer.precision)
    prepared, tuning = options.prepare(float_model, calibration_dataset, settings, initializer, stages)
    if check is not None:
        check(prepared.subject)
    task = prepared.task(stages, storage=storage)
    work = FrontWork(prepared, task, settings, options.measure(settings), stages, tuning)
    return open_front(work, points, known=found_before, at=at)
