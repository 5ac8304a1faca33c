"""Subject of a search: scores of one subject mean nothing for another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nncf_mcq.utils.json_values import JsonValue, differences


@dataclass(frozen=True)
class Subject:
    """Identity of a search: what must be the same for it to be resumed or joined.

    Attributes:
        model: Digest of the float model.
        images: Digest of the images.
        settings: JSON values: all of the configuration that a search depends on.
    """

    model: str
    images: str
    settings: Mapping[str, JsonValue]

    def to_dict(self) -> dict[str, object]:
        """JSON values, for a study."""
        return asdict(self)

    def differences(self, other: object) -> str:
        """In words, how the subject that a study holds differs from this one; empty if it does not."""
        if not isinstance(other, dict) or not isinstance(other.get("settings"), dict):
            return "no subject that this version can read"
        found = [f"other {part}" for part in ("model", "images") if getattr(self, part) != other.get(part)]
        found += differences(self.settings, other["settings"])
        return ", ".join(found).replace("other model", "another model")


def model_digest(model: ov.Model, names: Iterable[str]) -> str:
    """Identity of a float model: the names of its layers and the content of all its constants.

    Args:
        model: The float model.
        names: Names of the layers, in order. Other names, and the order of the operations, may differ from one process
            to the next.
    """
    constants = sorted(_digest([node.get_data()]) for node in model.get_ops() if node.get_type_name() == "Constant")
    return hashlib.sha256("\n".join([*names, *constants]).encode()).hexdigest()


def images_digest(images: Iterable[NDArray[np.float32]]) -> str:
    """Identity of several arrays of images."""
    return _digest(images)


def _digest(arrays: Iterable[NDArray[np.generic]]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
