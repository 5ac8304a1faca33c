"""Runs AutoQ; a script for the environment of AutoQ, where neither NNCF 3 nor this package is installed.

    python run_autoq.py TASK.json

What it reads and writes: `task.py`. It prints `scored N` after each policy.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import math
import random
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import torch
from nncf import NNCFConfig
from nncf.common.hardware.config import HWConfig, HWConfigType
from nncf.common.logging import nncf_logger
from nncf.torch import create_compressed_model, register_default_init_args
from nncf.torch.quantization.extensions import QuantizedFunctionsCPU
from nncf.torch.quantization.layers import BaseQuantizer
from nncf.torch.quantization.precision_init.autoq_init import AutoQPrecisionInitializer
from torch.utils.data import DataLoader, TensorDataset

BATCH_SIZE = 128
"""Images per inference: each inference of NNCF's traced model costs a time of its own."""
ACTIVATION_BITS = 8
UNREACHABLE_BITS = 16
NO_SCORE = 1e-9
"""Below it, a divergence is rounding."""
LARGEST_SCORE = 100.0
"""In the place of infinity, which no agent could learn from."""


class Recorder:
    """Scores the models that AutoQ shows it, and keeps what it saw.

    Args:
        reference: (N, classes) outputs of the float model on the search images.
        names: Names of modules that have another one here than in the task.
    """

    def __init__(self, reference: torch.Tensor, names: dict[str, str]) -> None:
        self._logarithms = torch.log_softmax(reference.double(), dim=1)
        self._names = names
        self.counting = False
        self.start = 0.0
        self.evaluations: list[dict[str, Any]] = []
        self.last_score = math.nan

    def begin(self) -> None:
        """From now on scores are evaluations of the search."""
        self.counting, self.start = True, time.perf_counter()

    def __call__(self, model: torch.nn.Module, loader: Any) -> float:
        """Reward of AutoQ: the negative KL divergence, by which this package scores as well.

        AutoQ scales what it is given by the order of magnitude of the float model's value, and not at all if that is 0:
        it is made exactly 0, so the reward of an episode is this very number.
        """
        self.last_score = self.divergence(run(model, loader))
        if self.counting:
            weight_bits, activation_bits = self.widths(model)
            self.evaluations.append(
                {
                    "seconds": time.perf_counter() - self.start,
                    "score": self.last_score,
                    "weight_bits": list(weight_bits.values()),
                    "activation_bits": sorted(activation_bits),
                }
            )
            print(f"scored {len(self.evaluations)}", flush=True)
        return -min(self.last_score, LARGEST_SCORE) if self.last_score > NO_SCORE else 0.0

    def divergence(self, outputs: torch.Tensor) -> float:
        """Mean over the images of KL(softmax(reference) || softmax(outputs)), in nats; infinite for NaN."""
        if not bool((outputs < math.inf).all()):
            return math.inf
        differences = self._logarithms - torch.log_softmax(outputs.double(), dim=1)
        return float((self._logarithms.exp() * differences).sum(dim=1).clamp(min=0).mean())

    def widths(self, model: torch.nn.Module) -> tuple[dict[str, int], set[int]]:
        """Bits of each layer's weights, by the module's name in the task, and all widths of the activations."""
        weights, activations = {}, set()
        for name, module in model.named_modules():
            if isinstance(module, BaseQuantizer):
                layer, separator, _ = name.partition(".pre_ops.")
                if separator:
                    weights[self.name(layer)] = int(module.num_bits)
                else:
                    activations.add(int(module.num_bits))
        return weights, activations

    def name(self, module: str) -> str:
        """The name in the task of the module that has this name here."""
        return self._names.get(module, module)


