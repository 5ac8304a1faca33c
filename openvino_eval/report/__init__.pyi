from openvino_eval.report.page import render_report, write_report
from openvino_eval.report.sources import Sources, read_sources

__all__ = ["Sources", "read_sources", "render_report", "write_report"]
