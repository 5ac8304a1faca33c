"""Integer weights as constants of their true bit-width, in a form that the CPU plugin runs on int8 kernels.

The plugin folds everything up to the last `Convert` into one int8 constant when a model is compiled, so a packed weight
costs nothing at inference; only the file keeps the packed form::

    u2/u3/u4/u6 constant -> Convert(i8) -> Add(-zero point, i8) -> Convert(f32) -> Multiply(scale)

The arithmetic is done in int8 rather than in float: it needs one node less in the XML, and a quarter of the memory
while the model is compiled. Two details are what keeps the int8 kernels:

* A `Multiply` on the integer side is taken for the dequantization, and the layer falls back to float. Where 5 and 7
  bits are put together from two bit planes, the upper one is therefore added to itself, and the lowest bit is the other
  plane. (`Select` between two integers would do as well, and takes some fifty times as long to fold.)
* A zero point that is left to the plugin costs the int8 kernel at 8 bits. Here it is absorbed: what reaches the kernel
  is a symmetric int8 constant.

Zero points are int8, although those of few bits would fit less: the nodes that unpack them take more bytes in the .xml
than they save in the .bin, and time in each start of a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as opset

from nncf_mcq.config.types import Coding
from nncf_mcq.errors import QuantizationError
from nncf_mcq.ir.trellis_reading import read_coded
from nncf_mcq.weights.trellis import decode

IntegerArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]
Scalar = TypeVar("Scalar", bound=np.generic)

# Width to the widths of its bit planes, the upper one first. OpenVINO has no u5 and no u7.
_PLANES: dict[int, tuple[int, ...]] = {2: (2,), 3: (3,), 4: (4,), 5: (4, 1), 6: (6,), 7: (6, 1), 8: (8,)}

# Width of a packed element to (elements, bytes) of its smallest block: u3 and u6 come in blocks of three bytes.
_BLOCKS: dict[int, tuple[int, int]] = {1: (8, 1), 2: (4, 1), 3: (8, 3), 4: (2, 1), 6: (4, 3), 8: (1, 1)}

_TYPES: dict[int, ov.Type] = {
    1: ov.Type.u1,
    2: ov.Type.u2,
    3: ov.Type.u3,
    4: ov.Type.u4,
    6: ov.Type.u6,
    8: ov.Type.u8,
}

_SIGNED_ZERO_POINT = 128


@dataclass(frozen=True)
class UnpackedWeight:
    """A weight as it was given to `packed_weight`, or `nncf_mcq.ir.trellis_weights`.

    Attributes:
        levels: Unsigned integers in [0, 2**bits - 1], in the weight's shape.
        bits: Width of the levels.
        scale: float32, broadcastable to the weight's shape.
        zero_point: Integers, broadcastable to the weight's shape; 0 where the weight is trellis-coded.
        coding: How the levels stand for integers.
        row_axis: Of a trellis-coded weight the axis of the output channels.
    """

    levels: IntegerArray
    bits: int
    scale: FloatArray
    zero_point: IntegerArray
    coding: Coding = "uniform"
    row_axis: int = 0

    @property
    def integers(self) -> IntegerArray:
        """The integers that the levels stand for, int32 in the weight's shape."""
        if self.coding == "trellis":
            rows_first = np.moveaxis(self.levels, self.row_axis, 0)
            integers = decode(rows_first.reshape(len(rows_first), -1), self.bits).astype(np.int32)
            return np.moveaxis(integers.reshape(rows_first.shape), 0, self.row_axis)
        return self.levels.astype(np.int32) - self.zero_point.astype(np.int32)

    @property
    def values(self) -> FloatArray:
        """The float32 weight that the kernels compute with: scale * integers."""
        return self.integers.astype(np.float32) * self.scale.astype(np.float32)


