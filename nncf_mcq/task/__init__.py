"""What a configuration names: model sources, data sets, metrics and scores."""

# Registers its metrics, so that every reader of `METRICS` finds them.
from nncf_mcq.task import average_precision as average_precision
