"""The command `openvino-eval`: a module for each kind of command."""

from __future__ import annotations

import sys

from nncf_mcq import NncfMcqError
from nncf_mcq.utils import INTERRUPTED, exit_without_collection, failures_as_messages, silence_cuda_notice
from openvino_eval.cli import accuracy, benchmark, compare, inspection, report
from openvino_eval.cli.application import app
from openvino_eval.errors import EvaluationError

__all__ = ["accuracy", "app", "benchmark", "compare", "inspection", "main", "report"]


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    silence_cuda_notice()
    exit_without_collection()
    try:
        with failures_as_messages(lambda message: print(message, file=sys.stderr), EvaluationError, NncfMcqError):
            app()
    except (KeyboardInterrupt, SystemExit) as error:
        # Typer turns Ctrl-C into an exit. A command that says more about it exits by itself.
        if isinstance(error, SystemExit) and not _is_ctrl_c(error):
            raise
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _is_ctrl_c(error: SystemExit) -> bool:
    causes = (error.__context__, getattr(error.__context__, "__cause__", None))
    return error.code == INTERRUPTED and any(isinstance(cause, KeyboardInterrupt) for cause in causes)
