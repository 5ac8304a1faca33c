"""How a configuration names a model: a callable, or a file that OpenVINO or PyTorch reads."""

from __future__ import annotations

from typing import Final

CODELESS_SUFFIXES: Final = (".xml", ".onnx", ".tflite")
"""Models that are data alone: OpenVINO IR, ONNX and TensorFlow Lite."""

MODEL_SUFFIXES: Final = (*CODELESS_SUFFIXES, ".pt2")
"""Files that hold a whole model. An exported program of PyTorch, .pt2, is unpickled in parts."""

MODEL_REFERENCES: Final = "PACKAGE.MODULE:CALLABLE, FILE.py:CALLABLE, or an .xml, .onnx, .tflite or .pt2 file"
"""In words, for messages."""


def is_model_file(reference: str) -> bool:
    """Whether a reference is the path of a model file rather than a callable's name."""
    return reference.endswith(MODEL_SUFFIXES)


def is_model_reference(text: str) -> bool:
    """Whether a text can only be a model: a model file, or the name of a callable."""
    module, _, name = text.partition(":")
    return is_model_file(text) or (name.isidentifier() and (module.endswith(".py") or "." in module))
