"""Measures one network: quantizes it, compares the files with the float model, and takes their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from benchmarks.memory import peak_megabytes, reset_peak
from benchmarks.sweep.images import make_samples
from benchmarks.sweep.networks.network import Network
from benchmarks.sweep.record import NNCF, VARIANTS, FileRecord, Model, NetworkRecord, RunRecord, Settings, Variant
from benchmarks.sweep.sources import load_network, to_float_model
from nncf_mcq import quantize, versions
from nncf_mcq.model.algorithm import quiet_nncf
from nncf_mcq.model.loading import FloatModel
from openvino_eval import Precision, count_integer_layers, measure_latency, read_and_compile, runtime_layers
from openvino_eval.size import file_bytes

CALIBRATION_SEED, TEST_SEED = 1, 2

MEASURED_ONCE = ("ilp", "greedy")
"""Initializers that measure how sensitive layers are: here at one bit-width of each."""

COMPILATIONS = 3
"""Times that a file is compiled, at most."""

_Result = TypeVar("_Result")


def measure_network(network: Network, settings: Settings, folder: Path) -> NetworkRecord:
    """Everything that is known of a network.

    What fails is told in the record, and the rest is measured.

    Args:
        network: The network.
        settings: How it is quantized and measured.
        folder: An empty one for the files.
    """
    errors: dict[str, str] = {}
    model = load_network(network, folder)
    calibration = make_samples(network, settings.calibration_images, CALIBRATION_SEED)
    runs: dict[Variant, RunRecord] = {}
    paths: dict[Model, Path] = {}
    # Before anything else has taken memory.
    for variant in VARIANTS:
        run = _attempt(
            errors, variant, lambda variant=variant: _run(variant, model, network, calibration, settings, folder)
        )  # type: ignore[misc]
        if run is not None:
            runs[variant] = run
            paths[variant] = folder / variant / "model.xml"
    float_model = to_float_model(model, network)
    baseline = _attempt(errors, NNCF, lambda: _nncf_int8(float_model, calibration, network, folder))
    if baseline is not None:
        paths = {"nncf": baseline, **paths}
    return NetworkRecord(
        name=network.name,
        settings=settings,
        source=network.source,
        parameters=_parameters(float_model),
        files=_measure_files(paths, float_model, network, settings) if paths else {},
        runs=runs,
        errors=errors,
        versions=versions(),
    )


def configuration(variant: Variant, network: Network, settings: Settings) -> dict[str, object]:
    """What `nncf_mcq.quantize` is told; all else are its defaults."""
    compression: dict[str, object] = {"initializer": {"num_init_samples": settings.calibration_images}}
    if variant == "4":
        precision: dict[str, object] = {"type": settings.precision, "budget": {"weight_size": {"average_bits": 4}}}
        if settings.precision in MEASURED_ONCE:
            precision["measured_widths"] = 1
        compression = {
            "weights": {"bits": list(settings.weight_bits)},
            "correction": {"sequential": settings.sequential},
            "initializer": {"num_init_samples": settings.calibration_images, "precision": precision},
        }
    return {
        "input_info": [{"sample_size": list(shape)} for shape in network.shapes],
        "compression": compression,
        "runtime": {"threads": settings.threads},
    }


def signal_to_noise(found: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Decibels of an output over its error; infinite where there is none, and nan where a value is not finite."""
    signal, error = reference.astype(np.float64), found.astype(np.float64) - reference
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.square(signal).sum() / np.square(error).sum()))


