"""The clip table and the weight table: for every layer and width the range, the rounded weights and the corrections.

Built once, layer by layer, from the float model's statistics; a policy is then a look-up per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.model.algorithm import ValueRange
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.policy import FLOAT_CHOICE
from nncf_mcq.utils.torch_threads import TorchPool
from nncf_mcq.weights.layer_quantizer import LayerQuantizer, QuantizedWeight
from nncf_mcq.weights.scheme import WeightScheme


@dataclass(frozen=True)
class WeightTable:
    """Layer name and width to the layer's quantized weights."""

    entries: Mapping[str, Mapping[int, QuantizedWeight]]

    def __getitem__(self, key: tuple[str, int]) -> QuantizedWeight:
        name, bits = key
        return self.entries[name][bits]

    @property
    def bits(self) -> tuple[int, ...]:
        """The widths that every layer has."""
        return tuple(sorted(set.intersection(*map(set, self.entries.values()))))

    def errors(self, name: str) -> dict[int, float]:
        """Relative error of a layer's output by width."""
        return {bits: entry.relative_error for bits, entry in self.entries[name].items()}

    def with_entries(self, replaced: Mapping[str, QuantizedWeight]) -> WeightTable:
        """A copy in which these layers have other weights, each at the width that they are of."""
        return WeightTable(
            {
                name: {**widths, replaced[name].bits: replaced[name]} if name in replaced else widths
                for name, widths in self.entries.items()
            }
        )

    def is_coded(self, weight_bits: Mapping[str, int]) -> bool:
        """Whether weights of some layer are trellis-coded in a policy.

        Args:
            weight_bits: Bits of every layer; of those in floating point the table holds nothing.
        """
        found = (self.entries[name].get(bits) for name, bits in weight_bits.items())
        return any(entry is not None and entry.on_grid is not None for entry in found)

    def on_grids(self) -> WeightTable:
        """A copy in which trellis-coded layers are on grids."""
        return WeightTable(
            {
                name: {bits: entry.on_grid or entry for bits, entry in widths.items()}
                for name, widths in self.entries.items()
            }
        )

    def clip_table(self, weight_bits: Mapping[str, int]) -> dict[str, ValueRange]:
        """The ranges of a policy, as the NNCF algorithm takes them."""
        return {name: self[name, bits].clip for name, bits in weight_bits.items()}


def build_weight_table(
    quantizable: QuantizableModel,
    statistics: Mapping[str, LayerStatistics],
    scheme: WeightScheme,
    bits: Sequence[int] | Mapping[str, int],
    *,
    fisher: Mapping[str, torch.Tensor] | None = None,
    threads: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> WeightTable:
    """Clips, rounds and corrects the weights of every layer at every width.

    Args:
        quantizable: The float model and its layers.
        statistics: Moments of each layer's input.
        scheme: How they are quantized.
        bits: Widths to build, of each layer those that it can have, or the width of each layer. A layer whose width is
            `FLOAT_CHOICE` gets no entry.
        fisher: Fisher information of each layer's weights, for the rules that need it.
        threads: Layers built at a time.
        progress: Called after each layer.
    """
    operations = operations_by_name(quantizable.model)

    def build_group(members: tuple[QuantizableLayer, ...]) -> dict[str, dict[int, QuantizedWeight]]:
        first = members[0]
        if isinstance(bits, Mapping) and bits[first.name] == FLOAT_CHOICE:
            return {member.name: {} for member in members}
        quantizer = LayerQuantizer(
            first,
            torch.from_numpy(weight_matrices(first, operations[first.name])),
            statistics[first.name],
            scheme,
            fisher=None if fisher is None else fisher[first.name],
        )
        built: dict[str, dict[int, QuantizedWeight]] = {member.name: {} for member in members}
        widths = (bits[first.name],) if isinstance(bits, Mapping) else quantizable.weight_bits(first.group, bits)
        for width, entry in quantizer.quantize_all(widths).items():
            for member in members:
                # Layers that share their weights differ in the mean of their inputs.
                built[member.name][width] = quantizer.with_bias(entry, statistics[member.name])
        return built

    entries: dict[str, dict[int, QuantizedWeight]] = {}
    with TorchPool(threads) as pool:
        # The largest layers first: the last to finish is then a small one.
        groups = sorted(quantizable.groups.values(), key=lambda members: -members[0].weights * members[0].columns)
        for built in pool.map(build_group, groups):
            entries |= built
            for _ in built:
                progress()
    return WeightTable({layer.name: entries[layer.name] for layer in quantizable.layers})
