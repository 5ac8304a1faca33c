from __future__ import annotations

import pytest
import torch

from nncf_mcq.training.tuning.augmentation import Augmentation, are_images, augment

CHANGES: list[Augmentation] = ["mirror", "crop", "mix"]


def images(count: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, 12, 10, generator=torch.Generator().manual_seed(1))


def changed(chosen: list[Augmentation], seed: int = 0) -> torch.Tensor:
    return augment(images(), chosen, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_keeps_shape_and_range_and_changes_some_images(change: Augmentation) -> None:
    found = changed([change])

    assert found.shape == images().shape
    assert float(found.min()) >= -1e-5 and float(found.max()) <= 1 + 1e-5
    assert not torch.equal(found, images())


@pytest.mark.parametrize("change", CHANGES)
def test_a_seed_gives_the_same_images(change: Augmentation) -> None:
    assert torch.equal(changed([change]), changed([change]))
    assert not torch.equal(changed([change]), changed([change], seed=1))


def test_about_half_of_the_images_are_mirrored_and_the_others_stay() -> None:
    found = changed(["mirror"])
    stay = (found == images()).flatten(1).all(dim=1)
    mirrored = (found == images().flip(-1)).flatten(1).all(dim=1)

    assert bool((stay ^ mirrored).all())
    assert 4 <= int(stay.sum()) <= 12


def test_a_crop_of_one_colour_is_that_colour() -> None:
    plain = torch.full((4, 3, 12, 10), 0.25)

    assert torch.allclose(augment(plain, ["crop"], torch.Generator().manual_seed(0)), plain)


def test_mixed_images_are_means_of_two() -> None:
    whole = torch.eye(16).reshape(16, 1, 4, 4)

    mixed = augment(whole, ["mix"], torch.Generator().manual_seed(0)).flatten(1)

    assert torch.allclose(mixed.sum(dim=1), torch.ones(16))
    assert int((mixed > 0).sum(dim=1).max()) == 2


def test_nothing_is_changed_without_being_asked_for() -> None:
    assert torch.equal(changed([]), images())


@pytest.mark.parametrize(
    ("shape", "is_image"), [((1, 3, 8, 8), True), ((4, 1, 8, 8), True), ((1, 16, 8, 8), False), ((1, 3, 8), False)]
)
def test_images_have_four_dimensions_and_few_channels(shape: tuple[int, ...], is_image: bool) -> None:
    assert are_images(shape) == is_image