class Simulation:
    """Simulation that AutoQ scores policies with, kept after its search for the policies that others found."""

    def __init__(self, recorder: Recorder, policies: dict[str, dict[str, int]], report: torch.Tensor) -> None:
        self._recorder = recorder
        self._policies = policies
        self._report = report
        self.float_score = math.nan
        self.seconds = math.nan
        self.cpu_seconds = math.nan
        self.scores: dict[str, float] = {}
        self.outputs: dict[str, np.ndarray] = {}

    def install(self) -> None:
        """Lets AutoQ search as it does, takes its time, and then scores the other policies in its environment."""
        search = AutoQPrecisionInitializer._search

        def timed(initializer: Any, agent: Any, environment: Any) -> Any:
            # The float model is the last that AutoQ looks at before it searches.
            self.float_score = self._recorder.last_score
            self._recorder.begin()
            cpu, start = time.process_time(), time.perf_counter()
            found = search(initializer, agent, environment)
            self.seconds, self.cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
            self._recorder.counting = False
            self._score("autoq", [int(bits) for bits in found[0]], environment)
            modules = environment.qmodel.named_modules()
            names = {id(module): self._recorder.name(name) for name, module in modules}
            table = environment.master_df
            for name, bits in self._policies.items():
                rows = zip(table["state_module"], table["is_wt_quantizer"], strict=True)
                actions = [bits[names[id(module)]] if weights else ACTIVATION_BITS for module, weights in rows]
                self._score(name, actions, environment)
            return found

        AutoQPrecisionInitializer._search = timed

    def _score(self, name: str, actions: list[int], environment: Any) -> None:
        environment.evaluate_strategy(actions, skip_constraint=True)
        self.scores[name] = self._recorder.last_score
        with torch.no_grad():
            self.outputs[name] = run(environment.qmodel, make_loader(self._report)).numpy()


def main() -> None:
    """Reads the task, lets AutoQ search, writes the result beside the task."""
    file = Path(sys.argv[1])
    task = json.loads(file.read_text(encoding="utf-8"))
    with np.load(file.with_name(task["arrays"])) as arrays:
        images = {name: torch.from_numpy(arrays[name]) for name in ("calibration", "search", "reference", "report")}
    nncf_logger.setLevel(logging.ERROR)
    # AutoQ indexes its tables in ways that pandas deprecates, with a warning for each.
    warnings.simplefilter("ignore")
    # Compiled before the clock runs.
    QuantizedFunctionsCPU.get("Quantize_forward")
    model = load_model(task["model"], task["model_arguments"])
    model.load_state_dict(torch.load(file.with_name(task["state"]), map_location="cpu", weights_only=True))
    names = use_plain_convolutions(model.eval())
    threads = fastest_threads(model, images["calibration"][:BATCH_SIZE], task["threads"])
    torch.set_num_threads(threads)
    use_description_without_16_bits(file.parent / "npu.json")
    # AutoQ draws from NumPy's and SciPy's global generator, and seeds PyTorch's itself.
    np.random.seed(task["seed"])
    random.seed(task["seed"])

    recorder = Recorder(images["reference"], names)
    simulation = Simulation(recorder, task["policies"], images["report"])
    simulation.install()
    parameters = nncf_parameters(task, len(images["calibration"]))
    configuration = register_default_init_args(
        NNCFConfig.from_dict(parameters),
        make_loader(images["calibration"]),
        val_loader=make_loader(images["search"]),
        autoq_eval_fn=recorder,
    )
    start = time.perf_counter()
    _, compressed = create_compressed_model(model, configuration)
    final, _ = recorder.widths(compressed)
    np.savez(file.with_name(task["outputs"]), **simulation.outputs)
    result = {
        "layers": list(final),
        "evaluations": recorder.evaluations,
        "final": list(final.values()),
        "policies": simulation.scores,
        "float_score": simulation.float_score,
        "seconds": {"preparation": recorder.start - start, "search": simulation.seconds},
        "cpu_seconds": simulation.cpu_seconds,
        "threads": threads,
        "parameters": parameters,
        "versions": {"nncf": nncf.__version__, "torch": torch.__version__},
    }
    file.with_name(task["result"]).write_text(json.dumps(result), encoding="utf-8")


def nncf_parameters(task: dict[str, Any], samples: int) -> dict[str, Any]:
    """The configuration of NNCF 2.19: all defaults, but for the budget and for activations, which keep 8 bits."""
    precision = {
        "type": "autoq",
        "bits": task["bits"],
        "iter_number": task["evaluations"],
        "compression_ratio": task["compression_ratio"],
        "eval_subset_ratio": 1.0,
    }
    return {
        "input_info": {"sample_size": task["sample_size"]},
        # The only device for which weights and activations may have different widths to choose from.
        "target_device": "NPU",
        "compression": {
            "algorithm": "quantization",
            "weights": {"mode": "symmetric", "per_channel": True},
            "activations": {"bits": ACTIVATION_BITS},
            "initializer": {"range": {"num_init_samples": samples}, "precision": precision},
        },
    }


