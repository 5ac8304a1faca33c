"""Arguments and options that several commands take, and what they mean."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nncf_mcq.config.catalog import NO_BASELINE, config_name, find_baseline, find_config
from nncf_mcq.config.output_files import Origin
from nncf_mcq.utils.urls import without_password

if TYPE_CHECKING:
    from nncf_mcq.job import Job

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="A JSON file, or the name of a recipe.")]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Replace a value of the configuration; may be repeated."),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="Apply a baseline (see `nncf-mcq baselines`); --set overrides its values."),
]
NoCodeOption = Annotated[
    bool,
    typer.Option(
        "--no-code", help="Refuse a CONFIG that names Python code; for configurations from others, see SECURITY.md."
    ),
]
ComparedBaselineOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE|none",
        help="Apply a baseline (see `nncf-mcq baselines`); --set overrides its values. NNCF INT8 is measured beside "
        "the result in any case, unless this is none.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no table, only errors.")]


def read_job(config: str, overrides: list[str] | None, baseline: str | None = None, *, no_code: bool = False) -> Job:
    """The job of a command line.

    Args:
        config: A JSON file, or the name of a recipe.
        overrides: Each `PATH=VALUE`; they go on from the baseline.
        baseline: Name of one that ships with the package, or a JSON file; "none" is none.
        no_code: Whether a configuration that names Python code is refused.

    Raises:
        ConfigError: One of them is unknown or wrong.
    """
    is_named = baseline not in (None, NO_BASELINE)
    file, values = find_config(config), find_baseline(baseline).values if baseline and is_named else {}
    # Modules that compute are imported by the commands that use them, and after what can be told without them: help
    # and the message about a misspelt name come at once.
    from nncf_mcq.config.code import refuse_code
    from nncf_mcq.config.overrides import parse_overrides
    from nncf_mcq.job import Job

    job = Job.read(file, {**values, **parse_overrides(overrides or [])})
    if no_code:
        refuse_code(job.config)
    # Loads the model, where it has to.
    return job.with_layer_names()


def origin_of(config: str) -> Origin:
    """The configuration and the running command line, without the passwords in it.

    Args:
        config: Argument of a command.
    """
    return Origin(config=config_name(config), command=without_password(shlex.join(["nncf-mcq", *sys.argv[1:]])))
