"""Quantizes a recipe's model in several ways and compares the files: accuracy, size, latency, report.

The baselines are the float model and NNCF's own INT8. The other rows are those of `variants.json` beside the
configuration: name -> values that replace some of it, as with --set. Where there is no such file, they are uniform and
mixed widths, and random bits, which show what mixing widths costs in latency. With --baselines, published
methods follow.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nncf_mcq import NncfMcqError
from nncf_mcq.config.catalog import find_config
from nncf_mcq.config.overrides import parse_overrides
from nncf_mcq.utils import output_folder, silence_cuda_notice, stoppable
from openvino_eval import EvaluationError
from openvino_eval.recipe_comparison import RecipeComparison, compare_recipe


def main(arguments: Sequence[str]) -> None:
    """Parses the command line and runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a JSON file, or the name of a recipe")
    parser.add_argument("--output", type=Path, required=True, help="folder for the IRs and the report")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value of the config"
    )
    parser.add_argument(
        "--baselines", action="store_true", help="also the baselines that ship with the package (nncf-mcq baselines)"
    )
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds when measuring latency")
    parser.add_argument("--reuse", action="store_true", help="reuse the results of an interrupted run of the command")
    parsed = parser.parse_args(arguments)
    silence_cuda_notice()
    terminal = Console()
    # A pipe has no width: lines as wide as the table rather than cut at 80 columns.
    console = Console(highlight=False, width=None if terminal.is_terminal else 100)
    try:
        settings = RecipeComparison(
            config=find_config(parsed.config),
            output=parsed.output,
            overrides=parse_overrides(parsed.set),
            with_baselines=parsed.baselines,
            rounds=parsed.rounds,
            reuse=parsed.reuse,
            command=shlex.join(["python", "recipes/compare.py", *arguments]),
        )
        with stoppable() as ending:
            try:
                with output_folder(parsed.output):
                    compare_recipe(settings, console)
            except KeyboardInterrupt:
                parser.exit(ending.exit_code, "interrupted: what is made is kept, --reuse goes on from there\n")
    except (NncfMcqError, EvaluationError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
