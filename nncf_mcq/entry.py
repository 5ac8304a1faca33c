"""What the script `nncf-mcq` starts: little, so that Ctrl-C is heard while the command is imported."""

from nncf_mcq.utils.commands import start_command


def main() -> None:
    """Entry point."""
    start_command("nncf_mcq.cli")
