"""Helpers that know nothing of quantization."""

from nncf_mcq.utils.console_progress import ConsoleProgress, console_stage
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.json_values import JsonObject, JsonValue, differences
from nncf_mcq.utils.library_logs import silence_cuda_notice
from nncf_mcq.utils.messages import last_line
from nncf_mcq.utils.progress import SilentProgress, Stages

__all__ = [
    "ConsoleProgress",
    "JsonObject",
    "JsonValue",
    "SilentProgress",
    "Stages",
    "console_stage",
    "differences",
    "last_line",
    "silence_cuda_notice",
    "write_text_atomically",
]
