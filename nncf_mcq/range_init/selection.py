"""Selection of the clipping rule of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nncf_mcq.config.parameters import NamedParameters
from nncf_mcq.config.paths import RANGE_PATH
from nncf_mcq.config.scoped_parameters import SCOPES_KEY, Scoped
from nncf_mcq.config.scopes import match_scope
from nncf_mcq.model.layers import QuantizableLayer
from nncf_mcq.range_init.base import RANGE_INITIALIZERS, RangeInitializer
from nncf_mcq.range_init.mixed_clipping import MixedClippingRange


class RangeSelection(Protocol):
    """Names the clipping rule of each layer; a `RangeInitializer` is the selection of itself."""

    @property
    def needs_fisher(self) -> bool:
        """Whether the rule of any layer needs the Fisher information."""

    def for_layer(self, name: str) -> RangeInitializer:
        """The clipping rule of the layer of that name."""


@dataclass(frozen=True)
class ScopedRanges:
    """The clipping rules of a list with `target_scopes`.

    Attributes:
        by_layer: Layer name to its rule; layers that share their weights have one.
    """

    by_layer: Mapping[str, RangeInitializer]

    @property
    def needs_fisher(self) -> bool:
        """Whether the rule of any layer needs the Fisher information."""
        return any(rule.needs_fisher for rule in self.by_layer.values())

    def for_layer(self, name: str) -> RangeInitializer:
        """The clipping rule of the layer of that name."""
        return self.by_layer[name]


def select_ranges(
    parameters: NamedParameters | list[NamedParameters], layers: Sequence[QuantizableLayer]
) -> RangeSelection:
    """The clipping rule of each layer, as `compression.initializer.range` says.

    Args:
        parameters: Parameters of one rule for all layers, or a list of such with `target_scopes`, as `Config` has them.
            The first entry that matches a layer is the layer's. Layers that none matches get `mixed_clipping` with its
            defaults; layers that share their weights get the rule of the first of them.
        layers: The layers of the model.

    Raises:
        ConfigError: A scope matches no layer, or is no regular expression.
    """
    if not isinstance(parameters, list):
        return RANGE_INITIALIZERS.create(parameters)
    names = [layer.name for layer in layers]
    chosen: dict[str, RangeInitializer] = {}
    for index, entry in enumerate(parameters):
        rule = RANGE_INITIALIZERS.create(entry)
        scopes = entry.target_scopes if isinstance(entry, Scoped) else None
        for position, scope in enumerate(scopes or ()):
            for name in match_scope(scope, names, f"{RANGE_PATH}[{index}].{SCOPES_KEY}[{position}]"):
                chosen.setdefault(name, rule)
        if scopes is None:
            chosen = dict.fromkeys(names, rule) | chosen
    default = MixedClippingRange(MixedClippingRange.Parameters())
    return ScopedRanges({layer.name: chosen.get(layer.group, default) for layer in layers})
