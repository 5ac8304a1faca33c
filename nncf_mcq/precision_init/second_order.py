"""Sensitivities without scoring policies: what a second-order expansion of the network's answer predicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nncf_mcq.calibration.objectives import divergence
from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.layers import QuantizableModel, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.samples import AnySamples, as_samples, input_shapes
from nncf_mcq.model.torch_graph import TorchGraph
from nncf_mcq.utils.torch_threads import TorchPool
from nncf_mcq.weights.weight_table import WeightTable

SecondOrder = Literal["fisher", "hessian_trace"]
"""Approximation of the Hessian: its diagonal, or the mean of the diagonal for each layer."""


def second_order_sensitivities(
    quantizable: QuantizableModel, table: WeightTable, curvature: Mapping[str, Tensor]
) -> dict[str, dict[int, float]]:
    """Half the curvature times the squared change of the weights.

    Args:
        quantizable: The float model and its layers.
        table: The quantized weights.
        curvature: Layer name to what broadcasts to its (groups, rows, columns) weights: `collect_fisher` or
            `collect_hessian_traces`.

    Returns:
        Group name and width to the predicted divergence, or squared error of the outputs, falling with the width.

    Sources: with the mean of the diagonal: Dong et al., "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural
    Networks", NeurIPS 2020. With the diagonal itself: e.g. Li et al., "BRECQ", ICLR 2021.

    Limits: the weights' errors must be as good as independent. Those of error-compensated rounding are not: it makes
    the change of the weights larger and that of the layer's output smaller, which the diagonal does not see.
    """
    operations = operations_by_name(quantizable.model)
    found: dict[str, dict[int, float]] = {}
    for group, members in quantizable.groups.items():
        first = members[0]
        weights = torch.from_numpy(weight_matrices(first, operations[first.name]))
        smallest = math.inf
        found[group] = {}
        for bits in sorted(table.entries[first.name]):
            change = torch.from_numpy(table[first.name, bits].values) - weights
            smallest = min(smallest, 0.5 * float((curvature[first.name] * change.square()).sum()))
            found[group][bits] = smallest
    return found


def collect_hessian_traces(
    quantizable: QuantizableModel,
    images: AnySamples,
    *,
    threads: int,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """The mean of each layer's Hessian diagonal, by Hutchinson's estimator.

    It is the Hessian of the divergence to the float outputs at the float weights, of which no labels are needed; there
    it equals the Gauss-Newton matrix, the expected Hessian of the cross entropy over labels drawn from the network's
    own answer. A network whose output is not (N, classes) counts as a regression: half the outputs' mean squared error.
    Of several outputs it is the sum, as of their score.

    Args:
        quantizable: The float model and its layers.
        images: Samples.
        threads: Images side by side.
        seed: Of the random signs: one vector for each image, so that more images are also more probes.
        progress: Called after each image.

    Returns:
        Layer name to a scalar, at least 0. Layers that share a constant all get the sum of theirs.

    Raises:
        QuantizationError: There is no image, or the model has an operation that `TorchGraph` does not know.

    Source: Hutchinson, "A Stochastic Estimator of the Trace of the Influence Matrix", Communications in Statistics
    18(3), 1989, as in HAWQ-V2: E[v' H v] = tr H for random signs v. All layers share one v: what couples two of them is
    0 on average, and noise in each estimate.
    """
    samples = as_samples(images)
    if not len(samples):
        raise QuantizationError("the trace of the Hessian needs at least one image")
    graph, shapes = TorchGraph(quantizable.model), input_shapes(quantizable.model)
    names = [layer.name for layer in quantizable.layers]

    def products(index: int) -> list[float]:
        generator = torch.Generator().manual_seed((seed << 20) + index)
        weights = [graph.weight(name).detach().requires_grad_() for name in names]
        signs = [torch.randint(0, 2, weight.shape, generator=generator) * 2.0 - 1.0 for weight in weights]
        inputs = [torch.from_numpy(values) for values in samples.tensors(index, shapes)]
        outputs = graph.outputs(inputs, weights=dict(zip(names, weights, strict=True)))
        gradients = torch.autograd.grad(divergence(outputs), weights, create_graph=True, materialize_grads=True)
        along = torch.stack([(gradient * sign).sum() for gradient, sign in zip(gradients, signs, strict=True)]).sum()
        if not along.requires_grad:
            return [0.0] * len(names)
        curved = torch.autograd.grad(along, weights, materialize_grads=True)
        return [float((change * sign).sum()) for change, sign in zip(curved, signs, strict=True)]

    traces = np.zeros(len(names))
    with TorchPool(threads) as pool:
        for found in pool.map(products, range(len(samples))):
            traces += np.array(found) / len(samples)
            progress()
    by_name = dict(zip(names, traces.tolist(), strict=True))
    if not np.isfinite(traces).all():
        name = next(name for name, value in by_name.items() if not math.isfinite(value))
        raise QuantizationError(f"{name}: the trace of its Hessian is not finite")
    return {
        member.name: torch.tensor(max(sum(by_name[other.name] for other in members), 0.0) / member.weights)
        for members in quantizable.groups.values()
        for member in members
    }
