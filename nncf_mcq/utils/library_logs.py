"""Lines that libraries print and that tell a user of this package nothing."""

from __future__ import annotations

import logging

_CUDA_NOTICE = "No CUDA runtime is found"


def silence_cuda_notice() -> None:
    """Drops one line of torch's about a CUDA compiler without a GPU, which NNCF causes by looking for C++ extensions.

    Nothing here runs on CUDA. Only that line goes: every other record of the same logger passes, and so do warnings.
    For programs, not for `import nncf_mcq`, since a user's own program may want to know.
    """
    logging.getLogger("torch.utils.cpp_extension").addFilter(_is_no_cuda_notice)


def _is_no_cuda_notice(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_CUDA_NOTICE)
