"""This package inside NNCF 2: `import nncf_mcq.nncf2` registers its initializers with `create_compressed_model`."""

from importlib.metadata import version

try:
    from nncf import NNCFConfig as NNCFConfig
except ImportError as error:
    raise ImportError(
        f"nncf_mcq.nncf2: found NNCF {version('nncf')}, allowed: 2.19, the last release with create_compressed_model; "
        "with NNCF 3 use nncf_mcq.quantize and nncf_mcq.prepare_training"
    ) from error

from nncf_mcq.nncf2.builder import register_builder
from nncf_mcq.nncf2.completion import finish_training
from nncf_mcq.nncf2.initializer import register_initializer
from nncf_mcq.nncf2.schema import extend_schema

__all__ = ["finish_training"]

extend_schema()
register_initializer()
register_builder()
