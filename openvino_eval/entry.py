"""What the script `openvino-eval` starts: little, so that Ctrl-C is heard while the command is imported."""

from nncf_mcq.utils import start_command


def main() -> None:
    """Entry point."""
    start_command("openvino_eval.cli")
