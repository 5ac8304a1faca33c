"""The files of an output folder, read as the documents that they were written from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from nncf_mcq import QuantizationResult, quantize
from nncf_mcq.config.output_files import HISTOGRAM_FILE, RESULT_FILE, Histograms, LayerResult, Origin, RunResult
from nncf_mcq.config.search_report import DatasetReport
from nncf_mcq.utils.documents import DocumentError, read_document
from tests.models import as_dataset, random_images, small_config, small_network

FLOAT_LAYER = {"name": "first", "kind": "convolution", "bits": None, "activation_bits": None, "group": "first"}
OLD_RESULT: dict[str, Any] = {
    "metrics": {"float": {"top1": 0.9}, "quantized": {"top1": 0.8, "note": "by hand"}},
    "layers": [FLOAT_LAYER, {"name": "second", "bits": 4, "rule_channels": {"max": 3}, "weight_shape": [3, 1, 3, 3]}],
    "search": {"method": "rl", "history": [{"score": 1}], "details": {"curve": [[5, 0.5]]}, "storage": None},
    "timing": {"search_seconds": 2.5},
    "versions": {"nncf": "3.4.0"},
    "origin": None,
}


@pytest.fixture(scope="module")
def result() -> QuantizationResult:
    budget = {"weight_size": {"average_bits": 4}}
    config = small_config(type="optuna", budget=budget, evaluations=6, measured_widths=1)
    found = quantize(small_network(), as_dataset(random_images(8)), config)
    return found.as_job(
        DatasetReport(source="noise", calibration=8), {"distillation": 1.0}, Origin(config="c", command="d")
    )


def further_keys(value: Any) -> Iterator[str]:
    """Keys that no document declares."""
    if isinstance(value, BaseModel):
        yield from value.model_extra or {}
        for name in type(value).model_fields:
            yield from further_keys(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from further_keys(item)


def test_what_is_written_is_read_back_and_has_no_key_that_is_not_declared(
    result: QuantizationResult, tmp_path: Path
) -> None:
    result.save(tmp_path)
    read = read_document(tmp_path / RESULT_FILE, RunResult)
    assert read == result.document
    assert list(further_keys(read)) == []
    assert (read.search.dataset.source, read.origin) == ("noise", Origin(config="c", command="d"))
    assert next(iter(read.timing.seconds)) == "distillation"
    assert all(layer.is_integer for layer in read.layers)
    histograms = read_document(tmp_path / HISTOGRAM_FILE, Histograms)
    assert histograms.layers == result.histograms
    assert list(further_keys(histograms)) == []


def test_a_result_of_an_older_version_or_of_another_tool_is_read_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / RESULT_FILE).write_text(json.dumps(OLD_RESULT))
    read = read_document(tmp_path / RESULT_FILE, RunResult)
    assert json.loads(json.dumps(read.to_dict())) == OLD_RESULT
    assert (read.layers[1].rule_channels, read.layers[1].relative_error) == ({"max": 3}, None)
    assert (read.search.evaluations, read.search.dataset.report, read.timing.seconds) == (0, 0, {})


def test_a_part_may_be_missing_or_null() -> None:
    layers = [{"name": "only"}]
    read = RunResult.model_validate({"layers": layers, "search": None, "timing": None, "versions": None})
    assert read == RunResult(layers=(LayerResult(name="only"),))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        ("{}", "layers: Field required"),
        ('{"layers": [{"name": "a"}, {"name": 3}]}', "layers.1.name: Input should be a valid string"),
        ("no JSON", "Invalid JSON: expected ident at line 1 column 2"),
    ],
)
def test_one_message_says_which_file_and_where_in_it(tmp_path: Path, content: str | None, problem: str) -> None:
    file = tmp_path / RESULT_FILE
    if content is not None:
        file.write_text(content)
    with pytest.raises(DocumentError) as caught:
        read_document(file, RunResult)
    assert str(caught.value) == f"{file}: {problem}"


def test_a_list_of_documents_is_read(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    file.write_text('[{"name": "a"}, {"name": "b", "bits": 3}]')
    assert read_document(file, list[LayerResult]) == [LayerResult(name="a"), LayerResult(name="b", bits=3)]
