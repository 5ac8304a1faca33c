"""The command `openvino-eval`: a module for each kind of command."""

from __future__ import annotations

import sys

from nncf_mcq import NncfMcqError
from nncf_mcq.utils import exit_without_collection, missing_library, silence_cuda_notice
from openvino_eval.cli import accuracy, benchmark, compare, inspection, report
from openvino_eval.cli.application import app
from openvino_eval.errors import EvaluationError

__all__ = ["accuracy", "app", "benchmark", "compare", "inspection", "main", "report"]


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    silence_cuda_notice()
    exit_without_collection()
    try:
        app()
    except (EvaluationError, NncfMcqError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        message = missing_library(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
