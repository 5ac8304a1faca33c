"""What an IR costs when it is used: start, start from a cache, memory and latency of each form, beside NNCF INT8.

The networks are those of torchvision with random weights and a mixture of bit-widths: what is measured depends on
shapes and forms, not on the values. Every start is a process of its own; the forms are interleaved. Times are those of
the processor, of one thread: other programs count less.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import nncf
import numpy as np
import openvino as ov
import torch
import torchvision
from rich import box
from rich.table import Table

from benchmarks.command import show
from nncf_mcq import quantize
from nncf_mcq.calibration.images import collect_images
from nncf_mcq.ir.float_layers import read_unquantized
from nncf_mcq.ir.fully_connected import COMPRESSED_BITS, SMALLEST_COMPRESSED, quantized_inputs
from nncf_mcq.ir.packing import compressed_weight, int8_weight, unpack_weight
from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.inference import compile_properties
from nncf_mcq.model.int8 import nncf_int8
from nncf_mcq.model.layer_forms import WEIGHT_PORTS
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.policy import INT8_BITS

SHAPE = [1, 3, 224, 224]
NNCF = "NNCF INT8"
IMAGES = 4
MIXTURE = (2, 3, 4, 5, 6, 8)
"""Their mean over layers that are all as large is 4.7."""

_QUICK = {
    "activations": {"range": "max"},
    "correction": {"rounding": "nearest", "sequential": False},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=["mobilenet_v2", "resnet18"], metavar="NETWORK")
    parser.add_argument("--fully-connected", action="store_true", help="compare the kernels of fully connected layers")
    parser.add_argument("--rounds", type=int, default=7)
    parsed = parser.parse_args(arguments)
    heads = (
        "network",
        "form",
        ".bin kB",
        ".xml kB",
        "start",
        "from cache",
        "cache MB",
        "peak MB",
        "resident MB",
        "latency",
    )
    for network in parsed.networks:
        table = Table(*heads, box=box.MARKDOWN)
        with tempfile.TemporaryDirectory() as folder:
            forms = write_forms(network, Path(folder), fully_connected=parsed.fully_connected)
            for row in measure(network, forms, Path(folder), parsed.rounds):
                table.add_row(*row)
        show(table, width=200)


def write_forms(network: str, folder: Path, *, fully_connected: bool) -> dict[str, Path]:
    """Name of each form to its .xml file; the first is the one that others are compared with."""
    torch.manual_seed(0)
    module = getattr(torchvision.models, network)(weights=None).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            # With the zeros that it begins with there are no biases.
            torch.nn.init.normal_(part.bias, 0, 0.2)
    model = to_openvino(module, SHAPE, None)
    generator = np.random.default_rng(0)
    dataset = nncf.Dataset([generator.standard_normal(SHAPE).astype(np.float32) for _ in range(IMAGES)])
    made = {NNCF: nncf_int8(model, collect_images(dataset, IMAGES, model), [])}
    if fully_connected:
        for bits in sorted(COMPRESSED_BITS, reverse=True):
            made[f"packed, {bits} bits"] = with_packed_layers(made[NNCF], bits)
    else:
        made["8 bits"] = _quantized(model, dataset, [])
        made["mixed"] = _quantized(model, dataset, _mixture(find_layers(model)))
        made["mixed, as int8"] = as_int8(made["mixed"])
    paths = {}
    for number, (name, item) in enumerate(made.items()):
        if name == NNCF:
            # As a user of NNCF does.
            paths[name] = folder / "nncf.xml"
            ov.save_model(item, paths[name], compress_to_fp16=False)
        else:
            paths[name] = save_atomically(item, folder, f"form{number}")
    return paths


def _mixture(layers: QuantizableModel) -> list[list[object]]:
    chooser = random.Random(1)
    return [[chooser.choice(MIXTURE), layer.name] for layer in layers.layers]


def _quantized(model: ov.Model, dataset: nncf.Dataset, bits: list[list[object]]) -> ov.Model:
    precision = {"type": "manual", "bitwidth_per_scope": bits}
    compression = {
        **_QUICK,
        "initializer": {"range": "max", "precision": precision, "num_init_samples": IMAGES},
    }
    return quantize(model, dataset, {"compression": compression, "runtime": {"threads": 1}}).model


def with_packed_layers(model: ov.Model, bits: int) -> ov.Model:
    """A copy whose large fully connected layers keep the upper bits of their weights, and stay packed at run time."""
    copy, shift = model.clone(), INT8_BITS - bits
    for operation in copy.get_ordered_ops():
        found = unpack_weight(operation.input_value(1).get_node()) if operation.get_type_name() == "MatMul" else None
        if found is None or found.levels.size < SMALLEST_COMPRESSED:
            continue
        for data in quantized_inputs([operation.input(0)]):
            read_unquantized(data.get_node(), data.get_index())
        weight = compressed_weight(found.levels >> shift, bits, found.scale * 2**shift, 2 ** (bits - 1))
        operation.input(1).replace_source_output(weight.output(0))
    return copy


def as_int8(model: ov.Model) -> ov.Model:
    """A copy with the weights as int8 constants: a file as large as at 8 bits, in which there is nothing to unpack."""
    copy = model.clone()
    for operation in copy.get_ordered_ops():
        for port in WEIGHT_PORTS.get(operation.get_type_name(), ()):
            found = unpack_weight(operation.input_value(port).get_node())
            if found is not None:
                weight = int8_weight(found.levels, found.bits, found.scale, found.zero_point)
                operation.input(port).replace_source_output(weight.output(0))
    return copy


def measure(network: str, forms: dict[str, Path], folder: Path, rounds: int) -> list[tuple[str, ...]]:
    """The rows of a network."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in forms}
    cache_bytes = {}
    for turn in range(rounds + 1):
        for name, xml in forms.items():
            cache = folder / f"cache-{xml.stem}"
            values = _run(xml, None) | {f"cached {key}": value for key, value in _run(xml, cache).items()}
            cache_bytes[name] = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
            if turn:
                # The first turn fills the cache.
                found[name].append(values)
    # The latencies of processes of their own differ by how their memory lies: these are of one process, interleaved.
    latencies = interleaved_latencies(forms, rounds * 20)
    best = {
        name: {key: _figure(key, [item[key] for item in items]) for key in items[0]} for name, items in found.items()
    }
    base = best[NNCF]
    rows = []
    for name, xml in forms.items():
        own = best[name]
        rows.append(
            (
                network,
                name,
                f"{xml.with_suffix('.bin').stat().st_size / 1000:,.0f}",
                f"{xml.stat().st_size / 1000:,.0f}",
                f"{own['seconds'] * 1000:.0f} ms ({own['seconds'] / base['seconds']:.2f})",
                f"{own['cached seconds'] * 1000:.0f} ms ({own['cached seconds'] / base['cached seconds']:.2f})",
                f"{cache_bytes[name] / 1e6:.1f}",
                f"{own['peak']:.0f} ({own['peak'] / base['peak']:.2f})",
                f"{own['resident']:.0f} ({own['resident'] / base['resident']:.2f})",
                f"{latencies[name] * 1000:.2f} ms ({latencies[name] / latencies[NNCF]:.2f})",
            )
        )
    return rows


def _figure(key: str, values: list[float]) -> float:
    return min(values) if key.endswith("seconds") else median(values)


def _run(xml: Path, cache: Path | None) -> dict[str, float]:
    properties = compile_properties(1) | ({} if cache is None else {"CACHE_DIR": str(cache)})
    command = [sys.executable, "-m", "benchmarks.model_start", str(xml), json.dumps(properties)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    return {key: float(value) for key, value in json.loads(completed.stdout.splitlines()[-1]).items()}


def interleaved_latencies(forms: dict[str, Path], rounds: int) -> dict[str, float]:
    """Shortest processor time of an inference of each form, in seconds, one thread."""
    core = ov.Core()
    requests = {}
    for name, xml in forms.items():
        compiled = core.compile_model(xml, "CPU", compile_properties(1))
        requests[name] = (compiled.create_infer_request(), np.zeros(compiled.inputs[0].shape, np.float32))
    shortest = dict.fromkeys(requests, float("inf"))
    for _ in range(rounds):
        for name, (request, data) in requests.items():
            for _ in range(2):
                began = time.process_time()
                request.infer([data], share_inputs=True)
                shortest[name] = min(shortest[name], time.process_time() - began)
    return shortest


if __name__ == "__main__":
    main()
