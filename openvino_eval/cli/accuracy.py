"""`openvino-eval accuracy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nncf_mcq.utils import console_stage, examples
from openvino_eval.cli.application import app
from openvino_eval.cli.arguments import (
    Batch,
    Data,
    Models,
    Output,
    Overrides,
    Precisions,
    Reference,
    Threads,
    check_options,
    labelled,
    parse_models,
    with_reference,
)
from openvino_eval.cli.output import finish
from openvino_eval.errors import EvaluationError
from openvino_eval.options import DEFAULT_THREADS, Precision

if TYPE_CHECKING:
    import openvino as ov


@app.command(
    epilog=examples(
        "openvino-eval accuracy quantized/model.xml --config quantized/config.json",
        "openvino-eval accuracy a.xml b.xml --data samples.npz --reference fp32.xml",
    )
)
def accuracy(
    models: Models,
    data: Data = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="A configuration of nncf-mcq, or the name of a recipe: its test images, preprocessing and metrics.",
        ),
    ] = None,
    overrides: Overrides = None,
    reference: Reference = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric; may be repeated. Default: those of CONFIG, or top1.")
    ] = None,
    precisions: Precisions = None,
    batch_size: Batch = None,
    threads: Threads = DEFAULT_THREADS,
    json_file: Output = None,
) -> None:
    """Score models on samples, and compare each with a reference: --reference, else CONFIG's model, else the first.

    Every model has a row for f32 and one for bf16, where the processor has it, unless --precision says otherwise.
    """
    from nncf_mcq.model import has_bf16
    from openvino_eval.accuracy_report import FLOAT_MODEL, Task, accuracy_table, caption, measure_accuracy
    from openvino_eval.runtime import check_precisions

    paths, against = with_reference(parse_models(models), reference)
    available = list(Precision) if has_bf16() else [Precision.F32]
    wanted = check_precisions(precisions or available)
    if (data is None) == (config is None):
        raise EvaluationError("--data or --config: one of the two is needed: a .npz archive, or a configuration")
    if data is not None:
        check_options(["overrides"] if overrides else [], "needs --config")
        task = Task.from_archive(data, metric)
    else:
        # Where the model is a file, this needs no PyTorch.
        from nncf_mcq import JobSource, parse_overrides
        from nncf_mcq.config import find_config

        job = JobSource.read(find_config(config or ""), parse_overrides(overrides or []))
        task = Task.from_job(job, metric, with_model=reference is None)
    rows: dict[str, tuple[Path | ov.Model, Precision]] = {}
    if task.float_model is not None and FLOAT_MODEL not in paths:
        rows[FLOAT_MODEL] = (task.float_model, Precision.F32)
        against = FLOAT_MODEL
    # The reference is in f32, whatever the rows are.
    elif Precision.F32 not in wanted:
        rows[against] = (paths[against], Precision.F32)
    for name, path in paths.items():
        for precision in wanted:
            rows[labelled(name, precision)] = (path, precision)
    with console_stage("inference", len(rows) * len(task.samples)) as advance:
        report = measure_accuracy(
            rows, task, reference=against, batch_size=batch_size, threads=threads, progress=advance
        )
    finish(accuracy_table(report), json_file, report.to_dict())
    print(caption(report))
