"""The command `nncf-mcq`: a module for each kind of command."""

from __future__ import annotations

import sys

# In the order in which the help lists their commands.
from nncf_mcq.cli import init, search, pareto, deployment, inspection, listings  # isort: skip
from nncf_mcq.cli.application import application, errors
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.utils.commands import failures_as_messages
from nncf_mcq.utils.garbage import exit_without_collection
from nncf_mcq.utils.interrupts import INTERRUPTED, stoppable
from nncf_mcq.utils.library_logs import silence_cuda_notice

__all__ = ["application", "deployment", "init", "inspection", "listings", "main", "pareto", "search"]


def main() -> None:
    """Entry point: a user's mistake, or a file that cannot be written, is one message on standard error and code 2."""
    silence_cuda_notice()
    exit_without_collection()
    with stoppable() as ending:
        try:
            with failures_as_messages(lambda message: errors.print(message, markup=False), NncfMcqError):
                application()
        except (KeyboardInterrupt, SystemExit) as error:
            # Typer turns Ctrl-C into an exit.
            if isinstance(error, SystemExit) and error.code != INTERRUPTED:
                raise
            errors.print("interrupted")
            sys.exit(ending.exit_code)
