"""From what a user has (a torch module, an IR, an ONNX file, a callable's name) to a float `openvino.Model`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openvino as ov

from nncf_mcq.config.types import SampleSize
from nncf_mcq.errors import ConfigError, QuantizationError
from nncf_mcq.model import darknet
from nncf_mcq.model.batching import sample_shapes, shapes_of, with_shapes
from nncf_mcq.model.equal_constants import share_equal_weights
from nncf_mcq.model.inference import core
from nncf_mcq.model.int8_forms import use_int8_forms

if TYPE_CHECKING:
    import torch

_GENERATED_NAME = re.compile(r"^[A-Za-z]+_\d+$")
"""Names that a conversion makes up by counting nodes: they differ from one run to the next."""


def load_model(
    reference: str,
    *,
    base_directory: Path,
    arguments: Mapping[str, Any] | None = None,
    pretrained: bool | str = False,
    checkpoint: str | None = None,
) -> torch.nn.Module | ov.Model:
    """Loads the model that a configuration names.

    Args:
        reference: `PACKAGE.MODULE:CALLABLE`, `FILE.py:CALLABLE`, or the path of an .xml or .onnx file.
        base_directory: What relative paths are relative to.
        arguments: Keyword arguments of the callable.
        pretrained: Pass `weights="DEFAULT"`, which torchvision's model builders understand, or weights of this name.
        checkpoint: File with the state dict, or darknet's .weights file, in the place of pretrained weights. The
            network may say where its checkpoint comes from, in an attribute `checkpoint_source`.

    Raises:
        ConfigError: There is no such file, module or callable, the state dict does not fit, or pretrained weights
            cannot be downloaded.
    """
    if reference.endswith((".xml", ".onnx")):
        path = base_directory / reference
        if not path.is_file():
            raise ConfigError("model", str(path), "an existing .xml or .onnx file")
        if checkpoint is not None or pretrained or arguments:
            raise ConfigError(
                "model", reference, "a callable, where checkpoint, pretrained or model_arguments are given"
            )
        return core().read_model(path)
    builder = _find_callable(reference, base_directory)
    keywords = dict(arguments or {})
    if pretrained and checkpoint is None:
        keywords["weights"] = "DEFAULT" if pretrained is True else pretrained
        module = _build_pretrained(builder, reference, keywords)
    else:
        module = _build(builder, reference, keywords)
    if checkpoint is not None:
        _load_checkpoint(module, base_directory / checkpoint)
    if not isinstance(module, ov.Model):
        module.eval()
    return module


def _find_callable(reference: str, base_directory: Path) -> Any:
    where, separator, name = reference.partition(":")
    if not separator or not name:
        raise ConfigError("model", reference, "PACKAGE.MODULE:CALLABLE, FILE.py:CALLABLE, or an .xml or .onnx file")
    if where.endswith(".py"):
        path = base_directory / where
        specification = importlib.util.spec_from_file_location(f"nncf_mcq_model_{path.stem}", path)
        if not path.is_file() or specification is None or specification.loader is None:
            raise ConfigError("model", str(path), "an existing Python file")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(where)
        except ImportError as error:
            raise ConfigError("model", where, f"an installed module ({error})") from error
    if not callable(getattr(module, name, None)):
        raise ConfigError("model", reference, f"a callable of {where}")
    return getattr(module, name)


def _build(builder: Any, reference: str, keywords: Mapping[str, Any]) -> Any:
    try:
        return builder(**keywords)
    except TypeError as error:
        raise ConfigError("model_arguments", dict(keywords), f"arguments of {reference} ({error})") from error


def _build_pretrained(builder: Any, reference: str, keywords: Mapping[str, Any]) -> Any:
    """A builder's model with the weights that torchvision fetches."""
    import torch
    from torchvision.models import get_model_weights

    name = keywords["weights"]
    try:
        known = get_model_weights(builder)
    except ValueError:  # a builder of somebody else, who makes of the name what they like
        return _build(builder, reference, keywords)
    if name not in known.__members__:
        raise ConfigError("pretrained", name, f"true, or one of {', '.join(known.__members__)}")
    try:
        return _build(builder, reference, keywords)
    except (OSError, RuntimeError) as error:  # no network, or the wrong checksum
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ConfigError(
            "pretrained",
            name,
            f"weights that can be downloaded ({error}); else fetch {known[name].url} and put it into {folder}, or name "
            "the file in checkpoint",
        ) from error


