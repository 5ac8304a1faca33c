"""From a folder that `quantize` wrote to one that is deployed: the preprocessing built in, and examples."""

from nncf_mcq.deployment.deploy import deploy
from nncf_mcq.deployment.document import Deployment

__all__ = ["Deployment", "deploy"]
