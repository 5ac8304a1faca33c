"""A result in one line, for the logs of packages that call this one."""

from __future__ import annotations

from nncf_mcq.result import QuantizationResult


def headline(result: QuantizationResult) -> str:
    """The number of layers and their bit-widths, e.g. `9 layers of 2 to 8 bits, 3.44 on average`."""
    bits = sorted(result.policy.weight_bits.values())
    widths = str(bits[0]) if bits[0] == bits[-1] else f"{bits[0]} to {bits[-1]}"
    average = result.metrics["quantized"]["average_weight_bits"]
    return f"{len(bits)} {'layer' if len(bits) == 1 else 'layers'} of {widths} bits, {average:.2f} on average"
