"""Policy: plain data that every later stage reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from nncf_mcq.errors import ConfigError
from nncf_mcq.utils.documents import DocumentError, read_document

Bits = Literal[2, 3, 4, 5, 6, 7, 8]
SUPPORTED_BITS: Final[tuple[int, ...]] = get_args(Bits)
"""Widths that weights and activations can have."""

INT8_BITS = 8
"""Width of NNCF's INT8: the largest of them, and that of every kernel."""

INT8_PRECISIONS: Final = frozenset({"i8", "u8"})
"""The plugin's names of what a layer runs in that computes with 8-bit integers."""

INTEGER_PRECISIONS: Final = INT8_PRECISIONS | {"u2", "u4"}
"""Those of all layers that compute with integers. One whose weights stay packed runs in the type of its weights."""

FLOAT32_BITS: Final = 32
"""Width of the float model's weights and activations, which sizes and bit operations are compared with."""

FLOAT_CHOICE: Final = 16
"""Stands among the widths for a layer left in floating point: its weights are stored as f16, 16 bits per weight."""

FLOAT_CHOICE_NAME: Final = "float"
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
        values = {"weight_bits": weight_bits, "activation_bits": self.activation_bits}
        return _PolicyDocument.model_validate(values).model_dump()

    @classmethod
    def from_dict(cls, data: object, path: str = "policy") -> Policy:
        """Reads the JSON form.

        Raises:
            ConfigError: A width is not one of 2..8, nor a layer's "float", or a section is missing or unknown.
        """
        try:
            document = _PolicyDocument.model_validate(data)
        except ValidationError as error:
            raise _policy_error(error, data, path) from error
        weight_bits = {
            name: FLOAT_CHOICE if bits == FLOAT_CHOICE_NAME else bits for name, bits in document.weight_bits.items()
        }
        return cls(weight_bits, dict(document.activation_bits))

    @classmethod
    def from_file(cls, file: Path) -> Policy:
        """Reads a `policy.json`.

        Raises:
            ConfigError: The file is missing, is not JSON, or holds no policy.
        """
        try:
            data = read_document(file, object)
        except DocumentError as error:
            raise ConfigError("policy", str(file), f"a readable policy.json ({error.problem})") from error
        return cls.from_dict(data.get("policy", data) if isinstance(data, dict) else data, str(file))


class _PolicyDocument(BaseModel):
    """A `policy.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_bits: dict[str, Literal[Bits, "float"]]
    activation_bits: dict[str, Bits] = {}


def _policy_error(error: ValidationError, data: object, path: str) -> ConfigError:
    """The first problem, in the words of `ConfigError`."""
    first = error.errors()[0]
    place, found = first["loc"], first["input"]
    if not place or first["type"] in ("missing", "extra_forbidden"):
        return ConfigError(path, data, "an object with weight_bits and activation_bits")
    section, *names = place
    if not names:
        return ConfigError(f"{path}.{section}", found, "an object of names and bits")
    allowed = [*SUPPORTED_BITS, *([FLOAT_CHOICE_NAME] if section == "weight_bits" else [])]
    return ConfigError(f"{path}.{section}[{names[0]!r}]", found, f"one of {allowed}")
