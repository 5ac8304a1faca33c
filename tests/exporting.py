"""Saving a model as `QuantizationResult.save` does, without a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import openvino as ov

from nncf_mcq.ir.export import ExportedModel, staged
from nncf_mcq.model.samples import AnySamples


def export(
    model: ov.Model,
    directory: Path,
    name: str,
    layers: Sequence[str],
    images: AnySamples,
    *,
    information: Mapping[str, str],
    threads: int,
) -> ExportedModel:
    """Publishes what `staged` yields, with nothing beside it."""
    with staged(model, directory, name, layers, images, information=information, threads=threads) as found:
        return found.publish()
