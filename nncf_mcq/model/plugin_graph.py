"""The graph that the CPU plugin runs: a model after all transformations, and the import of graphs made from it.

Most of the time that a model takes to compile, the plugin looks for patterns in it. What comes out is what
`export_model` writes, so a graph put together from parts of it is ready to run without that search.

The plugin passes the graph's XML to the functions given as `CACHE_ENCRYPTION_CALLBACKS`; the file around it is not
documented. It is only read as far as it agrees with that XML, and everything else of it is copied.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, field
from xml.etree import ElementTree

import openvino as ov

from nncf_mcq.model.inference import compile_properties, core

_META_SIZE = struct.Struct("<Q")
"""Length of the description of the plugin, which begins behind it."""

_META_SIZE_AT = 12

_SECTIONS = struct.Struct("<6Q")
"""Place and length, from here on, of the plugin's own data, of the constants and of the graph."""

CONSTANT_ALIGNMENT = 64
"""Constants that begin at such a multiple in the file are read without a copy."""


class NotSupportedError(Exception):
    """The plugin's graph has another form than is known here; the model can only be compiled as a whole."""


@dataclass(frozen=True)
class PluginGraph:
    """The graph of a compiled model.

    Attributes:
        compiled: The compiled model.
        network: The root of the graph's XML, in the form of an IR with the plugin's own operations.
        constants: What `offset` and `size` in the XML refer to.
    """

    compiled: ov.CompiledModel
    network: ElementTree.Element = field(repr=False)
    constants: bytes = field(repr=False)
    _head: bytes = field(repr=False)
    _own_data: bytes = field(repr=False)

    @classmethod
    def of(cls, model: ov.Model) -> PluginGraph:
        """Compiles a model for one thread and reads its graph.

        Args:
            model: With static input shapes; not edited.

        Raises:
            NotSupportedError: The plugin does not tell the graph, or the file has another form.
        """
        seen: list[bytes] = []

        def keep(graph: bytes) -> bytes:
            seen.append(graph)
            return graph

        compiled = core().compile_model(model, "CPU", _properties() | {"CACHE_ENCRYPTION_CALLBACKS": [keep, _same]})
        file = compiled.export_model().getvalue()
        if len(seen) != 1:
            raise NotSupportedError("the plugin does not pass on its graph")
        try:
            (meta_size,) = _META_SIZE.unpack_from(file, _META_SIZE_AT)
            start = _META_SIZE_AT + _META_SIZE.size + meta_size
            sections = _SECTIONS.unpack_from(file, start)
        except struct.error as error:
            raise NotSupportedError(f"the head of the file: {error}") from error
        own_data, constants, graph = (
            file[start + place : start + place + size]
            for place, size in zip(sections[::2], sections[1::2], strict=True)
        )
        if graph != seen[0] or sections[0] != _SECTIONS.size:
            raise NotSupportedError("the file has another form")
        return cls(compiled, ElementTree.fromstring(graph), constants, file[:start], own_data)

    def file(self, network: ElementTree.Element, constants: bytes) -> bytes:
        """The file of another graph, for `import_graph`.

        Args:
            network: The root of its XML.
            constants: What `offset` and `size` in the XML refer to.
        """
        graph = b'<?xml version="1.0"?>\n' + ElementTree.tostring(network)
        unpadded = len(self._head) + _SECTIONS.size + len(self._own_data)
        # It is XML, too: blanks may follow.
        own_data = self._own_data + b" " * (-unpadded % CONSTANT_ALIGNMENT)
        sizes = [len(section) for section in (own_data, constants, graph)]
        places = itertools.accumulate(sizes[:-1], initial=_SECTIONS.size)
        sections = _SECTIONS.pack(*itertools.chain.from_iterable(zip(places, sizes, strict=True)))
        return b"".join((self._head, sections, own_data, constants, graph))


def import_graph(file: bytes) -> ov.CompiledModel:
    """A compiled model of a file that `PluginGraph.file` made in this process, for one thread.

    Raises:
        NotSupportedError: The plugin refuses it.
    """
    # One executor for all of them: there are hundreds, and each would start threads of its own.
    properties = _properties() | {"CACHE_ENCRYPTION_CALLBACKS": [_same, _same], "EXCLUSIVE_ASYNC_REQUESTS": True}
    try:
        return core().import_model(file, "CPU", properties)
    except RuntimeError as error:
        raise NotSupportedError(f"the plugin refuses a graph: {error}") from error


def _properties() -> dict[str, object]:
    return compile_properties(threads=1)


def _same(graph: bytes) -> bytes:
    return graph
