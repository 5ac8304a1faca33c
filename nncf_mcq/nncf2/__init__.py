"""This package inside NNCF 2: `import nncf_mcq.nncf2` registers its initializers with `create_compressed_model`."""

from nncf_mcq.nncf2.hooks import check_nncf2

check_nncf2()

from nncf_mcq.nncf2.builder import register_builder
from nncf_mcq.nncf2.completion import finish_training
from nncf_mcq.nncf2.initializer import register_initializer
from nncf_mcq.nncf2.schema import explain_errors, extend_schema

__all__ = ["finish_training"]

extend_schema()
explain_errors()
register_initializer()
register_builder()
