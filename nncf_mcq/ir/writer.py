"""Writing an IR: atomically, the same bytes every time, and with a short XML."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

import openvino as ov

from nncf_mcq.ir.pair import replace_pair
from nncf_mcq.model.equal_constants import unite_equal
from nncf_mcq.utils.files import temporary_sibling

# `<` is always escaped inside an attribute, so `>`, blanks and `<` in a row stand between two tags.
_BETWEEN_TAGS = re.compile(rb">\s+<")
_EDGES = re.compile(rb"<edges>(.*?)</edges>", re.DOTALL)
_EDGE = re.compile(rb"<edge [^>]*/>")
_NUMBER = re.compile(rb"\d+")
_INPUTS = re.compile(
    rb'(?P<layer><layer id="\d+" name="(?P<name>[^"]*)"[^<]*(?:<data[^<]*)?<input>)(?P<ports>.*?)(?=</input>)'
)
_PRECISION = re.compile(rb'(<port id="\d+") precision="\w+"')
_SHAPE = re.compile(rb"(<port [^>]*)>(?:<dim>-?\d+</dim>)*</port>")

_UNWRITABLE = ("iostream error", "Can't open bin file", "Can't open xml file")
"""In the messages of OpenVINO where a file cannot be written."""


def save_atomically(model: ov.Model, directory: Path, name: str = "model") -> Path:
    """Saves `name.xml` and `name.bin`; a failure leaves the files of before, and no others.

    Both are written under temporary names in the same directory and then renamed, which also means that a model that is
    still mapped into memory keeps its old .bin: overwriting it would end its process with SIGBUS. While a pair is
    replaced, the old model or the new one can be read, see `replace_pair`.

    The XML counts for a small network. Equal constants become one node, nodes that compute constants get short names,
    and the indentation and what is said twice go: about a third less in all. Layers and quantizers keep their names.

    Args:
        model: The model; it is not changed.
        directory: Where to; it is created if it is missing.
        name: The files' name without suffix.

    Returns:
        The path of the .xml file.

    Raises:
        OSError: The files cannot be written.
        RuntimeError: OpenVINO cannot serialize the model.
    """
    directory.mkdir(parents=True, exist_ok=True)
    compact = model.clone()
    unite_equal(node for node in compact.get_ordered_ops() if node.get_type_name() == "Constant")
    constants = _name_constant_subgraphs(compact)
    xml = directory / f"{name}.xml"
    temporary_xml = temporary_sibling(xml)
    temporary_bin = temporary_xml.with_suffix(".bin")
    try:
        # The quantized weights have their width already; halving the float ones is the caller's decision.
        _save(compact, temporary_xml)
        temporary_xml.write_bytes(_compact_xml(temporary_xml.read_bytes(), constants))
        for path in (temporary_bin, temporary_xml):
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
        replace_pair(temporary_xml, xml)
    finally:
        temporary_bin.unlink(missing_ok=True)
        temporary_xml.unlink(missing_ok=True)
    return xml


def _save(model: ov.Model, xml: Path) -> None:
    try:
        ov.save_model(model, xml, compress_to_fp16=False)
    except RuntimeError as error:
        if not any(reason in str(error) for reason in _UNWRITABLE):
            raise
        # OpenVINO does not say why: most often there is no room.
        free = shutil.disk_usage(xml.parent).free
        raise OSError(errno.EIO, f"OpenVINO cannot write a model where {free:,} bytes are free", str(xml)) from error


def _compact_xml(xml: bytes, constants: Collection[str]) -> bytes:
    """Removes what no reader needs, and sorts the edges, whose order would follow addresses in memory.

    The type and shape of an input are those of the output that its edge comes from. OpenVINO does not read the type of
    any input. Shapes it reads and does not use; they go where only constants are computed.

    Args:
        xml: As OpenVINO writes it.
        constants: Names of the nodes that compute constants.
    """
    computed = {name.encode() for name in constants}

    def shorten_inputs(match: re.Match[bytes]) -> bytes:
        ports = _PRECISION.sub(rb"\1", match["ports"])
        return match["layer"] + (_SHAPE.sub(rb"\1/>", ports) if match["name"] in computed else ports)

    def sort_edges(match: re.Match[bytes]) -> bytes:
        edges = sorted(_EDGE.findall(match[1]), key=lambda edge: [int(number) for number in _NUMBER.findall(edge)])
        return b"<edges>" + b"".join(edges) + b"</edges>"

    # Quotation marks are escaped inside an attribute, too.
    xml = _BETWEEN_TAGS.sub(b"><", xml).replace(b'" />', b'"/>')
    return _EDGES.sub(sort_edges, _INPUTS.sub(shorten_inputs, xml))


def _name_constant_subgraphs(model: ov.Model) -> list[str]:
    """Gives constants, and the nodes that are computed from constants only, the names c0, c1, ... in the model's order.

    The names they are born with count the nodes that the process has made: longer, and different in every run.
    """
    constant: dict[str, ov.Node] = {}
    taken: set[str] = set()
    for node in model.get_ordered_ops():
        sources = {value.get_node().get_name() for value in node.input_values()}
        is_constant = node.get_type_name() == "Constant" or (bool(sources) and sources <= constant.keys())
        if is_constant and node.get_type_name() != "Result":
            constant[node.get_name()] = node
        else:
            taken.add(node.get_friendly_name())
    unused = (name for name in (f"c{number}" for number in range(len(constant) + len(taken))) if name not in taken)
    for node in constant.values():
        node.set_friendly_name(next(unused))
    return [node.get_friendly_name() for node in constant.values()]
