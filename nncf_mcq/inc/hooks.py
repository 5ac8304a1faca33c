"""The parts of Intel Neural Compressor that this package relies on."""

from __future__ import annotations

from typing import Final

from nncf_mcq.errors import HostVersionError
from nncf_mcq.utils.hooks import Hooks, check_hooks

_HOST: Final = "Intel Neural Compressor"
_CONFIG: Final = "neural_compressor.torch.quantization.config"
_UTILS: Final = "neural_compressor.torch.utils"
_QUANTIZER: Final = "neural_compressor.torch.algorithms:Quantizer"

INC_HOOKS: Final[Hooks] = {
    "nncf_mcq/inc/config.py": (
        "neural_compressor.common.base_config:register_config(framework_name, algo_name, priority)",
        "neural_compressor.common.utils:DEFAULT_WHITE_LIST",
        f"{_CONFIG}:FRAMEWORK_NAME",
        f"{_CONFIG}:OperatorConfig(config, operators, valid_func_list)",
        f"{_CONFIG}:TorchBaseConfig(white_list)",
        f"{_CONFIG}:TorchBaseConfig._post_init(self)",
        f"{_CONFIG}:TorchBaseConfig._is_initialized",
        f"{_CONFIG}:TorchBaseConfig.params_list",
        f"{_CONFIG}:TorchBaseConfig.non_tunable_params",
        f"{_CONFIG}:TorchBaseConfig.name",
        f"{_CONFIG}:TorchBaseConfig.__add__(self, other)",
        f"{_CONFIG}:TorchBaseConfig.expand(self)",
        f"{_CONFIG}:TorchBaseConfig.get_params_dict",
        f"{_CONFIG}:TorchBaseConfig.local_config",
        f"{_CONFIG}:TorchBaseConfig.white_list",
        f"{_CONFIG}:TorchBaseConfig.to_config_mapping(self, config_list, model_info)",
        f"{_CONFIG}:TorchBaseConfig.register_supported_configs",
        f"{_CONFIG}:TorchBaseConfig.get_config_set_for_tuning",
        f"{_UTILS}:get_model_info(model, white_module_list)",
    ),
    "nncf_mcq/inc/local_settings.py": (f"{_CONFIG}:TorchBaseConfig.global_config",),
    "nncf_mcq/inc/quantizer.py": (
        "neural_compressor.common.utils:Mode.PREPARE",
        "neural_compressor.common.utils:Mode.CONVERT",
        "neural_compressor.common.utils:Mode.QUANTIZE",
        f"{_QUANTIZER}(quant_config)",
        f"{_QUANTIZER}.quant_config",
        f"{_QUANTIZER}.prepare",
        f"{_QUANTIZER}.convert",
        f"{_QUANTIZER}.quantize",
        f"{_QUANTIZER}.execute",
        f"{_UTILS}:logger",
        f"{_UTILS}:postprocess_model(model, mode, quantizer)",
        f"{_UTILS}:register_algo(name)",
    ),
}


def check_inc() -> None:
    """Raises where Intel Neural Compressor is not installed, or has not all that is used of it.

    Raises:
        HostVersionError: It has not.
    """
    try:
        check_hooks(INC_HOOKS, "neural_compressor_pt", _HOST, "3.10")
    except ModuleNotFoundError as error:
        raise HostVersionError(f"nncf_mcq.inc needs {_HOST} 3.10 or newer: pip install neural-compressor-pt") from error
