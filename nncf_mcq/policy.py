"""Policy: plain data that every later stage reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nncf_mcq.errors import ConfigError

SUPPORTED_BITS = (2, 3, 4, 5, 6, 7, 8)
"""Widths that weights and activations can have."""

INT8_BITS = 8
"""Width of NNCF's INT8: the largest of them, and that of every kernel."""

FLOAT32_BITS = 32
"""Width of the float model's weights and activations, which sizes and bit operations are compared with."""

FLOAT_CHOICE = 16
"""Stands among the widths for a layer left in floating point: its weights are stored as f16, 16 bits a weight."""

FLOAT_CHOICE_NAME = "float"
"""Its name in the JSON."""

PolicyKey = tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]
"""Names and widths of weights, and of activation quantizers."""


@dataclass(frozen=True)
class Policy:
    """Bits of each layer's weights and of each activation quantizer.

    Attributes:
        weight_bits: Layer name to the width of its weights, or `FLOAT_CHOICE`.
        activation_bits: Activation quantizer name to its width.
    """

    weight_bits: Mapping[str, int]
    activation_bits: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> PolicyKey:
        """A hashable identity: equal for equal policies."""
        return tuple(sorted(self.weight_bits.items())), tuple(sorted(self.activation_bits.items()))

    @property
    def float_layers(self) -> frozenset[str]:
        """Names of the layers that are left in floating point."""
        return frozenset(name for name, bits in self.weight_bits.items() if bits == FLOAT_CHOICE)

    def to_dict(self) -> dict[str, dict[str, int | str]]:
        """The JSON form, read back by `from_dict`."""
        weight_bits = {
            name: FLOAT_CHOICE_NAME if bits == FLOAT_CHOICE else bits for name, bits in self.weight_bits.items()
        }
        return {"weight_bits": weight_bits, "activation_bits": dict(self.activation_bits)}

    @classmethod
    def from_dict(cls, data: object, path: str = "policy") -> Policy:
        """Reads the JSON form.

        Raises:
            ConfigError: A width is not one of 2..8, nor a layer's "float", or a section is missing or unknown.
        """
        sections = ("weight_bits", "activation_bits")
        if not isinstance(data, dict) or "weight_bits" not in data or not set(data) <= set(sections):
            raise ConfigError(path, data, "an object with weight_bits and activation_bits")
        for section in sections:
            widths = data.get(section, {})
            if not isinstance(widths, dict):
                raise ConfigError(f"{path}.{section}", widths, "an object of names and bits")
            others = [FLOAT_CHOICE_NAME] if section == "weight_bits" else []
            for name, bits in widths.items():
                if isinstance(bits, bool) or bits not in [*SUPPORTED_BITS, *others]:
                    raise ConfigError(f"{path}.{section}[{name!r}]", bits, f"one of {[*SUPPORTED_BITS, *others]}")
        weight_bits = {
            name: FLOAT_CHOICE if bits == FLOAT_CHOICE_NAME else bits for name, bits in data["weight_bits"].items()
        }
        return cls(weight_bits, dict(data.get("activation_bits", {})))

    @classmethod
    def from_file(cls, file: Path) -> Policy:
        """Reads a `policy.json`.

        Raises:
            ConfigError: The file is missing, is not JSON, or holds no policy.
        """
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError("policy", str(file), f"a readable policy.json ({error})") from error
        return cls.from_dict(data.get("policy", data) if isinstance(data, dict) else data, str(file))
