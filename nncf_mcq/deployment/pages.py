"""The files of a deployment folder that people read: README, and an example in Python and in C++."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import jinja2

from nncf_mcq.config.output_files import RunResult
from nncf_mcq.data.decoding import MODES
from nncf_mcq.deployment.document import LABELS_FILE, PROPERTIES_FILE, README_FILE, SERVER_FILE, CheckReport, Deployment
from nncf_mcq.deployment.image_input import ImageInput
from nncf_mcq.metrics.names import COSTS, metric_figure, metric_name

FILES: Final = (README_FILE, "infer.py", "infer.cpp", "CMakeLists.txt")

_COLOURS: Final = {"L": "grey", "RGB": "RGB", "RGBA": "RGBA"}
_SIZES: Final = {"bin_bytes": "weights, .bin", "xml_bytes": "graph, .xml"}
_BITS: Final = "average_weight_bits"


def render(
    deployment: Deployment, image_input: ImageInput | None, result: RunResult, model_file: str, *, is_classifier: bool
) -> Iterator[tuple[str, str]]:
    """Name and content of each of `FILES`.

    Args:
        deployment: What they describe.
        image_input: What is built into the model, if anything is.
        result: Of the quantized model.
        model_file: The .xml file, relative to the folder.
        is_classifier: Whether the only output has one row of scores for each sample.
    """
    # Not HTML: nothing is escaped.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nncf_mcq", "templates/deployment"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values: dict[str, Any] = {
        "deployment": deployment,
        "device": deployment.device,
        "properties": deployment.properties,
        "properties_file": PROPERTIES_FILE,
        "server_file": SERVER_FILE,
        "labels_file": LABELS_FILE,
        "model_file": model_file,
        "has_labels": deployment.labels is not None,
        "is_classifier": is_classifier,
        "same": same_outputs(deployment.check),
        "rows": list(_rows(result, deployment)),
        "metrics_images": result.search.dataset.report,
        "image": image_input is not None,
        "dynamic": False,
        "batch": 1,
        "data_shape": "",
        **({} if image_input is None else _image_values(image_input, deployment)),
    }
    for name in FILES:
        yield name, environment.get_template(f"{name}.j2").render(values)


def _image_values(image_input: ImageInput, deployment: Deployment) -> dict[str, Any]:
    geometry, (height, width) = image_input.geometry, image_input.size
    mode = MODES[image_input.channels]
    level, dynamic = geometry.fill_level, image_input.resize is not None
    name, channels = deployment.inputs[0].name, image_input.channels
    return {
        "geometry": geometry,
        "mode": mode,
        "colours": _COLOURS[mode],
        "channels": channels,
        "batch": image_input.batch,
        # Pillow's order.
        "size": (width, height),
        "resize": geometry.resize[::-1] if isinstance(geometry.resize, list) else None,
        "crop": None if geometry.crop_size is None else geometry.crop_size[::-1],
        "method": f"Image.Resampling.{geometry.interpolation.upper()}",
        "fill": level if mode == "L" else (level,) * 3 + (255,) * (channels - 3),
        "dynamic": dynamic,
        "data_shape": f" -data_shape {name}[1,{height},{width},{channels}]" if dynamic else "",
    }


def same_outputs(check: CheckReport) -> str:
    """How outputs compare with those of the quantized model, as the end of a sentence."""
    if check.difference == 0:
        return "equal those of the quantized model bit for bit"
    return f"differ from those of the quantized model by up to {check.difference:.1e} of their range"


def _rows(result: RunResult, deployment: Deployment) -> Iterator[tuple[str, str, str]]:
    """What was measured, float and quantized."""
    columns = (result.metrics.float, result.metrics.quantized)
    for name in dict.fromkeys([*columns[0], *columns[1]]):
        if name not in COSTS:
            yield metric_name(name), _metric(name, columns[0]), _metric(name, columns[1])
    sizes = {"bin_bytes": deployment.bin_bytes, "xml_bytes": deployment.xml_bytes}
    for name, label in _SIZES.items():
        before = columns[0].get(name)
        yield label, "" if before is None else f"{before / 1000:,.1f} kB", f"{sizes[name] / 1000:,.1f} kB"
    if _BITS in columns[1]:
        yield "bits per weight", "32", f"{columns[1][_BITS]:.2f}"


def _metric(name: str, column: Mapping[str, Any]) -> str:
    value = column.get(name)
    if not isinstance(value, int | float):
        return ""
    return metric_figure(name, value)
