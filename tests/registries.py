"""Registrations that are forgotten again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nncf_mcq import ACTIVATION_RANGE_INITIALIZERS, DATASETS, PRECISION_INITIALIZERS, RANGE_INITIALIZERS
from nncf_mcq.config.registry import Registry

REGISTRIES: tuple[Registry[Any], ...] = (
    ACTIVATION_RANGE_INITIALIZERS,
    DATASETS,
    PRECISION_INITIALIZERS,
    RANGE_INITIALIZERS,
)


@contextmanager
def restored_registries() -> Iterator[None]:
    """Classes that are registered inside are unknown outside."""
    known = [set(registry) for registry in REGISTRIES]
    try:
        yield
    finally:
        for registry, names in zip(REGISTRIES, known, strict=True):
            for name in set(registry) - names:
                registry.unregister(name)
