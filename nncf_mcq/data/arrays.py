"""Samples of any inputs in a NumPy archive: one array for each input of the model."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nncf_mcq.config.parameters import PathMarker
from nncf_mcq.data.splits import NO_TARGET, DatasetParameters, DatasetSplits, Sample, SplitParameters, make_splits
from nncf_mcq.errors import ConfigError

TARGETS = "targets"
"""Name of the array that holds no input."""


class ArraySamples:
    """Samples of arrays held in memory.

    Args:
        inputs: (N, ...) by name of the input.
        targets: (N, ...), or None where there are none.
    """

    def __init__(self, inputs: Mapping[str, NDArray[Any]], targets: NDArray[Any] | None) -> None:
        self._inputs = dict(inputs)
        self._targets = targets

    def __len__(self) -> int:
        return len(next(iter(self._inputs.values())))

    def __getitem__(self, index: int, /) -> Sample:
        """Returns copies of the inputs by name, or of the only one, and the target."""
        inputs = {name: values[index].copy() for name, values in self._inputs.items()}
        target = NO_TARGET if self._targets is None else self._targets[index].copy()
        if np.ndim(target) == 0:
            target = int(target) if np.issubdtype(np.asarray(target).dtype, np.integer) else float(target)
        return (next(iter(inputs.values())) if len(inputs) == 1 else inputs), target


class ArraysDataset:
    """One array (N, ...) for each input of the model, by its name, and targets if there are any, in an .npz file."""

    class Parameters(DatasetParameters):
        """Parameters of `arrays`."""

        type: Literal["arrays"] = "arrays"
        file: Annotated[str, PathMarker()] = Field(
            description="An .npz file, relative to the folder of the configuration: an array (N, ...) for each input "
            "of the model by the input's name, preprocessed and without the batch, and optionally `targets` (N, ...)."
        )
        split: SplitParameters = SplitParameters()

    @staticmethod
    def load(parameters: Parameters, base_directory: Path) -> DatasetSplits:
        """Reads the file.

        Raises:
            ConfigError: The file is missing or holds something else, or there are fewer samples than the split asks
                for.
        """
        arrays = read_arrays(base_directory / parameters.file)
        targets = arrays.pop(TARGETS, None)
        return make_splits(
            parameters.split,
            ArraySamples(arrays, targets),
            source=f"arrays {', '.join(arrays)} of {parameters.file}",
            has_targets=targets is not None,
        )


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an archive (N, ...), by name; floats are float32.

    Raises:
        ConfigError: The file is missing or holds something else.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise ConfigError("dataset.file", str(file), "an existing .npz file") from error
    except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        # NumPy's reason for a file that is no archive is how to load what may run code.
        reason = "" if isinstance(error, ValueError) else f" ({error})"
        raise ConfigError("dataset.file", str(file), f"an .npz file of arrays of numbers{reason}") from error
    shapes = {name: values.shape for name, values in arrays.items()}
    if not shapes.keys() - {TARGETS}:
        raise ConfigError("dataset.file", ", ".join(shapes) or "no arrays", "an array for each input of the model")
    if any(values.dtype.kind not in "biuf" for values in arrays.values()):
        kinds = ", ".join(f"{name} of {values.dtype}" for name, values in arrays.items())
        raise ConfigError("dataset.file", kinds, "arrays of numbers")
    if len({shape[:1] for shape in shapes.values()}) > 1 or () in shapes.values():
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ConfigError("dataset.file", found, "the same number of samples in each array, in its first dimension")
    targets = arrays.get(TARGETS)
    if targets is not None and targets.dtype.kind == "f" and np.isnan(targets).any():
        raise ConfigError("dataset.file", f"NaN in {TARGETS}", "numbers")
    return {
        name: values.astype(np.float32) if values.dtype.kind == "f" and name != TARGETS else values
        for name, values in arrays.items()
    }
