"""What of an IR runs on integers, why the rest does not, and what conversions cost; on files that NNCF and we made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

import nncf_mcq
from nncf_mcq.ir.export import RT_INFO_SECTION
from nncf_mcq.ir.float_causes import WEIGHTS_NOT_QUANTIZED
from nncf_mcq.policy import FLOAT_CHOICE, Policy
from openvino_eval.inspection import Inspection, inspect_model
from tests.models import convolution, make_model, random_constant, random_images

SHAPE = (1, 8, 16, 16)
IMAGES = random_images(4, SHAPE)


def two_layers(between: Callable[[ov.Node], ov.Node] = ops.relu) -> ov.Model:
    def build(data: ov.Node) -> ov.Node:
        values = between(ops.relu(convolution(data, random_constant(16, 8, 3, 3), "first")))
        return convolution(values, random_constant(4, 16, 1, 1, seed=1), "second")

    return make_model(build, SHAPE)


def cheap_layer_behind_softmax() -> ov.Model:
    """As the head of YOLOv8: a softmax, and its expectation as a convolution to one channel."""

    def build(data: ov.Node) -> ov.Node:
        values = ops.relu(convolution(data, random_constant(16, 8, 3, 3), "first"))
        return convolution(ops.softmax(values, 1), random_constant(1, 16, 1, 1, seed=1), "expectation")

    return make_model(build, SHAPE)


def quantized_by_nncf(model: ov.Model, folder: Path, **options: object) -> Path:
    path = folder / "nncf.xml"
    quantized = nncf.quantize(model.clone(), dataset(), subset_size=len(IMAGES), **options)
    ov.save_model(quantized, path)
    return path


def dataset() -> nncf.Dataset:
    return nncf.Dataset([image[None] for image in IMAGES])


def causes(inspection: Inspection) -> dict[str, str]:
    return {layer.name: layer.cause for layer in inspection.float_layers}


def test_a_plain_model(float_ir: Path) -> None:
    inspection = inspect_model(float_ir)
    assert (inspection.integer_layers, inspection.compute_layers) == (0, 3)
    assert set(causes(inspection).values()) == {WEIGHTS_NOT_QUANTIZED}
    assert {layer.kind for layer in inspection.float_layers} == {"Convolution", "MatMul"}
    assert inspection.conversions == ()
    assert inspection.ignored_scopes == ()


def test_a_quantized_model(int8_ir: Path) -> None:
    inspection = inspect_model(int8_ir)
    assert (inspection.integer_layers, inspection.compute_layers) == (3, 3)
    assert inspection.float_layers == ()
    [entrance] = inspection.conversions
    assert (entrance.source, entrance.values) == ("f32", 3 * 12 * 12)
    # Signed where the processor multiplies two signed bytes (AMX).
    assert entrance.target in ("i8", "u8")
    assert entrance.after == ("image",)
    assert entrance.before == ("conv0",)
    assert inspection.ignored_scopes == ()


@pytest.mark.parametrize(
    "scope",
    [nncf.IgnoredScope(names=["second"]), nncf.IgnoredScope(patterns=["sec.*"])],
    ids=["name", "pattern"],
)
def test_a_layer_that_nncf_was_told_to_ignore(scope: nncf.IgnoredScope, tmp_path: Path) -> None:
    inspection = inspect_model(quantized_by_nncf(two_layers(), tmp_path, ignored_scope=scope))
    assert causes(inspection) == {"second": "ignored_scopes names it"}
    assert inspection.ignored_scopes == ()


def test_a_layer_behind_an_operation_that_the_plugin_does_not_run_on_integers(tmp_path: Path) -> None:
    def tile(node: ov.Node) -> ov.Node:
        return ops.tile(node, ops.constant(np.array([1, 1, 2, 1])), name="repeated")

    inspection = inspect_model(quantized_by_nncf(two_layers(tile), tmp_path))
    cause = "the plugin does not run Tile 'repeated' on integers, which hands it its input"
    assert causes(inspection) == {"second": cause}
    assert inspection.float_layers[0].is_quantized
    assert inspection.ignored_scopes == ("second",)


def test_leaving_the_named_layers_in_float_avoids_the_conversions(tmp_path: Path) -> None:
    model = cheap_layer_behind_softmax()
    before = inspect_model(quantized_by_nncf(model, tmp_path))
    assert before.ignored_scopes == ("expectation",)
    assert [item.before for item in before.conversions] == [("first",), ("expectation",)]
    scope = nncf.IgnoredScope(names=list(before.ignored_scopes))
    after = inspect_model(quantized_by_nncf(model, tmp_path, ignored_scope=scope))
    assert [item.before for item in after.conversions] == [("first",)]
    assert after.ignored_scopes == ()


def test_our_own_file_says_what_it_left_in_float(tmp_path: Path) -> None:
    settings = {
        "runtime": {"threads": 1},
        "compression": {"ignored_scopes": ["{re}sec"], "initializer": {"precision": {"type": "uniform", "bits": 3}}},
    }
    nncf_mcq.quantize(two_layers(), dataset(), settings).save(tmp_path)
    assert causes(inspect_model(tmp_path / "model.xml")) == {"second": "ignored_scopes names it"}

    model = two_layers()
    policy = Policy({"first": 8, "second": FLOAT_CHOICE}, {})
    model.set_rt_info(str(policy.to_dict()).replace("'", '"'), [RT_INFO_SECTION, "policy"])
    ov.save_model(model, tmp_path / "float.xml")
    found = causes(inspect_model(tmp_path / "float.xml"))
    assert found == {"first": WEIGHTS_NOT_QUANTIZED, "second": "the policy leaves it in floating point"}


def test_a_model_with_an_open_batch(tmp_path: Path) -> None:
    model = cheap_layer_behind_softmax()
    model.reshape([-1, *SHAPE[1:]])
    inspection = inspect_model(quantized_by_nncf(model, tmp_path))
    # What conversions cost cannot be said without shapes.
    assert inspection.ignored_scopes == ()
    assert all(item.values is None for item in inspection.conversions)
