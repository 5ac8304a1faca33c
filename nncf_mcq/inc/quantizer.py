"""The algorithm as Intel Neural Compressor calls it: PREPARE records inputs, CONVERT quantizes, QUANTIZE does both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nncf
import torch
from neural_compressor.common.utils import Mode
from neural_compressor.torch.algorithms import Quantizer
from neural_compressor.torch.utils import logger, postprocess_model, register_algo

from nncf_mcq.api import RunOptions, quantize_normalized
from nncf_mcq.api.headline import headline
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.inc.config import FLOAT_DTYPE, MixedClippingConfig
from nncf_mcq.inc.local_settings import has_local_settings, with_local_settings
from nncf_mcq.inc.parameters import NAME, of_parameter
from nncf_mcq.inc.quantized_module import QuantizedModule
from nncf_mcq.inc.recorder import InputRecorder
from nncf_mcq.model.layers import find_layers
from nncf_mcq.model.loading import to_openvino
from nncf_mcq.model.module_layers import modules_of_layers
from nncf_mcq.result import QuantizationResult
from nncf_mcq.training.tuning import images_needed
from nncf_mcq.utils.progress import StageLog


def _tell(text: str) -> None:
    logger.info("%s: %s", NAME, text)


class MixedClippingQuantizer(Quantizer):  # type: ignore[misc]
    """Quantizes the model that it prepared, on the inputs that went through it.

    Args:
        quant_config: The configuration of the whole model.
    """

    quant_config: MixedClippingConfig

    def __init__(self, quant_config: MixedClippingConfig) -> None:
        super().__init__(quant_config)
        self.recorder: InputRecorder | None = None

    def prepare(self, model: torch.nn.Module, example_inputs: Any = None, **_: object) -> torch.nn.Module:
        """Starts to record the inputs of the model.

        Args:
            model: The float model; gets hooks until it is converted.
            example_inputs: One sample, where it is not a row of what goes through the model.

        Raises:
            ConfigError: A value of the config cannot be used.
        """
        if self.quant_config.dtype == FLOAT_DTYPE:
            raise ConfigError(f"{NAME}.dtype", FLOAT_DTYPE, f"int; {FLOAT_DTYPE} is for modules, in set_local")
        limit = images_needed(self.quant_config.configuration().compression)
        self.recorder = InputRecorder(model, limit, example_inputs)
        return model

    def convert(self, model: torch.nn.Module, example_inputs: Any = None, **_: object) -> QuantizedModule:
        """Quantizes the model on the recorded inputs.

        Raises:
            ConfigError: A value of the config cannot be used for this model.
            QuantizationError: No inputs went through the model, or it cannot be quantized.
        """
        recorder = self.recorder
        assert recorder is not None
        recorder.stop()
        if not recorder.items:
            raise QuantizationError(
                "calibration: found no inputs, allowed: a run_fn that passes batches through the model, or a loop that "
                "does between prepare and convert"
            )
        try:
            result = self._quantize_on(recorder, model, example_inputs)
        except ConfigError as error:
            raise of_parameter(error, self.quant_config.given()) from error
        _tell(headline(result))
        return QuantizedModule(result, recorder.make_output)

    def _quantize_on(self, recorder: InputRecorder, model: torch.nn.Module, example_inputs: Any) -> QuantizationResult:
        config = self.quant_config
        settings = config.configuration()
        example = recorder.first_sample() if example_inputs is None else example_inputs
        float_model = to_openvino(model, None, example)
        if has_local_settings(config):
            quantizable = find_layers(float_model, settings.compression.ignored_scopes)
            modules = [name for name, _ in config.get_model_info(model)]
            module_of = modules_of_layers(model, modules, quantizable)
            layers = [layer.name for layer in quantizable.layers]
            settings = with_local_settings(settings, config, model, module_of, layers)
        return quantize_normalized(
            float_model, nncf.Dataset(recorder.items), settings, RunOptions(progress=StageLog(_tell))
        )

    def quantize(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> QuantizedModule:
        """Both, with the user's function between them."""
        try:
            quantized: QuantizedModule = super().quantize(model, *args, **kwargs)
        finally:
            self.stop()
        return quantized

    def stop(self) -> None:
        """Lets go of the model that it prepared."""
        if self.recorder is not None:
            self.recorder.stop()


@register_algo(name=NAME)  # type: ignore[untyped-decorator]
def mixed_clipping_entry(
    model: torch.nn.Module,
    configs_mapping: Mapping[str, MixedClippingConfig],
    mode: Mode = Mode.QUANTIZE,
    *args: Any,
    **kwargs: Any,
) -> torch.nn.Module:
    """Applies the algorithm; Intel Neural Compressor calls it.

    Args:
        model: The float model, or in the mode CONVERT what `prepare` returned.
        configs_mapping: The config, by the name of the algorithm.
        mode: PREPARE, CONVERT or QUANTIZE.
        args: For `Quantizer.execute`.
        kwargs: The same: `run_fn`, `run_args`, `example_inputs`.

    Returns:
        The model that records its inputs, or a `QuantizedModule`.

    Raises:
        NncfMcqError: The config, the model or its inputs cannot be used.
    """
    if isinstance(model, QuantizedModule):
        raise QuantizationError("the model is quantized already: give the float model that it was made from")
    quantizer = getattr(model, "quantizer", None)
    if mode == Mode.CONVERT:
        if not isinstance(quantizer, MixedClippingQuantizer):
            raise QuantizationError("the model is not prepared: pass it to prepare, and calibration inputs through it")
    else:
        if isinstance(quantizer, MixedClippingQuantizer):
            quantizer.stop()  # Prepared once more, perhaps with another config.
        quantizer = MixedClippingQuantizer(configs_mapping[NAME])
    found: torch.nn.Module = quantizer.execute(model, mode, *args, **kwargs)
    # Keeps the quantizer with the model, or removes it.
    postprocess_model(model, mode, quantizer)
    if mode != Mode.PREPARE:
        # Intel Neural Compressor's `save` finds out from it whose model this is, and calls the model's own.
        found.qconfig = configs_mapping  # type: ignore[assignment]
    return found
