"""Size of a model on disk, and the element types of its constants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from openvino_eval.errors import EvaluationError
from openvino_eval.runtime import read_model


@dataclass(frozen=True)
class ConstantType:
    """All constants of one element type.

    Attributes:
        element_type: OpenVINO's name, e.g. `u4`.
        bits: Bits an element.
        constants: How many constants.
        elements: How many values they hold. A weight of 5 or 7 bits may be stored as two bit planes; it counts in both.
        stored_bytes: Bytes in the .bin, each constant rounded up to a whole byte.
    """

    element_type: str
    bits: int
    constants: int
    elements: int
    stored_bytes: int


@dataclass(frozen=True)
class ModelSize:
    """Size of one IR.

    Attributes:
        xml_bytes: Bytes of the topology.
        bin_bytes: Bytes of the weights.
        constants: By element type, the largest first.
    """

    xml_bytes: int
    bin_bytes: int
    constants: tuple[ConstantType, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of both files."""
        return self.xml_bytes + self.bin_bytes


def file_bytes(path: Path) -> tuple[int, int]:
    """Bytes of an IR's two files.

    Args:
        path: The `.xml`; the `.bin` lies beside it.

    Returns:
        Bytes of the `.xml` and of the `.bin`.

    Raises:
        EvaluationError: It is not an IR, or one of the files is missing.
    """
    if path.suffix != ".xml":
        raise EvaluationError(
            f"{path}: not an OpenVINO IR, needed: an .xml file with its .bin beside it; OpenVINO writes one: "
            f"ovc {path} --compress_to_fp16=False"
        )
    weights = path.with_suffix(".bin")
    for file in (path, weights):
        if not file.is_file():
            raise EvaluationError(f"{file}: no such file")
    return path.stat().st_size, weights.stat().st_size


def measure_size(path: Path) -> ModelSize:
    """Weigh an IR.

    Args:
        path: The `.xml`; the `.bin` lies beside it.

    Returns:
        File sizes and the table of constants.

    Raises:
        EvaluationError: It is not an IR, or cannot be read.
    """
    xml_bytes, bin_bytes = file_bytes(path)
    table: dict[str, ConstantType] = {}
    for node in read_model(path).get_ops():
        if node.get_type_name() != "Constant":
            continue
        element_type = node.get_element_type()
        name, bits = element_type.get_type_name(), int(element_type.bitwidth)
        elements = 1
        for dimension in node.get_output_shape(0):
            elements *= int(dimension)
        known = table.get(name, ConstantType(name, bits, 0, 0, 0))
        table[name] = ConstantType(
            name,
            bits,
            known.constants + 1,
            known.elements + elements,
            known.stored_bytes + -(-elements * bits // 8),
        )
    by_size = sorted(table.values(), key=lambda constant: constant.stored_bytes, reverse=True)
    return ModelSize(xml_bytes, bin_bytes, tuple(by_size))
