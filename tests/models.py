"""Small models, images and layers that the tests of the core share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import nncf
import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino import opset13 as opset

from nncf_mcq.calibration.statistics import LayerStatistics
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.metrics.output_scores import choose_scores
from nncf_mcq.metrics.scores import ImageScore, Score
from nncf_mcq.model.algorithm import ActivationPoint
from nncf_mcq.model.layers import QuantizableLayer, QuantizableModel
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.outputs import describe_outputs
from nncf_mcq.model.runner import ModelRunner
from nncf_mcq.model.samples import AnySamples, Arrays, Samples, as_samples
from nncf_mcq.pipeline.calibrated_model import CalibratedModel
from nncf_mcq.policy import Policy, PolicyKey
from nncf_mcq.precision_init import PrecisionResult, PrecisionTask
from nncf_mcq.precision_init.estimate import ImageScores
from nncf_mcq.precision_init.evaluator import Evaluator, Fold
from nncf_mcq.precision_init.study import StudyMemo, StudyStorage, Subject
from nncf_mcq.utils.progress import SilentProgress, Stages
from nncf_mcq.weights.weight_table import WeightTable

SAMPLE_SIZE = (1, 3, 8, 8)


class SmallNetwork(torch.nn.Module):
    """Convolution + BN + ReLU6, depthwise, pointwise, a residual addition and a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.stem_norm = torch.nn.BatchNorm2d(8)
        self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.depthwise_norm = torch.nn.BatchNorm2d(8)
        self.pointwise = torch.nn.Conv2d(8, 8, 1)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = torch.nn.functional.relu6(self.stem_norm(self.stem(images)))
        inner = torch.nn.functional.relu6(self.depthwise_norm(self.depthwise(values)))
        values = values + self.pointwise(inner)
        result: torch.Tensor = self.head(values.mean((2, 3)))
        return result


