"""Writes the IR of a scored model and publishes the file only after verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov

from nncf_mcq.ir.verification import verify
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.inference import compile_model
from nncf_mcq.model.samples import AnySamples, as_samples, input_shapes

RT_INFO_SECTION = "nncf_mcq"


@dataclass(frozen=True)
class ExportedModel:
    """A written and verified IR.

    Attributes:
        xml: The .xml file; the .bin file lies next to it.
        runtime_precisions: Layer name to the precision that it runs in after the file is read back.
    """

    xml: Path
    runtime_precisions: Mapping[str, str]


def export(
    model: ov.Model,
    directory: Path,
    name: str,
    layers: Sequence[str],
    images: AnySamples,
    *,
    information: Mapping[str, str],
    threads: int,
) -> ExportedModel:
    """Saves a model, reads it back and verifies it; only then does it get its name.

    Args:
        model: The model that was scored; not edited.
        directory: Where to.
        name: The files' name without suffix.
        layers: Names of the layers that must run on int8 kernels.
        images: Samples on which the file must give the scored model's outputs bit for bit.
        information: Written to the section `nncf_mcq` of the model's rt_info.
        threads: Inference threads.

    Raises:
        VerificationError: The file does not run as the scored model did; what was in the directory before is kept.
    """
    copy = model.clone()
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
    with TemporaryDirectory(dir=directory, prefix=".unverified-") as temporary:
        result = verify(save_atomically(copy, Path(temporary), name), layers, inputs, references, threads)
        result.raise_for_problems()
        # The .bin first: a new .xml never stands beside a missing .bin.
        for suffix in (".bin", ".xml"):
            (Path(temporary) / f"{name}{suffix}").replace(directory / f"{name}{suffix}")
    return ExportedModel(directory / f"{name}.xml", result.precisions)