def _load_checkpoint(module: torch.nn.Module, path: Path) -> None:
    import torch

    if not path.is_file():
        source = getattr(module, "checkpoint_source", None)
        allowed = "a readable file (No such file or directory)" if source is None else f"{source}, put there"
        raise ConfigError("checkpoint", str(path), allowed)
    if path.suffix == darknet.SUFFIX:
        darknet.load_darknet_weights(module, path)
        return
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError("checkpoint", str(path), f"a readable file ({error.strerror})") from error
    except Exception as error:  # torch raises many kinds for a file that holds something else
        raise ConfigError("checkpoint", str(path), "a state dict saved with torch.save") from error
    try:
        module.load_state_dict(state.get("state_dict", state) if isinstance(state, dict) else state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).replace("\n\t", " ")[:300]
        raise ConfigError("checkpoint", str(path), f"the state dict of this model ({reason})") from error


def to_openvino(
    model: torch.nn.Module | ov.Model, sample_size: SampleSize | None, example_input: Any = None
) -> ov.Model:
    """Converts to a float `openvino.Model` of batch size 1 with static shapes and stable names.

    A model that was made for a batch of several, and does not give the same for each of it alone, keeps that batch.

    Args:
        model: A torch module in evaluation mode, or an `openvino.Model`, which is copied.
        sample_size: Shape of the input with the batch dimension, or by name or number those of several; may be left
            out for a model whose shapes are static.
        example_input: A tensor (or tuple of tensors) to trace the torch module with; zeros of `sample_size` by default.

    Raises:
        ConfigError: The shape is needed and missing, or does not fit the model.
        QuantizationError: The model has no input, or cannot be converted.
    """
    converted = model.clone() if isinstance(model, ov.Model) else _convert_torch(model, sample_size, example_input)
    if not converted.inputs:
        raise QuantizationError("the model has no inputs: one or more are needed")
    if sample_size is None and example_input is not None:
        sample_size = shapes_of(example_input)
    try:
        converted.reshape(sample_shapes(converted, sample_size))
    except RuntimeError as error:
        raise ConfigError("input_info.sample_size", sample_size or [], "a shape that the model accepts") from error
    _name_layers(converted)
    return share_equal_weights(use_int8_forms(converted))


def _convert_torch(module: torch.nn.Module, sample_size: SampleSize | None, example_input: Any) -> ov.Model:
    import torch

    if example_input is None:
        if sample_size is None:
            raise ConfigError("input_info.sample_size", None, "the shape of one input, e.g. [1, 3, 224, 224]")
        example_input = with_shapes(sample_size, lambda shape: torch.zeros(list(shape)))
    training = [(part, part.training) for part in module.modules()]
    module.eval()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer announces its own deprecation, which OpenVINO's users can do nothing about.
        warnings.simplefilter("ignore")
        try:
            return ov.convert_model(module, example_input=example_input)
        except Exception as error:  # the frontend raises many kinds
            raise QuantizationError(f"OpenVINO cannot convert the torch model: {error}") from error
        finally:
            for part, was_training in training:
                part.training = was_training


def _name_layers(model: ov.Model) -> None:
    """Replaces generated names of convolutions and MatMuls by ones that are the same in every run.

    Where a folded batch normalization took the layer's name, the operation that reads the layer's output still has the
    name of its module: that one is taken.
    """
    taken = {operation.get_friendly_name() for operation in model.get_ops()}
    for number, operation in enumerate(
        item
        for item in model.get_ordered_ops()
        if item.get_type_name() in ("Convolution", "GroupConvolution", "MatMul")
    ):
        kind = operation.get_type_name()
        if not _GENERATED_NAME.match(operation.get_friendly_name()):
            continue
        readers = [target.get_node().get_friendly_name() for target in operation.output(0).get_target_inputs()]
        module = readers[0].split("/")[0].removeprefix("__module.") if len(readers) == 1 and "/" in readers[0] else ""
        name = f"{module}/{kind}" if module else f"{kind}_{number}"
        if name in taken:
            name = f"{name}_{number}"
        operation.set_friendly_name(name)
        taken.add(name)
