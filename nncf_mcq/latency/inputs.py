"""Inputs for a measurement that needs no images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray


def random_inputs(ports: Iterable[ov.Output | ov.ConstOutput], seed: int = 0) -> list[NDArray[Any]]:
    """Standard normal values for each input of a model.

    Args:
        ports: The inputs, with static shapes.
        seed: Inputs of the same shapes get the same values.
    """
    generator = np.random.default_rng(seed)
    return [
        generator.standard_normal(tuple(port.get_shape())).astype(port.get_element_type().to_dtype()) for port in ports
    ]
