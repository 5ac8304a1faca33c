"""The config class that Intel Neural Compressor knows the algorithm by.

Its `autotune` reads the annotations of the constructor, as types: they must not be strings, as `from __future__ import
annotations` would make them.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import torch
from neural_compressor.common.base_config import register_config
from neural_compressor.common.utils import DEFAULT_WHITE_LIST
from neural_compressor.torch.quantization.config import FRAMEWORK_NAME, OperatorConfig, TorchBaseConfig
from neural_compressor.torch.utils import get_model_info

from nncf_mcq.config.schema import Config
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.inc.parameters import NAME, PATHS, to_configuration
from nncf_mcq.model.module_layers import LAYER_MODULES

Value = TypeVar("Value")

if TYPE_CHECKING:
    Tunable: TypeAlias = Value | Sequence[Value]
else:

    class Tunable:
        """A value, or several for autotune to try: which it finds out by the annotation of one value."""

        def __class_getitem__(cls, value: object) -> object:
            return value


FLOAT_DTYPE = "fp32"
"""`dtype` of modules that stay in floating point, as in Intel Neural Compressor's other configs."""

PARAMETERS = ("dtype", *PATHS, "compression")

_LISTS = ("weight_bits", "activation_bits")
"""Parameters whose value is a list itself: several to try are a list of lists."""

_INTERNAL = ("params_list", "non_tunable_params", "_is_initialized")
"""What Intel Neural Compressor passes on, besides the parameters, when it makes a config from another one."""


