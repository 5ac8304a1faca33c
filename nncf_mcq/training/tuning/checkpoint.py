"""Unfinished training on disk, so that it can be gone on with."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nncf_mcq.model.samples import Samples
from nncf_mcq.utils.files import write_bytes_atomically

SECONDS_BETWEEN = 60.0
"""Between two writes of a checkpoint."""


def fingerprint(state: Mapping[str, Tensor], images: Samples, settings: Mapping[str, object]) -> str:
    """Identity of a training: the same start, images and settings lead to the same end.

    Args:
        state: The state of the module before the first step.
        images: The samples.
        settings: JSON values.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for values in images.arrays:
        digest.update(str(values.shape).encode())
        for value in values:
            digest.update(value.tobytes())
    return digest.hexdigest()


@dataclass
class Checkpoint:
    """A file that holds the state of a training; without a file nothing is kept.

    Attributes:
        file: Where to.
        is_read: Whether to go on with what the file holds.
    """

    file: Path | None = None
    is_read: bool = False
    _written: float = field(default_factory=time.monotonic, init=False)

    def read(self, identity: str) -> dict[str, Any] | None:
        """The state of the same training, if the file has one; another or a damaged file is none.

        Args:
            identity: See `fingerprint`.
        """
        if self.file is None or not self.is_read or not self.file.exists():
            return None
        try:
            # Only tensors and plain values: no code runs from a file.
            found = torch.load(self.file, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            return None
        if not isinstance(found, dict) or found.get("identity") != identity:
            return None
        state = found.get("state")
        return state if isinstance(state, dict) else None

    def is_due(self) -> bool:
        """Whether it is time to write."""
        return self.file is not None and time.monotonic() - self._written > SECONDS_BETWEEN

    def write(self, identity: str, state: Mapping[str, Any]) -> None:
        """Replaces the file.

        Args:
            identity: See `fingerprint`.
            state: Tensors and plain values.

        Raises:
            OSError: It cannot be written.
        """
        if self.file is None:
            return
        content = io.BytesIO()
        torch.save({"identity": identity, "state": dict(state)}, content)
        write_bytes_atomically(self.file, content.getvalue())
        self._written = time.monotonic()

    def remove(self) -> None:
        """Removes the file: the training is done."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
