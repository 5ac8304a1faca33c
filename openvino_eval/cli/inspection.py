"""`openvino-eval inspect`: what a file is made of, and what of it runs on integers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from nncf_mcq.utils import examples
from openvino_eval.cli.application import app
from openvino_eval.cli.arguments import Models, Output, Threads, parse_models
from openvino_eval.cli.output import column, finish
from openvino_eval.options import DEFAULT_THREADS

if TYPE_CHECKING:
    from openvino_eval.inspection import Inspection

_SHOWN = 5


@app.command(
    epilog=examples(
        "openvino-eval inspect int8.xml quantized/model.xml",
    )
)
def inspect(
    models: Models,
    threads: Threads = DEFAULT_THREADS,
    json_file: Output = None,
) -> None:
    """Show what models weigh and how constants are stored, which layers run in float and why, and the conversions.

    The names of ignored_scopes are for the next quantization of the float model: NNCF's, or that of nncf-mcq. --json
    has all names.
    """
    from openvino_eval.formats import format_bytes
    from openvino_eval.inspection import inspect_model

    table = Table("model", column(".bin"), column(".xml"), "constants", column("int8 layers"), column("conversions"))
    facts: dict[str, object] = {}
    found = {name: inspect_model(path, threads=threads) for name, path in parse_models(models).items()}
    for name, inspection in found.items():
        size = inspection.size
        stored = ", ".join(f"{kind.element_type} {format_bytes(kind.stored_bytes)}" for kind in size.constants)
        table.add_row(
            name,
            format_bytes(size.bin_bytes),
            format_bytes(size.xml_bytes),
            stored,
            f"{inspection.integer_layers}/{inspection.compute_layers}",
            str(len(inspection.conversions)),
        )
        facts[name] = asdict(size) | {key: value for key, value in asdict(inspection).items() if key != "size"}
    finish(table, json_file, facts)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for name, inspection in found.items():
        for line in _lines(inspection):
            console.print(f"{name}: {line}" if len(found) > 1 else line)


def _lines(inspection: Inspection) -> Iterator[str]:
    """What there is to say of a model, below the table."""
    from nncf_mcq.ir import float_sentences

    yield from float_sentences((layer.name, layer.precision, layer.cause) for layer in inspection.float_layers)
    if inspection.conversions:
        places = [
            f"{item.source} to {item.target} in front of {_some(list(item.before))}" for item in inspection.conversions
        ]
        yield f"{len(places)} conversion{'s' * (len(places) > 1)}: {_some(places, '; ')}"
    if inspection.ignored_scopes:
        yield (
            "what runs in float although it is quantized, and what computes less than its conversions cost: "
            f'"ignored_scopes": {json.dumps(list(inspection.ignored_scopes))}'
        )


def _some(items: list[str], separator: str = ", ") -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return separator.join(items[:_SHOWN]) + more