def packed_weight(
    levels: IntegerArray,
    bits: int,
    scale: FloatArray | float,
    zero_point: IntegerArray | int,
) -> ov.Node:
    """Builds the subgraph scale * (levels - zero_point) with the levels stored at their true width.

    Args:
        levels: Unsigned integers in [0, 2**bits - 1], in the shape of the weight input they are for: Convolution
            (O, I, *kernel), GroupConvolution (G, O/G, I/G, *kernel), MatMul (O, I) with `transpose_b` or (I, O).
        bits: 2 to 8.
        scale: Scalar, or one value per output channel in the weight's rank, e.g. (O, 1, 1, 1) or (G, O/G, 1, 1, 1).
            A scale per input channel or per group of weights would run in float.
        zero_point: Scalar, or one value per output channel in the weight's rank; from 2**bits - 128 to 128, so that
            every difference fits int8. At 8 bits that leaves 128, which is signed symmetric.

    Returns:
        A node of element type f32 and the shape of `levels`, to be wired into the weight input.

    Raises:
        QuantizationError: The levels do not fit the width, the difference to the zero point does not fit int8, or a
            scale or zero point does not broadcast or is not finite.
    """
    levels, scales, zero_points = _checked(levels, bits, scale, zero_point)
    if bits == 8:
        return _int8_weight(levels, scales, zero_points)

    upper_width, *lowest = _PLANES[bits]
    integers = _int8_plane(levels >> len(lowest), upper_width)
    if lowest:
        integers = opset.add(opset.add(integers, integers), _int8_plane(levels & 1, 1))
    integers = opset.add(integers, _negated_zero_points(zero_points))
    return opset.multiply(opset.convert(integers, "f32"), opset.constant(scales, dtype=ov.Type.f32))


def compressed_weight(
    levels: IntegerArray,
    bits: int,
    scale: FloatArray | float,
    zero_point: IntegerArray | int,
) -> ov.Node:
    """The weight of `packed_weight`, with the same arguments, in the form that the plugin keeps packed for a MatMul.

    That is `Convert(f32) -> Subtract -> Multiply`, with zero points of an unsigned type: others cost the int8 kernel.

    Args:
        levels: As for `packed_weight`.
        bits: One of `fully_connected.COMPRESSED_BITS`.
        scale: As for `packed_weight`.
        zero_point: As for `packed_weight`, from 0 to 128.

    Raises:
        QuantizationError: As `packed_weight`.
    """
    levels, scales, zero_points = _checked(levels, bits, scale, zero_point)
    if zero_points.min() < 0:
        raise QuantizationError(f"weight zero point: found {zero_points.min()}, allowed in a compressed weight: 0..128")
    if zero_points.min() == zero_points.max():
        zero_points = zero_points.reshape(-1)[:1].reshape((1,) * levels.ndim)
    unpacked, subtracted = (
        opset.convert(opset.constant(values.astype(np.uint8), dtype=_TYPES[width]), "f32")
        for values, width in ((levels, bits), (zero_points, 8))
    )
    return opset.multiply(opset.subtract(unpacked, subtracted), opset.constant(scales, dtype=ov.Type.f32))


def is_compressed(weight: ov.Node) -> bool:
    """Whether a weight has the form of `compressed_weight`."""
    kinds: list[str] = [weight.get_type_name()]
    if kinds == ["Multiply"]:
        kinds.append(weight.input_value(0).get_node().get_type_name())
    return kinds == ["Multiply", "Subtract"]


def int8_weight(
    levels: IntegerArray,
    bits: int,
    scale: FloatArray | float,
    zero_point: IntegerArray | int,
) -> ov.Node:
    """The weight of `packed_weight`, with the same arguments, stored as one int8 constant.

    It is what the plugin folds the packed form to, so a model computes the same with either; this one has fewer nodes
    and is compiled faster, but takes a byte per weight in a file.

    Raises:
        QuantizationError: As `packed_weight`.
    """
    return _int8_weight(*_checked(levels, bits, scale, zero_point))


def _int8_weight(levels: IntegerArray, scales: FloatArray, zero_points: IntegerArray) -> ov.Node:
    signed = (levels.astype(np.int16) - zero_points.astype(np.int16)).astype(np.int8)
    return opset.multiply(opset.convert(opset.constant(signed), "f32"), opset.constant(scales, dtype=ov.Type.f32))


