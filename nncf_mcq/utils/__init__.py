"""Helpers that know nothing of quantization."""

from nncf_mcq.utils.absence import without_library
from nncf_mcq.utils.commands import failures_as_messages, start_command
from nncf_mcq.utils.console_progress import ConsoleProgress, console_stage
from nncf_mcq.utils.documents import DocumentError, read_document
from nncf_mcq.utils.files import temporary_sibling, write_text_atomically
from nncf_mcq.utils.garbage import exit_without_collection
from nncf_mcq.utils.help_text import examples
from nncf_mcq.utils.interrupts import INTERRUPTED, stoppable, uninterrupted
from nncf_mcq.utils.json_values import JsonObject, JsonValue, differences
from nncf_mcq.utils.lazy_exports import lazy_exports
from nncf_mcq.utils.library_logs import silence_cuda_notice
from nncf_mcq.utils.messages import QUANTIZATION_LIBRARIES, last_line
from nncf_mcq.utils.output_folder import LOCK_FILE, output_folder
from nncf_mcq.utils.pages import DARK, LIGHT, page_environment
from nncf_mcq.utils.progress import SilentProgress, Stages

__all__ = [
    "DARK",
    "INTERRUPTED",
    "LIGHT",
    "LOCK_FILE",
    "QUANTIZATION_LIBRARIES",
    "ConsoleProgress",
    "DocumentError",
    "JsonObject",
    "JsonValue",
    "SilentProgress",
    "Stages",
    "console_stage",
    "differences",
    "examples",
    "exit_without_collection",
    "failures_as_messages",
    "last_line",
    "lazy_exports",
    "output_folder",
    "page_environment",
    "read_document",
    "silence_cuda_notice",
    "start_command",
    "stoppable",
    "temporary_sibling",
    "uninterrupted",
    "without_library",
    "write_text_atomically",
]
