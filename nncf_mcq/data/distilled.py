"""Images for users who have none: distilled from the model itself."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nncf_mcq.config.parameters import Parameters, PathMarker
from nncf_mcq.config.schema import load_config
from nncf_mcq.config.types import SampleSize
from nncf_mcq.data.distillation_parameters import DistillationParameters
from nncf_mcq.data.splits import NO_TARGET, Count, DatasetSplits, Sample
from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.files import temporary_sibling
from nncf_mcq.utils.progress import ProgressReporter, SilentProgress, Stages

if TYPE_CHECKING:
    import nncf
    import torch

    from nncf_mcq.model.loading import FloatModel

REMARK = (
    "there are no test images: top-1 agreement and KL divergence are of {} held-out distilled images, and say little "
    "about real ones"
)


@dataclass(frozen=True)
class ModelSource:
    """The model that a data set may be made of.

    Attributes:
        load: Loads the float model.
        sample_size: Shape of the input with the batch dimension, or those of several, if known.
        threads: Of the work.
        stages: Reports the progress.
        path: Where the data set stands in the JSON, for messages.
    """

    load: Callable[[], FloatModel]
    sample_size: SampleSize | None
    threads: int = 1
    stages: Stages = field(default_factory=lambda: Stages(SilentProgress()))
    path: str = "dataset"


class DistilledDataset:
    """Images distilled from the statistics of the model's batch normalization, without targets."""

    class Parameters(DistillationParameters):
        """Parameters of `distilled`."""

        type: Literal["distilled"] = "distilled"
        images: Count = Field(default=64, description="Number of images for calibration and for scoring policies.")
        report: Count = Field(
            default=32,
            description="Number of further images for the top-1 agreement with the float model if there are no real "
            "test images.",
        )
        file: Annotated[str | None, PathMarker()] = Field(
            default=None,
            description="File (.npz) that stores the images: read if they were made of this model with these values, "
            "otherwise written. null: made each time.",
        )

    @staticmethod
    def load_from_model(parameters: Parameters, base_directory: Path, model: ModelSource) -> DatasetSplits:
        """Makes the images as soon as the first of them is asked for; those of the report have a seed of their own.

        Raises:
            ConfigError: The model is no torch module with batch normalization, or its input's shape is not known.
        """
        import torch

        from nncf_mcq.data.distillation import has_statistics

        module = model.load()
        path = f"{model.path}.type"
        if not isinstance(module, torch.nn.Module):
            # The running statistics of an IR or ONNX file are folded into its weights.
            allowed = "a data set of images: they are distilled from torch models (MODULE:CALLABLE) only"
            raise ConfigError(path, "distilled", allowed)
        if not has_statistics(module):
            allowed = "a data set of images: the model has no batch normalization with running statistics"
            raise ConfigError(path, "distilled", allowed)
        if model.sample_size is None:
            raise ConfigError("input_info.sample_size", None, "the shape of one input, e.g. [1, 3, 224, 224]")
        if isinstance(model.sample_size, Mapping):
            raise ConfigError(
                path, "distilled", "a data set, e.g. arrays: images are distilled for a model of one input"
            )
        file = None if parameters.file is None else base_directory / parameters.file
        calibration = DistilledImages(module, parameters, parameters.images, model, file)
        held_out = parameters.model_copy(update={"seed": parameters.seed + 1})
        report_file = None if file is None else file.with_name(f"{file.stem}_report{file.suffix}")
        return DatasetSplits(
            calibration=calibration,
            search=calibration,
            report=DistilledImages(module, held_out, parameters.report, model, report_file),
            source=f"{parameters.images} images distilled from the model's batch normalization, seed {parameters.seed}",
            has_targets=False,
            remark=REMARK.format(parameters.report),
        )


def distilled_dataset(
    module: torch.nn.Module,
    sample_size: Sequence[int],
    parameters: DistilledDataset.Parameters | Mapping[str, object] | None = None,
    *,
    threads: int = 1,
    progress: ProgressReporter | None = None,
) -> nncf.Dataset:
    """Calibration images for `quantize`, made of nothing but the model.

    Args:
        module: A torch module with batch normalization; not edited.
        sample_size: Shape of one input with the batch dimension, channels first.
        parameters: What the JSON of a `distilled` data set may hold, e.g. `{"images": 128, "input_range": [-1, 1]}`.
        threads: Batches of images made side by side.
        progress: Shows progress.

    Raises:
        ConfigError: The module has no batch normalization with running statistics, or a parameter cannot be used.
    """
    import nncf

    checked: Parameters | None
    if isinstance(parameters, DistilledDataset.Parameters):
        checked = parameters
    else:
        checked = load_config({"dataset": {**(parameters or {}), "type": "distilled"}}).dataset
    assert isinstance(checked, DistilledDataset.Parameters)
    stages = Stages(progress or SilentProgress())
    source = ModelSource(lambda: module, sample_size, threads, stages)
    images = DistilledDataset.load_from_model(checked, Path(), source).calibration
    return nncf.Dataset(range(len(images)), lambda index: images[index][0][None])


class DistilledImages:
    """Images that are made when the first of them is asked for.

    Args:
        module: The network.
        parameters: How.
        count: Number of images.
        model: Shape, threads and progress.
        file: Where they are kept.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        parameters: DistillationParameters,
        count: int,
        model: ModelSource,
        file: Path | None,
    ) -> None:
        assert model.sample_size is not None
        assert not isinstance(model.sample_size, Mapping)
        self._module = module
        self._parameters = parameters
        self._count = count
        self._model = model
        self._shape = list(model.sample_size[1:])
        self._file = file

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Sample:
        """Returns an image and `NO_TARGET`; the array belongs to the caller."""
        return self._images[index].copy(), NO_TARGET

    @cached_property
    def _images(self) -> NDArray[np.float32]:
        identity = self._identity() if self._file is not None else ""
        kept = None if self._file is None else _read(self._file, identity)
        if kept is not None:
            return kept
        from nncf_mcq.data.distillation import distill, steps

        with self._model.stages.stage("distillation", steps(self._shape, self._count, self._parameters)) as advance:
            images = distill(
                self._module,
                self._shape,
                self._count,
                self._parameters,
                threads=self._model.threads,
                progress=advance,
            )
        if self._file is not None:
            _write(self._file, images, identity)
        return images

    def _identity(self) -> str:
        """Of the network and of all that the images depend on."""
        found = hashlib.sha256()
        # The base class's fields only: where the images are kept, and how many others there are, does not matter.
        values = self._parameters.model_dump(include=set(DistillationParameters.model_fields))
        found.update(json.dumps([values, self._count, self._shape], sort_keys=True).encode())
        for name, tensor in self._module.state_dict().items():
            found.update(name.encode())
            found.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
        return found.hexdigest()


def _read(file: Path, identity: str) -> NDArray[np.float32] | None:
    """The images of a file; None where there is no such file, or it was made of something else."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            if archive["identity"] == identity:
                images: NDArray[np.float32] = archive["images"]
                return images
    except FileNotFoundError:
        pass
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError("file", str(file), "a file that `distilled` wrote, or a name for a new one") from error
    return None


def _write(file: Path, images: NDArray[np.float32], identity: str) -> None:
    temporary = temporary_sibling(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            np.savez(stream, images=images, identity=np.array(identity))
        temporary.replace(file)
    except OSError as error:
        raise ConfigError("file", str(file), f"a file that can be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)
