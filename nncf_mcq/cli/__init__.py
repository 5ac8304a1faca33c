"""The command `nncf-mcq`: a module for each kind of command."""

from __future__ import annotations

import sys

# In the order in which the help lists their commands.
from nncf_mcq.cli import init, search, pareto, deployment, inspection, listings  # isort: skip
from nncf_mcq.cli.application import application, errors
from nncf_mcq.errors import LONGEST_VALUE, NncfMcqError, reason_of
from nncf_mcq.utils.garbage import exit_without_collection
from nncf_mcq.utils.interrupts import INTERRUPTED, stoppable
from nncf_mcq.utils.library_logs import silence_cuda_notice
from nncf_mcq.utils.messages import missing_library

__all__ = ["application", "deployment", "init", "inspection", "listings", "main", "pareto", "search"]


def main() -> None:
    """Entry point: a user's mistake, or a file that cannot be written, is one message on standard error and code 2."""
    silence_cuda_notice()
    exit_without_collection()
    with stoppable() as ending:
        try:
            application()
        except NncfMcqError as error:
            errors.print(f"error: {error}", markup=False)
            sys.exit(2)
        except OSError as error:
            where = "" if error.filename is None else f"{str(error.filename)[:LONGEST_VALUE]}: "
            errors.print(f"error: {where}{error.strerror or error}", markup=False)
            sys.exit(2)
        except ModuleNotFoundError as error:
            message = missing_library(error)
            if message is None:
                raise
            errors.print(f"error: {message}", markup=False)
            sys.exit(2)
        except MemoryError as error:
            errors.print(f"error: there is not enough memory ({reason_of(error)})", markup=False)
            sys.exit(2)
        except (KeyboardInterrupt, SystemExit) as error:
            # Typer turns Ctrl-C into an exit.
            if isinstance(error, SystemExit) and error.code != INTERRUPTED:
                raise
            errors.print("interrupted")
            sys.exit(ending.exit_code)
