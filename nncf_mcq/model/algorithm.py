"""The NNCF algorithm; the only module that touches NNCF's private hooks.

Which these are is listed in `nncf_hooks`; what has another name in NNCF 2 is in `nncf_versions`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nncf_mcq.model.nncf_hooks import check_nncf

# An import of what has moved would fail without saying which versions of NNCF have it.
check_nncf()

import nncf
import numpy as np
import openvino as ov
from nncf.common.graph.graph import NNCFGraph
from nncf.common.graph.transformations.commands import TargetPoint
from nncf.common.logging import nncf_logger
from nncf.common.quantization.quantizer_setup import SingleConfigQuantizationPoint, SingleConfigQuantizerSetup
from nncf.common.quantization.structs import QuantizationScheme, QuantizerConfig
from nncf.common.utils.backend import BackendType, get_backend
from nncf.quantization.advanced_parameters import OverflowFix
from nncf.quantization.algorithms.min_max.algorithm import MinMaxQuantization
from nncf.quantization.algorithms.pipeline import Pipeline
from nncf.tensor import Tensor
from numpy.typing import NDArray

from nncf_mcq.model.nncf_versions import MinMaxTensorStatistic, TensorCollector, build_graph
from nncf_mcq.model.nodes import origins
from nncf_mcq.policy import INT8_BITS, Policy

Model = TypeVar("Model")


@dataclass(frozen=True)
class ValueRange:
    """The range that a quantizer covers.

    Attributes:
        low: Lower end, a scalar or one value per channel in a shape that broadcasts to the tensor.
        high: Upper end, of the same shape.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]


@dataclass(frozen=True)
class WeightPoint:
    """A weight that NNCF would quantize: operation name and the port that the constant is on."""

    operation: str
    port: int


@dataclass(frozen=True)
class ActivationPoint:
    """A place where NNCF would quantize an activation.

    Attributes:
        name: Its name in a policy: the operation after whose output, or before whose input, it stands.
        operations: The operations that consume the quantized values directly.
        per_channel: Whether it has a range per channel (NNCF does so before depthwise convolutions).
        operation: The operation that it stands at; the one of its own name if None.
        input_port: The input of that operation which it stands before; None behind its output.
        output_port: The output of that operation which it stands behind, where it stands behind one.
    """

    name: str
    operations: tuple[str, ...]
    per_channel: bool
    operation: str | None = None
    input_port: int | None = None
    output_port: int = 0

    @property
    def location(self) -> str:
        """Name of the operation that it stands at."""
        return self.name if self.operation is None else self.operation

    def reaches(self, operation: ov.Node, port: int = 0) -> bool:
        """Whether the values that are quantized there arrive at an input of an operation as they are.

        Args:
            operation: Of an `openvino.Model`.
            port: Its input port.
        """
        if self.input_port is not None:
            return (self.location, self.input_port) == (operation.get_friendly_name(), port)
        return any(node.get_friendly_name() == self.location for node in origins(operation, port))

    @property
    def fake_quantize_name(self) -> str:
        """Friendly name of the FakeQuantize that NNCF puts there in an `openvino.Model`."""
        place = f"output_{self.output_port}" if self.input_port is None else f"input_{self.input_port}"
        return f"{self.location}/fq_{place}"


@dataclass(frozen=True)
class QuantizerPlacement:
    """Where NNCF would put quantizers.

    Attributes:
        weights: In topological order.
        activations: In topological order.
        unified_scales: Names of activation points that must share range and bits.
    """

    weights: tuple[WeightPoint, ...]
    activations: tuple[ActivationPoint, ...]
    unified_scales: tuple[tuple[str, ...], ...]


