"""From what a user has (a torch module, an exported program, a file, a callable's name) to a float `openvino.Model`."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import openvino as ov

from nncf_mcq.config.model_reference import MODEL_REFERENCES, is_model_file
from nncf_mcq.config.types import SampleSize
from nncf_mcq.errors import ConfigError, NncfMcqError, QuantizationError, reason_of
from nncf_mcq.model import darknet
from nncf_mcq.model.batching import sample_shapes, shapes_of
from nncf_mcq.model.conversion import convert_module, convert_program, example_shape
from nncf_mcq.model.inference import core
from nncf_mcq.model.normal_form import refuse_quantized, to_normal_form
from nncf_mcq.utils.memory import check_memory
from nncf_mcq.utils.native_output import quiet_output

if TYPE_CHECKING:
    import torch

FLOAT_BYTES = 4

FloatModel: TypeAlias = "torch.nn.Module | torch.export.ExportedProgram | ov.Model"
"""What a model may be before it is brought to its normal form."""

_STATE_KEYS: Final = ("state_dict", "model_state_dict", "model")
"""Of a training checkpoint, which has more than the weights."""

_WRAPPERS: Final = ("module.", "_orig_mod.")
"""Prefixes of what `DataParallel`, `DistributedDataParallel` and `torch.compile` wrap."""


def load_model(
    reference: str,
    *,
    base_directory: Path,
    arguments: Mapping[str, Any] | None = None,
    pretrained: bool | str = False,
    checkpoint: str | None = None,
) -> FloatModel:
    """Loads the model that a configuration names.

    Args:
        reference: `PACKAGE.MODULE:CALLABLE`, `FILE.py:CALLABLE`, or the path of an .xml, .onnx, .tflite or .pt2 file.
        base_directory: What relative paths are relative to.
        arguments: Keyword arguments of the callable.
        pretrained: Pass `weights="DEFAULT"`, which torchvision's model builders understand, or weights of this name.
        checkpoint: File with the state dict, or darknet's .weights file, in the place of pretrained weights. The
            network may say where its checkpoint comes from, in an attribute `checkpoint_source`.

    Raises:
        ConfigError: There is no such file, module or callable, the file is broken, the callable fails or returns
            something else, the state dict does not fit, or pretrained weights cannot be downloaded.
    """
    if is_model_file(reference):
        if checkpoint is not None or pretrained or arguments:
            raise ConfigError(
                "model", reference, "a callable, where checkpoint, pretrained or model_arguments are given"
            )
        return _read_file(base_directory / reference)
    builder = _find_callable(reference, base_directory)
    keywords = dict(arguments or {})
    if pretrained and checkpoint is None:
        keywords["weights"] = "DEFAULT" if pretrained is True else pretrained
        module = _build_pretrained(builder, reference, keywords)
    else:
        module = _build(builder, reference, keywords)
    return _checked(module, reference, None if checkpoint is None else base_directory / checkpoint)


def _read_file(path: Path) -> FloatModel:
    if not path.is_file():
        raise ConfigError("model", str(path), f"an existing {path.suffix} file")
    if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
        raise ConfigError("model", str(path), f"an .xml file with {path.with_suffix('.bin').name} beside it")
    try:
        # All frontends try a file that none of them can read, and some tell of it on the standard error.
        with quiet_output(2):
            return _read_program(path) if path.suffix == ".pt2" else core().read_model(path)
    except Exception as error:  # the readers raise many kinds
        reason = reason_of(error)
        if reason.startswith("Unable to read the model"):  # what follows are the names of all readers
            reason = "OpenVINO does not know what is in it"
        raise ConfigError("model", str(path), f"a {path.suffix} file that can be read ({reason})") from error


def _read_program(path: Path) -> torch.export.ExportedProgram:
    import torch

    # A file of another kind is tried twice: torch warns of the first failure, with a traceback, and raises the second.
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return torch.export.load(path)
    finally:
        logger.setLevel(level)


def _checked(loaded: Any, reference: str, checkpoint: Path | None) -> FloatModel:
    """What a callable returned, with a checkpoint's weights and in evaluation mode."""
    import torch

    if isinstance(loaded, torch.nn.Module):
        if checkpoint is not None:
            _load_checkpoint(loaded, checkpoint)
        with _user_code("model", reference, "a model that can be put into evaluation mode"):
            return loaded.eval()
    if not isinstance(loaded, ov.Model | torch.export.ExportedProgram):
        allowed = "a callable that returns a torch.nn.Module, an exported program or an openvino.Model"
        raise ConfigError("model", reference, f"{allowed} (it returned {type(loaded).__name__})")
    if checkpoint is not None:
        allowed = "a callable that returns a torch.nn.Module, where checkpoint is given"
        raise ConfigError("model", reference, f"{allowed} (it returned {type(loaded).__name__})")
    return loaded