def _attempt(errors: dict[str, str], name: str, function: Callable[[], _Result]) -> _Result | None:
    try:
        return function()
    except Exception as error:  # a failure is a result of the sweep
        errors[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def _run(
    variant: Variant,
    model: FloatModel,
    network: Network,
    calibration: Sequence[NDArray[np.float32]],
    settings: Settings,
    folder: Path,
) -> RunRecord:
    """Quantizes, saves and verifies as the command line does."""
    reset_peak()
    before, start = peak_megabytes(), time.perf_counter()
    result = quantize(model, nncf.Dataset(_items(calibration)), configuration(variant, network, settings))
    result.save(folder / variant)
    seconds = time.perf_counter() - start
    assert result.verification is not None
    weights = {layer.name: layer.weights for layer in result.layers}
    bits = result.policy.weight_bits
    return RunRecord(
        layers=len(result.layers),
        average_weight_bits=sum(bits[name] * count for name, count in weights.items()) / sum(weights.values()),
        verified=result.verification.passed,
        difference=result.verification.difference,
        seconds=seconds,
        peak_megabytes=peak_megabytes(),
        before_megabytes=before,
    )


def _nncf_int8(model: ov.Model, calibration: Sequence[NDArray[np.float32]], network: Network, folder: Path) -> Path:
    """The file of `nncf.quantize` with its default preset, on the same images."""
    samples = [
        tuple(values.reshape(shape) for values, shape in zip(item, network.shapes, strict=True))
        for item in _items(calibration)
    ]
    items = [item[0] if len(item) == 1 else item for item in samples]
    with quiet_nncf():
        quantized = nncf.quantize(model.clone(), nncf.Dataset(items), subset_size=len(items))
    path = folder / NNCF / "model.xml"
    path.parent.mkdir()
    ov.save_model(quantized, path)
    return path


def _items(samples: Sequence[NDArray[np.float32]]) -> list[tuple[NDArray[np.float32], ...]]:
    """The samples one by one, with a batch of 1."""
    return [tuple(values[None] for values in item) for item in zip(*samples, strict=True)]


def _measure_files(
    paths: Mapping[Model, Path], float_model: ov.Model, network: Network, settings: Settings
) -> dict[Model, FileRecord]:
    test = make_samples(network, settings.test_images, TEST_SEED)
    reference = _outputs(read_and_compile(float_model, threads=settings.threads), test)
    compile_seconds = _compile_seconds(paths, settings)
    latency = measure_latency(
        dict(paths), threads=settings.threads, rounds=settings.rounds, seconds=settings.seconds, precision=Precision.F32
    )
    found: dict[Model, FileRecord] = {}
    for name, path in paths.items():
        compiled = read_and_compile(path, threads=settings.threads)
        integer, total = count_integer_layers(runtime_layers(compiled))
        outputs = _outputs(compiled, test)
        xml_bytes, bin_bytes = file_bytes(path)
        found[name] = FileRecord(
            integer_layers=integer,
            compute_layers=total,
            signal_to_noise=[
                signal_to_noise(values, expected) for values, expected in zip(outputs, reference, strict=True)
            ],
            bin_bytes=bin_bytes,
            xml_bytes=xml_bytes,
            compile_seconds=compile_seconds[name],
            latency_ms=latency[name].median_ms,
            # Without NNCF INT8 there is nothing to compare with.
            latency_ratio=latency[name].ratio if NNCF in paths else float("nan"),
        )
    return found


def _outputs(compiled: ov.CompiledModel, samples: Sequence[NDArray[np.float32]]) -> list[NDArray[np.floating]]:
    """(samples, ...) of each output."""
    shapes = [tuple(port.get_shape()) for port in compiled.inputs]
    rows = []
    for item in _items(samples):
        result = compiled([values.reshape(shape) for values, shape in zip(item, shapes, strict=True)])
        rows.append([np.array(result[port]) for port in compiled.outputs])
    return [np.stack(values) for values in zip(*rows, strict=True)]


def _compile_seconds(paths: Mapping[Model, Path], settings: Settings) -> dict[Model, float]:
    """The least of several times of each file, interleaved."""
    times: dict[Model, list[float]] = {name: [] for name in paths}
    for _ in range(min(settings.rounds, COMPILATIONS)):
        for name, path in paths.items():
            start = time.perf_counter()
            read_and_compile(path, threads=settings.threads)
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def _parameters(model: ov.Model) -> int:
    """Values in the constants of the model that are floating point."""
    return sum(
        int(np.prod(node.get_output_shape(0), dtype=np.int64))
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type().is_real()
    )