class MixedClippingQuantization(MinMaxQuantization):  # type: ignore[misc]
    """Places quantizers as NNCF's `MinMaxQuantization` does, with bits and ranges of our own for each of them.

    Runs in NNCF's `Pipeline` on the OPENVINO and TORCH backends. (TORCH_FX ignores the number of bits, ONNX refuses
    fewer than 8: both are left out.)

    Args:
        policy: Bits per layer and per activation quantizer. A point that it does not name gets 8 bits.
        weight_ranges: Clip table of the policy: layer name to the range of its weights, per tensor or per channel
            (broadcastable to the weight). A layer that is missing keeps the range that NNCF finds (max-abs).
        activation_ranges: Activation point name to its range. A point that is missing keeps the range that NNCF finds.
        default_range: Range of whatever the other two do not name, in the place of what NNCF finds.
        asymmetric_weights: Use all 2^b levels with a zero point rather than 2^b - 1 levels around zero (8 bits are
            always symmetric).
        subset_size: Number of calibration images.
        ignored_scope: Operations left in floating point.
    """

    def __init__(
        self,
        policy: Policy,
        weight_ranges: Mapping[str, ValueRange] | None = None,
        activation_ranges: Mapping[str, ValueRange] | None = None,
        *,
        default_range: ValueRange | None = None,
        asymmetric_weights: bool = False,
        subset_size: int = 128,
        ignored_scope: nncf.IgnoredScope | None = None,
    ) -> None:
        super().__init__(
            # Symmetric activations: asymmetric ones are not bit-equal between the simulation and int8 kernels.
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=subset_size,
            ignored_scope=ignored_scope,
            # The default doubles the first layer's scale, which would undo a clipping threshold.
            overflow_fix=OverflowFix.DISABLE,
        )
        self._policy = policy
        self._weight_ranges = dict(weight_ranges or {})
        self._activation_ranges = dict(activation_ranges or {})
        self._default_range = default_range
        self._asymmetric_weights = asymmetric_weights

    @property
    def available_backends(self) -> list[BackendType]:
        """The backends that honour bits below 8."""
        return [BackendType.OPENVINO, BackendType.TORCH]

    def find_quantization_setup(self, model: Any, nncf_graph: NNCFGraph) -> SingleConfigQuantizerSetup:
        """NNCF's own placement, with the policy's bits."""
        setup = super().find_quantization_setup(model, nncf_graph)
        for point in setup.quantization_points.values():
            # The solver may share one config object between points.
            point.qconfig = _copy_config(point.qconfig)
            if point.is_weight_quantization_point():
                bits = self._policy.weight_bits.get(point.insertion_point.target_node_name, INT8_BITS)
                if self._asymmetric_weights and bits < INT8_BITS:
                    point.qconfig.mode = QuantizationScheme.ASYMMETRIC
                    point.qconfig.narrow_range = False
                    point.qconfig.signedness_to_force = None
            else:
                bits = self._policy.activation_bits.get(_activation_name(point, nncf_graph), INT8_BITS)
            point.qconfig.num_bits = bits
            value_range = self._known_range(point, nncf_graph)
            if value_range is not None:
                # The torch quantizer takes the shape of its scale from here, not from the range.
                point.qconfig.per_channel = np.size(value_range.low) > 1
        return setup

    def check_backend(self, model: object) -> None:
        """Raises nncf.UnsupportedBackendError for a model of another backend than those of `available_backends`."""
        if get_backend(model) not in self.available_backends:
            raise nncf.UnsupportedBackendError(f"{get_backend(model).value} models are not supported")

    def _known_range(self, point: SingleConfigQuantizationPoint, graph: NNCFGraph) -> ValueRange | None:
        if point.is_weight_quantization_point():
            return self._weight_ranges.get(point.insertion_point.target_node_name, self._default_range)
        return self._activation_ranges.get(_activation_name(point, graph), self._default_range)

    def _get_stat_collector(
        self, graph: NNCFGraph, target_point: TargetPoint, qconfig: QuantizerConfig, batchwise_statistics: bool
    ) -> TensorCollector:
        known = self._weight_ranges if target_point.is_weight_target_point() else self._activation_ranges
        value_range = known.get(_target_name(target_point, graph), self._default_range)
        if value_range is None:
            return super()._get_stat_collector(graph, target_point, qconfig, batchwise_statistics)
        collector = TensorCollector(MinMaxTensorStatistic)
        collector.set_cache(
            MinMaxTensorStatistic(
                min_values=self._to_tensor(value_range.low), max_values=self._to_tensor(value_range.high)
            )
        )
        return collector

    def _to_tensor(self, values: NDArray[np.float32]) -> Tensor:
        if type(self._backend_entity).__name__ == "PTMinMaxAlgoBackend":
            import torch

            return Tensor(torch.from_numpy(np.array(values, dtype=np.float32)))
        return Tensor(np.array(values, dtype=np.float32))

    def find_placement(self, model: Any) -> QuantizerPlacement:
        """Solves the placement for a model without touching it.

        Raises:
            nncf.UnsupportedBackendError: The model is of another backend than those of `available_backends`.
        """
        self.check_backend(model)
        graph = build_graph(model)
        self._set_backend_entity(model)
        self._reset_cache()
        self._init_cache()
        setup = self.find_quantization_setup(model, graph)
        points = self._topological_sort_quantization_points(list(setup.quantization_points.values()), graph)
        weights: list[WeightPoint] = []
        activations: list[ActivationPoint] = []
        for point in points:
            if point.is_weight_quantization_point():
                for target in self._get_weight_quantization_target_points(point, graph):
                    weights.append(WeightPoint(target.target_node_name, _port(target)))
            else:
                activations.append(
                    ActivationPoint(
                        name=_activation_name(point, graph),
                        operations=tuple(point.directly_quantized_operator_node_names),
                        per_channel=point.qconfig.per_channel,
                        operation=str(point.insertion_point.target_node_name),
                        input_port=point.insertion_point.input_port_id,
                        output_port=_output_port(point, graph),
                    )
                )
        unified = tuple(
            tuple(sorted(_activation_name(setup.quantization_points[identifier], graph) for identifier in identifiers))
            for identifiers in setup.unified_scale_groups.values()
        )
        self._reset_cache()
        return QuantizerPlacement(tuple(weights), tuple(activations), unified)


