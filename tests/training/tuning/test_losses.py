from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nncf_mcq import QuantizationError
from nncf_mcq.metrics.output_scores import OutputScore, OutputScores
from nncf_mcq.metrics.scores import SCORES
from nncf_mcq.training.tuning.losses import LOSSES, divergence


def boxes(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Corners in the first four places of the last dimension, probabilities behind them."""
    values = generator.uniform(0.01, 0.99, size=shape)
    values[..., :4] = generator.uniform(5, 30, size=(*shape[:-1], 4))
    return values.astype(np.float32)


def outputs_of(name: str, generator: np.random.Generator) -> np.ndarray:
    if name == "detection_divergence":
        return boxes(generator, (3, 6, 8))
    if name == "cell_divergence":
        rows = boxes(generator, (3, 6, 8))
        rows[..., 2:4] = generator.uniform(-1, 3, size=(3, 6, 2))
        rows[..., :2] = generator.uniform(-1, 1, size=(3, 6, 2))
        return rows
    if name == "box_class_divergence":
        return np.ascontiguousarray(boxes(generator, (3, 9, 7)).transpose(0, 2, 1))
    if name == "bernoulli_divergence":
        return generator.uniform(0.01, 0.99, size=(3, 4, 5)).astype(np.float32)
    if name == "distribution_divergence":
        values = np.exp(generator.normal(size=(3, 4, 2, 2)))
        return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    shape = (3, 4, 2, 2) if name == "map_divergence" else (3, 5)
    return generator.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", sorted(LOSSES))
@given(seed=st.integers(0, 2**32 - 1))
def test_losses_are_the_scores_of_their_name(name: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    found, reference = outputs_of(name, generator), outputs_of(name, generator)

    loss = float(LOSSES[name](torch.from_numpy(found), torch.from_numpy(reference)))

    assert loss == pytest.approx(SCORES[name](found, reference), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_are_least_at_the_reference(name: str) -> None:
    reference = torch.from_numpy(outputs_of(name, np.random.default_rng(0)))
    found = reference.clone().requires_grad_()

    loss = LOSSES[name](found, reference)
    (slope,) = torch.autograd.grad(loss, found)
    step = 0.01 * torch.randn(slope.shape, generator=torch.Generator().manual_seed(0))

    assert float(loss.detach()) == pytest.approx(0, abs=1e-4)
    assert bool(torch.isfinite(slope).all())
    assert float(LOSSES[name]((reference + step).detach(), reference)) > float(loss.detach())


def test_probabilities_of_a_softmax_give_the_divergence_of_their_logits() -> None:
    logits, wanted = (torch.randn(4, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))

    assert float(LOSSES["kl"](logits.softmax(1), wanted.softmax(1))) == pytest.approx(
        float(LOSSES["kl"](logits, wanted)), rel=1e-4
    )


def test_the_outputs_count_by_their_weights() -> None:
    first, second = (torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    zeros = torch.zeros(2, 3) + 1
    error = SCORES["squared_error"]

    def total(*weights: float) -> float:
        scores = [OutputScore(str(index), error, weight) for index, weight in enumerate(weights)]
        return float(divergence(OutputScores(scores), [first, second], [zeros, zeros]))

    assert total(1, 2) == pytest.approx(total(1, 0) + 2 * total(0, 1), rel=1e-5)


def test_whole_numbers_alone_cannot_be_tuned_for() -> None:
    classes = torch.zeros(2, 3, dtype=torch.int64)
    scores = OutputScores([OutputScore("classes", SCORES["disagreement"])])

    with pytest.raises(QuantizationError, match="nothing to tune for"):
        divergence(scores, [classes], [classes])
