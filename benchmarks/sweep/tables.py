"""The records as a page of the documentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.sweep.aims import aims
from benchmarks.sweep.networks.network import Network
from benchmarks.sweep.record import NNCF, VARIANTS, Model, NetworkRecord, Settings, Variant

_MISSING = "-"
COMMAND = "OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.sweep --output build/sweep"


def to_markdown(networks: Sequence[Network], records: Sequence[NetworkRecord]) -> str:
    """The whole page.

    Args:
        networks: Those of the records, in their order.
        records: One or more.
    """
    settings = records[0].settings
    quality = ("network", "layers", "int8 at 8", "of NNCF", "dB at 8", "of NNCF", "at 4", "verified")
    ratios = [f"{what} {variant}" for what in ("bytes", "compile", "latency") for variant in VARIANTS]
    costs = ("network", "NNCF kB", *ratios, *(f"s at {variant}" for variant in VARIANTS), "MB", "before")
    parts = [
        "# Sweep over networks",
        _introduction(len(records), settings),
        f"    {COMMAND}",
        "prints this page; a second run goes on where the first was stopped. See "
        "[benchmarks](../benchmarks/README.md#sweep).",
        "## Aims",
        "\n".join(f"- {aim}" for aim in aims(records)),
        "## Layers and fidelity",
        _LAYERS.format(images=settings.test_images),
        _table(quality, _quality(records)),
        "## Size, time and memory",
        _COSTS,
        _table(costs, _costs(records)),
        "## Networks",
        _table(("network", "inputs", "weights", "comes as", "what is special"), _descriptions(networks, records)),
    ]
    failures = [f"- {record.name}, {model}: {reason}" for record in records for model, reason in record.errors.items()]
    if failures:
        parts += ["## Failures", "\n".join(failures)]
    return "\n\n".join(parts) + "\n"


def _introduction(count: int, settings: Settings) -> str:
    sequential = "with" if settings.sequential else "without"
    return (
        f"{count} networks at 8 bits, at an average of 4 bits, and by `nncf.quantize` with its defaults, on the same "
        f"{settings.calibration_images} calibration images. 8 bits are the default configuration. For the average of "
        f"4, `{settings.precision}` chooses from {', '.join(map(str, settings.weight_bits))} bits, {sequential} the "
        "sequential pass, and measures each layer at one bit-width: the aim is many networks, not the best policy of "
        "each.\n\n"
        "The weights are random, scaled so that activations have the statistics of a trained network, and the images "
        "are smooth noise: the sweep shows what works, and how close outputs are to the float model's, not the "
        "accuracy of a trained network. Networks of torchvision are cut, see the last table."
    )


_LAYERS = (
    "*layers*: those that this package found. *int8 at 8*, *of NNCF*: layers of the reloaded file that run on int8 "
    "kernels, of all that multiply in the compiled model (which may count otherwise: a bidirectional LSTM is two "
    "there). *dB at 8*, *of NNCF*, *at 4*: signal-to-noise ratio of each output on {images} images that were not for "
    "calibration; higher is better. *verified*: whether the files of both bit-widths give the outputs of the models "
    "that were scored; *equal*: bit for bit."
)

_COSTS = (
    "*NNCF kB*: the .bin of NNCF INT8. *bytes*, *compile*, *latency*: of 8 bits and of an average of 4, relative to "
    "NNCF INT8: the .bin, the time to read and compile the file, and the median latency, batch 1, interleaved. *s*: "
    "from the float model to the verified file. *MB*: the most memory of the process in the run of more, with Python, "
    "the libraries and the float model; *before*: what it held when that run began. Networks as small as these compile "
    "in a tenth of a second and run in less than a millisecond, on a machine that others used: single figures of time "
    "are rough, the medians are better."
)


def _quality(records: Sequence[NetworkRecord]) -> list[tuple[str, ...]]:
    return [
        (
            record.name,
            _found(record),
            _integer(record, "8"),
            _integer(record, NNCF),
            *(_noise(record, model) for model in ("8", NNCF, "4")),
            _verified(record),
        )
        for record in records
    ]


def _found(record: NetworkRecord) -> str:
    found = sorted({run.layers for run in record.runs.values()})
    return " / ".join(map(str, found)) or _MISSING


def _integer(record: NetworkRecord, model: Model) -> str:
    file = record.files.get(model)
    return _MISSING if file is None else f"{file.integer_layers}/{file.compute_layers}"


def _noise(record: NetworkRecord, model: Model) -> str:
    file = record.files.get(model)
    return _MISSING if file is None else ", ".join(_decibels(value) for value in file.signal_to_noise)


def _decibels(value: float) -> str:
    return "exact" if value == math.inf else _number(value, ".1f")


def _verified(record: NetworkRecord) -> str:
    def of_run(variant: Variant) -> str:
        run = record.runs.get(variant)
        if run is None or not run.verified:
            return "no"
        return "equal" if run.difference == 0 else "yes"

    return ", ".join(dict.fromkeys((of_run("8"), of_run("4"))))


def _costs(records: Sequence[NetworkRecord]) -> list[tuple[str, ...]]:
    rows = []
    for record in records:
        nncf = record.files.get(NNCF)
        largest = max(record.runs.values(), key=lambda run: run.peak_megabytes, default=None)
        rows.append(
            (
                record.name,
                _MISSING if nncf is None else f"{nncf.bin_bytes / 1000:,.0f}",
                *(_number(bytes_ratio(record, variant), ".3f") for variant in VARIANTS),
                *(_number(compile_ratio(record, variant), ".2f") for variant in VARIANTS),
                *(_number(latency_ratio(record, variant), ".2f") for variant in VARIANTS),
                *(_number(_seconds(record, variant), ".1f") for variant in VARIANTS),
                _number(None if largest is None else largest.peak_megabytes, ",.0f"),
                _number(None if largest is None else largest.before_megabytes, ",.0f"),
            )
        )
    columns = (bytes_ratio, compile_ratio, latency_ratio)
    middle = [_number(_median(records, ratio, variant), ".2f") for ratio in columns for variant in VARIANTS]
    seconds = [_number(_median(records, _seconds, variant), ".1f") for variant in VARIANTS]
    return [*rows, ("**median**", "", *middle, *seconds, "", "")]


Ratio = Callable[[NetworkRecord, Variant], float | None]


def bytes_ratio(record: NetworkRecord, variant: Variant) -> float | None:
    """Bytes of the .bin over those of NNCF INT8."""
    own, nncf = record.files.get(variant), record.files.get(NNCF)
    return None if own is None or nncf is None else own.bin_bytes / nncf.bin_bytes


def compile_ratio(record: NetworkRecord, variant: Variant) -> float | None:
    """Time to compile over that of NNCF INT8."""
    own, nncf = record.files.get(variant), record.files.get(NNCF)
    return None if own is None or nncf is None else own.compile_seconds / nncf.compile_seconds


def latency_ratio(record: NetworkRecord, variant: Variant) -> float | None:
    """Latency over that of NNCF INT8."""
    own = record.files.get(variant)
    return None if own is None else own.latency_ratio


def _seconds(record: NetworkRecord, variant: Variant) -> float | None:
    run = record.runs.get(variant)
    return None if run is None else run.seconds


def _median(records: Sequence[NetworkRecord], ratio: Ratio, variant: Variant) -> float | None:
    known = [value for record in records if (value := ratio(record, variant)) is not None and math.isfinite(value)]
    return median(known) if known else None


def _descriptions(networks: Sequence[Network], records: Sequence[NetworkRecord]) -> list[tuple[str, ...]]:
    kinds = {"torch": "PyTorch module", "program": "exported program", "onnx": "ONNX file", "ir": "OpenVINO model"}
    return [
        (
            network.name,
            ", ".join("x".join(map(str, shape)) for shape in network.shapes),
            f"{record.parameters:,}" if record.parameters else _MISSING,
            kinds[network.source],
            network.note,
        )
        for network, record in zip(networks, records, strict=True)
    ]


def _number(value: float | None, form: str) -> str:
    return _MISSING if value is None or not math.isfinite(value) else format(value, form)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = ("---", *("---:" for _ in heads[1:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ruler, *rows))
