"""What a configuration file names: a model and images. It needs nothing that quantizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import openvino as ov

from nncf_mcq.config.json_files import read_json
from nncf_mcq.config.model_reference import MODEL_REFERENCES
from nncf_mcq.config.nncf2_file import read_nncf2
from nncf_mcq.config.overrides import override, strings
from nncf_mcq.config.parameters import Parameters
from nncf_mcq.config.schema import load_source
from nncf_mcq.config.source import SourceConfig
from nncf_mcq.data.datasets import DatasetSplits, ModelSource, build_dataset
from nncf_mcq.data.splits import without_report
from nncf_mcq.errors import ConfigError
from nncf_mcq.model.loading import FloatModel, load_model, to_openvino
from nncf_mcq.utils.progress import SilentProgress, Stages


@dataclass(frozen=True)
class JobSource:
    """Model and images that a configuration file names.

    Attributes:
        config: The configuration, with the paths in it made absolute.
        base_directory: The file's folder.
    """

    config: SourceConfig
    base_directory: Path

    @classmethod
    def read(cls, file: Path, overrides: Mapping[str, object] | None = None) -> Self:
        """Reads a configuration file.

        Args:
            file: The JSON file.
            overrides: Dotted paths in the JSON to the values that replace what the file says. A relative path of a
                file or folder among them is looked for in the current folder, then in that of the configuration.

        Raises:
            ConfigError: The file cannot be read or used.
        """
        data = read_nncf2(read_json(file))
        for path, value in (overrides or {}).items():
            override(data, path, value)
        folder = file.parent.resolve()
        named_here = {path for value in strings(overrides or {}) if value for path in (value, value.partition(":")[0])}

        def resolve(path: str) -> str:
            is_here = path in named_here and (Path(path).exists() or not (folder / path).exists())
            return str(Path(path).absolute() if is_here else (folder / path).resolve())

        return cls(cls._checked(data).map_paths(resolve), folder)

    @staticmethod
    def _checked(data: Mapping[str, object]) -> SourceConfig:
        return load_source(data)

    def load_model(self) -> FloatModel:
        """The float model.

        Raises:
            ConfigError: The configuration names none, or it cannot be loaded.
        """
        if self.config.model is None:
            raise ConfigError("model", None, MODEL_REFERENCES)
        return load_model(
            self.config.model,
            base_directory=self.base_directory,
            arguments=self.config.model_arguments,
            pretrained=self.config.pretrained,
            checkpoint=self.config.checkpoint,
        )

    def openvino_model(self) -> ov.Model:
        """The float model as an `openvino.Model` of batch size 1."""
        return to_openvino(self.load_model(), self.config.sample_size)

    def load_dataset(self, stages: Stages | None = None) -> DatasetSplits:
        """The images.

        Args:
            stages: Reports the progress of making images, where there are none.

        Raises:
            ConfigError: The configuration names none, or they cannot be loaded.
        """
        if self.config.dataset is None:
            allowed = "an object with a type: the images for calibration, search and test; distilled if you have none"
            raise ConfigError("dataset", None, allowed)
        splits = self._build_dataset("dataset", self.config.dataset, stages)
        if not len(splits.report):
            raise ConfigError("dataset.split.report", "none", "'rest' or a positive number of images: the test images")
        calibration = self.config.calibration
        if calibration is None:
            return splits
        return splits.calibrated_on(self._build_dataset("calibration", without_report(calibration), stages))

    def _build_dataset(self, section: str, parameters: Parameters, stages: Stages | None) -> DatasetSplits:
        source = ModelSource(
            self.load_model,
            self.config.sample_size,
            self.config.runtime.threads,
            stages or Stages(SilentProgress()),
            section,
        )
        try:
            return build_dataset(parameters, self.base_directory, source)
        except ConfigError as error:
            # Data sets know their parameters, and not the section that these stand in.
            path = error.path
            if path.partition(".")[0] == "dataset":
                path = section + path.removeprefix("dataset")
            raise ConfigError(path, error.found, error.allowed) from error
