"""Tables of the layers that would be quantized in a model, and of the budgets that can be reached."""

from __future__ import annotations

from rich.table import Table

from nncf_mcq.config.schema import CompressionConfig
from nncf_mcq.errors import BudgetError
from nncf_mcq.ir.float_weights import find_float_weights
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.policy import FLOAT32_BITS, INT8_BITS, Policy
from nncf_mcq.precision_init.costs import CostModel


def layer_table(quantizable: QuantizableModel) -> Table:
    """Kind, size and share of every layer, and the activation quantizer before it.

    Args:
        quantizable: The model.
    """
    table = Table(title=f"{len(quantizable.layers)} quantizable layers", title_justify="left")
    table.add_column("layer", overflow="fold", ratio=2)
    table.add_column("kind", no_wrap=True)
    for heading in ("weights", "shape", "size %", "MMACs", "MACs %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("activation quantizer", overflow="ellipsis", no_wrap=True, ratio=2)
    shared = any(layer.group != layer.name for layer in quantizable.layers)
    if shared:
        table.add_column("shares bits with", overflow="fold", ratio=1)
    weights, macs = quantizable.quantizable_weights, sum(layer.macs for layer in quantizable.layers)
    for layer in quantizable.layers:
        table.add_row(
            layer.name,
            layer.kind.replace("_convolution", ""),
            f"{layer.weights:,}",
            "x".join(map(str, layer.weight_shape)),
            f"{100 * layer.weights / weights:.2f}",
            f"{layer.macs / 1e6:.2f}",
            f"{100 * layer.macs / macs:.2f}",
            ", ".join(layer.activation_quantizers) or "float",
            *([layer.group if layer.group != layer.name else ""] if shared else []),
        )
    return table


def float_table(quantizable: QuantizableModel) -> Table | None:
    """The weights that stay in floating point, and why; None where there are none.

    Args:
        quantizable: The model.
    """
    policy = Policy({layer.name: INT8_BITS for layer in quantizable.layers})
    found = find_float_weights(quantizable.model, quantizable, policy)
    if not found:
        return None
    table = Table(title="In floating point", title_justify="left")
    table.add_column("operation", overflow="fold", ratio=2)
    table.add_column("kind", no_wrap=True)
    for heading in ("weights", "size %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=2)
    for item in found:
        table.add_row(item.name, item.kind, f"{item.weights:,}", f"{100 * item.share:.2f}", item.reason)
    return table


def float_kernel_table(quantizable: QuantizableModel) -> Table | None:
    """The layers of which only the weights are quantized, and why; None where there are none.

    Args:
        quantizable: The model.
    """
    found = [layer for layer in quantizable.layers if layer.float_cause is not None and layer.kind != "embedding"]
    if not found:
        return None
    table = Table(title="Only the weights are quantized", title_justify="left")
    table.add_column("layer", overflow="fold", ratio=2)
    table.add_column("kind", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=2)
    for layer in found:
        table.add_row(layer.name, layer.kind.replace("_convolution", ""), layer.float_cause)
    return table


def budget_lines(quantizable: QuantizableModel, compression: CompressionConfig) -> list[str]:
    """Whether the configured budget can be reached.

    Args:
        quantizable: The model.
        compression: Section of the configuration with the widths and the budget.
    """
    limits = compression.initializer.precision.limits
    if limits is None:
        return []
    widths = compression.activations.widths
    costs = CostModel(quantizable, {point.name: widths[-1] for point in quantizable.activation_points}, None)
    try:
        constraints = costs.constraints(limits, quantizable.choices(compression.weights.bits, widths))
    except BudgetError as error:
        return [f"the budget cannot be reached: {error}"]
    lines = []
    for item in constraints:
        low, high = (value / item.divisor for value in item.reachable)
        lines.append(
            f"the budget can be reached: {item.path} {item.limit / item.divisor:.6g}, "
            f"reachable: {low:.6g} to {high:.6g} {item.unit}{item.note}"
        )
    if limits.latency is not None:
        lines.append(
            "the budget of latency depends on the machine: nncf-mcq latency-table measures what can be reached"
        )
    return lines


def budget_table(quantizable: QuantizableModel, compression: CompressionConfig) -> Table:
    """The smallest and the largest value of each budget, with all layers at one width.

    Args:
        quantizable: The model.
        compression: Section of the configuration with the widths.
    """
    bits, widths = compression.weights.bits, compression.activations.widths
    weights = quantizable.quantizable_weights
    at_int8 = sum(layer.macs for layer in quantizable.layers) * INT8_BITS**2
    low, high = min(bits), max(bits)
    activations = "" if len(widths) == 1 else " with activations at {}"
    table = Table(title="Reachable budgets", title_justify="left")
    table.add_column("budget")
    for width, inputs in ((low, widths[0]), (high, widths[-1])):
        table.add_column(f"all at {width} bits{activations.format(inputs)}", justify="right")
    costs = CostModel(quantizable, {point.name: widths[-1] for point in quantizable.activation_points}, None)
    policies = [
        Policy(
            {layer.name: quantizable.weight_bits(layer.group, [width])[0] for layer in quantizable.layers},
            {point.name: inputs for point in quantizable.activation_points},
        )
        for width, inputs in ((low, widths[0]), (high, widths[-1]))
    ]
    average_bits, bops = ([cost(policy) for policy in policies] for cost in (costs.average_bits, costs.bops))
    table.add_row("weight_size.average_bits", *(f"{value:.4g}" for value in average_bits))
    table.add_row("weight_size.ratio", *(f"{value / FLOAT32_BITS:.4f}" for value in average_bits))
    table.add_row("bytes of the packed weights", *(f"{int(weights * value / 8):,}" for value in average_bits))
    table.add_row("bops.total", *(f"{value:.4g}" for value in bops))
    table.add_row("bops.ratio", *(f"{value / at_int8:.4f}" for value in bops))
    return table