def folded_weight(weight: ov.Node) -> ov.Node:
    """A weight of `packed_weight` or `int8_weight` in a form that the plugin folds to float when it compiles a model.

    It keeps integers for its int8 kernels, also where it has none: recurrent layers then find no constant. Half
    precision, which holds these integers exactly, is no type that it keeps them for.

    Args:
        weight: Changed in place.
    """
    convert = weight.input_value(0).get_node()
    halves = opset.convert(convert.input_value(0), "f16")
    weight.input(0).replace_source_output(opset.convert(halves, "f32").output(0))
    return weight


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of the constants that hold `count` levels of a width: `count * bits / 8`, rounded up to whole blocks.

    Args:
        count: Number of levels.
        bits: Width, 1 to 8.

    Returns:
        Bytes, without scale and zero point. A block is one byte, and three bytes at 3 and 6 bits.
    """
    total = 0
    for width in _PLANES.get(bits, (bits,)):
        elements, size = _BLOCKS[width]
        total += math.ceil(count / elements) * size
    return total


def bytes_on_disk(
    shape: Sequence[int],
    bits: int,
    scale_count: int = 0,
    zero_point: IntegerArray | int = 0,
) -> int:
    """Bytes that a packed weight takes in the .bin file.

    Args:
        shape: Shape of the weight.
        bits: 2 to 8.
        scale_count: Number of float32 scales, 0 to leave them out.
        zero_point: The zero points, scalar or per output channel.

    Returns:
        Bytes. Scalars are left out: OpenVINO writes equal constants once, so the few small integers of a zero point are
        shared by the whole network.
    """
    return packed_bytes(math.prod(shape), bits) + 4 * scale_count + zero_point_bytes(np.asarray(zero_point), bits)


def zero_point_bytes(zero_points: IntegerArray, bits: int) -> int:
    """Bytes that the zero points of a packed weight take in the .bin file: none where all are equal.

    Args:
        zero_points: One, or one per output channel.
        bits: Width of the weight.
    """
    return 0 if bits == 8 or zero_points.min() == zero_points.max() else zero_points.size


def with_scale(weight: ov.Node, scale: FloatArray) -> ov.Node:
    """The integers that a weight is made of, times another scale.

    Args:
        weight: A node that `unpack_weight` reads, other than one in the form of `compressed_weight`.
        scale: As for `packed_weight`.
    """
    return opset.multiply(weight.input_value(0), opset.constant(without_repeats(scale), dtype=ov.Type.f32))


def without_repeats(values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """The values, a scalar where all of them are equal: what broadcasts is stored once."""
    return values.flat[:1].reshape(()) if np.all(values == values.flat[0]) else values


def unpack_weight(weight: ov.Node) -> UnpackedWeight | None:
    """Reads back what `packed_weight` or its like built, also from a model that was saved and read.

    Args:
        weight: The node that feeds the weight input.

    Returns:
        The levels, width, scale and zero point; None when the node has another form.
    """
    if weight.get_type_name() != "Multiply":
        return None
    convert, scale_node = weight.input_value(0).get_node(), weight.input_value(1).get_node()
    if is_compressed(weight):
        return _unpack_compressed(convert, scale_node)
    if convert.get_type_name() != "Convert" or scale_node.get_type_name() != "Constant":
        return None
    scale = np.asarray(scale_node.get_data(), dtype=np.float32)
    source = convert.input_value(0).get_node()
    if source.get_type_name() == "Convert":  # `folded_weight`
        source = source.input_value(0).get_node()
    if source.get_type_name() == "Constant":
        if source.get_element_type() != ov.Type.i8:
            return None
        signed = np.asarray(source.get_data(), dtype=np.int16)
        unsigned = (signed + _SIGNED_ZERO_POINT).astype(np.uint8)
        return UnpackedWeight(unsigned, 8, scale, np.asarray(_SIGNED_ZERO_POINT))

    coded = read_coded(convert.input_value(0))
    if coded is not None:
        return UnpackedWeight(coded.levels, coded.bits, scale, np.zeros((), np.int32), "trellis", coded.row_axis)
    if source.get_type_name() != "Add":
        return None
    integers, zero_points = (value.get_node() for value in source.input_values())
    if integers.get_type_name() == "Add":
        doubled, lowest = (value.get_node() for value in integers.input_values())
        upper, width = _plane(doubled.input_value(0).get_node())
        levels, width = 2 * upper + _plane(lowest)[0], width + 1
    else:
        levels, width = _plane(integers)
    return UnpackedWeight(levels, width, scale, -np.asarray(zero_points.get_data(), dtype=np.int32))


def _unpack_compressed(difference: ov.Node, scale: ov.Node) -> UnpackedWeight | None:
    converts = [value.get_node() for value in difference.input_values()]
    if any(node.get_type_name() != "Convert" for node in converts) or scale.get_type_name() != "Constant":
        return None
    if any(node.input_value(0).get_node().get_type_name() != "Constant" for node in converts):
        return None
    (levels, width), (zero_points, _) = map(_plane, converts)
    scales = np.asarray(scale.get_data(), dtype=np.float32)
    return UnpackedWeight(levels, width, scales, zero_points.astype(np.int32))


def _plane(convert: ov.Node) -> tuple[npt.NDArray[np.uint8], int]:
    """The values of a bit plane, and its width."""
    constant = convert.input_value(0).get_node()
    # Of a type of one byte it would be the packed bytes.
    return constant.get_data(dtype=np.int32).astype(np.uint8), constant.get_element_type().get_bitwidth()


def _checked(
    levels: IntegerArray, bits: int, scale: FloatArray | float, zero_point: IntegerArray | int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int16]]:
    levels, zero_points = np.asarray(levels), np.asarray(zero_point)
    scales = np.asarray(scale, dtype=np.float32)
    if bits not in _PLANES:
        raise QuantizationError(f"weight bits: found {bits!r}, allowed: one of {sorted(_PLANES)}")
    if levels.size == 0 or not np.issubdtype(levels.dtype, np.integer):
        raise QuantizationError(f"weight levels: found {levels.dtype} of shape {levels.shape}, allowed: integers")
    if levels.min() < 0 or levels.max() >= 2**bits:
        raise QuantizationError(
            f"weight levels: found {levels.min()}..{levels.max()}, allowed at {bits} bits: 0..{2**bits - 1}"
        )
    if not np.isfinite(scales).all():
        raise QuantizationError("weight scale: found a value that is not finite")
    for name, values in (("scale", scales), ("zero point", zero_points)):
        if values.ndim and (
            values.ndim != levels.ndim or any(n not in (1, m) for n, m in zip(values.shape, levels.shape, strict=True))
        ):
            raise QuantizationError(
                f"weight {name}: found shape {values.shape}, allowed: broadcastable to {levels.shape}"
            )
    # At 8 bits only the middle leaves a range that fits int8: 0 - 128 .. 255 - 128.
    lowest = 2**bits - _SIGNED_ZERO_POINT
    if zero_points.min() < lowest or zero_points.max() > _SIGNED_ZERO_POINT:
        raise QuantizationError(
            f"weight zero point: found {zero_points.min()}..{zero_points.max()}, "
            f"allowed at {bits} bits: {lowest}..{_SIGNED_ZERO_POINT}"
        )
    return levels.astype(np.uint8), scales, zero_points.astype(np.int16)


def _int8_plane(values: IntegerArray, width: int) -> ov.Node:
    return opset.convert(opset.constant(values.astype(np.uint8), dtype=_TYPES[width]), "i8")


def _negated_zero_points(zero_points: npt.NDArray[np.int16]) -> ov.Node:
    if zero_points.min() == zero_points.max():
        zero_points = zero_points.reshape(-1)[:1].reshape(())
    return opset.constant((-zero_points).astype(np.int8), dtype=ov.Type.i8)
