"""Writes the IR of a scored model and publishes the file only after verification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov

from nncf_mcq.config.output_files import UNVERIFIED
from nncf_mcq.ir.pair import replace_pair
from nncf_mcq.ir.verification import TOLERANCE, VerificationResult, verify
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.samples import AnySamples, as_samples, input_shapes
from nncf_mcq.utils.files import temporary_folder

RT_INFO_SECTION = "nncf_mcq"


@dataclass(frozen=True)
class ExportedModel:
    """A written IR.

    Attributes:
        xml: The .xml file; the .bin file lies next to it.
        verification: What was found when it was read back.
    """

    xml: Path
    verification: VerificationResult

    @property
    def runtime_precisions(self) -> Mapping[str, str]:
        """Layer name to the precision that it runs in after the file is read back."""
        return self.verification.precisions


@dataclass(frozen=True)
class StagedModel(ExportedModel):
    """An IR in a temporary folder, and where it goes.

    Attributes:
        final: The .xml's name in the end, which tells whether it passed.
    """

    final: Path

    @property
    def folder(self) -> Path:
        """The temporary folder; other files may be written to it."""
        return self.xml.parent

    def publish(self, names: Sequence[str] = ()) -> ExportedModel:
        """Gives the IR its name, and other files of the folder theirs.

        Args:
            names: Of the other files.

        Raises:
            OSError: A file cannot be renamed.
        """
        directory = self.final.parent
        replace_pair(self.xml, self.final)
        for name in names:
            (self.folder / name).replace(directory / name)
        if self.verification.passed:
            for suffix in (".xml", ".bin"):
                self.final.with_name(f"{self.final.stem}{UNVERIFIED}{suffix}").unlink(missing_ok=True)
        return ExportedModel(self.final, self.verification)


@contextmanager
def staged(
    model: ov.Model,
    directory: Path,
    name: str,
    layers: Sequence[str],
    images: AnySamples,
    *,
    information: Mapping[str, str],
    threads: int,
    written: ov.Model | None = None,
    tolerance: float = TOLERANCE,
) -> Iterator[StagedModel]:
    """Saves a model in a temporary folder, reads it back and verifies it.

    What the block does not publish is removed. A file that does not pass is kept as `NAME.unverified.xml` and `.bin`,
    beside what was there before. One that passes takes their place.

    Args:
        model: The model that was scored; not edited.
        directory: Where to.
        name: The files' name without suffix.
        layers: Names of the layers that should run on int8 kernels.
        images: Samples on which the file must give the scored model's outputs.
        information: Written to the section `nncf_mcq` of the model's rt_info.
        threads: Inference threads.
        written: The model in another form, which is saved in its place.
        tolerance: Largest difference of an output that passes, as a part of its range.

    Yields:
        The file, and whether it passed.

    Raises:
        OSError: The files cannot be written; what was in the directory before is kept.
    """
    copy = (model if written is None else written).clone()
    for key, value in information.items():
        copy.set_rt_info(value, [RT_INFO_SECTION, key])
    compiled = compile_model(model, threads)
    samples, shapes = as_samples(images), input_shapes(model)
    inputs = [samples.tensors(index, shapes) for index in range(len(samples))]
    references = []
    for item in inputs:
        results = compiled(item)
        references.append([np.array(results[port]) for port in compiled.outputs])
    directory.mkdir(parents=True, exist_ok=True)
    with temporary_folder(directory, "unverified") as temporary:
        xml = save_atomically(copy, Path(temporary), name)
        result = verify(xml, layers, inputs, references, threads, tolerance)
        final = name if result.passed else f"{name}{UNVERIFIED}"
        yield StagedModel(xml, result, directory / f"{final}.xml")
