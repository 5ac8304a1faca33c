from nncf_mcq.config import RunResult
from openvino_eval.accuracy import Evaluation, Predictions, evaluate_model, predict
from openvino_eval.benchmark_app import BenchmarkAppResult, run_benchmark_app, run_counters
from openvino_eval.benchmarking import BenchmarkResult, Candidate, RoundStatistics, TimedLayer, benchmark
from openvino_eval.compare import Comparison, ComparisonRow, compare_models
from openvino_eval.errors import EvaluationError
from openvino_eval.latency import LatencyResult, measure_latency
from openvino_eval.layer_times import LayerTime, measure_layer_times
from openvino_eval.layers import RuntimeLayer, count_integer_layers, count_precisions, runtime_layers
from openvino_eval.machine import MachineLoad
from openvino_eval.options import Mode, Precision
from openvino_eval.report import render_report, write_report
from openvino_eval.run_result import Run, load_run
from openvino_eval.runtime import read_and_compile
from openvino_eval.samples import ArraySamples, Samples, load_samples
from openvino_eval.size import ConstantType, ModelSize, measure_size

__all__ = [
    "ArraySamples",
    "BenchmarkAppResult",
    "BenchmarkResult",
    "Candidate",
    "Comparison",
    "ComparisonRow",
    "ConstantType",
    "Evaluation",
    "EvaluationError",
    "LatencyResult",
    "LayerTime",
    "MachineLoad",
    "Mode",
    "ModelSize",
    "Precision",
    "Predictions",
    "RoundStatistics",
    "Run",
    "RunResult",
    "RuntimeLayer",
    "Samples",
    "TimedLayer",
    "benchmark",
    "compare_models",
    "count_integer_layers",
    "count_precisions",
    "evaluate_model",
    "load_run",
    "load_samples",
    "measure_latency",
    "measure_layer_times",
    "measure_size",
    "predict",
    "read_and_compile",
    "render_report",
    "run_benchmark_app",
    "run_counters",
    "runtime_layers",
    "write_report",
]
