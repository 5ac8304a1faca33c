"""What a command would replace in its output folder: results of something else stay, unless --overwrite is given."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nncf_mcq.config.model_reference import is_model_file
from nncf_mcq.config.output_files import CONFIG_FILE, MODEL_FILE, PARETO_FILE, RESULT_FILE, UNVERIFIED_MODEL_FILE
from nncf_mcq.config.schema import Config, load_config
from nncf_mcq.errors import ConfigError, NncfMcqError
from nncf_mcq.utils.json_values import differences

if TYPE_CHECKING:
    import openvino as ov

    from nncf_mcq.precision_init.study import Subject

OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what is in the folder of another configuration or model."),
]

_NAMED: Final = 3
"""Differences that a message names."""


@dataclass(frozen=True)
class _EarlierResult:
    """A result in a folder.

    Attributes:
        config: Its configuration as JSON values, with paths relative to the folder.
        model: Digest of its float model; None where the result does not say.
        is_of_front: Whether it was taken from a front.
    """

    config: Mapping[str, Any]
    model: str | None
    is_of_front: bool


class Replacement:
    """What a command is about to replace.

    Args:
        output: The folder of the command.
        overwrite: Whether anything may be replaced.

    Raises:
        ConfigError: A file has the name of one of a result's, and `nncf-mcq` has not written it.
    """

    def __init__(self, output: Path, *, overwrite: bool) -> None:
        self._output, self._overwrite = output, overwrite
        self._result = None if overwrite else self._find_result()

    def check_config(self, config: Config, *, resume: bool = False) -> None:
        """Refuses to replace the result of another configuration, before anything is computed.

        Threads and batch size do not count: they change no result. Nor does, after --resume, what a search that goes on
        may change, and what comes after it.

        Args:
            config: Of the command, with absolute paths.
            resume: Whether the command goes on with the search in the folder.

        Raises:
            ConfigError: It is of another one, or the float model itself would be replaced.
        """
        self._keep_float_model(config)
        if self._result is None:
            return
        earlier = _readable(self._result.config)
        found = self._differences(config, earlier, resume=resume)
        if found:
            can_resume = not resume and not self._differences(config, earlier, resume=True)
            raise self._refusal("the result", found, "--resume to go on with its search, " if can_resume else "")

    def check_model(self, model: ov.Model) -> None:
        """Refuses to replace the result of another float model.

        Args:
            model: Of the command.

        Raises:
            ConfigError: It is of another one.
        """
        from nncf_mcq.result import float_model_digest

        if self._result is not None and self._result.model not in (None, float_model_digest(model)):
            raise self._refusal("the result", ["other weights of the float model"])

    def check_front(self, config: Config, *, takes_model: bool) -> Callable[[Subject], None]:
        """Refuses to replace the front of something else, and a result that is no model of the front.

        Args:
            config: Of the command, with absolute paths.
            takes_model: Whether a model is written.

        Returns:
            The check of the front itself, once it is known what the new one is about.

        Raises:
            ConfigError: See `check_config`.
        """
        from nncf_mcq.config.pareto_file import ParetoReport
        from nncf_mcq.pareto_front import front_settings
        from nncf_mcq.utils.documents import read_document

        self._keep_float_model(config)
        if takes_model and self._result is not None:
            earlier = _readable(self._result.config)
            if self._result.is_of_front and earlier is not None:
                # It may be of another size, which is no part of these.
                earlier = front_settings(earlier)
            found = self._differences(front_settings(config), earlier)
            if found:
                raise self._refusal("the result", found)
        file = self._output / PARETO_FILE
        front = None if self._overwrite or not file.exists() else read_document(file, ParetoReport)

        def check(subject: Subject) -> None:
            found = "" if front is None else subject.differences(front.subject)
            if found:
                raise self._refusal("the front", found.split(", "))

        return check

    def _find_result(self) -> _EarlierResult | None:
        """The result in the folder.

        The IR says whose it is: of the files of a result it is the first that gets its name.
        """
        models = [self._output / name for name in (MODEL_FILE, UNVERIFIED_MODEL_FILE)]
        file = next((model for model in models if model.exists()), self._output / CONFIG_FILE)
        if not file.exists():
            return None
        result = _json_object(self._output / RESULT_FILE)
        config = _config_of_model(file) if file in models else _json_object(file) if result else None
        if config is None:
            raise self._refusal(f"the {file.name}", [])
        return _EarlierResult(
            config=config,
            model=result.get("float_model"),
            is_of_front="size" in _inner(_inner(result, "search"), "details"),
        )

    def _keep_float_model(self, config: Config) -> None:
        model = self._output / MODEL_FILE
        if config.model is not None and is_model_file(config.model) and Path(config.model).resolve() == model.resolve():
            raise ConfigError("--output", str(self._output), f"another folder: {MODEL_FILE} there is the float model")

    def _differences(self, config: Config, earlier: Config | None, *, resume: bool = False) -> list[str]:
        """Differences of a result's configuration from that of the command, in words."""
        assert self._result is not None
        folder = self._output.resolve()
        wanted = config.map_paths(lambda path: os.path.relpath(path, folder)).to_dict()
        found = dict(self._result.config) if earlier is None else earlier.to_dict()
        for values in (wanted, found):
            values.pop("runtime", None)
            if resume:
                _leave_out_what_may_change(values, config)
        if wanted.get("model") != found.get("model"):
            return [f"model {found.get('model')!r}"]
        return differences(wanted, found)

    def _refusal(self, what: str, found: list[str], remedy: str = "") -> ConfigError:
        more = [] if len(found) <= _NAMED else [f"and {len(found) - _NAMED} more"]
        problem = f"has {', '.join([*found[:_NAMED], *more])}" if found else "nncf-mcq has not written"
        allowed = f"another folder, {remedy}or --overwrite to replace {what} there, which {problem}"
        return ConfigError("--output", str(self._output), allowed)


def _leave_out_what_may_change(values: dict[str, Any], config: Config) -> None:
    compression = values.get("compression", {})
    compression.pop("tuning", None)
    compression.get("correction", {}).pop("sequential", None)
    for name in config.compression.initializer.precision.may_change:
        compression.get("initializer", {}).get("precision", {}).pop(name, None)


def _config_of_model(file: Path) -> dict[str, Any] | None:
    """The configuration in an IR; None where there is none."""
    import openvino as ov

    from nncf_mcq.ir import RT_INFO_SECTION

    try:
        model = ov.Core().read_model(file)
        config = json.loads(model.get_rt_info([RT_INFO_SECTION, "config"]).astype(str))
    except (RuntimeError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _readable(config: Mapping[str, Any]) -> Config | None:
    """The configuration as this version writes it; None where it cannot read it."""
    try:
        return load_config(config)
    except NncfMcqError:
        return None


def _inner(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object in another one; empty where there is none."""
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _json_object(file: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