def small_network(seed: int = 0) -> SmallNetwork:
    """The network in evaluation mode, with weights and batch statistics that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    network = SmallNetwork().eval()
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            random = torch.randn(value.shape, generator=generator)
            positive = name.endswith("running_var") or (name.endswith("norm.weight"))
            value.copy_(0.5 + random.abs() if positive else random * 0.5)
    return network


def random_images(count: int, shape: Sequence[int] = SAMPLE_SIZE, seed: int = 0) -> NDArray[np.float32]:
    """(N, ...) standard normal images of a model whose input has this shape."""
    return np.random.default_rng(seed).normal(size=(count, *shape[1:])).astype(np.float32)


def as_dataset(images: NDArray[np.float32]) -> nncf.Dataset:
    """Batches of one image, as a user of NNCF has them."""
    return nncf.Dataset([image[None] for image in images])


def random_constant(*shape: int, seed: int = 0, name: str | None = None) -> ov.Node:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return opset.constant(values, name=name) if name else opset.constant(values)


def make_model(build: Callable[[ov.Node], ov.Node], shape: Sequence[int]) -> ov.Model:
    """A model of one input and one output."""
    parameter = opset.parameter(list(shape), ov.Type.f32, name="image")
    return ov.Model([build(parameter)], [parameter], "model")


def convolution(
    data: ov.Node,
    weights: ov.Node,
    name: str,
    *,
    stride: int = 1,
    pad: int = 0,
    dilation: int = 1,
    auto_pad: str = "explicit",
    grouped: bool = False,
) -> ov.Node:
    """A Convolution or GroupConvolution with the same stride, padding and dilation in every dimension."""
    operation = opset.group_convolution if grouped else opset.convolution
    spatial = len(weights.shape) - (3 if grouped else 2)
    sizes = [[value] * spatial for value in (stride, pad, pad, dilation)]
    return operation(data, weights, *sizes, auto_pad, name=name)


def convolution_model(shape: Sequence[int], weight_shape: Sequence[int], **options: Any) -> ov.Model:
    """One layer named `layer`."""
    return make_model(lambda data: convolution(data, random_constant(*weight_shape), "layer", **options), shape)


def matmul_model(
    shape: Sequence[int], weight_shape: Sequence[int], *, transpose_a: bool = False, transpose_b: bool = False
) -> ov.Model:
    """One MatMul named `layer`."""
    return make_model(
        lambda data: opset.matmul(data, random_constant(*weight_shape), transpose_a, transpose_b, name="layer"), shape
    )


def embedding_model(layer: str | None = None) -> ov.Model:
    """Entries of five values for 2 x 3 numbers from 0 to 6, looked up by `embedding`, then a MatMul of that name."""

    def build(data: ov.Node) -> ov.Node:
        indices = opset.convert(data, "i32")
        entries = opset.gather(random_constant(7, 5), indices, opset.constant(np.int32(0)), name="embedding")
        if layer is None:
            return opset.relu(entries)
        return opset.matmul(opset.relu(entries), random_constant(5, 4, seed=1), False, False, name=layer)

    return make_model(build, (1, 6))


def shared_weights_model() -> ov.Model:
    """Two convolutions, `first` and `second`, that read one constant; then `last`."""

    def build(data: ov.Node) -> ov.Node:
        weights = random_constant(4, 4, 3, 3, name="shared")
        values = opset.relu(convolution(data, weights, "first", pad=1), name="relu_first")
        values = opset.relu(convolution(values, weights, "second", pad=1), name="relu_second")
        return convolution(values, random_constant(2, 4, 1, 1, seed=1), "last")

    return make_model(build, (1, 4, 6, 6))


def concat_model() -> ov.Model:
    """Two branches of very different magnitude that are quantized, concatenated, and convolved by `last`."""

    def build(data: ov.Node) -> ov.Node:
        left = opset.relu(convolution(data, random_constant(4, 3, 3, 3), "left", pad=1), name="relu_left")
        right = convolution(data, opset.constant(random_constant(4, 3, 1, 1, seed=1).get_data() * 4), "right")
        joined = opset.concat([left, opset.relu(right, name="relu_right")], 1, name="joined")
        return convolution(joined, random_constant(5, 8, 1, 1, seed=2), "last")

    return make_model(build, SAMPLE_SIZE)


def weights_of(model: ov.Model) -> dict[str, bytes]:
    """The content of every constant by name: tells whether a model was edited."""
    return {
        operation.get_friendly_name(): operation.get_data().tobytes()
        for operation in model.get_ops()
        if operation.get_type_name() == "Constant"
    }


def noisy_model(shape: Sequence[int]) -> ov.Model:
    """A model whose outputs never are the same twice."""

    def build(data: ov.Node) -> ov.Node:
        ends = [opset.constant(np.float32(value)) for value in (0, 1)]
        sizes = opset.constant(np.array(list(shape), np.int64))
        return opset.add(data, opset.random_uniform(sizes, *ends, "f32", 0, 0))

    return make_model(build, shape)


def operation_types(model: ov.Model) -> list[tuple[str, str]]:
    return [(operation.get_friendly_name(), operation.get_type_name()) for operation in model.get_ordered_ops()]


def layer(name: str, weights: int, *, group: str = "", macs: int = 0, inputs: Sequence[str] = ()) -> QuantizableLayer:
    """A layer that is only counted."""
    return QuantizableLayer(
        name=name,
        kind="matmul",
        weight_port=1,
        weight_shape=(1, weights),
        groups=1,
        rows=1,
        columns=weights,
        transposed=False,
        macs=macs or weights,
        activation_quantizers=tuple(inputs),
        group=group or name,
    )


def countable_model(layers: Sequence[QuantizableLayer]) -> QuantizableModel:
    """A model whose layers are only counted, with an activation point for each name that a layer reads."""
    empty = make_model(lambda data: opset.relu(data), (1, 1))
    names = dict.fromkeys(name for item in layers for name in item.activation_quantizers)
    points = tuple(ActivationPoint(name, (), False) for name in names)
    return QuantizableModel(empty, tuple(layers), points, (), nncf.IgnoredScope())


def moments_of(columns: torch.Tensor) -> LayerStatistics:
    """Statistics of data (groups, positions, columns), in float64 up to the last step."""
    data = columns.double()
    mean = data.mean(dim=1)
    centred = data - mean[:, None]
    covariance = centred.transpose(1, 2) @ centred / data.shape[1]
    variance = torch.diagonal(covariance, dim1=1, dim2=2)
    return LayerStatistics(mean.float(), covariance.float(), variance.float())


def correlated_data(groups: int, columns: int, seed: int, positions: int = 400) -> torch.Tensor:
    """(groups, positions, columns) data whose columns correlate and have means other than zero."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(groups, columns, columns, generator=generator) / columns**0.5
    common = torch.randn(groups, positions, 1, generator=generator)
    return torch.randn(groups, positions, columns, generator=generator) @ mixing + common + 0.5