def _find_callable(reference: str, base_directory: Path) -> Any:
    where, separator, name = reference.partition(":")
    if not separator or not name:
        raise ConfigError("model", reference, MODEL_REFERENCES)
    if where.endswith(".py"):
        path = base_directory / where
        specification = importlib.util.spec_from_file_location(f"nncf_mcq_model_{path.stem}", path)
        if not path.is_file() or specification is None or specification.loader is None:
            raise ConfigError("model", str(path), "an existing Python file")
        module = importlib.util.module_from_spec(specification)
        with _user_code("model", str(path), "a Python file that can be imported"):
            specification.loader.exec_module(module)
    else:
        with _user_code("model", where, "an installed module"):
            module = importlib.import_module(where)
    with _user_code("model", reference, f"a callable of {where}"):
        found = getattr(module, name, None)
    if not callable(found):
        raise ConfigError("model", reference, f"a callable of {where}")
    return found


@contextmanager
def _user_code(key: str, found: str, allowed: str) -> Iterator[None]:
    """What the user's code raises, which may be anything and call sys.exit, is an error of the configuration."""
    try:
        yield
    except (KeyboardInterrupt, NncfMcqError):
        raise
    except BaseException as error:
        raise ConfigError(key, found, f"{allowed} ({_named(error)})") from error


def _build(builder: Any, reference: str, keywords: Mapping[str, Any]) -> Any:
    try:
        return builder(**keywords)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the callable is the user's
        raise _builder_error(error, reference, keywords) from error


def _builder_error(error: BaseException, reference: str, keywords: Mapping[str, Any]) -> NncfMcqError:
    if isinstance(error, NncfMcqError):
        return error
    if isinstance(error, TypeError):
        return ConfigError("model_arguments", dict(keywords), f"arguments of {reference} ({reason_of(error)})")
    return ConfigError("model", reference, f"a callable that returns a model ({_named(error)})")


def _named(error: BaseException) -> str:
    """An exception of the user's code: the type tells as much as the message."""
    return f"{type(error).__name__}: {reason_of(error)}"


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
        return builder(**keywords)
    except (OSError, RuntimeError) as error:  # no network, or the wrong checksum
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ConfigError(
            "pretrained",
            name,
            f"weights that can be downloaded ({error}); else fetch {known[name].url} and put it into {folder}, or name "
            "the file in checkpoint",
        ) from error
    except Exception as error:
        raise _builder_error(error, reference, keywords) from error


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
        module.load_state_dict(_state_dict(state, module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the class is the user's
        raise ConfigError("checkpoint", str(path), f"the state dict of this model ({reason_of(error)})") from error


def _state_dict(saved: Any, module: torch.nn.Module) -> Any:
    """The state dict in what was saved: inside a training checkpoint, or of a wrapped module."""
    import torch

    if not isinstance(saved, dict):
        return saved
    found = next((saved[key] for key in _STATE_KEYS if isinstance(saved.get(key), dict)), saved)
    if all(isinstance(name, str) for name in found):
        expected = module.state_dict()
        for prefix in _WRAPPERS:
            if not any(name.startswith(prefix) for name in expected):
                torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(found, prefix)
    return found


def to_openvino(model: FloatModel, sample_size: SampleSize | None, example_input: Any = None) -> ov.Model:
    """Converts to the normal form: a float `openvino.Model` of batch size 1 with static shapes and stable names.

    A model that was made for a batch of several, and does not give the same for each of it alone, keeps that batch.

    Args:
        model: A torch module, an exported program, or an `openvino.Model`; not edited.
        sample_size: Shape of the input with the batch dimension, or by name or number those of several; may be left
            out for a model whose shapes are static, and for an exported program.
        example_input: A tensor (or tuple of tensors) to trace a torch module with; zeros of `sample_size` by default.

    Raises:
        ConfigError: The shape is needed and missing, or does not fit the model.
        QuantizationError: The model has no input or no output, is quantized already, or cannot be converted.
    """
    if sample_size is not None:
        shapes = sample_size.values() if isinstance(sample_size, Mapping) else [sample_size]
        size = sum(math.prod(shape) * FLOAT_BYTES for shape in shapes)
        check_memory("input_info.sample_size", sample_size, size, "an input")
    converted, sample_size = _convert(model, sample_size, example_input)
    if not converted.inputs:
        raise QuantizationError("the model has no inputs: one or more are needed")
    if not converted.outputs:
        raise QuantizationError("the model has no outputs: one or more are needed")
    refuse_quantized(converted)
    try:
        return to_normal_form(converted, sample_shapes(converted, sample_size))
    except UnicodeDecodeError as error:
        raise QuantizationError(f"the model is damaged: a name in it is no text ({error})") from error


def _convert(
    model: FloatModel, sample_size: SampleSize | None, example_input: Any
) -> tuple[ov.Model, SampleSize | None]:
    """The model as its frontend leaves it, a copy, and the shapes of its inputs as far as they are known elsewhere."""
    if sample_size is None and example_input is not None:
        sample_size = shapes_of(example_input)
    if isinstance(model, ov.Model):
        return model.clone(), sample_size
    # PyTorch takes seconds to import, and is there where there is something of its own to convert.
    import torch

    if isinstance(model, torch.export.ExportedProgram):
        return convert_program(model), sample_size or example_shape(model)
    return convert_module(model, sample_size, example_input), sample_size
