"""Settings of a contest, and the folder that holds it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nncf_mcq import Budget, ConfigError, Job
from nncf_mcq.config import BUDGET_PATH, PRECISION_PATH, load_plugins
from nncf_mcq.utils import LOCK_FILE, differences, write_text_atomically
from openvino_eval.contest.methods import CHOSEN_ARMS, Arm, ContestRun, competitors, plan
from openvino_eval.errors import EvaluationError

SETTINGS_FILE: Final = "contest.json"


@dataclass(frozen=True)
class ContestSettings:
    """Who searches for what, and how long.

    Attributes:
        config: A configuration file; its precision initializer says no more than the budget.
        methods: Names of `METHODS`.
        evaluations: Unique policies that each search scores.
        seeds: Searches of each method and arm.
        output: The folder of the contest.
        overrides: Dotted paths in the configuration to the values that replace what the file says.
        arms: Of the methods that know both.
        jobs: Processes.
    """

    config: Path
    methods: tuple[str, ...]
    evaluations: int
    seeds: int
    output: Path
    overrides: Mapping[str, object] = field(default_factory=dict)
    arms: tuple[Arm, ...] = CHOSEN_ARMS
    jobs: int = 1

    @property
    def runs(self) -> list[ContestRun]:
        """All searches, in order."""
        return plan(competitors(self.methods, self.arms), self.seeds)

    def read_job(self) -> Job:
        """The configuration, prepared for any method rather than for the one that it names.

        Raises:
            ConfigError: It cannot be used, or names no budget.
        """
        load_plugins()
        budget = budget_of(Job.read(self.config, self.overrides))
        common = {"type": "ilp", "budget": budget.model_dump(exclude_none=True)}
        return Job.read(self.config, {**self.overrides, PRECISION_PATH: common})

    def relative_config(self, job: Job) -> dict[str, object]:
        """The configuration without what the scores do not depend on, and with relative paths: folders may move.

        Args:
            job: The configuration as `read_job` returns it.
        """
        config = job.config.map_paths(lambda name: os.path.relpath(name, job.base_directory)).to_dict()
        del config["runtime"]
        return config

    def claim_folder(self, job: Job) -> None:
        """Makes the folder this contest's, or finds that it is.

        Args:
            job: The configuration as `read_job` returns it.

        Raises:
            EvaluationError: It holds another contest, or cannot be written.
        """
        path = self.output / SETTINGS_FILE
        wanted = {"evaluations": self.evaluations, "config": self.relative_config(job)}
        try:
            if not path.exists():
                found = {file.name for file in self.output.iterdir()} if self.output.is_dir() else set()
                if found - {LOCK_FILE}:
                    raise EvaluationError(f"{self.output}: found other files, needed: a new folder, or a contest's own")
                write_text_atomically(path, json.dumps(wanted, indent=2) + "\n")
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise EvaluationError(f"{self.output}: cannot be written: {error.strerror}") from error
        except ValueError as error:
            raise EvaluationError(f"{path}: not a contest's settings") from error
        said = differences(wanted, found if isinstance(found, dict) else {})
        if said:
            raise EvaluationError(
                f"{self.output}: holds a contest with {', '.join(said)}: restore that, or name another folder"
            )


def budget_of(job: Job) -> Budget:
    """The budget of a configuration.

    Raises:
        ConfigError: Its precision initializer has none.
    """
    budget = job.config.compression.initializer.precision.limits
    if budget is None:
        raise ConfigError(BUDGET_PATH, None, "the budget that every method has to keep")
    return budget