@register_config(framework_name=FRAMEWORK_NAME, algo_name=NAME)
class MixedClippingConfig(TorchBaseConfig):  # type: ignore[misc]
    """Mixed-precision quantization of a convolutional network to OpenVINO IR: each layer gets its own bit-width.

    One of `bits`, `average_bits`, `budget` and `goal` says how small or how good the model is to be; by default 4 bits
    on average. For `autotune`, a parameter may be a list of values to try, each of the type of one value:
    `[2.0, 3.0]` for `average_bits`, `[[4], [8]]` for `activation_bits`. None takes the default of the JSON.

    `set_local` gives modules, by name, regular expression or type, their own `dtype`, `bits` or `clipping`.

    Args:
        dtype: "int"; in `set_local`, "fp32" leaves a module in floating point.
        bits: The bit-width of all weights; in `set_local`, that of a module.
        average_bits: Largest average bit-width of the weights.
        budget: Limits as in the JSON, e.g. `{"weight_size": {"bytes": 2500000}}`.
        goal: Quality to keep in the smallest file, e.g. `{"agreement": 0.99}` or `{"kl": 0.01}`.
        precision: Method that finds the bit-widths: ilp (the default), rl, greedy, optuna.
        evaluations: Number of policies that a search scores.
        seed: Of a search.
        weight_bits: Bit-widths of weights to choose from.
        activation_bits: Bit-width of the activations, or those to choose from.
        clipping: Rule for the clipping thresholds of the weights, e.g. "mse"; in `set_local`, that of a module.
        num_init_samples: Number of calibration samples; what `run_fn` passes to the model beyond it is not used.
        threads: Inference threads while quantizing, and of the quantized model.
        compression: Everything else, as in the JSON's section of that name.
        white_list: Names or types of the modules that are quantized; all by default.
        kwargs: None; Intel Neural Compressor passes its own attributes here.

    Raises:
        ConfigError: A value cannot be used.
    """

    name = NAME
    supported_configs: ClassVar[list[OperatorConfig]] = []

    def __init__(
        self,
        dtype: Tunable[str] = "int",
        bits: Tunable[int | None] = None,
        average_bits: Tunable[float | None] = None,
        budget: Tunable[dict[str, Any] | None] = None,
        goal: Tunable[dict[str, Any] | None] = None,
        precision: Tunable[str | None] = None,
        evaluations: Tunable[int | None] = None,
        seed: Tunable[int | None] = None,
        weight_bits: Tunable[list[int] | None] = None,
        activation_bits: Tunable[list[int] | None] = None,
        clipping: Tunable[str | None] = None,
        num_init_samples: Tunable[int | None] = None,
        threads: Tunable[int | None] = None,
        compression: Tunable[dict[str, Any] | None] = None,
        white_list: str | list[Any] | None = DEFAULT_WHITE_LIST,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(kwargs.keys() - set(_INTERNAL))
        if unknown:
            keys = ", ".join((*PARAMETERS, "white_list"))
            raise ConfigError(NAME, f"unknown key {unknown[0]}", f"one of the keys {keys}")
        super().__init__(white_list=white_list)
        self.dtype = dtype
        self.bits = bits
        self.average_bits = average_bits
        self.budget = budget
        self.goal = goal
        self.precision = precision
        self.evaluations = evaluations
        self.seed = seed
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        self.clipping = clipping
        self.num_init_samples = num_init_samples
        self.threads = threads
        self.compression = compression
        self._post_init()

    def _post_init(self) -> None:
        # Also after a parameter was set. What autotune is to choose from is checked when it makes configs of it.
        if not self.choices():
            self.configuration()
        super()._post_init()

    def configuration(self) -> Config:
        """The configuration with which `nncf_mcq.quantize` does the same, without what `set_local` says.

        Raises:
            ConfigError: A value cannot be used.
        """
        for name in self.choices():
            allowed = "one value; a list of values to try, all of the type of one value, is for autotune"
            raise ConfigError(f"{NAME}.{name}", getattr(self, name), allowed)
        if self.dtype not in ("int", FLOAT_DTYPE):
            raise ConfigError(f"{NAME}.dtype", self.dtype, f"int, or in set_local {FLOAT_DTYPE}")
        values = self.given()
        return to_configuration({name: value for name, value in values.items() if name != "dtype"})

    def given(self) -> dict[str, object]:
        """The parameters that have a value."""
        return {name: getattr(self, name) for name in PARAMETERS if getattr(self, name) is not None}

    def choices(self) -> list[str]:
        """Parameters with several values, of which autotune makes configs of one value each."""
        several = (list, tuple)
        return [
            name
            for name, value in self.given().items()
            if isinstance(value, several) and (name not in _LISTS or any(isinstance(item, several) for item in value))
        ]

    def __add__(self, other: Any) -> Any:
        """Takes over the local configs of another one of this class.

        Raises:
            ConfigError: The other config is of another algorithm.
        """
        if not isinstance(other, MixedClippingConfig):
            raise ConfigError(f"{NAME} + {getattr(other, 'name', type(other).__name__)}", "a sum", "one of both alone")
        return super().__add__(other)

    def expand(self) -> "list[MixedClippingConfig]":
        """Makes a config of each combination of the values to try, with what `set_local` and the white list say."""
        found: list[MixedClippingConfig] = super().expand()
        for config in found:
            for target, item in self.local_config.items() if config is not self else ():
                # The white list made copies of this config: they are to be copies of the new one.
                if all(getattr(item, name) == getattr(self, name) for name in PARAMETERS):
                    config.local_config[target] = type(self)(**config.get_params_dict(), white_list=None)
        return found

    @classmethod
    def register_supported_configs(cls) -> None:
        """Names the types of modules that the config is for."""
        cls.supported_configs = [OperatorConfig(config=cls(), operators=list(LAYER_MODULES))]

    def get_model_info(self, model: torch.nn.Module) -> list[tuple[str, str]]:
        """Names and types of the modules that names and types in the config stand for.

        Raises:
            QuantizationError: The model is no torch module.
        """
        if not isinstance(model, torch.nn.Module):
            raise QuantizationError(f"the model: found {type(model).__name__}, allowed: a torch.nn.Module")
        found: list[tuple[str, str]] = get_model_info(model, list(LAYER_MODULES))
        return found

    def to_config_mapping(
        self, config_list: Sequence[Any] | None = None, model_info: Any = None
    ) -> "OrderedDict[str, MixedClippingConfig]":
        """This config for the whole model: a search is of all layers, with what `set_local` says of some."""
        return OrderedDict({self.name: self})

    def module_configs(self, model: torch.nn.Module) -> "dict[str, MixedClippingConfig]":
        """The config of each module by name; modules that the white list leaves out are missing."""
        mapping = super().to_config_mapping(model_info=self.get_model_info(model))
        return {name: config for (name, _), config in mapping.items()}

    @classmethod
    def get_config_set_for_tuning(cls) -> "MixedClippingConfig":
        """Average bit-widths from small to large: autotune stops at the first that keeps the metric."""
        return cls(average_bits=[3.0, 4.0, 5.0, 6.0, 8.0])


MixedClippingConfig.register_supported_configs()
