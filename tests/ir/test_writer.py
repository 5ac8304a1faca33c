from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from nncf_mcq.ir.writer import save_atomically
from nncf_mcq.model.inference import compile_model
from nncf_mcq.utils.files import write_text_atomically
from tests.ir.networks import Network, residual_chain


def network_of(seed: int) -> tuple[Network, ov.Model]:
    network = Network(seed, 8)
    return network, residual_chain(network)


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    _, model = network_of(0)
    digests = set()
    for number in range(4):
        xml = save_atomically(model.clone(), tmp_path / str(number))
        digests.add(sha256(xml.read_bytes() + xml.with_suffix(".bin").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_is_smaller_than_what_openvino_saves_and_does_the_same(tmp_path: Path) -> None:
    network, model = network_of(0)
    xml = save_atomically(model, tmp_path)
    assert xml == tmp_path / "model.xml"
    plain = tmp_path / "plain.xml"
    ov.save_model(model, plain, compress_to_fp16=False)
    assert xml.stat().st_size < 0.7 * plain.stat().st_size
    assert xml.with_suffix(".bin").stat().st_size <= plain.with_suffix(".bin").stat().st_size
    outputs = [compile_model(ov.Core().read_model(path), 1)(network.data)[0] for path in (xml, plain)]
    np.testing.assert_array_equal(*outputs)


def test_keeps_the_model_its_layer_names_and_its_rt_info(tmp_path: Path) -> None:
    network, model = network_of(0)
    model.set_rt_info("a  value > < \n with blanks", ["nncf_mcq", "key"])
    names = [node.get_friendly_name() for node in model.get_ordered_ops()]
    restored = ov.Core().read_model(save_atomically(model, tmp_path))
    assert [node.get_friendly_name() for node in model.get_ordered_ops()] == names
    assert {*network.layers, *network.grids} <= {node.get_friendly_name() for node in restored.get_ops()}
    assert restored.get_rt_info(["nncf_mcq", "key"]).astype(str) == "a  value > < \n with blanks"


def network_with_odd_constants() -> ov.Model:
    """Nodes computed from constants alone, of which one is an output, beside others that have their names already."""
    data = opset.parameter([1, 4], ov.Type.f32, name="data")
    first = opset.convert(opset.constant(np.array([[1, 2, 3, 4]], np.uint8)), "f32", name="converted")
    node = opset.relu(opset.add(data, first), name="c1")
    for number in range(12):
        node = opset.add(node, opset.constant(np.array([[0.1 + number]], np.float32)), name=f"sum{number}")
    return ov.Model([node, first], [data], "odd")


def test_constants_get_short_names_that_nothing_else_has(tmp_path: Path) -> None:
    model = network_with_odd_constants()
    restored = ov.Core().read_model(save_atomically(model, tmp_path))
    kinds = {node.get_friendly_name(): node.get_type_name() for node in restored.get_ordered_ops()}
    of_constants = [name for name, kind in kinds.items() if kind in ("Constant", "Convert")]
    assert sorted(of_constants) == sorted(f"c{number}" for number in range(15) if number != 1)
    assert kinds["c1"] == "Relu"
    assert kinds["data"] == "Parameter"
    results = {node.get_friendly_name() for node in model.get_results()}
    assert {name for name, kind in kinds.items() if kind == "Result"} == results


def test_weights_in_floating_point_keep_all_their_bits(tmp_path: Path) -> None:
    xml = save_atomically(network_with_odd_constants(), tmp_path)
    values = np.frombuffer(xml.with_suffix(".bin").read_bytes(), np.uint8)
    assert np.float32(0.1).tobytes() in values.tobytes()


def test_the_xml_says_nothing_twice(tmp_path: Path) -> None:
    text = save_atomically(network_with_odd_constants(), tmp_path).read_bytes()
    assert not re.search(rb">\s+<", text)
    assert b'" />' not in text
    root = ElementTree.fromstring(text)
    layers = {item.attrib["id"]: item for item in root.iter("layer")}
    constant = {number for number, item in layers.items() if re.fullmatch(r"c(?!1$)\d+", item.attrib["name"])}
    assert len(constant) == 14
    for number, item in layers.items():
        for port in item.iterfind("./input/port"):
            assert "precision" not in port.attrib
            assert (len(port) == 0) is (number in constant)
        for port in item.iterfind("./output/port"):
            assert port.attrib["precision"] in ("U8", "FP32")
            assert len(port) == 2
    edges = [tuple(map(int, edge.attrib.values())) for edge in root.iter("edge")]
    assert edges == sorted(edges)
    assert len({edge[0] for edge in edges}) > 10


def test_nothing_stands_between_the_tags(tmp_path: Path) -> None:
    """OpenVINO passes over text there."""
    for number, model in enumerate((network_of(0)[1], network_with_odd_constants())):
        for element in ElementTree.parse(save_atomically(model, tmp_path, str(number))).iter():
            assert (element.tail or "").strip() == ""
            # The sizes of a shape are text.
            assert element.tag == "dim" or (element.text or "").strip() == ""


def test_other_failures_of_openvino_are_not_the_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("an operation cannot be written")

    monkeypatch.setattr(ov, "save_model", fail)
    with pytest.raises(RuntimeError, match="an operation cannot be written"):
        save_atomically(network_with_odd_constants(), tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_names_may_hold_what_looks_like_a_tag(tmp_path: Path) -> None:
    network, model = network_of(0)
    name = '<input> precision="u8" /> <dim>2</dim>'
    next(node for node in model.get_ops() if node.get_type_name() == "Convolution").set_friendly_name(name)
    restored = ov.Core().read_model(save_atomically(model, tmp_path))
    assert name in [node.get_friendly_name() for node in restored.get_ops()]
    outputs = [compile_model(item, 1)(network.data)[0] for item in (model, restored)]
    np.testing.assert_array_equal(*outputs)


def test_a_living_model_survives_that_its_file_is_replaced(tmp_path: Path) -> None:
    network, model = network_of(0)
    xml = save_atomically(model, tmp_path)
    mapped = ov.Core().read_model(xml)
    expected = np.array(compile_model(model, 1)(network.data)[0])
    save_atomically(network_of(1)[1], tmp_path)
    np.testing.assert_array_equal(compile_model(mapped, 1)(network.data)[0], expected)


@pytest.mark.parametrize("stage", ["save", "rename"])
def test_a_failure_leaves_the_files_of_before(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xml = save_atomically(network_of(0)[1], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    if stage == "save":
        real = ov.save_model

        def half(model: ov.Model, path: Path, compress_to_fp16: bool) -> None:
            real(model, path, compress_to_fp16=compress_to_fp16)
            fail()

        monkeypatch.setattr(ov, "save_model", half)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        save_atomically(network_of(1)[1], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert xml.exists()


def test_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "folder" / "policy.json"
    write_text_atomically(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_text_atomically(path, "other")
    assert [child.name for child in path.parent.iterdir()] == ["policy.json"]
    assert path.read_text(encoding="utf-8") == "größer\n"


def test_equal_constants_are_written_once(tmp_path: Path) -> None:
    image = opset.parameter([1, 4, 2, 2], ov.Type.f32)
    packed = [opset.convert(opset.constant(np.full((1, 4, 1, 1), 3, np.uint8), ov.Type.u4), "f32") for _ in range(2)]
    values = [opset.constant(np.full(shape, 0.5, np.float32)) for shape in ((1, 4, 1, 1), (1, 4, 1, 1), (4, 1, 1))]
    node: ov.Node = image
    for operand in (*packed, *values, opset.constant(np.full((1, 4, 1, 1), 0.25, np.float32))):
        node = opset.add(node, operand)
    model = ov.Model([node], [image], "sums")
    restored = ov.Core().read_model(save_atomically(model, tmp_path))
    # One of u4, and of f32 one each of shape and value.
    assert [item.get_type_name() for item in restored.get_ops()].count("Constant") == 1 + 3
    data = np.zeros((1, 4, 2, 2), np.float32)
    np.testing.assert_array_equal(compile_model(restored, 1)(data)[0], np.full_like(data, 3 + 3 + 3 * 0.5 + 0.25))
