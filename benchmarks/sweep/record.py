"""What the sweep knows of a network, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nncf_mcq.config.types import Bits
from nncf_mcq.errors import NncfMcqError
from nncf_mcq.utils.files import write_text_atomically

Variant = Literal["8", "4"]
"""A model of this package: 8 bits everywhere, or an average of 4."""

VARIANTS: Final[tuple[Variant, ...]] = ("8", "4")
"""In the order of the tables."""

Model = Literal["nncf", "8", "4"]
"""One of them, or what `nncf.quantize` made."""

NNCF: Final = "nncf"


class SweepError(NncfMcqError):
    """The sweep cannot go on."""


class _Record(BaseModel):
    # An output that is equal bit for bit has an infinite ratio of signal to noise.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Settings(_Record):
    """How networks are quantized and measured.

    Attributes:
        precision: Type of the precision initializer for an average of 4 bits.
        weight_bits: Bit-widths that it chooses from.
        sequential: Whether weights are quantized once more, layer by layer, after the policy has been found.
        calibration_images: Number of calibration images.
        test_images: Number of other images that the ratio of signal to noise is of.
        threads: Of OpenVINO and PyTorch.
        rounds: Interleaved rounds of each measurement of time.
        seconds: Of inferences in a turn.
    """

    precision: str = "ilp"
    weight_bits: tuple[Bits, ...] = (3, 4, 5, 8)
    sequential: bool = False
    calibration_images: int = 32
    test_images: int = 16
    threads: int = 1
    rounds: int = 5
    seconds: float = 0.05


class FileRecord(_Record):
    """What is measured of a quantized model's file.

    Attributes:
        integer_layers: Layers that multiply weights and run on 8-bit integers.
        compute_layers: All that multiply.
        signal_to_noise: Of each output, in decibels, on the test images.
        bin_bytes: Size of the .bin.
        xml_bytes: Size of the .xml.
        compile_seconds: Time to read and compile it: the least of several.
        latency_ms: Median.
        latency_ratio: To that of NNCF INT8, interleaved.
    """

    integer_layers: int
    compute_layers: int
    signal_to_noise: list[float]
    bin_bytes: int
    xml_bytes: int
    compile_seconds: float
    latency_ms: float
    latency_ratio: float


class RunRecord(_Record):
    """A run of this package.

    Attributes:
        layers: Layers that it found.
        average_weight_bits: Of the layers' weights.
        verified: Whether the saved file gives the scored model's outputs.
        difference: Largest difference, as a part of an output's range.
        seconds: From the model to the verified file.
        peak_megabytes: Memory of the process at its peak, and before.
        before_megabytes: Memory before the run.
    """

    layers: int
    average_weight_bits: float
    verified: bool
    difference: float
    seconds: float
    peak_megabytes: float
    before_megabytes: float


class NetworkRecord(_Record):
    """What is known of a network.

    Attributes:
        name: Of the network.
        settings: How it was measured.
        source: What it came as.
        parameters: Number of values in the float model's constants.
        files: What was measured of each file that was made.
        runs: The runs of this package that ended.
        errors: What went wrong, by model; under the name of the network what ended the whole.
        versions: Of what the result depends on.
    """

    name: str
    settings: Settings
    source: str = ""
    parameters: int = 0
    files: dict[Model, FileRecord] = {}
    runs: dict[Variant, RunRecord] = {}
    errors: dict[str, str] = {}
    versions: dict[str, str] = {}

    def save(self, folder: Path) -> None:
        """Writes it."""
        write_text_atomically(record_file(folder, self.name), self.model_dump_json(indent=1) + "\n")


def record_file(folder: Path, name: str) -> Path:
    """Where the record of a network lies."""
    return folder / f"{name}.json"


def read_record(folder: Path, name: str, settings: Settings | None = None) -> NetworkRecord | None:
    """The record of a network; None where there is none.

    Args:
        folder: Of the records.
        name: Of the network.
        settings: Those that it must have been measured with; None for any.

    Raises:
        SweepError: It cannot be read, or was measured with other settings.
    """
    path = record_file(folder, name)
    if not path.is_file():
        return None
    try:
        record = NetworkRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise SweepError(f"{path}: not a record of this sweep ({first['loc']}: {first['msg']})") from error
    if settings is not None and record.settings != settings:
        found = record.settings.model_dump()
        different = [name for name, value in settings.model_dump().items() if found[name] != value]
        raise SweepError(f"{path}: was measured with another {', '.join(different)}: use a new folder")
    return record
