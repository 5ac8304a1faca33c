"""Latency tables that are kept: measuring one takes a minute."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import openvino as ov
from platformdirs import user_cache_path

from nncf_mcq.errors import ConfigError
from nncf_mcq.ir.template import place_activation_quantizers
from nncf_mcq.latency.measure import METHOD_VERSION, count_variants, measure_table
from nncf_mcq.latency.models import LatencyModels
from nncf_mcq.latency.table import LatencyKey, LatencyTable
from nncf_mcq.model.inference import FloatPrecision, core, has_bf16, processor_name
from nncf_mcq.model.layers import QuantizableModel
from nncf_mcq.utils.files import write_text_atomically
from nncf_mcq.utils.progress import Stages

_LOGGER = logging.getLogger(__name__)


def latency_key(quantizable: QuantizableModel, threads: int, precision: FloatPrecision) -> LatencyKey:
    """Key of a table of this model on this machine.

    Args:
        quantizable: The model.
        threads: Inference threads.
        precision: What float layers run in.
    """
    return LatencyKey(
        cpu=processor_name(),
        capabilities=tuple(sorted(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))),
        openvino=ov.get_version(),
        threads=threads,
        precision=precision,
        model=structure_digest(quantizable),
        method=METHOD_VERSION,
    )


def structure_digest(quantizable: QuantizableModel) -> str:
    """Identity of all that a model's latency depends on: operations, shapes, layers and quantizers, but no weights.

    Args:
        quantizable: The model.
    """
    # Sorted: the order of operations, and names of those that are no layers, may differ from one process to the next.
    operations = sorted(
        f"{node.get_type_name()} {node.get_attributes()} {[value.get_shape() for value in node.input_values()]}"
        for node in quantizable.model.get_ops()
        if node.get_type_name() not in ("Constant", "Parameter", "Result")
    )
    layers = [f"{layer.name} {layer.group} {layer.weight_shape} {layer.macs}" for layer in quantizable.layers]
    points = [f"{point.name} {point.per_channel}" for point in quantizable.activation_points]
    return hashlib.sha256("\n".join([*operations, *layers, *points]).encode()).hexdigest()


def default_file(key: LatencyKey) -> Path:
    """Where the table of a key is kept: in the user's cache directory.

    Args:
        key: What it is valid for.
    """
    name = hashlib.sha256(json.dumps(key.model_dump(mode="json")).encode()).hexdigest()[:32]
    return user_cache_path("nncf_mcq") / "latency" / f"{name}.json"


def check_precision(precision: FloatPrecision, path: str) -> None:
    """Refuses to measure what OpenVINO would silently compute in f32.

    Args:
        precision: What float layers should run in.
        path: Where it stands, for messages.

    Raises:
        ConfigError: This processor has no bf16.
    """
    if precision == "bf16" and not has_bf16():
        raise ConfigError(path, "bf16", "f32 on this processor, which has no bf16")


def find_table(
    quantizable: QuantizableModel,
    threads: int,
    precision: FloatPrecision,
    stages: Stages,
    *,
    fake_quantized: ov.Model | None = None,
    refresh: bool = False,
) -> tuple[LatencyTable, Path | None]:
    """The table of a model on this machine, from the cache or measured now.

    Where the cache cannot be written, the table is used all the same, and a warning is logged.

    Args:
        quantizable: The model.
        threads: Inference threads.
        precision: What float layers run in.
        stages: Reports the progress.
        fake_quantized: The model with quantizers, where it is known already.
        refresh: Measure even where there is a table.

    Returns:
        The table, and its file; None where it could not be kept.
    """
    key = latency_key(quantizable, threads, precision)
    file = default_file(key)
    if not refresh:
        try:
            table = LatencyTable.load(file, "latency table")
            if table.key == key:
                return table, file
        except ConfigError:
            # Not there, or of another version of this package.
            pass
    with stages.stage(f"latency table {precision}", count_variants(quantizable)) as advance:
        models = LatencyModels(quantizable, fake_quantized or place_activation_quantizers(quantizable))
        table = measure_table(models, key, progress=advance)
    try:
        write_text_atomically(file, table.to_json())
    except OSError as error:
        _LOGGER.warning(
            "the latency table is used but not cached: %s cannot be written (%s); set XDG_CACHE_HOME to another folder",
            file,
            error.strerror,
        )
        return table, None
    return table, file
