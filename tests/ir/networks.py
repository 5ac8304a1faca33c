"""Small quantized networks, built the way that NNCF leaves them: a FakeQuantize of 256 levels on every activation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
import torch
from openvino import opset1
from openvino import opset13 as opset

from nncf_mcq.ir.activations import ActivationGrid, concat_groups, unify_grids
from nncf_mcq.ir.packing import packed_weight
from tests.cpu import largest_weight
from tests.ir.reference import interpret


def power_of_two(value: float) -> float:
    return float(2.0 ** np.ceil(np.log2(max(value, 1e-6))))


def fake_quantize(node: ov.Node | ov.Output, low: np.ndarray, high: np.ndarray, levels: int) -> ov.Node:
    bounds = [opset.constant(np.asarray(bound, dtype=np.float32)) for bound in (low, high)]
    return opset.fake_quantize(node, *bounds, *bounds, levels)


class Network:
    """Builds a network and remembers the grid that each FakeQuantize is to have.

    Args:
        seed: Seed of weights, ranges and, where no width is given, of the widths.
        bits: Width of the activations, None for a random one per quantizer.
        asymmetric: Give signed activations a random zero point.
    """

    def __init__(
        self, seed: int, bits: int | None, shape: tuple[int, ...] = (1, 3, 12, 12), asymmetric: bool = False
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.bits = bits
        self.asymmetric = asymmetric
        self.parameter: ov.Node = opset.parameter(list(shape), ov.Type.f32, name="data")
        self.data = (np.round(self.random.normal(0, 1, shape) * 16) / 16).astype(np.float32)
        self.grids: dict[str, ActivationGrid] = {}
        self.layers: list[str] = []
        self._known: dict[str, torch.Tensor] = {}

    def values(self, node: ov.Node) -> np.ndarray:
        return interpret(ov.Model([node], [self.parameter], "part"), self.data, self._known)[0]

    def quantize(
        self, node: ov.Node, bits: int | None = None, step: float | None = None, asymmetric: bool = False
    ) -> ov.Node:
        bits = bits or self.bits or int(self.random.integers(2, 9))
        values = self.values(node)
        lowest = 0
        if values.min() < 0:
            is_asymmetric = asymmetric or self.asymmetric
            lowest = -int(self.random.integers(1, 2**bits - 1)) if is_asymmetric else -(2 ** (bits - 1))
        if step is None:
            step = power_of_two(0.6 * np.abs(values).max() / (2**bits - 1 + lowest))
        grid = ActivationGrid.from_range(lowest * step, (lowest + 2**bits - 1) * step, bits)
        # The float simulation of the network, whose numbers the file must give, has 2**bits levels.
        quantized = fake_quantize(node, grid.low, grid.high, 2**bits)
        quantized.set_friendly_name(f"quantizer{len(self.grids)}")
        self.grids[quantized.get_friendly_name()] = grid
        return quantized

    def layer(
        self, node: ov.Node, channels: int, kernel: int = 1, stride: int = 1, depthwise: bool = False, bias: bool = True
    ) -> ov.Node:
        inputs = node.get_output_shape(0)[1]
        shape = (channels, 1, 1, kernel, kernel) if depthwise else (channels, inputs, kernel, kernel)
        bits = int(self.random.integers(2, 9))
        middle = 2 ** (bits - 1)
        largest = largest_weight(adds_pairs=not depthwise)
        lowest, highest = max(0, middle - largest), min(2**bits - 1, middle + largest)
        levels = self.random.normal(middle, middle / 2.5, shape).round().clip(lowest, highest).astype(np.uint8)
        fan_in = kernel * kernel * (1 if depthwise else inputs)
        scale = power_of_two(4 / 2**bits / np.sqrt(fan_in)) * 2.0 ** self.random.integers(
            -1, 2, (channels,) + (1,) * (len(shape) - 1)
        )
        weight = packed_weight(levels, bits, scale, middle)
        operation = opset.group_convolution if depthwise else opset.convolution
        result = operation(node, weight, [stride] * 2, [kernel // 2] * 2, [kernel // 2] * 2, [1, 1])
        result.set_friendly_name(f"layer{len(self.layers)}")
        self.layers.append(result.get_friendly_name())
        if bias:
            values = np.round(self.random.normal(0.2, 0.3, (1, channels, 1, 1)) * 16) / 16
            result = opset.add(result, opset.constant(values.astype(np.float32)))
        return result

    def model(self, *outputs: ov.Node) -> ov.Model:
        """The float simulation, with the grids of a Concat's inputs unified to a step that is a power of two."""
        model = ov.Model(list(outputs), [self.parameter], "network")
        alive = {node.get_friendly_name() for node in model.get_ops()}
        self.layers = [name for name in self.layers if name in alive]
        self.grids = {name: grid for name, grid in self.grids.items() if name in alive}
        for group in concat_groups(model):
            common = unify_grids([self.grids[node.get_friendly_name()] for node in group])
            step = power_of_two(float(common.step))
            lowest = -int(common.zero_point) * step
            common = ActivationGrid.from_range(lowest, lowest + (2**common.bits - 1) * step, common.bits)
            for node in group:
                replacement = fake_quantize(node.input_value(0), common.low, common.high, 2**common.bits)
                node.output(0).replace(replacement.output(0))
                replacement.set_friendly_name(node.get_friendly_name())
                self.grids[node.get_friendly_name()] = common
        return model


