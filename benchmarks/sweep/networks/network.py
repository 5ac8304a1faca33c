"""A network of the sweep: how it is built, what it is fed, and as what file it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import openvino as ov
import torch

Shape: TypeAlias = tuple[int, ...]

Source = Literal["torch", "program", "onnx", "ir"]
"""What users have: a module, an exported program of it, an ONNX file, or an `openvino.Model`."""


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        name: Its name in the table.
        build: Makes it; a module gets its statistics afterwards.
        shapes: Of each input, a batch of 1 in the first dimension.
        source: What is given to `nncf_mcq.quantize`.
        note: What is left out of a known network, or what is special about it.
    """

    name: str
    build: Callable[[], torch.nn.Module | ov.Model]
    shapes: tuple[Shape, ...]
    source: Source = "torch"
    note: str = ""
