"""Fully connected layers in int8 and with weights that stay packed: processor time of one thread, interleaved."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as opset
from rich import box
from rich.table import Table

from benchmarks.command import show
from nncf_mcq.ir.packing import compressed_weight, int8_weight
from nncf_mcq.model.inference import compile_model

SHAPES = ("9216x4096", "4096x4096", "2048x1000", "1280x1000", "512x1000")
BITS = (4, 2)
RANGE = (-4.0, 4.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=SHAPES, metavar="INPUTSxOUTPUTS")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parsed = parser.parse_args(arguments)
    table = Table("layer", "int8", *(f"{bits} bits, packed" for bits in BITS), box=box.MARKDOWN)
    for shape in parsed.shapes:
        inputs, outputs = map(int, shape.split("x"))
        base, *packed = measure(inputs, outputs, parsed.rows, parsed.rounds)
        table.add_row(shape, f"{base:.3f} ms", *(f"{item:.3f} ms ({item / base:.2f})" for item in packed))
    show(table, width=120)


def measure(inputs: int, outputs: int, rows: int, rounds: int) -> list[float]:
    """Milliseconds in int8, then at each of `BITS`."""
    models = [layer(inputs, outputs, rows, bits) for bits in (None, *BITS)]
    requests = [compile_model(model, 1).create_infer_request() for model in models]
    data = np.random.default_rng(1).standard_normal((rows, inputs)).astype(np.float32)
    shortest = [float("inf")] * len(requests)
    for _ in range(rounds):
        for number, request in enumerate(requests):
            for _ in range(3):
                began = time.process_time()
                request.infer([data], share_inputs=True)
                shortest[number] = min(shortest[number], time.process_time() - began)
    return [seconds * 1000 for seconds in shortest]


def layer(inputs: int, outputs: int, rows: int, bits: int | None) -> ov.Model:
    """One layer with random weights, packed at some bits, or in int8 with the quantizer of its input."""
    generator = np.random.default_rng(0)
    parameter = opset.parameter([rows, inputs], ov.Type.f32)
    scale = np.full((outputs, 1), 0.01, np.float32)
    levels = generator.integers(0, 2 ** (bits or 8), (outputs, inputs))
    data: ov.Node = parameter
    if bits is None:
        low, high = (opset.constant(np.float32(end)) for end in RANGE)
        data = opset.fake_quantize(parameter, low, high, low, high, 256)
        weight = int8_weight(levels, 8, scale, 128)
    else:
        weight = compressed_weight(levels, bits, scale, generator.integers(0, 2**bits, (outputs, 1)))
    return ov.Model([opset.matmul(data, weight, False, True)], [parameter], "layer")


if __name__ == "__main__":
    main()