def residual_chain(network: Network) -> ov.Model:
    """Inverted residuals as in MobileNetV2, then a ResNet block with a convolution on each branch."""
    node = network.quantize(network.parameter, bits=8)
    node = network.quantize(opset.clamp(network.layer(node, 8, 3), 0.0, 6.0))
    for _ in range(2):
        inner = network.quantize(opset.clamp(network.layer(node, 16), 0.0, 6.0))
        inner = network.quantize(opset.clamp(network.layer(inner, 16, 3, depthwise=True), 0.0, 6.0))
        inner = network.quantize(network.layer(inner, 8))
        node = network.quantize(opset.add(node, inner))
    left = network.quantize(opset.relu(network.layer(node, 17, 3, stride=2)))
    left = network.quantize(network.layer(left, 17, 3))
    right = network.quantize(network.layer(node, 17, stride=2))
    node = network.quantize(opset.relu(opset.add(left, right)))
    return network.model(opset.relu(network.layer(node, 8)), node)


def concat_block(network: Network) -> ov.Model:
    """Branches of different ranges and signs that meet in a Concat, through a MaxPool and through another Concat."""
    node = network.quantize(network.parameter, bits=8)
    node = network.quantize(opset.relu(network.layer(node, 8, 3)))
    first = network.quantize(opset.relu(network.layer(node, 8)))
    second = network.quantize(network.layer(node, 5, 3))
    pooled = opset1.max_pool(network.quantize(opset.relu(network.layer(node, 3, 3))), [1, 1], [1, 1], [1, 1], [3, 3])
    inner = opset.concat([first, pooled], 1)
    joined = opset.concat([inner, second], 1)
    return network.model(network.layer(joined, 8, 3), network.layer(inner, 4))


def random_graph(network: Network, size: int) -> ov.Model:
    """A random graph of layers, sums, concatenations, products and poolings, each activation quantized."""
    random = network.random
    node = network.quantize(opset.relu(network.layer(network.quantize(network.parameter, bits=8), 8, 3)))
    ready = [node]

    def pick() -> ov.Node:
        return ready[int(random.integers(max(0, len(ready) - 3), len(ready)))]

    def activation(node: ov.Node) -> ov.Node:
        choices: list[Callable[[ov.Node], ov.Node]] = [lambda n: n, opset.relu, lambda n: opset.clamp(n, 0.0, 6.0)]
        return choices[int(random.integers(3))](node)

    def branch() -> ov.Node:
        depthwise = bool(random.integers(2))
        return network.quantize(activation(network.layer(pick(), 8, int(random.choice([1, 3])), depthwise=depthwise)))

    for _ in range(size):
        kind = random.choice(["layer", "sum", "sum of layers", "shared sum", "concat", "pool", "product"])
        if kind == "layer":
            ready.append(branch())
        elif kind == "sum":
            operands = [branch(), pick()]
            ready.append(network.quantize(activation(opset.add(*(operands if random.integers(2) else operands[::-1])))))
        elif kind == "sum of layers":
            ready.append(network.quantize(activation(opset.add(branch(), branch()))))
        elif kind == "shared sum":
            # Read by a sum and by layers later on.
            shared = branch()
            ready += [shared, network.quantize(opset.add(shared, pick()))]
        elif kind == "concat":
            ready.append(network.quantize(activation(network.layer(opset.concat([branch(), pick()], 1), 8))))
        elif kind == "pool":
            ready.append(network.quantize(network.layer(opset1.max_pool(pick(), [1, 1], [1, 1], [1, 1], [3, 3]), 8)))
        else:
            gate = opset.reduce_mean(pick(), opset.constant(np.array([2, 3])), True)
            gate = network.quantize(opset.relu(network.layer(network.quantize(gate), 8)))
            ready.append(network.quantize(opset.multiply(branch(), gate)))
    return network.model(network.layer(pick(), 4), network.layer(ready[-1], 4))
