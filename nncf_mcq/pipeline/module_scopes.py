"""Names of layers and activations of the converted model in the place of those of torch modules."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray

from nncf_mcq.calibration.module_outputs import are_same, module_outputs, point_values
from nncf_mcq.config.module_scopes import MODULE, OUTPUT, ActivationScope
from nncf_mcq.config.paths import PRECISION_PATH
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.config.scopes import suggestions
from nncf_mcq.errors import ConfigError
from nncf_mcq.model.layers import QuantizableModel, find_layers
from nncf_mcq.model.loading import FloatModel, to_openvino
from nncf_mcq.model.module_layers import LAYER_MODULES, modules_of_layers
from nncf_mcq.model.nodes import operations_by_name
from nncf_mcq.model.samples import input_shapes

_WEIGHTS: Final = "bitwidth_per_scope"
_ACTIVATIONS: Final = "activation_bitwidth_per_scope"
_MOST_TOLD: Final = 3

_logger = logging.getLogger(__name__)


def has_module_scopes(config: Config) -> bool:
    """Whether a configuration names torch modules."""
    compression = config.to_dict()["compression"]
    precision = compression["initializer"]["precision"]
    pairs = [scope for key in (_WEIGHTS, _ACTIVATIONS) for _, scope in precision.get(key, [])]
    return any(scope.startswith((MODULE, OUTPUT)) for scope in [*pairs, *compression["ignored_scopes"]])


def with_layer_names(config: Config, model: FloatModel) -> Config:
    """The configuration with names of the converted model.

    A layer is that of the module whose weights it has; an activation is what a module returns for an image of noise.

    Args:
        config: That names torch modules.
        model: The network.

    Raises:
        ConfigError: It is no torch module, or has no such module.
    """
    if not isinstance(model, torch.nn.Module):
        raise ConfigError("model", config.model, "a torch module, whose modules the configuration names")
    converted = to_openvino(model, config.sample_size)
    quantizable = find_layers(converted)
    names = _Names(model, quantizable)
    values = config.to_dict()
    compression = values["compression"]
    precision = compression["initializer"]["precision"]
    compression["ignored_scopes"] = [
        name
        for scope in compression["ignored_scopes"]
        for name in (names.operations(scope, "compression.ignored_scopes") if scope.startswith(MODULE) else [scope])
    ]
    if _WEIGHTS in precision:
        path = f"{PRECISION_PATH}.{_WEIGHTS}"
        precision[_WEIGHTS] = [
            [bits, name]
            for bits, scope in precision[_WEIGHTS]
            for name in (names.layers(scope, path) if scope.startswith(MODULE) else [scope])
        ]
        precision[_ACTIVATIONS] = _activation_pairs(precision[_ACTIVATIONS], model, quantizable)
    return load_config(values)


class _Names:
    """What modules of a network are called in the converted model."""

    def __init__(self, model: torch.nn.Module, quantizable: QuantizableModel) -> None:
        self._modules = dict(model.named_modules())
        weighted = [name for name, module in self._modules.items() if isinstance(module, LAYER_MODULES)]
        self._layers = modules_of_layers(model, weighted, quantizable)
        self._operations = list(operations_by_name(quantizable.model))

    def layers(self, scope: str, path: str) -> list[str]:
        """The layers of a module and of those in it.

        Raises:
            ConfigError: There are none.
        """
        module = scope.removeprefix(MODULE)
        found = [layer for layer, name in self._layers.items() if f"{name}.".startswith(f"{module}.")]
        if not found:
            raise ConfigError(path, module, f"a module with weights, e.g. {self._known(module, self._layers.values())}")
        return found

    def operations(self, scope: str, path: str) -> list[str]:
        """The layers of a module and of those in it, and its other operations.

        Raises:
            ConfigError: There are none.
        """
        module = scope.removeprefix(MODULE)
        pattern = re.compile(rf"^__module\.{re.escape(module)}[/.]")
        layers = [layer for layer, name in self._layers.items() if f"{name}.".startswith(f"{module}.")]
        found = [name for name in self._operations if pattern.match(name) and name not in layers]
        if not layers and not found:
            raise ConfigError(path, module, f"a module of the network, e.g. {self._known(module, self._modules)}")
        return [*layers, *found]

    @staticmethod
    def _known(module: str, names: Iterable[str]) -> str:
        return suggestions(module, [name for name in names if name])


def _activation_pairs(
    pairs: Sequence[Sequence[Any]], model: torch.nn.Module, quantizable: QuantizableModel
) -> list[list[Any]]:
    """Pairs with names of activation points; those that share a scale get the largest bits of them."""
    named = {scope: ActivationScope.parse(scope) for _, scope in pairs if scope.startswith(OUTPUT)}
    if not named:
        return [list(pair) for pair in pairs]
    points = _points(named, model, quantizable)
    bits = {points.get(scope, scope): found for found, scope in pairs if scope in points or scope not in named}
    for names in quantizable.unified_scales:
        largest = max((bits[name] for name in names if name in bits), default=None)
        if largest is not None:
            bits |= dict.fromkeys(names, largest)
    unknown = [scope.removeprefix(OUTPUT) for scope in named if scope not in points]
    if unknown:
        told = ", ".join(unknown[:_MOST_TOLD]) + (", ..." if len(unknown) > _MOST_TOLD else "")
        _logger.warning(
            "NNCF 2: bitwidth_per_scope: %d of %d activations are not quantized here: %s",
            len(unknown),
            len(named),
            told,
        )
    return [[found, name] for name, found in bits.items()]


def _points(
    named: Mapping[str, ActivationScope], model: torch.nn.Module, quantizable: QuantizableModel
) -> dict[str, str]:
    """Scope to the activation point with the same values."""
    images = _noise(quantizable.model)
    values = point_values(quantizable, images)
    outputs = module_outputs(model, [torch.from_numpy(image) for image in images])
    containers = {name for name, module in model.named_modules() if any(True for _ in module.children())}
    inputs = [parameter.get_friendly_name() for parameter in quantizable.model.get_parameters()]
    found = {}
    for scope, activation in named.items():
        if not activation.module:
            if activation.number < len(inputs) and inputs[activation.number] in values:
                found[scope] = inputs[activation.number]
            continue
        output = outputs.get((activation.module, activation.number))
        if output is None:
            continue
        # What a block returns is the output of its last operation, and not that of others.
        word = activation.operation.strip("_") if activation.module in containers else ""
        point = next((name for name in values if word in name and are_same(values[name], output)), None)
        if point is not None:
            found[scope] = point
    return found


def _noise(model: ov.Model) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape).astype(np.float32) for shape in input_shapes(model)]