def find_placement(model: Any, ignored_scope: nncf.IgnoredScope | None = None) -> QuantizerPlacement:
    """Where NNCF would quantize a model (`openvino.Model` or a torch module wrapped by NNCF)."""
    return MixedClippingQuantization(Policy({}), ignored_scope=ignored_scope).find_placement(model)


def ignored_scope(entries: Sequence[str]) -> nncf.IgnoredScope:
    """NNCF 2's `ignored_scopes`: names of operations, or regular expressions written `{re}PATTERN`."""
    prefix = "{re}"
    return nncf.IgnoredScope(
        names=[entry for entry in entries if not entry.startswith(prefix)],
        patterns=[entry[len(prefix) :] for entry in entries if entry.startswith(prefix)],
    )


def run_pipeline(algorithm: MixedClippingQuantization, model: Model, dataset: nncf.Dataset | None = None) -> Model:
    """Runs the algorithm in NNCF's pipeline, which edits the model in place: pass a copy to keep the original.

    Args:
        algorithm: The algorithm.
        model: `openvino.Model`, or a torch module wrapped by NNCF.
        dataset: Calibration data for the ranges that the algorithm was not given; None where it was given all of them:
            then the model is not run.
    """
    # NNCF's pipeline does not look at `available_backends`.
    algorithm.check_backend(model)
    pipeline = Pipeline([[algorithm]])
    graph = build_graph(model)
    known = {0: pipeline.get_statistic_points_for_step(0, model, graph)} if dataset is None else None
    quantized: Model = pipeline.run_from_step(model, dataset, graph, step_index_to_statistics=known)
    return quantized


@contextlib.contextmanager
def quiet_nncf() -> Iterator[None]:
    """Silences NNCF's informational messages; its warnings stay."""
    level = nncf_logger.level
    nncf_logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        nncf_logger.setLevel(level)


def _copy_config(config: QuantizerConfig) -> QuantizerConfig:
    return QuantizerConfig(
        num_bits=config.num_bits,
        mode=config.mode,
        signedness_to_force=config.signedness_to_force,
        per_channel=config.per_channel,
        narrow_range=config.narrow_range,
    )


def _activation_name(point: SingleConfigQuantizationPoint, graph: NNCFGraph) -> str:
    insertion = point.insertion_point
    return _policy_name(str(insertion.target_node_name), insertion.input_port_id, graph)


def _target_name(target: TargetPoint, graph: NNCFGraph) -> str:
    """The name of a target point in a policy: that of the activation point which it was made from."""
    from nncf.common.graph.transformations.commands import TargetType

    port = _port(target) if target.type == TargetType.PRE_LAYER_OPERATION else None
    return _policy_name(str(target.target_node_name), port, graph)


def _policy_name(operation: str, input_port: int | None, graph: NNCFGraph) -> str:
    """The name of a place in a policy, which is never read as data: an operation may be called `x:0` itself."""
    if input_port is None:
        return operation
    name = f"{operation}:{input_port}"
    return f"{name} (input)" if _has_node(graph, name) else name


def _output_port(point: SingleConfigQuantizationPoint, graph: NNCFGraph) -> int:
    """The first output of an operation that leads to one that is to read quantized values.

    A point does not say which: an operation may have several, of which NNCF quantizes all or none.
    """
    edges = graph.get_output_edges(graph.get_node_by_name(point.insertion_point.target_node_name))
    wanted = set(point.directly_quantized_operator_node_names)
    for edge in sorted(edges, key=lambda item: item.output_port_id):
        pending, seen = [edge.to_node], set()
        while pending:
            node = pending.pop()
            if node.node_name in wanted:
                return int(edge.output_port_id)
            if node.node_name not in seen:
                seen.add(node.node_name)
                pending.extend(graph.get_next_nodes(node))
    return 0


def _has_node(graph: NNCFGraph, name: str) -> bool:
    try:
        graph.get_node_by_name(name)
    except nncf.InternalError:
        return False
    return True


def _port(target: TargetPoint) -> int:
    """The input port of a target point; the backends have different names for it."""
    return int(target.input_port_id if hasattr(target, "input_port_id") else target.port_id)
