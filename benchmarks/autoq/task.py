"""Files to and from the process of AutoQ: JSON files, arrays and a state dict in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.autoq.environment import AutoqError
from nncf_mcq.policy import FLOAT32_BITS
from nncf_mcq.utils.files import write_text_atomically

BITS = (2, 4, 8)
"""The widths that the agent of AutoQ can choose: they are written into its code."""

ACTIVATION_BITS = 8

AUTOQ = "autoq"
"""AutoQ's own policy among those that its simulation scores."""

TASK_FILE, RESULT_FILE = "task.json", "result.json"
_ARRAYS_FILE, _STATE_FILE, _OUTPUTS_FILE = "images.npz", "state.pt", "outputs.npz"

ModuleBits = Mapping[str, int]
"""Name of a torch module to the bits of its weights."""


@dataclass(frozen=True)
class AutoqTask:
    """A search that AutoQ shall do.

    Attributes:
        model: `FILE.py:CALLABLE` with an absolute path, or `PACKAGE.MODULE:CALLABLE`.
        model_arguments: Keyword arguments of the callable.
        sample_size: Shape of one input with the batch dimension.
        calibration: (N, ...) images that ranges are initialized from.
        search: (N, ...) images that policies are scored on.
        reference: (N, classes) outputs of the float model on them.
        report: (N, ...) images that the policies found are measured on.
        average_bits: Largest mean width over the weights of all quantized layers.
        evaluations: Episodes, of which each scores one policy.
        seed: Of the agent's randomness.
        threads: Most threads of PyTorch.
        policies: Names to policies that AutoQ's simulation shall score after the search.
    """

    model: str
    model_arguments: Mapping[str, Any]
    sample_size: tuple[int, ...]
    calibration: NDArray[np.float32] = field(repr=False)
    search: NDArray[np.float32] = field(repr=False)
    reference: NDArray[np.float32] = field(repr=False)
    report: NDArray[np.float32] = field(repr=False)
    average_bits: float
    evaluations: int
    seed: int
    threads: int
    policies: Mapping[str, ModuleBits] = field(default_factory=dict)

    @property
    def compression_ratio(self) -> float:
        """The budget as AutoQ has it: bits of the weights of all quantized layers, relative to 32 bits each."""
        return self.average_bits / FLOAT32_BITS

    def write(self, folder: Path, state: Mapping[str, torch.Tensor]) -> Path:
        """Writes all of it.

        Args:
            folder: Where to.
            state: The float model's state dict.

        Returns:
            The JSON file, which names the others.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT_FILE).unlink(missing_ok=True)
        arrays = {name: getattr(self, name) for name in ("calibration", "search", "reference", "report")}
        np.savez(folder / _ARRAYS_FILE, **arrays)
        torch.save(dict(state), folder / _STATE_FILE)
        description = {
            "model": self.model,
            "model_arguments": dict(self.model_arguments),
            "sample_size": list(self.sample_size),
            "bits": list(BITS),
            "average_bits": self.average_bits,
            "compression_ratio": self.compression_ratio,
            "evaluations": self.evaluations,
            "seed": self.seed,
            "threads": self.threads,
            "policies": {name: dict(bits) for name, bits in self.policies.items()},
            "arrays": _ARRAYS_FILE,
            "state": _STATE_FILE,
            "outputs": _OUTPUTS_FILE,
            "result": RESULT_FILE,
        }
        write_text_atomically(folder / TASK_FILE, json.dumps(description, indent=1) + "\n")
        return folder / TASK_FILE


@dataclass(frozen=True)
class AutoqEvaluation:
    """One policy that AutoQ scored.

    Attributes:
        seconds: From the start of the search to its score.
        score: KL divergence from the float model on the search images, in AutoQ's own simulation.
        weight_bits: In the order of the result's layers.
        activation_bits: All widths among the activations.
    """

    seconds: float
    score: float
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]


@dataclass(frozen=True)
class AutoqResult:
    """Result of AutoQ.

    Attributes:
        layers: Names of the torch modules whose weights it quantizes.
        evaluations: In their order.
        final: Bits of the policy that it returns, in the order of the layers.
        float_score: KL divergence of its model from ours with all quantizers off.
        policies: Name to score in AutoQ's simulation, AutoQ's own policy included.
        outputs: Name to outputs (N, classes) of the same on the test images.
        seconds: Of the `preparation` and of the `search`.
        cpu_seconds: Processor time of the search, of all threads.
        threads: Of PyTorch.
        parameters: Its configuration.
        versions: Of its packages.
    """

    layers: tuple[str, ...]
    evaluations: tuple[AutoqEvaluation, ...]
    final: tuple[int, ...]
    float_score: float
    policies: Mapping[str, float]
    outputs: Mapping[str, NDArray[np.float32]] = field(repr=False)
    seconds: Mapping[str, float]
    cpu_seconds: float
    threads: int
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> AutoqResult:
        """Reads what the process of AutoQ wrote.

        Raises:
            AutoqError: It is missing, or not what is expected.
        """
        file = folder / RESULT_FILE
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            with np.load(folder / _OUTPUTS_FILE) as arrays:
                outputs = {name: arrays[name] for name in arrays.files}
            evaluations = tuple(
                AutoqEvaluation(
                    item["seconds"], item["score"], tuple(item["weight_bits"]), tuple(item["activation_bits"])
                )
                for item in data.pop("evaluations")
            )
            layers, final = tuple(data.pop("layers")), tuple(data.pop("final"))
            found = cls(layers=layers, evaluations=evaluations, final=final, outputs=outputs, **data)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AutoqError(f"{file}: no result of AutoQ ({error})") from error
        if not found.evaluations or any(len(item.weight_bits) != len(layers) for item in found.evaluations):
            raise AutoqError(f"{file}: no result of AutoQ (evaluations without the bits of all layers)")
        return found

    @property
    def policy(self) -> dict[str, int]:
        """Bits by layer of the policy that AutoQ returns."""
        return dict(zip(self.layers, self.final, strict=True))

    @property
    def best(self) -> AutoqEvaluation:
        """The evaluation with the lowest score; the first of them."""
        return min(self.evaluations, key=lambda item: item.score)

    @property
    def unique(self) -> int:
        """Different policies among the evaluations."""
        return len({item.weight_bits for item in self.evaluations})
