from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import openvino as ov
import pytest
import torch

from nncf_mcq import load_config
from nncf_mcq.calibration.fisher import collect_fisher
from nncf_mcq.config.catalog import find_config
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.job import Job
from nncf_mcq.model.layers import QuantizableModel, find_layers, weight_matrices
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.torch_graph import TorchGraph
from nncf_mcq.precision_init import GreedyPrecision, IlpPrecision
from nncf_mcq.precision_init.second_order import SecondOrder, collect_hessian_traces, second_order_sensitivities
from tests.models import TABLE_BITS, details_of, make_task, random_images, shared_weights_model, small_calibrated_model


def exact_traces(quantizable: QuantizableModel, image: np.ndarray) -> dict[str, float]:
    """Mean diagonal of the Gauss-Newton matrix `J' (diag(p) - p p') J` of the divergence, layer by layer."""
    graph = TorchGraph(quantizable.model)
    found = {}
    for layer in quantizable.layers:
        weight = graph.weight(layer.name).detach()

        def logits(value: torch.Tensor, name: str = layer.name) -> torch.Tensor:
            return graph(torch.from_numpy(image), weights={name: value})[0]

        jacobian = torch.autograd.functional.jacobian(logits, weight).reshape(-1, weight.numel()).double()
        probabilities = logits(weight).double().softmax(dim=0)
        curvature = torch.diag(probabilities) - torch.outer(probabilities, probabilities)
        found[layer.name] = float(torch.einsum("ai,ab,bi->", jacobian, curvature, jacobian)) / weight.numel()
    return found


def test_traces_are_those_of_the_divergence() -> None:
    quantizable, image = small_calibrated_model()[0].quantizable, random_images(1)
    # Each image is one probe.
    found = collect_hessian_traces(quantizable, np.repeat(image, 400, axis=0), threads=1)
    for name, expected in exact_traces(quantizable, image).items():
        assert float(found[name]) == pytest.approx(expected, rel=0.25), name


def test_traces_do_not_depend_on_the_threads() -> None:
    quantizable, images = small_calibrated_model()[0].quantizable, random_images(5)
    one, three = (collect_hessian_traces(quantizable, images, threads=threads) for threads in (1, 3))
    assert one == three
    assert one != collect_hessian_traces(quantizable, images, threads=1, seed=1)


def test_layers_with_one_constant_share_the_trace() -> None:
    model: ov.Model = shared_weights_model()
    quantizable = find_layers(model)
    images = np.random.default_rng(0).standard_normal((2, *model.input(0).get_shape()[1:])).astype(np.float32)
    traces = collect_hessian_traces(quantizable, images, threads=1)
    (members,) = (members for members in quantizable.groups.values() if len(members) > 1)
    assert len({float(traces[member.name]) for member in members}) == 1


def test_no_image_is_an_error() -> None:
    with pytest.raises(QuantizationError, match="at least one image"):
        collect_hessian_traces(small_calibrated_model()[0].quantizable, random_images(1)[:0], threads=1)


def test_sensitivities_are_curvature_times_squared_change() -> None:
    calibrated, table = small_calibrated_model()
    quantizable = calibrated.quantizable
    fisher = collect_fisher(quantizable, random_images(4), threads=1)
    found = second_order_sensitivities(quantizable, table, fisher)
    operations = operations_by_name(quantizable.model)
    for layer in quantizable.layers:
        change = table[layer.name, TABLE_BITS[0]].values - weight_matrices(layer, operations[layer.name])
        expected = (fisher[layer.name].numpy() * change**2).sum() / 2
        assert found[layer.group][TABLE_BITS[0]] == pytest.approx(expected, rel=1e-4)
        falling = [found[layer.group][bits] for bits in TABLE_BITS]
        assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("initializer", [IlpPrecision, GreedyPrecision])
def test_initializers_choose_by_second_order_and_score_nothing(
    initializer: type[IlpPrecision] | type[GreedyPrecision],
) -> None:
    task = make_task()
    budget = {"weight_size": {"average_bits": 4}}
    values = {"type": initializer.Parameters.model_fields["type"].default, "budget": budget, "sensitivity": "fisher"}
    asked: list[str] = []
    # The first group alone is worth its bits.
    first = next(iter(task.choices))

    def second_order(kind: SecondOrder, progress: Callable[[int, int], None]) -> Mapping[str, Mapping[int, float]]:
        asked.append(kind)
        progress(1, 1)
        return {group: {2: 9.0 if group == first else 0.1, 4: 0.0, 8: 0.0} for group in task.choices}

    object.__setattr__(task, "second_order", second_order)
    result = initializer(initializer.Parameters.model_validate(values)).find_policy(task)
    assert asked == ["fisher"]
    assert task.evaluator.evaluations == 0
    assert task.costs.average_bits(result.policy) <= 4
    assert result.policy.weight_bits[first] > 2
    assert details_of(result)["sensitivities"][first] == {"2": 9.0, "4": 0.0, "8": 0.0}


def test_a_job_by_second_order() -> None:
    precision = {"type": "ilp", "sensitivity": "hessian_trace", "budget": {"weight_size": {"average_bits": 4}}}
    values = {
        "runtime.threads": 1,
        "dataset.full_root": None,
        "dataset.split": {"calibration": 12, "search": 8, "report": 40},
        "compression.initializer.range": "max",
        "compression.correction": {"rounding": "nearest", "sequential": False},
        "compression.weights.bits": [2, 4, 8],
        "compression.initializer.precision": precision,
    }
    result = Job.read(find_config("fashion_mnist"), values).run()
    # The score of the policy found, and no other.
    assert result.search.evaluations == 1
    assert len(set(result.policy.weight_bits.values())) > 1
    assert result.metrics["quantized"]["average_weight_bits"] <= 4
    assert result.metrics["quantized"]["agreement"] > 0.5


def test_widths_of_activations_need_measured_sensitivities() -> None:
    values = {
        "compression.activations.bits": [4, 8],
        "compression.initializer.precision": {
            "type": "greedy",
            "sensitivity": "hessian_trace",
            "budget": {"weight_size": {"average_bits": 4}},
        },
    }
    job = Job.read(find_config("fashion_mnist"), values)
    with pytest.raises(ConfigError) as caught:
        job.run()
    assert str(caught.value) == (
        "compression.initializer.precision.sensitivity: found 'hessian_trace', allowed: measured, where the "
        "activations have several widths to choose from"
    )


def test_unknown_sensitivity_is_named() -> None:
    precision = {"type": "ilp", "sensitivity": "hawq", "budget": {"weight_size": {"average_bits": 4}}}
    with pytest.raises(
        ConfigError, match=r"precision\.sensitivity: found 'hawq', allowed: .*'measured', 'fisher' or 'hessian"
    ):
        load_config({"compression": {"initializer": {"precision": precision}}})
