"""Writes a deployment folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import openvino as ov

from nncf_mcq.config.output_files import (
    CONFIG_FILE,
    DEPLOYMENT_FOLDER,
    MODEL_FILE,
    MODEL_NAME,
    RESULT_FILE,
    RunResult,
)
from nncf_mcq.data.datasets import class_names
from nncf_mcq.deployment.check import Checked, check
from nncf_mcq.deployment.document import (
    DEPLOYMENT_FILE,
    LABELS_FILE,
    MODEL_FOLDER,
    PROPERTIES_FILE,
    SERVER_FILE,
    CheckReport,
    Deployment,
    InputReport,
)
from nncf_mcq.deployment.folder import replaced_folder
from nncf_mcq.deployment.image_input import TENSOR_LAYOUT, FloatInput, ImageInput, find_input
from nncf_mcq.deployment.pages import render
from nncf_mcq.deployment.properties import device_properties
from nncf_mcq.deployment.serving import VERSION, ServedModel, ServerConfig
from nncf_mcq.errors import ConfigError
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.job import Job
from nncf_mcq.model.inference import FloatPrecision, processor_name
from nncf_mcq.result import versions
from nncf_mcq.utils.documents import read_document
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.messages import last_line

_NOT_IN_NAMES: Final = re.compile(r"[^\w.-]+")


def deploy(
    directory: Path, output: Path | None = None, *, name: str | None = None, labels: Path | None = None
) -> Deployment:
    """Writes what it takes to use a quantized model: the model with its preprocessing, and files for what runs it.

    The folder has `model/1/model.xml` and `.bin`, `config.json` for Model Server, `device.json` for `benchmark_app`,
    examples in Python and C++, `README.md`, `deployment.json`, and `labels.txt` where the classes have names. It is
    written under a temporary name, and only if the model gives the outputs of the quantized one.

    Args:
        directory: That `quantize` wrote.
        output: Where to; `directory/deployment` by default. A deployment that is there is replaced.
        name: Of the model in Model Server; that of the configuration by default.
        labels: A file with a line for each class; by default the names that the data set knows.

    Returns:
        What was written and measured, as in `deployment.json`.

    Raises:
        ConfigError: The directory holds no verified model, the output is another folder, or a name or the labels cannot
            be used.
        VerificationError: The model with its preprocessing does not give the outputs of the quantized one.
        OSError: A file cannot be written.
    """
    xml = directory / MODEL_FILE
    missing = [file for file in (MODEL_FILE, CONFIG_FILE, RESULT_FILE) if not (directory / file).is_file()]
    if missing:
        raise ConfigError("DIR", str(directory), f"a folder that `quantize` wrote; there is no {missing[0]}")
    result = read_document(directory / RESULT_FILE, RunResult)
    if result.verified is False:
        raise ConfigError("DIR", str(directory), "a folder with a model that was verified")
    job = Job.read(directory / CONFIG_FILE)
    try:
        packed = ov.Core().read_model(xml)
    except RuntimeError as error:
        raise ConfigError("DIR", str(xml), f"a model that OpenVINO reads ({last_line(error)})") from error
    found = find_input(job.config.dataset, packed)
    names = _labels(labels, packed, job)
    # A model for any device is deployed on the one that it was measured on.
    device = "CPU" if job.config.target_device == "ANY" else job.config.target_device
    latency = result.search.latency
    precision: FloatPrecision = "bf16" if latency is not None and latency.precision == "bf16" else "f32"
    model_name = _model_name(name, result)
    with replaced_folder(directory / DEPLOYMENT_FOLDER if output is None else output, DEPLOYMENT_FILE) as folder:
        version = folder / MODEL_FOLDER / str(VERSION)
        model = found.built_into(packed) if isinstance(found, ImageInput) else packed
        written = save_atomically(model, version, MODEL_NAME)
        checked = (
            check(packed, written, found, job, precision)
            if isinstance(found, ImageInput)
            else Checked(_copied(result), {})
        )
        deployment = Deployment(
            name=model_name,
            device=device,
            properties=device_properties(device, precision),
            inputs=tuple(_inputs(model, found)),
            left_to_user=found.geometry.sentences if isinstance(found, ImageInput) else (),
            reason=found.reason if isinstance(found, FloatInput) else None,
            labels=None if names is None else len(names),
            check=checked.report,
            milliseconds={model: round(value, 4) for model, value in checked.milliseconds.items()},
            threads=job.config.runtime.threads,
            processor=processor_name(),
            bin_bytes=written.with_suffix(".bin").stat().st_size,
            xml_bytes=written.stat().st_size,
            versions=versions(),
        )
        served = ServedModel(
            name=model_name, base_path=MODEL_FOLDER, target_device=device, plugin_config=dict(deployment.properties)
        )
        texts = {
            SERVER_FILE: ServerConfig.of(served).to_json(),
            PROPERTIES_FILE: _json({device: deployment.properties}),
            **({} if names is None else {LABELS_FILE: "".join(f"{label}\n" for label in names)}),
            **dict(
                render(
                    deployment,
                    found if isinstance(found, ImageInput) else None,
                    result,
                    written.relative_to(folder).as_posix(),
                    is_classifier=_classes(packed) is not None,
                )
            ),
            DEPLOYMENT_FILE: _json(deployment.to_dict()),
        }
        for file, text in texts.items():
            write_text_atomically(folder / file, text)
    return deployment


def _copied(result: RunResult) -> CheckReport:
    """Of a model that is written as it was."""
    integer = sum(layer.is_integer for layer in result.layers)
    return CheckReport(images=0, source="", difference=0.0, integer_layers=integer, layers=len(result.layers))


def _inputs(model: ov.Model, found: ImageInput | FloatInput) -> Iterator[InputReport]:
    for port in model.inputs:
        # Names of tensors come in no order.
        name = min(port.get_names(), default=port.get_node().get_friendly_name())
        layout = TENSOR_LAYOUT if isinstance(found, ImageInput) else None
        shape = ", ".join("?" if size.is_dynamic else str(size.get_length()) for size in port.get_partial_shape())
        yield InputReport(name=name, type=port.get_element_type().get_type_name(), shape=f"[{shape}]", layout=layout)


def _classes(model: ov.Model) -> int | None:
    """Number of classes of a classifier: a model whose only output has one row of scores for each sample."""
    if len(model.outputs) != 1:
        return None
    shape = model.output(0).get_partial_shape()
    return None if len(shape) != 2 or shape[1].is_dynamic else int(shape[1].get_length())


def _labels(file: Path | None, model: ov.Model, job: Job) -> list[str] | None:
    """Names of the classes, where there are as many as the model tells apart."""
    classes = _classes(model)
    if file is None:
        try:
            found = class_names(job.config.dataset, job.base_directory)
        except ConfigError:
            # The configuration may have come here without its images.
            return None
        return None if found is None or classes not in (None, len(found)) else found
    try:
        names = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--labels", str(file), "a text file with a line for each class") from error
    if not names or classes not in (None, len(names)):
        raise ConfigError("--labels", f"{len(names)} lines in {file}", f"a line for each of {classes or 1} classes")
    return names


def _model_name(name: str | None, result: RunResult) -> str:
    if name is None:
        origin = "" if result.origin is None else Path(result.origin.config).stem
        return _NOT_IN_NAMES.sub("-", origin).strip("-.") or MODEL_NAME
    if not name or _NOT_IN_NAMES.search(name):
        raise ConfigError("--name", name, "letters, digits, and the signs . _ -")
    return name


def _json(data: object) -> str:
    return json.dumps(data, indent=2) + "\n"
