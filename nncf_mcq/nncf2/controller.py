"""The controller of a quantization with the bits of this package: its export writes packed IR as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nncf.common.logging import nncf_logger
from nncf.torch.quantization.algo import QuantizationController

from nncf_mcq.config.schema import Config
from nncf_mcq.nncf2.completion import finish_training
from nncf_mcq.nncf2.start import Start

OPENVINO_FORMAT = "openvino"
"""Format of an export that writes the IR only."""


class MixedClippingController(QuantizationController):  # type: ignore[misc]
    """Controller of NNCF 2 that knows what the training started from.

    Args:
        arguments: As of NNCF 2's controller.
        settings: The configuration in this package's words.
        start: What the training started from; None where it goes on from a checkpoint.
        keywords: As of NNCF 2's controller.
    """

    def __init__(self, *arguments: Any, settings: Config, start: Start | None, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.settings = settings
        self.start = start

    def export_model(self, save_path: str, save_format: str | None = None, *arguments: Any, **keywords: Any) -> None:
        """Writes packed IR, and then what NNCF 2 exports.

        Args:
            save_path: As in NNCF 2. The IR goes to the folder of that name without its suffix.
            save_format: As in NNCF 2; `openvino` writes the IR only.
            arguments: As in NNCF 2.
            keywords: As in NNCF 2.

        Raises:
            VerificationError: The file does not give the outputs of the model.
            OutputError: A file cannot be written.
        """
        xml = finish_training(self).save(Path(save_path).with_suffix(""))
        nncf_logger.info(f"nncf_mcq: packed IR: {xml}")
        if save_format != OPENVINO_FORMAT:
            super().export_model(save_path, save_format, *arguments, **keywords)
