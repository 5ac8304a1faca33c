"""`python -m openvino_eval.cli`."""

from openvino_eval.cli import main

main()