def small_config(**precision: object) -> Config:
    """Few images and one thread, without the sequential pass, which takes a quarter of the time.

    Args:
        precision: Parameters of the precision initializer.
    """
    initializer = {"num_init_samples": 12, "precision": precision or {"type": "uniform", "bits": 4}}
    return load_config(
        {
            "input_info": {"sample_size": list(SAMPLE_SIZE)},
            "compression": {
                "weights": {"bits": [2, 4, 8]},
                "correction": {"sequential": False},
                "initializer": initializer,
            },
            "runtime": {"threads": 1, "batch_size": 4},
        }
    )


TABLE_BITS = (2, 4, 8)
"""Widths in the weight table of the small network."""


@functools.cache
def small_calibrated_model() -> tuple[CalibratedModel, WeightTable]:
    """The small network with its statistics and its weight table at 2, 4 and 8 bits; not to be edited."""
    config = small_config()
    stages = Stages(SilentProgress())
    model = to_openvino(small_network(), SAMPLE_SIZE)
    calibrated = CalibratedModel.prepare(model, random_images(12), config.compression, 1, stages)
    return calibrated, calibrated.weight_table(TABLE_BITS, stages)


def run(model: ov.Model, images: AnySamples, *, threads: int, batch_size: int) -> NDArray[np.float32]:
    """The first output of a model over all images, (N, ...)."""
    return ModelRunner.compile(model, threads, batch_size=batch_size)(as_samples(images).arrays)[0]


@functools.cache
def _small_reference() -> tuple[Samples, Arrays]:
    """Images that policies of the small network are scored on, and the float model's outputs on them."""
    images = random_images(6, seed=1)
    float_model = small_calibrated_model()[0].quantizable.model
    return Samples([images]), ModelRunner.compile(float_model, 1, batch_size=4)([images])


_SMALL_SCORES: dict[PolicyKey, ImageScores] = {}
"""The scores of the small network's policies that any task asked for."""


def make_evaluator(
    score: Score | None = None,
    *,
    threads: int = 1,
    build: Callable[[Policy], ov.Model] | None = None,
    shared_scores: dict[PolicyKey, ImageScores] | None = None,
    memo: StudyMemo | None = None,
) -> Evaluator:
    """Scores policies of the small network, whose weight table holds 2, 4 and 8 bits."""
    calibrated, table = small_calibrated_model()
    images, reference = _small_reference()
    scores = choose_scores(describe_outputs(calibrated.quantizable.model), reference, score)
    fold = Fold(build or (lambda policy: calibrated.build(policy, table)), images, reference)
    return Evaluator([fold], scores, threads=threads, batch_size=4, shared_scores=shared_scores, memo=memo)


def called_once(function: Score) -> ImageScore:
    """A score that is called once for a policy, its value that of every image: without the calls of the jackknife."""
    return ImageScore(lambda outputs, reference: np.full(len(reference), function(outputs, reference)))


def make_task(
    activation_bits: int = 8, score: Score | None = None, storage: StudyStorage | None = None
) -> PrecisionTask:
    """A task with an evaluator that has scored nothing, or what the storage holds.

    Tasks with the default score share the runs of the models: each counts its evaluations for itself.
    """
    calibrated, table = small_calibrated_model()
    stored = None if storage is None else storage.start(Subject("model", "images", {}))
    return PrecisionTask(
        quantizable=calibrated.quantizable,
        choices=calibrated.quantizable.choices(TABLE_BITS, (8,)),
        activation_bits=activation_bits,
        errors={group: table.errors(group) for group in calibrated.quantizable.groups},
        costs=calibrated.costs(table),
        evaluator=make_evaluator(
            score,
            shared_scores=_SMALL_SCORES if score is None else None,
            memo=None if stored is None else stored.memo,
        ),
        stored=stored,
    )


def details_of(result: PrecisionResult) -> dict[str, Any]:
    """What an initializer reports, as whoever knows its form reads it."""
    return dict(result.details)
