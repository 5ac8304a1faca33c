"""Shrinkage of sampled covariances: what few images cannot tell is taken as noise."""

from __future__ import annotations

import torch

INDEPENDENCE = 0.75
"""P positions of one image resemble each other: they count as P to this power independent samples."""


def independent_samples(images: int, positions: int) -> float:
    """How many independent samples the positions of some images are worth.

    Args:
        images: Number of images.
        positions: Sampled positions of all images together.
    """
    return float(images * (positions / images) ** INDEPENDENCE)


def central_covariance(square: torch.Tensor, mean: torch.Tensor, images: int, positions: int) -> torch.Tensor:
    """The covariance of samples, shrunk by `shrink_covariance`.

    Args:
        square: (groups, columns, columns) mean of the products; it is used up.
        mean: (groups, columns).
        images: Number of images.
        positions: Sampled positions of all images together.
    """
    covariance = square.sub_(mean[:, :, None] * mean[:, None, :])
    covariance.diagonal(dim1=1, dim2=2).clamp_min_(0)
    return shrink_covariance(covariance, independent_samples(images, positions))


def shrink_covariance(covariance: torch.Tensor, samples: float) -> torch.Tensor:
    """Shrinks the correlations of a sampled covariance towards zero, by as much as they are noise.

    A fully connected layer with 1280 inputs sees one sample of each image: from 128 images its covariance has rank 127,
    and rounding that trusts it hides any error in the directions that no image showed.

    Args:
        covariance: (groups, columns, columns) of the samples.
        samples: Number of independent samples that it is from.

    Returns:
        The covariance with its diagonal kept and all other elements multiplied by a factor in 0..1, one a group.

    Source: Schaefer and Strimmer, "A Shrinkage Approach to Large-Scale Covariance Matrix Estimation", 2005, target D,
    with the variance of each element that normally distributed samples would have.
    """
    diagonal = torch.diagonal(covariance, dim1=1, dim2=2).clamp_min(0)
    squares = diagonal.square().sum(dim=1)
    correlated = (covariance.square().sum(dim=(1, 2)) - squares).clamp_min(0)
    noise = (diagonal.sum(dim=1).square() - squares + correlated) / samples
    return _scale_correlations(covariance, correlated, noise)


def shrink_cross_covariance(
    cross: torch.Tensor, first: torch.Tensor, second: torch.Tensor, samples: float
) -> torch.Tensor:
    """Shrinks a sampled covariance of two vectors towards its diagonal, by as much as it is noise.

    Args:
        cross: (groups, columns, columns) of the samples.
        first: (groups, columns) variance of the first vector.
        second: (groups, columns) variance of the second vector.
        samples: Number of independent samples that it is from.

    Source: as `shrink_covariance`; of vectors that are independent, elements have the variance
    `first second / samples`.
    """
    diagonal = torch.diagonal(cross, dim1=1, dim2=2)
    correlated = (cross.square().sum(dim=(1, 2)) - diagonal.square().sum(dim=1)).clamp_min(0)
    noise = (first.sum(dim=1) * second.sum(dim=1) - (first * second).sum(dim=1)).clamp_min(0) / samples
    return _scale_correlations(cross, correlated, noise)


def shrink_unrelated(cross: torch.Tensor, first: torch.Tensor, second: torch.Tensor, samples: float) -> torch.Tensor:
    """Shrinks a sampled covariance of two vectors that have no elements in common towards zero.

    Args:
        cross: (groups, rows, columns) of the samples.
        first: (groups, rows) variance of the first vector.
        second: (groups, columns) variance of the second vector.
        samples: Number of independent samples that it is from.

    Source: as `shrink_cross_covariance`.
    """
    found = cross.square().sum(dim=(1, 2))
    noise = first.sum(dim=1) * second.sum(dim=1) / samples
    return cross * _share_above(noise, found)[:, None, None]


def _scale_correlations(matrices: torch.Tensor, correlated: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Matrices with all but the diagonal multiplied by the share of its sum of squares (groups,) that is not noise."""
    scaled = matrices * _share_above(noise, correlated)[:, None, None]
    scaled.diagonal(dim1=1, dim2=2).copy_(torch.diagonal(matrices, dim1=1, dim2=2))
    return scaled


def _share_above(noise: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Share, 0..1, of sums of squares that is more than what noise alone would give."""
    return torch.where(squares > 0, 1 - noise / squares.clamp_min(1e-30), torch.ones_like(noise)).clamp(0, 1)
