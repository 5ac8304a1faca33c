from nncf_mcq.summaries.pareto.files import write_front
from nncf_mcq.summaries.pareto.table import front_lines, front_table

__all__ = ["front_lines", "front_table", "write_front"]
