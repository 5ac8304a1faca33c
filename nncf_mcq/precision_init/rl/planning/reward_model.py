"""The agent's model of the world: what score a policy will have, and how sure that is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

Floats = NDArray[np.float64]
Choices = NDArray[np.intp]
"""(policies, groups) index of each group's width."""

_CORRELATION_LENGTH = 1.5
_JITTER = 1e-8
_FLOOR = 0.05


@dataclass(frozen=True)
class Uncertainty:
    """How far the sum of the sensitivities is trusted; all are standard deviations relative to what they belong to.

    Attributes:
        sensitivity: Of each group's sensitivity.
        scale: Of a factor on the whole sum.
        interaction: Of the cosine between the output errors of two groups.
        noise: Of what the model cannot explain, relative to the predicted score.
    """

    sensitivity: float
    scale: float
    interaction: float
    noise: float


def _grid() -> Iterator[Uncertainty]:
    for values in itertools.product((0.15, 0.3, 0.6, 1.0), (0.1, 0.5), (0.02, 0.1, 0.25), (0.02, 0.06, 0.15)):
        yield Uncertainty(*values)


GRID = tuple(_grid())
"""Candidates of `RewardModel.fit`."""


@dataclass(frozen=True)
class _Features:
    """Policies as sums over one entry for each group: products of these matrices are the parts of the kernel."""

    mean: Floats
    loss: Floats
    smooth_loss: Floats
    square_loss: Floats
    amplitude: Floats
    smooth_amplitude: Floats


@dataclass(frozen=True)
class _Parts:
    """Covariances of unit uncertainty: of the groups' sensitivities, of the common factor, of the interactions."""

    sensitivity: Floats
    scale: Floats
    interaction: Floats

    def combine(self, uncertainty: Uncertainty) -> Floats:
        return (
            uncertainty.sensitivity**2 * self.sensitivity
            + uncertainty.scale**2 * self.scale
            + 4.0 * uncertainty.interaction**2 * self.interaction
        )


