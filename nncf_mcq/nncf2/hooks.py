"""The parts of NNCF 2 that this package relies on beyond those of `nncf_mcq.model`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from nncf_mcq.errors import HostVersionError
from nncf_mcq.utils.hooks import Hooks, check_hooks

_SUPPORTED: Final = "2.19, the last release with create_compressed_model"

_ALGORITHM: Final = "nncf.torch.quantization.algo"
_LAYERS: Final = "nncf.torch.quantization.layers"
_PRECISION: Final = "nncf.torch.quantization.precision_init"
_NETWORK: Final = "nncf.torch.nncf_network"

NNCF2_HOOKS: Final[Hooks] = {
    "nncf_mcq/nncf2/builder.py": (
        "nncf.torch.algo_selector:PT_COMPRESSION_ALGORITHMS.registry_dict",
        f"{_ALGORITHM}:QuantizationBuilder(config, should_init)",
        f"{_ALGORITHM}:QuantizationBuilder._parse_precision_init_params(self, initializer_config)",
        f"{_ALGORITHM}:QuantizationBuilder.initialize(self, model)",
        f"{_ALGORITHM}:QuantizationBuilder._build_controller(self, model)",
        f"{_ALGORITHM}:QuantizationBuilder.should_init",
        f"{_ALGORITHM}:QuantizationBuilder.config",
        f"{_ALGORITHM}:QuantizationBuilder._precision_init_params",
        f"{_ALGORITHM}:QuantizationBuilder._weight_quantizers",
        f"{_ALGORITHM}:QuantizationBuilder._non_weight_quantizers",
        f"{_ALGORITHM}:QuantizationBuilder._debug_interface",
        f"{_ALGORITHM}:QuantizationBuilder._groups_of_adjacent_quantizers",
        f"{_ALGORITHM}:QuantizationBuilder._quantizers_input_shapes",
        f"{_ALGORITHM}:QuantizationBuilder._build_time_metric_infos",
        f"{_ALGORITHM}:QuantizationBuilder._range_init_params",
        f"{_ALGORITHM}:QuantizationController(target_model, config, debug_interface, weight_quantizers, "
        "non_weight_quantizers, groups_of_adjacent_quantizers, quantizers_input_shapes, build_time_metric_info, "
        "build_time_range_init_params)",
        "nncf.torch.quantization.structs:WeightQuantizerInfo.quantizer_module_ref",
        "nncf.torch.quantization.structs:NonWeightQuantizerInfo.quantizer_module_ref",
    ),
    "nncf_mcq/nncf2/completion.py": (
        "nncf.common.composite_compression:CompositeCompressionAlgorithmController.child_ctrls",
        f"{_ALGORITHM}:QuantizationController.model",
        f"{_ALGORITHM}:QuantizationController.config",
        f"{_ALGORITHM}:QuantizationController.weight_quantizers",
        f"{_ALGORITHM}:QuantizationController.non_weight_quantizers",
        f"{_LAYERS}:BaseQuantizer.per_channel",
        "nncf.common.logging:nncf_logger",
    ),
    "nncf_mcq/nncf2/controller.py": (
        f"{_ALGORITHM}:QuantizationController.export_model"
        "(self, save_path, save_format, input_names, output_names, model_args)",
    ),
    "nncf_mcq/nncf2/images.py": (
        "nncf:NNCFConfig.has_extra_struct",
        "nncf:NNCFConfig.get_extra_struct",
        "nncf.config.structures:QuantizationRangeInitArgs.data_loader",
        "nncf.torch.initialization:wrap_dataloader_for_init",
        "nncf.torch.initialization:PTInitializingDataLoader.get_inputs",
    ),
    "nncf_mcq/nncf2/initializer.py": (
        "nncf.torch.quantization.init_precision:PrecisionInitializerFactory.create(init_type)",
        "nncf.torch.quantization.precision_constraints:HardwareQuantizationConstraints",
        f"{_PRECISION}.base_init:BasePrecisionInitParams(user_init_args)",
        f"{_PRECISION}.base_init:BasePrecisionInitializer(algo, params, hw_precision_constraints)",
        f"{_PRECISION}.base_init:BasePrecisionInitializer.apply_init(self)",
        f"{_PRECISION}.base_init:BasePrecisionInitializer._algo",
        f"{_PRECISION}.base_init:BasePrecisionInitializer._model",
        f"{_PRECISION}.base_init:BasePrecisionInitializer._hw_precision_constraints",
        f"{_PRECISION}.manual_init:ManualPrecisionInitializer",
        f"{_PRECISION}.manual_init:ManualPrecisionInitParams(user_init_args, bitwidth_per_scope)",
        f"{_ALGORITHM}:ExperimentalQuantizationController.get_quantizer_setup_for_current_state",
        f"{_ALGORITHM}:ExperimentalQuantizationController.setup_to_module_id_translation_dict",
        "nncf.common.quantization.quantizer_setup:SingleConfigQuantizerSetup.quantization_points",
        "nncf.common.quantization.structs:QuantizationScheme.SYMMETRIC",
        "nncf.common.quantization.structs:QuantizerId.get_base",
        "nncf.common.quantization.structs:WeightQuantizerId.target_node_name",
    ),
    "nncf_mcq/nncf2/network.py": (
        "nncf.common.graph.utils:get_target_dim_for_compression_legacy",
        "nncf.common.graph.graph:NNCFNode.layer_attributes",
        f"{_NETWORK}:NNCFNetwork.nncf",
        f"{_NETWORK}:NNCFNetworkInterface.temporary_clean_view",
        f"{_NETWORK}:NNCFNetworkInterface.get_original_graph",
        f"{_NETWORK}:NNCFNetworkInterface.get_containing_module",
        "nncf.torch.layers:NNCFConv2d.pre_ops",
        "nncf.torch.layers:NNCFConv2d.post_ops",
        f"{_LAYERS}:QuantizersSwitcher(quantizers)",
        f"{_LAYERS}:QuantizersSwitcher.disable_quantizers",
        f"{_LAYERS}:QuantizersSwitcher.enable_quantizers",
        "nncf.torch.module_operations:UpdateParameter.operand",
        "nncf.torch.module_operations:UpdateParameterList.operand",
        "nncf.torch.utils:get_model_device",
        "nncf.torch.utils:training_mode_switcher(model, is_training)",
    ),
    "nncf_mcq/nncf2/quantizers.py": (
        f"{_LAYERS}:SymmetricQuantizer.signed",
        f"{_LAYERS}:SymmetricQuantizer._scale_param_storage",
        f"{_LAYERS}:SymmetricQuantizer.get_input_low_input_high",
        f"{_LAYERS}:AsymmetricQuantizer.input_low",
        f"{_LAYERS}:AsymmetricQuantizer._input_range_param_storage",
        f"{_LAYERS}:AsymmetricQuantizer.get_input_low_input_high",
        f"{_LAYERS}:BaseQuantizer.scale_shape",
        f"{_LAYERS}:BaseQuantizer.initialized",
        f"{_LAYERS}:BaseQuantizer.is_using_log_scale_storage",
        f"{_LAYERS}:BaseQuantizer.num_bits",
        f"{_LAYERS}:BaseQuantizer.set_levels",
        f"{_LAYERS}:BaseQuantizer.levels",
        f"{_LAYERS}:BaseQuantizer.level_low",
        f"{_LAYERS}:BaseQuantizer.level_high",
        f"{_LAYERS}:BaseQuantizer.quantize",
    ),
    "nncf_mcq/nncf2/schema.py": (
        "nncf:NNCFConfig.validate",
        "nncf.config.schema:TARGET_DEVICE_SCHEMA",
        "nncf.config.schema:REF_VS_ALGO_SCHEMA",
        "nncf.config.schemata.algo.quantization:RANGE_INIT_TYPES_VS_DESCRIPTIONS",
        "nncf.config.schemata.algo.quantization:BASIC_RANGE_INIT_CONFIG_PROPERTIES",
        "nncf.config.schemata.algo.quantization:PRECISION_INITIALIZER_SCHEMA",
        "nncf.config.schemata.algo.quantization:PRECISION_INIT_TYPES_VS_DESCRIPTION",
    ),
    "nncf_mcq/nncf2/settings.py": ("nncf.config.extractors:extract_algo_specific_config(config, algo_name_to_match)",),
}


def check_nncf2() -> None:
    """Raises where the installed NNCF is no NNCF 2 with all that is used of it.

    Raises:
        HostVersionError: It is not.
        ModuleNotFoundError: NNCF is not installed.
    """
    found = version("nncf")
    if not found.startswith("2."):
        raise HostVersionError(
            f"nncf_mcq.nncf2: found NNCF {found}, allowed: {_SUPPORTED}; "
            "with NNCF 3 use nncf_mcq.quantize and nncf_mcq.prepare_training"
        )
    check_hooks(NNCF2_HOOKS, "nncf", "NNCF", _SUPPORTED)
