"""Quantizes a model in several ways, and measures the files side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import openvino as ov
from rich.console import Console

from nncf_mcq import Job, versions
from nncf_mcq.config import CONFIG_FILE, MODEL_FILE, RESULT_FILE, load_config
from nncf_mcq.data import DatasetSplits
from nncf_mcq.model import core, quantize_int8
from nncf_mcq.utils import ConsoleProgress, SilentProgress, Stages, temporary_sibling, uninterrupted
from openvino_eval.compare import FLOAT_ROW, INT8_ROW, MODELS_FILE, Comparison, compare_models
from openvino_eval.options import REPORT_FILE
from openvino_eval.recipe_comparison.table import comparison_table
from openvino_eval.recipe_comparison.variants import folder_name, read_variants
from openvino_eval.report import write_report
from openvino_eval.run_result import load_run

_FLOAT_FOLDER, _INT8_FOLDER = "fp32", "nncf_int8"


@dataclass(frozen=True)
class RecipeComparison:
    """Settings of the comparison.

    Attributes:
        config: The configuration's file; the variants lie beside it.
        output: Folder of the IRs, `MODELS_FILE` and `REPORT_FILE`.
        overrides: Dotted paths in the configuration to the values that replace what the file says.
        with_baselines: Also the baselines that ship with the package.
        rounds: Interleaved turns of each model when measuring latency.
        seconds: Length of a turn.
        reuse: Keep what an interrupted run with the same configuration and versions made.
        command: That asks for it, for the results.
    """

    config: Path
    output: Path
    overrides: Mapping[str, object] = field(default_factory=dict)
    with_baselines: bool = False
    rounds: int = 15
    seconds: float = 0.2
    reuse: bool = False
    command: str | None = None

    @property
    def name(self) -> str:
        """The recipe's."""
        return self.config.resolve().parent.name

    def read_job(self, variant: Mapping[str, object] | None = None) -> Job:
        """The configuration, or that of a variant.

        Raises:
            ConfigError: It cannot be used.
        """
        return Job.read(self.config, {**self.overrides, **(variant or {})})


def compare_recipe(settings: RecipeComparison, console: Console) -> Comparison:
    """Makes every variant, beside the float model and NNCF's own INT8, and measures all files side by side.

    Accuracy is that on the test images, latency that with the configured number of threads.

    Args:
        settings: What is compared.
        console: Shows the variants and the table.

    Returns:
        The comparison, which `MODELS_FILE` holds as well.

    Raises:
        NncfMcqError: The configuration or a variant cannot be used, or a file does not run as its model was scored.
        EvaluationError: A file cannot be measured.
        KeyboardInterrupt: Ctrl-C; a variant whose search it ended is saved with the best policy so far.
    """
    start = time.perf_counter()
    job, output = settings.read_job(), settings.output
    splits = job.load_dataset()
    measure = job.report(splits)
    float_model = job.openvino_model()
    models = {
        FLOAT_ROW: _save(float_model, output / _FLOAT_FOLDER),
        INT8_ROW: _save(int8_baseline(job, float_model, splits), output / _INT8_FOLDER),
    }
    variants = read_variants(settings.config, float_model, with_baselines=settings.with_baselines)
    for name, variant in variants.items():
        models[name] = _make_variant(name, settings.read_job(variant), settings, console)
    threads = job.config.runtime.threads
    scores = {name: measure(core().read_model(path)) for name, path in models.items()}
    measured = compare_models(models, threads=threads, rounds=settings.rounds, seconds=settings.seconds)
    comparison = measured.model_copy(
        update={
            "rows": tuple(row.model_copy(update={"metrics": scores[row.name]}) for row in measured.rows),
            "samples": len(splits.report),
            "model": settings.name,
            "command": settings.command,
        }
    )
    comparison.save(output / MODELS_FILE)
    runs = {name: load_run(models[name].parent) for name in variants}
    write_report(output / REPORT_FILE, comparison=comparison, runs=runs, title=settings.name)
    console.print(comparison_table(comparison))
    console.print(f"IR:      {output}/*/{MODEL_FILE}\nReport:  {output / REPORT_FILE}", soft_wrap=True)
    console.print(f"{time.perf_counter() - start:.0f} s")
    return comparison


def int8_baseline(job: Job, model: ov.Model, splits: DatasetSplits) -> ov.Model:
    """NNCF's own INT8 of a job's model, with the calibration images and the ignored scopes that the variants have.

    Args:
        job: The configuration.
        model: Its float model; not edited.
        splits: Its images.

    Raises:
        ConfigError: An ignored scope matches no operation.
    """
    ignored_scopes, images = job.config.compression.ignored_scopes, job.calibration_images(model, splits)
    return quantize_int8(model, images, ignored_scopes, Stages(SilentProgress()))[1]


def _make_variant(name: str, job: Job, settings: RecipeComparison, console: Console) -> Path:
    """The IR of a variant."""
    folder = settings.output / folder_name(name)
    if settings.reuse and _is_made(folder, job):
        console.print(f"[bold]{name}[/bold]: reused")
        return folder / MODEL_FILE
    console.print(f"[bold]{name}[/bold]")
    with ConsoleProgress() as progress:
        result = job.run(progress)
    with uninterrupted():
        model = result.save(folder)
    if result.search.ended_by == "interrupted":
        # The wish to end is for all of it; this variant is not reused.
        raise KeyboardInterrupt
    return model


def _is_made(folder: Path, job: Job) -> bool:
    """Whether a folder holds the result of the same configuration, by the same versions."""
    if not (folder / RESULT_FILE).is_file():
        return False
    made = load_config(folder / CONFIG_FILE).map_paths(lambda path: str((folder / path).resolve()))
    result = load_run(folder).result
    is_whole = result.search.ended_by != "interrupted"
    return made == job.config and result.versions == versions() and is_whole


def _save(model: ov.Model, folder: Path) -> Path:
    """Saves a model as OpenVINO does, without what this package does to its own files: others' are like that."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MODEL_FILE
    # A new name, then a rename: a process that has the old file mapped keeps it.
    temporary = temporary_sibling(path)
    ov.save_model(model, temporary, compress_to_fp16=False)
    for suffix in (".bin", ".xml"):
        temporary.with_suffix(suffix).replace(path.with_suffix(suffix))
    return path
