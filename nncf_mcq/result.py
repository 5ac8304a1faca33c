"""Result of `quantize`: the model, its policy, what was measured, and how it is saved."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openvino as ov

from nncf_mcq.config.output_files import (
    CONFIG_FILE,
    HISTOGRAM_FILE,
    MODEL_NAME,
    POLICY_FILE,
    RESULT_FILE,
    DatasetReport,
    Histograms,
    LayerHistogram,
    LayerResult,
    Origin,
    RunMetrics,
    RunResult,
    SearchReport,
    StorageReport,
    Timing,
)
from nncf_mcq.config.schema import Config
from nncf_mcq.ir.export import export
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.latency.budget import LatencyCheck
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.model.samples import Samples
from nncf_mcq.pipeline.final_weights import FinalWeights
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from nncf_mcq.precision_init.base import PrecisionResult, PrecisionTask
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
        origin: The configuration and the command, where a command made it.
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
    origin: Origin | None = None

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

        The .xml is read back: every quantized layer must run on int8 kernels, and the outputs must equal those of the
        model that was scored bit for bit. Sizes and runtime precisions in result.json are those of the written file.

        Args:
            directory: Where to; made if it is missing. Existing files are replaced.

        Returns:
            The path of model.xml.

        Raises:
            VerificationError: The file does not run as the scored model did. No file is left or replaced.
        """
        directory = Path(directory).resolve()
        # Relative to the new file: it can be used where it lies, and tells nobody the layout of this disk.
        config = self.config.map_paths(lambda path: os.path.relpath(path, directory))
        threads = self.config.runtime.threads
        information = {
            "policy": json.dumps(self.policy.to_dict()),
            "config": json.dumps(config.to_dict()),
            "versions": json.dumps(versions()),
        }
        names = [layer.name for layer in self.layers if layer.bits is not None]
        exported = export(
            self.model, directory, MODEL_NAME, names, self.verification_images, information=information, threads=threads
        )
        # The plugin may fuse a float layer with others.
        self.layers = [
            layer.model_copy(update={"runtime_precision": exported.runtime_precisions.get(layer.name)})
            for layer in self.layers
        ]
        self.metrics["quantized"] |= file_sizes(exported.xml)
        with TemporaryDirectory(dir=directory) as temporary:
            self.metrics["float"] |= file_sizes(save_atomically(self.float_model.clone(), Path(temporary)))
        write_text_atomically(directory / POLICY_FILE, _json(self.policy.to_dict()))
        write_text_atomically(directory / CONFIG_FILE, _json(config.to_dict()))
        write_text_atomically(directory / HISTOGRAM_FILE, Histograms(reach=REACH, layers=self.histograms).to_json())
        result = self.document.model_copy(update={"search": self._search_from(directory)})
        write_text_atomically(directory / RESULT_FILE, _json(result.to_dict()))
        return exported.xml

    def _search_from(self, directory: Path) -> SearchReport:
        """How the policy was found, with the path of a journal relative to the result."""
        storage = self.search.storage
        if storage is None or not Path(storage.location).is_absolute():
            return self.search
        relative = storage.model_copy(update={"location": os.path.relpath(storage.location, directory)})
        return self.search.model_copy(update={"storage": relative})

    @property
    def document(self) -> RunResult:
        """Content of result.json."""
        return RunResult(
            metrics=RunMetrics(**self.metrics),
            layers=tuple(self.layers),
            search=self.search,
            timing=Timing(seconds={stage: round(value, 3) for stage, value in self.seconds.items()}),
            versions=versions(),
            origin=self.origin,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON values of result.json."""
        return self.document.to_dict()


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
            )
        )
    return records


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
    # Without a budget of latency there is nothing to say of it.
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
