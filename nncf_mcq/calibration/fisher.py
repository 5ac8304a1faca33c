"""How much the network's answer depends on each weight: the diagonal of the Fisher information."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nncf_mcq.calibration.objectives import log_likelihood
from nncf_mcq.errors import QuantizationError
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.samples import AnySamples, as_samples, input_shapes
from nncf_mcq.model.torch_graph import TorchGraph
from nncf_mcq.utils.torch_threads import TorchPool

FISHER_IMAGES = 32
"""Images that are enough to tell the weights of a layer apart; each costs a pass forward and one back."""


def collect_fisher(
    quantizable: QuantizableModel,
    images: AnySamples,
    *,
    threads: int,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """The mean over the images of the squared gradient of -log p(label) by each weight.

    The label of each image is drawn from the softmax of the network's own output: no labels are needed, and the mean
    over the draws is the diagonal of the Fisher information. For logits that is the Gauss-Newton Hessian, the second
    derivative of the KL divergence to the float outputs at the float weights. A network whose output is not
    (N, classes) counts as a regression: there the gradient is that of the outputs' sum with random signs, over the
    root of their number, and the mean is the Gauss-Newton diagonal of the outputs' mean squared error. Of several
    outputs it is the sum, as of their score.

    Args:
        quantizable: The float model and its layers.
        images: Samples.
        threads: Images side by side. As many gradients of all weights are held, and the activations of as many images.
        seed: Of the labels and signs, which do not depend on the number of threads.
        progress: Called after each image.

    Returns:
        Layer name to (groups, rows, columns). Layers that share a constant all get the sum of theirs. Layers that no
        output depends on get zeros.

    Raises:
        QuantizationError: There is no image, the model has an operation that `TorchGraph` does not know, or a gradient
            is not finite.

    Limits: it is the diagonal only: errors of two weights that cancel or add up are not seen. The sum over layers with
    one constant leaves out how their gradients correlate. One label or sign vector is drawn for each image, so single
    weights are noisy; an image whose answer is certain tells little. It is that of the float weights, and tells less
    the further they are moved.

    Sources: Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018, weigh the removal of
    parameters by squared gradients; Li et al., "BRECQ", ICLR 2021, the errors of quantization. Both take them for the
    data's labels (the empirical Fisher information); Martens, "New Insights and Perspectives on the Natural Gradient
    Method", JMLR 2020, on why drawn labels make it the Gauss-Newton matrix.
    """
    samples = as_samples(images)
    if not len(samples):
        raise QuantizationError("the Fisher information needs at least one image")
    graph, shapes = TorchGraph(quantizable.model), input_shapes(quantizable.model)
    names = [layer.name for layer in quantizable.layers]

    def gradients(index: int) -> tuple[Tensor, ...]:
        # Leaves of this image's own: threads share the memory of the weights, not what autograd records.
        weights = [graph.weight(name).detach().requires_grad_() for name in names]
        inputs = [torch.from_numpy(values) for values in samples.tensors(index, shapes)]
        outputs = graph.outputs(inputs, weights=dict(zip(names, weights, strict=True)))
        objective = log_likelihood(outputs, np.random.default_rng([seed, index]))
        return torch.autograd.grad(objective, weights, materialize_grads=True)

    sums = {name: torch.zeros(graph.weight(name).shape) for name in names}
    with TorchPool(threads) as pool:
        for start in range(0, len(samples), threads):
            # No more at a time than run at a time: an image's gradients are as large as the network.
            some = range(start, min(start + threads, len(samples)))
            for index, found in zip(some, pool.map(gradients, some), strict=True):
                for name, gradient in zip(names, found, strict=True):
                    if not bool(torch.isfinite(gradient).all()):
                        raise QuantizationError(f"{name}: its gradient on calibration image {index} is not finite")
                    sums[name].addcmul_(gradient, gradient, value=1 / len(samples))
                progress()
    fisher = {layer.name: _matrices(layer, sums[layer.name]) for layer in quantizable.layers}
    for members in quantizable.groups.values():
        total = torch.stack([fisher[member.name] for member in members]).sum(dim=0)
        fisher |= {member.name: total for member in members}
    return fisher


def _matrices(layer: QuantizableLayer, values: Tensor) -> Tensor:
    return torch.from_numpy(layer.to_matrices(values.numpy()))
