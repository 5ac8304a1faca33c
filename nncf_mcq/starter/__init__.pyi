from nncf_mcq.starter.arrays import make_array_config
from nncf_mcq.starter.configuration import make_initial_config
from nncf_mcq.starter.document import InitialConfig

__all__ = ["InitialConfig", "make_array_config", "make_initial_config"]
