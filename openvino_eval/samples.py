"""Samples that accuracy is measured on."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openvino_eval.errors import EvaluationError


class Samples(Protocol):
    """A sized, indexed collection of `(inputs, target)`; PyTorch's map-style datasets are ones.

    The input of a model is an array or tensor, without the batch, e.g. (channels, height, width), preprocessed as the
    model wants it; several are a tuple in the model's order, or a mapping by name. A target is whatever the metric
    wants, e.g. a class index.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class ArraySamples:
    """Samples held in memory.

    Args:
        images: float32 (samples, channels, height, width).
        targets: (samples,) or (samples, ...).
    """

    images: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.targets):
            raise EvaluationError(f"{len(self.images)} images but {len(self.targets)} targets")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> tuple[npt.NDArray[np.float32], Any]:
        return self.images[index], self.targets[index]


def load_samples(path: Path) -> ArraySamples:
    """Read samples from a NumPy archive.

    Args:
        path: A `.npz` file with the arrays `images` (samples, channels, height, width), already preprocessed, and
            `targets` (samples, ...).

    Returns:
        The samples, images as float32.

    Raises:
        EvaluationError: The file is missing, is no NumPy archive, or lacks one of the arrays.
    """
    if not path.is_file():
        raise EvaluationError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise EvaluationError(f"{path}: one array, needed: a .npz archive with 'images' and 'targets'")
            missing = {"images", "targets"} - set(archive.files)
            if missing:
                raise EvaluationError(f"{path}: holds {sorted(archive.files)}, missing: {sorted(missing)}")
            return ArraySamples(archive["images"].astype(np.float32, copy=False), archive["targets"])
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise EvaluationError(f"{path}: not a NumPy archive of plain arrays") from error
