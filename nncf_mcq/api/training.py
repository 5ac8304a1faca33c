"""`prepare_training`: from a float model or a quantized one to a module that trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import nncf

from nncf_mcq.api.quantization import quantize
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.errors import ConfigError
from nncf_mcq.model.loading import FloatModel
from nncf_mcq.policy import Policy
from nncf_mcq.result import QuantizationResult
from nncf_mcq.training.module import QuantizedNetwork, TrainingModule
from nncf_mcq.training.preparation import make_module
from nncf_mcq.utils.progress import ProgressReporter


@overload
def prepare_training(model: QuantizationResult) -> TrainingModule: ...


@overload
def prepare_training(
    model: FloatModel,
    policy: Policy | str | Path,
    calibration_dataset: nncf.Dataset,
    config: Config | Mapping[str, object] | str | Path | None = None,
    *,
    example_input: Any = None,
    progress: ProgressReporter | None = None,
) -> TrainingModule: ...


def prepare_training(
    model: FloatModel | QuantizationResult,
    policy: Policy | str | Path | None = None,
    calibration_dataset: nncf.Dataset | None = None,
    config: Config | Mapping[str, object] | str | Path | None = None,
    *,
    example_input: Any = None,
    progress: ProgressReporter | None = None,
) -> TrainingModule:
    """Makes a module that computes what a quantized model does, and whose parameters any loop can train.

    It starts from the quantized model: before the first step its outputs are those of the IR. Trellis-coded layers are
    an exception: they start on the levels of a grid of as many bits.

    Args:
        model: A result of `quantize` or of `finish_training`, which needs nothing else; or a float model.
        policy: Bits of the float model's layers and activations, or the path of a `policy.json`.
        calibration_dataset: As in `quantize`, for a float model.
        config: As in `quantize`, for a float model; the policy takes the place of its precision initializer, and no
            weights are trellis-coded.
        example_input: As in `quantize`.
        progress: Shows the progress of the quantization.

    Returns:
        The module, on the CPU; see `TrainingModule`.

    Raises:
        ConfigError: The policy is that of another model, an argument is missing or superfluous, or the result is NNCF's
            own INT8.
        QuantizationError: The model cannot be quantized, or has an operation that is not known in PyTorch.
    """
    if isinstance(model, QuantizationResult):
        others = {"policy": policy, "calibration_dataset": calibration_dataset, "config": config}
        for name, value in others.items():
            if value is not None:
                raise ConfigError(name, type(value).__name__, "nothing, as the model is a result of a quantization")
        return make_module(QuantizedNetwork.of(model), model)
    if policy is None or calibration_dataset is None:
        missing = "policy" if policy is None else "calibration_dataset"
        raise ConfigError(missing, None, "a value, as the model is not yet quantized")
    settings = _with_policy(load_config({} if config is None else config), policy)
    return prepare_training(
        quantize(model, calibration_dataset, settings, example_input=example_input, progress=progress)
    )


def _with_policy(settings: Config, policy: Policy | str | Path) -> Config:
    """The configuration of a quantization with this policy."""
    manual: dict[str, object] = {"type": "manual"}
    if not isinstance(policy, Policy):
        manual["policy"] = str(Path(policy).absolute())
    elif policy.float_layers:
        raise ConfigError("policy", "layers in floating point", "the path of its policy.json, where there are some")
    else:
        manual["bitwidth_per_scope"] = [[bits, name] for name, bits in policy.weight_bits.items()]
        manual["activation_bitwidth_per_scope"] = [[bits, name] for name, bits in policy.activation_bits.items()]
    values = settings.to_dict()
    values["compression"]["initializer"]["precision"] = manual
    values["compression"]["weights"]["coding"] = "uniform"
    return load_config(values)
