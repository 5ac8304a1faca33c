"""Bits by name, or a policy from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from nncf_mcq.config.parameters import PathMarker
from nncf_mcq.config.paths import PRECISION_PATH
from nncf_mcq.config.scopes import match_scope, suggestions
from nncf_mcq.config.types import Bits
from nncf_mcq.errors import ConfigError
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from nncf_mcq.precision_init.base import PRECISION_INITIALIZERS, PrecisionInitializer, PrecisionResult, PrecisionTask

# JSON has no tuples: a list of two is one.
Pair = Annotated[tuple[Bits, str], Field(strict=False)]


@PRECISION_INITIALIZERS.register
class ManualPrecision(PrecisionInitializer):
    """Bits given by the user, in NNCF's `bitwidth_per_scope` form, or those of an earlier run's policy.json.

    A layer that cannot have them gets the next larger ones that it can have.
    """

    class Parameters(PrecisionInitializer.Parameters):
        """See the fields."""

        type: Literal["manual"] = "manual"
        bitwidth_per_scope: list[Pair] = Field(
            default=[], description="Pairs [bits, layer name or {re}PATTERN] for weights; later ones win."
        )
        activation_bitwidth_per_scope: list[Pair] = Field(default=[], description="Pairs for activation quantizers.")
        default_bits: Bits = Field(default=8, description="Bit-width of weights that no pair names.")
        policy: Annotated[str | None, PathMarker()] = Field(
            default=None, description="Path of a policy.json; pairs override it."
        )

    parameters: Parameters

    searches = False

    @cached_property
    def policy(self) -> Policy | None:
        """The policy of the file, if there is one."""
        return None if self.parameters.policy is None else Policy.from_file(Path(self.parameters.policy))

    def required_bits(self, task_bits: tuple[int, ...]) -> tuple[int, ...]:
        """The widths that the pairs and the policy name."""
        named = {bits for bits, _ in self.parameters.bitwidth_per_scope} | {self.parameters.default_bits}
        if self.policy is not None:
            named |= {bits for bits in self.policy.weight_bits.values() if bits != FLOAT_CHOICE}
        return tuple(sorted(named))

    def known_bits(self, quantizable: QuantizableModel) -> dict[str, int]:
        """The bits of the weights, resolved.

        Raises:
            ConfigError: A name or pattern matches nothing, or layers that share their weights got different bits.
        """
        weight_bits = {layer.name: self.parameters.default_bits for layer in quantizable.layers}
        if self.policy is not None:
            _update(weight_bits, self.policy.weight_bits, f"{PRECISION_PATH}.policy")
        _assign(weight_bits, self.parameters.bitwidth_per_scope, "bitwidth_per_scope")
        for group, members in quantizable.groups.items():
            if len({weight_bits[member.name] for member in members}) > 1:
                found = {member.name: weight_bits[member.name] for member in members}
                raise ConfigError(
                    f"{PRECISION_PATH}.bitwidth_per_scope", found, f"equal bits: these layers share {group}'s weights"
                )
            if weight_bits[group] != FLOAT_CHOICE:
                (bits,) = quantizable.weight_bits(group, [weight_bits[group]])
                weight_bits |= {member.name: bits for member in members}
        return weight_bits

    def find_policy(self, task: PrecisionTask) -> PrecisionResult:
        """Resolves the names.

        Raises:
            ConfigError: A name or pattern matches nothing, or what shares its weights or its scale got different bits.
        """
        weight_bits = self.known_bits(task.quantizable)
        activation_bits = task.default_activation_bits()
        if self.policy is not None:
            _update(activation_bits, self.policy.activation_bits, f"{PRECISION_PATH}.policy")
        _assign(activation_bits, self.parameters.activation_bitwidth_per_scope, "activation_bitwidth_per_scope")
        for names in task.quantizable.unified_scales:
            if len({activation_bits[name] for name in names}) > 1:
                shared = {name: activation_bits[name] for name in names}
                raise ConfigError(
                    f"{PRECISION_PATH}.activation_bitwidth_per_scope", shared, "equal bits: these share a scale"
                )
        return PrecisionResult(Policy(weight_bits, activation_bits))


def _assign(target: dict[str, int], pairs: Sequence[tuple[int, str]], key: str) -> None:
    for index, (bits, scope) in enumerate(pairs):
        for name in match_scope(scope, target, f"{PRECISION_PATH}.{key}[{index}][1]"):
            target[name] = bits


def _update(target: dict[str, int], source: Mapping[str, int], path: str) -> None:
    for name, bits in source.items():
        if name not in target:
            raise ConfigError(path, name, f"layers of this model, e.g. {suggestions(name, target)}")
        target[name] = bits