def use_description_without_16_bits(file: Path) -> None:
    """Has NNCF read the device's description without its widths of 16 bits.

    AutoQ's agent can choose 2, 4 and 8 only. With 16 bits in the description it would scale what it knows of the
    layer before by 16 while it acts and by 8 when it learns.

    Args:
        file: Where the changed description is written.
    """
    description = json.loads(Path(HWConfig.get_path_to_hw_config(HWConfigType.NPU)).read_text(encoding="utf-8"))
    options = description["config"]["quantization"]
    kept = {name: option for name, option in options.items() if option["bits"] != UNREACHABLE_BITS}
    description["config"]["quantization"] = kept
    for operation in description["operations"]:
        for group, names in operation.get("quantization", {}).items():
            operation["quantization"][group] = [name for name in names if name in kept]
    file.write_text(json.dumps(description), encoding="utf-8")
    HWConfig.get_path_to_hw_config = staticmethod(lambda kind: str(file))


def load_model(reference: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """Calls the `FILE.py:CALLABLE` or `PACKAGE.MODULE:CALLABLE` of a configuration."""
    # A recipe's model file may import the package's exceptions, but the package itself cannot be imported here.
    package = types.ModuleType("nncf_mcq")
    package.__path__ = [str(Path(__file__).resolve().parents[2] / "nncf_mcq")]
    sys.modules["nncf_mcq"] = package
    where, _, name = reference.partition(":")
    if where.endswith(".py"):
        specification = importlib.util.spec_from_file_location("autoq_model", where)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    else:
        module = importlib.import_module(where)
    return getattr(module, name)(**arguments)


def use_plain_convolutions(model: torch.nn.Module) -> dict[str, str]:
    """Replaces convolutions of a class of their own by plain ones: NNCF 2 quantizes the weights of no others.

    Args:
        model: Changed in place; computes the same.

    Returns:
        The name of each convolution that got another one, to the name that it had.
    """
    renamed = {}
    special = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d) and type(module) is not torch.nn.Conv2d
    ]
    for name, module in special:
        if not hasattr(module, "static_padding"):
            raise SystemExit(f"{name} is a {type(module).__name__}: AutoQ quantizes torch.nn.Conv2d only")
        plain = torch.nn.Conv2d(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            tuple(module.stride),
            module.padding,
            module.dilation,
            module.groups,
            module.bias is not None,
        )
        plain.load_state_dict(module.state_dict())
        parent, _, field = name.rpartition(".")
        is_padded = isinstance(module.static_padding, torch.nn.ZeroPad2d)
        replacement = torch.nn.Sequential(module.static_padding, plain) if is_padded else plain
        setattr(model.get_submodule(parent), field, replacement.eval())
        if is_padded:
            renamed[f"{name}.1"] = name
    return renamed


def fastest_threads(model: torch.nn.Module, images: torch.Tensor, most: int) -> int:
    """With how many threads the model runs fastest.

    On a machine that does something else as well, PyTorch's threads wait for each other: one is then faster than two.
    """
    seconds = dict.fromkeys({1, most}, math.inf)
    with torch.no_grad():
        for _ in range(3):
            for threads in seconds:
                torch.set_num_threads(threads)
                start = time.perf_counter()
                model(images)
                seconds[threads] = min(seconds[threads], time.perf_counter() - start)
    return min(seconds, key=seconds.__getitem__)


def make_loader(images: torch.Tensor) -> DataLoader:
    """Batches of (images, targets), as NNCF expects them; nobody reads the targets."""
    return DataLoader(TensorDataset(images, torch.zeros(len(images))), batch_size=BATCH_SIZE)


def run(model: torch.nn.Module, loader: Any) -> torch.Tensor:
    """(N, classes) outputs."""
    model.eval()
    return torch.cat([model(images) for images, _ in loader])


if __name__ == "__main__":
    main()