class RewardModel:
    """A Gaussian process over policies whose prior is the sum of the sensitivities.

    The divergence of two close distributions is a quadratic form of the error in the network's output (half of the
    Fisher norm), and the layers' errors add up to it. So the score is a sum of squares, one for each group, which is
    what sensitivities measure, and of products of two groups' errors, which they miss. The prior covariance says so:
    each sensitivity s is uncertain in proportion to itself, alike at similar widths, and each pair of groups adds
    2 cos sqrt(s s') with an unknown cosine. The uncertainties are those of largest marginal likelihood.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, chapters 2 and 5. That
    layers interact at low bits: Deng et al., "Mixed-Precision Quantization with Cross-Layer Dependencies", 2023.

    Args:
        losses: (groups, widths) sensitivities, falling with the width.
        base: Score with the largest width everywhere.
        is_width: (groups, widths) whether a group has the width; all have all by default.
    """

    def __init__(self, losses: Floats, base: float, is_width: NDArray[np.bool_] | None = None) -> None:
        self._losses = _with_floor(losses, np.ones(losses.shape, bool) if is_width is None else is_width)
        self._base = base
        widths = np.arange(losses.shape[1])
        distance = np.abs(widths[:, None] - widths)
        smooth = np.exp(-distance / _CORRELATION_LENGTH)
        alone = np.eye(len(widths))
        # (groups, widths, widths) what a group's choice of the second axis contributes to each part of the kernel.
        loss, amplitude = self._losses[:, :, None], np.sqrt(self._losses)[:, :, None]
        self._tables = (loss * alone, loss * smooth, loss * smooth**2, amplitude * alone, amplitude * smooth)
        self.uncertainty = Uncertainty(0.3, 0.5, 0.1, 0.06)

    def fit(self, choices: Choices, scores: Floats) -> Uncertainty:
        """The uncertainties under which the scores of these policies are likeliest.

        Args:
            choices: (policies, groups), all different.
            scores: (policies,).
        """
        features = self._features(choices)
        parts = self._parts(features, features)
        residual = scores - features.mean

        def log_likelihood(uncertainty: Uncertainty) -> float:
            factor = self._factorize(parts, features.mean, uncertainty)
            white = solve_triangular(factor, residual, lower=True, check_finite=False)
            return float(-0.5 * white @ white - np.log(np.diagonal(factor)).sum())

        return max(GRID, key=log_likelihood)

    def learn(self, choices: Choices, scores: Floats) -> None:
        """Conditions the process on scored policies.

        Args:
            choices: (policies, groups), all different.
            scores: (policies,).
        """
        self._known = self._features(choices)
        self._factor = self._factorize(self._parts(self._known, self._known), self._known.mean, self.uncertainty)
        self._weights = cho_solve((self._factor, True), scores - self._known.mean)

    def predict(self, choices: Choices) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the scores, what the model cannot explain included; both (policies,)."""
        features = self._features(choices)
        across = self._parts(features, self._known).combine(self.uncertainty)
        explained = solve_triangular(self._factor, across.T, lower=True)
        variance = self._variance(features) + (self.uncertainty.noise * features.mean) ** 2
        variance -= np.square(explained).sum(axis=0)
        return features.mean + across @ self._weights, np.sqrt(np.maximum(variance, (1e-6 * features.mean) ** 2))

    def sample(self, choices: Choices, count: int, random: np.random.Generator) -> Floats:
        """The mean and `count` joint samples of the scores: (1 + count, policies)."""
        features = self._features(choices)
        across = self._parts(features, self._known).combine(self.uncertainty)
        explained = solve_triangular(self._factor, across.T, lower=True)
        covariance = self._parts(features, features).combine(self.uncertainty) - explained.T @ explained
        mean = features.mean + across @ self._weights
        # The posterior is nearly singular where policies repeat each other: as much is added as the factor needs.
        level = max(float(np.diagonal(covariance).mean()), 1e-30)
        factor = cholesky(covariance + 1e-5 * level * np.eye(len(mean)), lower=True, check_finite=False)
        return np.concatenate([mean[None], mean + random.standard_normal((count, len(mean))) @ factor.T])

    def _features(self, choices: Choices) -> _Features:
        groups = np.arange(choices.shape[1])
        mean = self._base + self._losses[groups, choices].sum(axis=1)
        return _Features(mean, *(table[groups, choices].reshape(len(choices), -1) for table in self._tables))

    @staticmethod
    def _parts(left: _Features, right: _Features) -> _Parts:
        pairs = np.square(left.smooth_amplitude @ right.amplitude.T) - left.square_loss @ right.loss.T
        scale = np.outer(left.mean, right.mean)
        return _Parts(left.smooth_loss @ right.loss.T, scale, np.maximum(pairs / 2, 0.0))

    def _variance(self, features: _Features) -> Floats:
        pairs = np.square((features.smooth_amplitude * features.amplitude).sum(axis=1))
        pairs -= (features.square_loss * features.loss).sum(axis=1)
        sensitivity = (features.smooth_loss * features.loss).sum(axis=1)
        return _Parts(sensitivity, features.mean**2, np.maximum(pairs / 2, 0.0)).combine(self.uncertainty)

    @staticmethod
    def _factorize(parts: _Parts, mean: Floats, uncertainty: Uncertainty) -> Floats:
        covariance = parts.combine(uncertainty)
        level = float(np.diagonal(covariance).mean())
        covariance[np.diag_indices_from(covariance)] += (uncertainty.noise * mean) ** 2 + _JITTER * level
        factor: Floats = cholesky(covariance, lower=True, check_finite=False)
        return factor


def _with_floor(losses: Floats, is_width: NDArray[np.bool_]) -> Floats:
    """Sensitivities too small to be measured are still uncertain: at least a share of the median of their like.

    Alike are groups with as many widths: those of weights, and those of activations.
    """
    floored = losses.copy()
    counts = is_width.sum(axis=1)
    for count in np.unique(counts):
        rows = counts == count
        floored[rows] = np.maximum(losses[rows], _FLOOR * np.median(losses[rows], axis=0))
    return floored
