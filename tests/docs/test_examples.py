"""The files of docs/examples: their own tools take them, and the commands in them exist."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml

from nncf_mcq.cli.search import STORAGE_VARIABLE
from tests.docs.test_documentation import options_of

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
SLURM = EXAMPLES / "search.sbatch"
KUBERNETES = EXAMPLES / "search.yaml"


def jobs() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(KUBERNETES.read_text()))


def check_command(words: list[str]) -> None:
    """The command exists, and so do its options."""
    program, subcommand, *more = words
    assert {word for word in more if word.startswith("-")} <= options_of(program, subcommand), words


def test_bash_parses_the_slurm_script() -> None:
    subprocess.run(["bash", "-n", SLURM], check=True)


@pytest.mark.parametrize("storage", [None, "postgresql://searcher@database/studies"])
def test_the_slurm_script_starts_one_search_and_its_workers(storage: str | None, tmp_path: Path) -> None:
    """With stand-ins for Slurm, which runs the command once a task, and for ours, which prints what it was given."""
    srun = '#!/bin/bash\nshift\nfor SLURM_PROCID in 0 1 2; do export SLURM_PROCID; "$@" || exit; done\n'
    ours = f'#!/bin/bash\nprintf "%s\\n" "$*" "${STORAGE_VARIABLE}"\n'
    for name, text in (("srun", srun), ("nncf-mcq", ours)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "16", "OUTPUT": "out folder"}
    if storage is not None:
        environment[STORAGE_VARIABLE] = storage
    done = subprocess.run(["bash", SLURM], env=environment, capture_output=True, text=True, check=True)
    place = storage or "out folder/study.journal"
    quantize = "quantize config.json --output out folder --resume --set runtime.threads=16"
    worker = "worker config.json --set runtime.threads=16"
    assert done.stdout.splitlines() == [quantize, place, worker, place, worker, place]
    for words in (quantize.replace("out folder", "out"), worker):
        check_command(["nncf-mcq", *words.split(" ")])


def test_the_jobs_of_kubernetes_hold_together() -> None:
    for job in jobs():
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        check_command(container["command"])
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        variables = {variable["name"]: variable for variable in container["env"]}
        url = sqlalchemy.make_url(variables[STORAGE_VARIABLE]["value"])
        assert url.get_driver_name() == "psycopg"
        assert url.password is None
        assert "secretKeyRef" in variables["PGPASSWORD"]["valueFrom"]
    search, workers = (job["spec"]["template"]["spec"]["containers"][0] for job in jobs())
    assert search["env"] == workers["env"]
    assert search["image"] == workers["image"]


def test_kubectl_knows_every_key_of_the_jobs() -> None:
    """Types that do not fit are refused, and unknown keys are left out of what comes back."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    command = [kubectl, "set", "env", "--local", "--all", "-f", str(KUBERNETES), "-o", "json", "ADDED=variable"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    decoder, text, found = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    for job, known in zip(jobs(), found, strict=True):
        assert missing(job, known) == []


def missing(value: Any, known: Any, path: str = "") -> list[str]:
    """The keys of a value that another one lacks."""
    if isinstance(value, list):
        pairs = zip(value, known, strict=False)
        return [name for index, pair in enumerate(pairs) for name in missing(*pair, f"{path}[{index}]")]
    if not isinstance(value, dict):
        return []
    lost = [f"{path}.{key}" for key in value if key not in known]
    return lost + [name for key in value if key in known for name in missing(value[key], known[key], f"{path}.{key}")]
