"""Result of `quantize`: the model, its policy, what was measured, and how it is saved."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openvino as ov

from nncf_mcq.config.device import PLAIN_DEVICES, device_remark
from nncf_mcq.config.output_files import (
    CONFIG_FILE,
    HISTOGRAM_FILE,
    MODEL_NAME,
    POLICY_FILE,
    RESULT_FILE,
    UNSAVED_POLICY_FILE,
    FloatWeight,
    Histograms,
    LayerHistogram,
    LayerResult,
    ModelFile,
    Origin,
    RunMetrics,
    RunResult,
    Timing,
    VerificationReport,
)
from nncf_mcq.config.quality_report import QualityReport
from nncf_mcq.config.schema import Config
from nncf_mcq.config.search_report import DatasetReport, SearchReport, StorageReport
from nncf_mcq.errors import OutputError, VerificationError
from nncf_mcq.ir.export import ExportedModel, staged
from nncf_mcq.ir.model_file import describe_file
from nncf_mcq.ir.plain_weights import with_plain_weights
from nncf_mcq.ir.verification import ROUNDING_TOLERANCE, TOLERANCE, VerificationResult
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.latency.budget import LatencyCheck
from nncf_mcq.model.half_precision import with_halves
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.final_weights import FinalWeights
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from nncf_mcq.precision_init.base import PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.study.subject import model_digest
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.weights.histograms import REACH
from nncf_mcq.weights.layer_quantizer import QuantizedWeight
from nncf_mcq.weights.weight_table import WeightTable

_PACKAGES = ("nncf-mcq", "nncf", "openvino", "torch", "optuna", "numpy")


@dataclass
class QuantizationResult:
    """A quantized model and how it came about.

    Attributes:
        model: The quantized model, as it was scored.
        float_model: The float model that it came from.
        policy: Bits of every layer and activation quantizer.
        config: The resolved configuration.
        metrics: `float` and `quantized`: metric name to value.
        layers: Bits, clipping rule and its errors, share of size and MACs of each layer.
        search: How the policy was found and what it cost.
        seconds: Wall time by stage.
        verification_images: Samples on which the saved file must equal the scored model.
        histograms: Layer name to its weights before and after quantization.
        float_weights: The weights that stay in floating point, and why.
        origin: The configuration and the command, where a command made it.
        quality: How close the outputs come to the float model's; None where no images were run.
        references: What the files of the models that it is compared with hold, by their keys in `metrics`.
        verification: Whether the saved file does what the scored model does; None before it is saved.
        model_on_grids: The model where fine-tuning starts; None where it is `model`, as no weights are trellis-coded.
    """

    model: ov.Model
    float_model: ov.Model
    policy: Policy
    config: Config
    metrics: dict[str, dict[str, float]]
    layers: list[LayerResult]
    search: SearchReport
    seconds: dict[str, float]
    verification_images: Samples = field(repr=False)
    histograms: dict[str, LayerHistogram] = field(default_factory=dict, repr=False)
    float_weights: list[FloatWeight] = field(default_factory=list)
    origin: Origin | None = None
    quality: QualityReport | None = None
    references: dict[str, ModelFile] = field(default_factory=dict)
    verification: VerificationResult | None = None
    model_on_grids: ov.Model | None = field(default=None, repr=False)

    def as_job(
        self, dataset: DatasetReport, seconds: Mapping[str, float], origin: Origin | None = None
    ) -> QuantizationResult:
        """Returns the result of a whole job of which this is the quantization.

        Args:
            dataset: The images.
            seconds: Wall time by stage of what came before, such as distilling images.
            origin: The configuration and the command, where a command made it.
        """
        return dataclasses.replace(
            self,
            search=self.search.model_copy(update={"dataset": dataset}),
            seconds={**seconds, **self.seconds},
            origin=origin,
        )

    def save(self, directory: str | Path) -> Path:
        """Writes model.xml, model.bin, policy.json, config.json, histograms.json and result.json; verifies the model.

        The .xml is read back, and its outputs are compared with those of the model that was scored (`TOLERANCE`).
        Layers without int8 kernels are warnings in the result. Sizes and runtime precisions in result.json are those of
        the file. For GPU and NPU it runs on this CPU in floating point, see `nncf_mcq.ir.plain_weights`.

        Args:
            directory: Where to; made if it is missing. Existing files are replaced.

        Returns:
            The path of model.xml.

        Raises:
            VerificationError: The file gives other outputs. It is kept as model.unverified.xml and .bin, with the other
                files, beside a model.xml of before.
            OutputError: A file cannot be written. The policy is kept where there is room for it.
        """
        directory = Path(directory).resolve()
        try:
            xml = self._write(directory)
        except OSError as error:
            kept = self._keep_policy(directory)
            raise OutputError(f"{directory}: cannot be written: {error.strerror or error}{kept}") from error
        if self.verification is not None and not self.verification.passed:
            problems = "; ".join(self.verification.problems)
            raise VerificationError(
                f"the written model does not give the outputs of the scored one: {problems}; kept as {xml}"
            )
        return xml

    def _write(self, directory: Path) -> Path:
        # Relative to the new file: it can be used where it lies, and tells nobody the layout of this disk.
        config = self.config.map_paths(lambda path: os.path.relpath(path, directory))
        threads = self.config.runtime.threads
        information = {
            "policy": json.dumps(self.policy.to_dict()),
            "config": json.dumps(config.to_dict()),
            "versions": json.dumps(versions()),
        }
        names = [layer.name for layer in self.layers if layer.bits is not None and layer.integer_kernel]
        is_plain = self.config.target_device in PLAIN_DEVICES
        with staged(
            self.model,
            directory,
            MODEL_NAME,
            # The kernels of another device cannot be seen here.
            [] if is_plain else names,
            self.verification_images,
            information=information,
            threads=threads,
            written=with_plain_weights(self.model) if is_plain else None,
            tolerance=ROUNDING_TOLERANCE if is_plain else TOLERANCE,
        ) as found:
            self.verification = found.verification
            if not is_plain:
                self._take_precisions(found)
            self.metrics["quantized"] |= file_sizes(found.xml)
            self._take_float_file(found.folder)
            result = self.document.model_copy(update={"search": self._search_from(directory)})
            texts = {
                POLICY_FILE: _json(self.policy.to_dict()),
                CONFIG_FILE: _json(config.to_dict()),
                HISTOGRAM_FILE: Histograms(reach=REACH, layers=self.histograms).to_json(),
                RESULT_FILE: _json(result.to_dict()),
            }
            # All of them before the first gets its name: an IR without its result says nothing of itself.
            for name, text in texts.items():
                write_text_atomically(found.folder / name, text)
            xml = found.publish(list(texts)).xml
        (directory / UNSAVED_POLICY_FILE).unlink(missing_ok=True)
        return xml

    def save_document(self, directory: str | Path) -> None:
        """Writes result.json alone, beside a model that is saved.

        Raises:
            OutputError: It cannot be written.
        """
        folder = Path(directory).resolve()
        result = self.document.model_copy(update={"search": self._search_from(folder)})
        try:
            write_text_atomically(folder / RESULT_FILE, _json(result.to_dict()))
        except OSError as error:
            raise OutputError(f"{folder / RESULT_FILE}: cannot be written: {error.strerror or error}") from error

    def describe_reference(self, xml: Path) -> ModelFile:
        """What the IR of a model of the same layers, which this one is compared with, holds, and what they run in."""
        is_plain = self.config.target_device in PLAIN_DEVICES
        # An embedding is looked up, not computed.
        names = [layer.name for layer in self.layers if layer.kind != "embedding"]
        return describe_file(xml, names, None if is_plain else self.config.runtime.threads)

    def _take_float_file(self, directory: Path) -> None:
        """Notes what the float model takes as an IR; nothing where there is no room to write it."""
        for place in (directory, None):
            with contextlib.suppress(OSError), TemporaryDirectory(dir=place) as temporary:
                xml = save_atomically(with_halves(self.float_model), Path(temporary))
                self.metrics["float"] |= file_sizes(xml)
                self.references["float"] = self.describe_reference(xml)
                return

    def _take_precisions(self, found: ExportedModel) -> None:
        """Notes what each layer runs in; the plugin may fuse a float layer with others."""
        causes = {layer.name: layer.float_cause for layer in self.layers if layer.needs_float_kernel}
        causes |= {layer.name: layer.cause for layer in found.verification.float_layers}
        self.layers = [
            layer.model_copy(
                update={"runtime_precision": found.runtime_precisions.get(layer.name)}
                | ({"float_cause": causes.get(layer.name)} if layer.name in causes or layer.float_cause else {})
            )
            for layer in self.layers
        ]

    def _keep_policy(self, directory: Path) -> str:
        """Tries to keep the policy of a model that could not be written; what the message says of it."""
        try:
            write_text_atomically(directory / UNSAVED_POLICY_FILE, _json(self.policy.to_dict()))
        except OSError:
            return ""
        return f"; the policy is kept in {UNSAVED_POLICY_FILE}"

    def _search_from(self, directory: Path) -> SearchReport:
        """How the policy was found, with the path of a journal relative to the result."""
        storage = self.search.storage
        if storage is None or not Path(storage.location).is_absolute():
            return self.search
        relative = storage.model_copy(update={"location": os.path.relpath(storage.location, directory)})
        return self.search.model_copy(update={"storage": relative})

    @functools.cached_property
    def _float_model_digest(self) -> str:
        return float_model_digest(self.float_model)

    @property
    def document(self) -> RunResult:
        """Content of result.json."""
        document = RunResult(
            metrics=RunMetrics(**self.metrics),
            layers=tuple(self.layers),
            float_weights=tuple(self.float_weights),
            search=self.search,
            timing=Timing.of(self.seconds),
            versions=versions(),
            origin=self.origin,
            float_model=self._float_model_digest,
        )
        if self.quality is not None:
            document = document.model_copy(update={"quality": self.quality})
        remark = device_remark(self.config.target_device)
        if remark is not None:
            document = document.model_copy(update={"remark": remark})
        if self.references:
            document = document.model_copy(update={"references": self.references})
        return document if self.verification is None else document.model_copy(update=_report(self.verification))

    def to_dict(self) -> dict[str, Any]:
        """The JSON values of result.json."""
        return self.document.to_dict()


def float_model_digest(model: ov.Model) -> str:
    """Identity of a float model: the types of its operations and the content of its constants.

    Args:
        model: As `to_openvino` makes it.
    """
    return model_digest(model, sorted(node.get_type_name() for node in model.get_ops()))


def _report(verification: VerificationResult) -> dict[str, Any]:
    """The fields of result.json that tell what was found in the file."""
    difference = verification.difference
    report = VerificationReport(
        # JSON has no infinity.
        difference=difference if math.isfinite(difference) else None,
        tolerance=verification.tolerance,
        problems=verification.problems,
        warnings=verification.warnings,
    )
    return {"verified": verification.passed, "verification": report}


def describe_layers(
    quantizable: QuantizableModel, policy: Policy, table: WeightTable | None = None
) -> list[LayerResult]:
    """Entry of each layer; for a layer left in floating point, `bits` is None.

    Without a table there is nothing of how its weights were made.
    """
    macs = sum(layer.macs for layer in quantizable.layers)
    records = []
    for layer in quantizable.layers:
        bits = policy.weight_bits[layer.name]
        is_float = bits == FLOAT_CHOICE
        entry = None if table is None or is_float else table[layer.name, bits]
        activation_bits = [policy.activation_bits[name] for name in layer.activation_quantizers]
        records.append(
            LayerResult(
                name=layer.name,
                kind=layer.kind,
                bits=None if is_float else bits,
                activation_bits=None if is_float else max(activation_bits, default=None),
                **({} if entry is None else _describe_weights(entry)),
                weight_shape=layer.weight_shape,
                weights=layer.weights,
                size_share=layer.weights / quantizable.quantizable_weights,
                macs=layer.macs,
                mac_share=layer.macs / macs,
                group=layer.group,
                integer_kernel=layer.integer_kernel,
                **({} if is_float else _describe_kernel(layer)),
                allowed_bits=layer.allowed_bits,
            )
        )
    return records


def _describe_kernel(layer: QuantizableLayer) -> dict[str, Any]:
    return {} if layer.integer_kernel or layer.kind == "embedding" else {"float_cause": layer.float_cause}


def _describe_weights(entry: QuantizedWeight) -> dict[str, Any]:
    return {
        "rule": entry.rule,
        "rule_channels": dict(entry.rule_counts),
        "rule_errors": dict(entry.rule_errors),
        "relative_error": entry.relative_error,
    }


def search_report(
    method: str,
    found: PrecisionResult,
    task: PrecisionTask,
    score: float | None,
    images: int,
    final: FinalWeights,
    latency: LatencyCheck | None,
) -> SearchReport:
    """How the policy was found: method, number of scored policies, its score on the search images, the final pass."""
    evaluator, stored = task.evaluator, task.stored
    report = SearchReport(
        method=method,
        evaluations=evaluator.evaluations,
        evaluations_of=evaluator.origins,
        storage=None if stored is None else StorageReport(location=stored.location, study=stored.name),
        score=score,
        images=images if evaluator.evaluations else 0,
        final_weights=final.report,
        details=dict(found.details),
    )
    # Without a goal, or a budget of latency, there is nothing to say of it.
    if found.goal is not None:
        report = report.model_copy(update={"goal": found.goal})
    return report if latency is None else report.model_copy(update={"latency": latency.report})


def file_sizes(xml: Path) -> dict[str, float]:
    """Bytes of an IR's two files."""
    return {"bin_bytes": xml.with_suffix(".bin").stat().st_size, "xml_bytes": xml.stat().st_size}


def versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
