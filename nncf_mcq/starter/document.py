"""The document of a first configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nncf_mcq.config.model_reference import is_model_file
from nncf_mcq.config.schema import load_source
from nncf_mcq.model.layers import QuantizableModel

AVERAGE_BITS: Final = 4


@dataclass(frozen=True)
class InitialConfig:
    """A first configuration.

    Attributes:
        text: The JSON document.
        notes: What was found and what was assumed, a line each.
    """

    text: str
    notes: Sequence[str]


def model_section(reference: str, target: Path, *, pretrained: bool, checkpoint: Path | None) -> dict[str, Any]:
    """The keys of the model.

    Args:
        reference: As given on the command line, relative to the working folder.
        target: Where the configuration will lie.
        pretrained: Whether torchvision loads its trained weights.
        checkpoint: File of the state dict.
    """
    section: dict[str, Any] = {"model": _relative_model(reference, target)}
    if pretrained:
        section["pretrained"] = True
    if checkpoint is not None:
        section["checkpoint"] = relative(checkpoint, target)
    return section


def model_note(layers: QuantizableModel, inputs: str) -> str:
    """How large a model is, and what it takes in words."""
    return f"model: {len(layers.layers)} layers of {layers.quantizable_weights:,} weights, {inputs}"


def weight_notes(reference: str, *, pretrained: bool, checkpoint: Path | None) -> list[str]:
    """A line where the weights are not those of a trained model, as far as anyone can see."""
    if ":" in reference and not pretrained and checkpoint is None:
        return ["weights: those that the callable makes; --pretrained or --checkpoint FILE for trained ones"]
    return []


def precision_section() -> dict[str, Any]:
    """The search, with a budget that suits most models."""
    return {"type": "ilp", "budget": {"weight_size": {"average_bits": AVERAGE_BITS}}}


def budget_note() -> str:
    """What the budget is, and where to look what can be had."""
    return f"budget: {AVERAGE_BITS} bits per weight on average, a default (nncf-mcq layers shows what can be reached)"


def initial_config(config: Mapping[str, Any], notes: Sequence[str]) -> InitialConfig:
    """The text of a configuration that was made here, with notes.

    Raises:
        ConfigError: It is none.
    """
    load_source(config)
    return InitialConfig(to_text(config), notes)


def relative(path: Path, target: Path) -> str:
    """A path as it stands in the configuration, which is read from its own folder."""
    return os.path.relpath(path.resolve(), target.resolve().parent)


def _relative_model(reference: str, target: Path) -> str:
    file, separator, name = reference.partition(":")
    if is_model_file(reference):
        return relative(Path(reference), target)
    return f"{relative(Path(file), target)}{separator}{name}" if file.endswith(".py") else reference


def to_text(config: Mapping[str, Any]) -> str:
    """The JSON: one line a key, and one for the preprocessing, which is what a newcomer reads first."""
    lines = []
    for key, value in config.items():
        if key == "dataset" and "preprocessing" in value:
            others = {name: item for name, item in value.items() if name != "preprocessing"}
            lines.append(f'  "dataset": {{\n    {json.dumps(others)[1:-1]},\n    "preprocessing": ')
            lines[-1] += f"{json.dumps(value['preprocessing'])}\n  }}"
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
