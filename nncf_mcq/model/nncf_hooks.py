"""The parts of NNCF that the algorithm relies on, though NNCF does not promise to keep them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from nncf_mcq.utils.hooks import Hooks, check_hooks

SUPPORTED_NNCF: Final = "NNCF 2.19 to 3.4"
"""Versions whose hooks are known, those of the requirement in `pyproject.toml`."""

_ALGORITHM: Final = "nncf.quantization.algorithms.min_max.algorithm:MinMaxQuantization"
_SETUP: Final = "nncf.common.quantization.quantizer_setup"
_GRAPH: Final = "nncf.common.graph.graph"

_COMMON: Final[Hooks] = {
    "nncf_mcq/model/algorithm.py": (
        # Overridden: the solved setup, the ranges of the quantizers, the backends.
        f"{_ALGORITHM}.find_quantization_setup(self, model, nncf_graph)",
        f"{_ALGORITHM}._get_stat_collector(self, graph, target_point, qconfig, batchwise_statistics)",
        f"{_ALGORITHM}.available_backends",
        # From a point of the setup to a place in the model.
        f"{_ALGORITHM}._set_backend_entity",
        f"{_ALGORITHM}._backend_entity",
        f"{_ALGORITHM}._reset_cache",
        f"{_ALGORITHM}._init_cache",
        f"{_ALGORITHM}._topological_sort_quantization_points",
        f"{_ALGORITHM}._get_weight_quantization_target_points",
        "nncf.quantization.advanced_parameters:OverflowFix.DISABLE",
        # Collects the statistics and applies the algorithms.
        "nncf.quantization.algorithms.pipeline:Pipeline.get_statistic_points_for_step",
        "nncf.quantization.algorithms.pipeline:Pipeline.run_from_step"
        "(self, model, dataset, graph, start_step_index, step_index_to_statistics)",
        f"{_SETUP}:SingleConfigQuantizerSetup.quantization_points",
        f"{_SETUP}:SingleConfigQuantizerSetup.unified_scale_groups",
        f"{_SETUP}:SingleConfigQuantizationPoint.qconfig",
        f"{_SETUP}:SingleConfigQuantizationPoint.insertion_point",
        f"{_SETUP}:SingleConfigQuantizationPoint.directly_quantized_operator_node_names",
        f"{_SETUP}:SingleConfigQuantizationPoint.is_weight_quantization_point",
        f"{_SETUP}:ActivationQuantizationInsertionPoint.target_node_name",
        f"{_SETUP}:ActivationQuantizationInsertionPoint.input_port_id",
        "nncf.common.quantization.structs:QuantizerConfig"
        "(num_bits, mode, signedness_to_force, per_channel, narrow_range)",
        "nncf.common.quantization.structs:QuantizationScheme.ASYMMETRIC",
        "nncf.common.graph.transformations.commands:TargetPoint.is_weight_target_point",
        "nncf.common.graph.transformations.commands:TargetPoint.type",
        "nncf.common.graph.transformations.commands:TargetType.PRE_LAYER_OPERATION",
        f"{_GRAPH}:NNCFGraph.get_node_by_name",
        f"{_GRAPH}:NNCFGraph.get_output_edges",
        f"{_GRAPH}:NNCFGraph.get_next_nodes",
        f"{_GRAPH}:NNCFGraphEdge.to_node",
        f"{_GRAPH}:NNCFGraphEdge.output_port_id",
        f"{_GRAPH}:NNCFNode.node_name",
        "nncf.common.utils.backend:BackendType.OPENVINO",
        "nncf.common.utils.backend:BackendType.TORCH",
        "nncf.common.utils.backend:get_backend",
        "nncf.common.logging:nncf_logger",
        "nncf.tensor:Tensor",
    ),
}

_NNCF_2: Final[Hooks] = {
    "nncf_mcq/model/nncf_versions.py": (
        "nncf.common.factory:NNCFGraphFactory.create",
        "nncf.experimental.common.tensor_statistics.collectors:TensorCollector",
        "nncf.experimental.common.tensor_statistics.statistics:MinMaxTensorStatistic(min_values, max_values)",
    ),
    "nncf_mcq/model/algorithm.py": ("nncf.experimental.common.tensor_statistics.collectors:TensorCollector.set_cache",),
}

_NNCF_3: Final[Hooks] = {
    "nncf_mcq/model/nncf_versions.py": (
        "nncf.common.factory:build_graph",
        "nncf.common.tensor_statistics.collectors:TensorCollector",
        "nncf.common.tensor_statistics.statistics:MinMaxTensorStatistic(min_values, max_values)",
    ),
    "nncf_mcq/model/algorithm.py": ("nncf.common.tensor_statistics.collectors:TensorCollector.set_cache",),
}

BACKEND_HOOKS: Final[Hooks] = {
    "nncf_mcq/model/algorithm.py": (
        "nncf.openvino.graph.transformations.commands:OVTargetPoint.port_id",
        "nncf.openvino.graph.transformations.commands:OVTargetPoint.target_node_name",
        "nncf.torch.graph.transformations.commands:PTTargetPoint.input_port_id",
        "nncf.quantization.algorithms.min_max.torch_backend:PTMinMaxAlgoBackend",
    )
}
"""Of a backend, which is loaded only when a model of it comes: not checked when the algorithm is imported."""


def nncf_hooks() -> Hooks:
    """The hooks of the installed generation of NNCF."""
    own = _NNCF_2 if version("nncf").startswith("2.") else _NNCF_3
    return {file: _COMMON.get(file, ()) + hooks for file, hooks in own.items()}


def check_nncf() -> None:
    """Raises where the installed NNCF has not what the algorithm relies on.

    Raises:
        HostVersionError: It has not.
        ModuleNotFoundError: NNCF is not installed.
    """
    check_hooks(nncf_hooks(), "nncf", "NNCF", SUPPORTED_NNCF)
