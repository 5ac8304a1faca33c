"""The variants of a recipe: what of its configuration each replaces."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import openvino as ov

from nncf_mcq.config import PRECISION_PATH, baselines, read_json
from nncf_mcq.model import find_layers

VARIANTS_FILE: Final = "variants.json"
"""Beside a configuration: name -> dotted path in the configuration -> value."""

Variants = dict[str, dict[str, object]]
"""Name -> dotted path in the configuration -> value."""

_UNIFORM_BITS = (8, 6, 4, 3)
_AVERAGE_BITS = (4, 3)
_INT8_BASELINE = "nncf_int8"
"""A row of every comparison, with baselines and without."""


def read_variants(config: Path, model: ov.Model, *, with_baselines: bool = False) -> Variants:
    """The variants beside a configuration, or where it has none, uniform and mixed widths and random bits.

    Args:
        config: The configuration's file.
        model: Its float model.
        with_baselines: Also the methods that ship with the package.

    Raises:
        ConfigError: A file holds something else.
    """
    own = config.with_name(VARIANTS_FILE)
    variants = read_json(own) if own.is_file() else _widths([layer.name for layer in find_layers(model).layers])
    if with_baselines:
        variants |= {f"baseline {name}": item.values for name, item in baselines().items() if name != _INT8_BASELINE}
    return variants


def folder_name(variant: str) -> str:
    """The folder of a variant's files.

    Args:
        variant: Its name.
    """
    return variant.replace(",", "").replace(" ", "_")


def _widths(layers: Sequence[str]) -> Variants:
    """Uniform and mixed widths; random ones show what mixing costs in latency."""
    found: dict[str, dict[str, object]] = {}
    for bits in _UNIFORM_BITS:
        found[f"uniform {bits} bits"] = {"type": "uniform", "bits": bits}
    for bits in _AVERAGE_BITS:
        found[f"mixed, average {bits} bits"] = {"type": "ilp", "budget": {"weight_size": {"average_bits": bits}}}
    choose = random.Random(0)
    pairs = [[choose.randint(2, 8), name] for name in layers]
    found["random 2 to 8 bits"] = {"type": "manual", "bitwidth_per_scope": pairs}
    return {name: {PRECISION_PATH: precision} for name, precision in found.items()}
