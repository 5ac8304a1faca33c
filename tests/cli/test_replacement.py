"""Commands whose output folder holds something already: the same again is replaced, something else is not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import openvino as ov
import pytest

from nncf_mcq import ConfigError
from nncf_mcq.cli.replacement import Replacement
from nncf_mcq.job import Job
from nncf_mcq.model.loading import to_openvino
from tests.commands import run, write_config
from tests.models import small_network

PRECISION = "compression.initializer.precision"


def read(config: Path, **overrides: object) -> Job:
    return Job.read(config, {path.replace("__", "."): value for path, value in overrides.items()})


def check(output: Path, job: Job, *, overwrite: bool = False, resume: bool = False) -> None:
    replacement = Replacement(output, overwrite=overwrite)
    replacement.check_config(job.config, resume=resume)
    replacement.check_model(job.openvino_model())


def save_float_model(file: Path, seed: int) -> None:
    ov.save_model(to_openvino(small_network(seed), [1, 3, 8, 8]), file, compress_to_fp16=False)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model in a file, at 4 bits, beside the folder `out` with its result."""
    folder = tmp_path_factory.mktemp("job")
    file = write_config(folder, {"type": "uniform", "bits": 4})
    values = json.loads(file.read_text())
    del values["compression"]["initializer"]["precision"]["budget"]
    file.write_text(json.dumps({**values, "model": "float.xml"}))
    save_float_model(folder / "float.xml", 0)
    Job.read(file).run().save(folder / "out")
    return file


@pytest.fixture
def copied(config: Path, tmp_path: Path) -> Path:
    """The configuration in a folder of its own, with the result."""
    shutil.copytree(config.parent, tmp_path / "job")
    return tmp_path / "job" / config.name


def test_the_same_again_is_replaced(config: Path) -> None:
    output = config.parent / "out"
    check(output, read(config))
    # The number of threads changes no result.
    check(output, read(config, runtime={"threads": 2, "batch_size": 3}))
    # The resolved configuration is the same one.
    check(output, Job.read(output / "config.json"))
    check(config.parent / "new", read(config, compression__activations__bits=4))


def test_the_result_of_another_configuration_is_kept(config: Path) -> None:
    output, other = config.parent / "out", read(config, **{f"{PRECISION}.bits": 3})
    with pytest.raises(ConfigError) as caught:
        check(output, other)
    assert str(caught.value) == (
        f"--output: found '{output}', allowed: another folder, or --overwrite to replace the result there, which has "
        "compression.initializer.precision.bits 4"
    )
    check(output, other, overwrite=True)
    with pytest.raises(ConfigError, match=r"has compression\.activations\.bits 8, .* and 1 more"):
        check(output, read(config, **{f"{PRECISION}.bits": 3, "compression.activations.bits": 6, "metric": None,
                                      "compression.correction.rounding": "nearest",
                                      "compression.correction.sweeps": 9}))  # fmt: skip


def test_the_result_of_another_model_is_kept(copied: Path) -> None:
    output = copied.parent / "out"
    shutil.copy(copied.parent / "float.xml", copied.parent / "other.xml")
    with pytest.raises(ConfigError, match=r"which has model '\.\./float\.xml'$"):
        check(output, read(copied, model=str(copied.parent / "other.xml"), compression__activations__bits=4))
    save_float_model(copied.parent / "float.xml", 1)
    with pytest.raises(ConfigError, match=r"which has other weights of the float model$"):
        check(output, read(copied))
    check(output, read(copied), overwrite=True)
    # An older version did not note the model.
    result = json.loads((output / "result.json").read_text())
    del result["float_model"]
    (output / "result.json").write_text(json.dumps(result))
    check(output, read(copied))


def test_what_was_not_written_here_is_kept(copied: Path) -> None:
    folder = copied.parent
    # Beside the user's own configuration the resolved one would replace it.
    with pytest.raises(ConfigError, match=r"--overwrite to replace the config\.json there, which nncf-mcq has not"):
        Replacement(folder, overwrite=False)
    save_float_model(folder / "model.xml", 0)
    with pytest.raises(ConfigError, match=r"--overwrite to replace the model\.xml there, which nncf-mcq has not"):
        Replacement(folder, overwrite=False)
    itself = read(copied, model=str(folder / "model.xml"))
    with pytest.raises(ConfigError, match=r"another folder: model\.xml there is the float model$"):
        check(folder, itself, overwrite=True)


@pytest.mark.parametrize(
    "text", ['{"search": []}', '{"search": "rl"}', '{"search": {"details": 3}}', "[" * 100_000, "\ufeff", "[1]", "{"]
)
def test_a_damaged_result_is_replaced_as_any_other(copied: Path, text: str) -> None:
    output = copied.parent / "out"
    (output / "result.json").write_text(text)
    check(output, read(copied))
    with pytest.raises(ConfigError, match="which has compression"):
        check(output, read(copied, **{f"{PRECISION}.bits": 3}))


def test_a_killed_command_can_be_repeated(copied: Path) -> None:
    output = copied.parent / "out"
    for name in ("result.json", "config.json"):
        # The IR gets its name first.
        (output / name).unlink()
        check(output, read(copied))
    for suffix in (".xml", ".bin"):
        (output / f"model{suffix}").rename(output / f"model.unverified{suffix}")
    check(output, read(copied))
    with pytest.raises(ConfigError, match="which has compression"):
        check(output, read(copied, **{f"{PRECISION}.bits": 3}))


def test_more_evaluations_need_resume(copied: Path) -> None:
    search = {"type": "rl", "evaluations": 8, "measured_widths": 1, "budget": {"weight_size": {"average_bits": 4}}}
    output = copied.parent / "search"
    # Only levels of a grid are tuned: other weights were not scored.
    grids = {"compression.weights.coding": "uniform"}
    job = read(copied, **{PRECISION: search, **grids})
    job.run().save(output)
    check(output, job)
    more = read(copied, **{PRECISION: {**search, "evaluations": 9}, "compression.tuning": "distillation", **grids})
    with pytest.raises(ConfigError, match=r"another folder, --resume to go on with its search, or --overwrite to"):
        check(output, more)
    check(output, more, resume=True)
    smaller = {**search, "budget": {"weight_size": {"average_bits": 3}}}
    with pytest.raises(ConfigError, match=r"average_bits 4\.0$"):
        check(output, read(copied, **{PRECISION: smaller, **grids}), resume=True)
    with pytest.raises(ConfigError, match=r"allowed: another folder, or --overwrite .*weights\.coding 'uniform'$"):
        check(output, read(copied, **{PRECISION: {**search, "evaluations": 9}}))


def command(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """What a command prints to standard output and standard error."""
    done = run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_commands_refuse_at_once(copied: Path) -> None:
    output = copied.parent / "out"
    before = (output / "model.bin").read_bytes()
    other: list[str | Path] = ["--output", output, "--set", f"{PRECISION}.bits=3", "--baseline", "none"]
    out, errors = command("quantize", copied, *other, code=2)
    assert (out, errors.count("\n")) == ("", 1)
    assert errors.startswith(f"error: --output: found '{output}', allowed: another folder, or --overwrite to replace")
    assert (output / "model.bin").read_bytes() == before
    command("quantize", copied, *other, "--overwrite", "--quiet")
    assert (output / "model.bin").read_bytes() != before


def test_fronts(copied: Path) -> None:
    output, small = copied.parent / "front", ["--points", "2", "--set", "compression.weights.bits=[4, 8]", "--quiet"]
    for size in (["--at", "8bits"], ["--at", "5bits"]):
        # Another size of the same front takes the place of the first.
        command("pareto", copied, "--output", output, *small, *size)
    front = (output / "pareto.json").read_bytes()
    other = [*small, "--set", "compression.activations.mode=symmetric"]
    out, errors = command("pareto", copied, "--output", output, *other, code=2)
    message = r"--overwrite to replace the {} there, which has compression\.activations\.mode 'automatic'$"
    assert (out, errors.count("\n")) == ("", 1)
    assert re.search(message.format("front"), errors.strip())
    assert (output / "pareto.json").read_bytes() == front
    job = read(copied, compression__activations__mode="symmetric", compression__weights__bits=[4, 8])
    with pytest.raises(ConfigError, match=message.format("result")):
        Replacement(output, overwrite=False).check_front(job.config, takes_model=True)
    # Without --at there is no model to replace.
    Replacement(output, overwrite=False).check_front(job.config, takes_model=False)
    command("pareto", copied, "--output", output, *other, "--overwrite")
    assert (output / "pareto.json").read_bytes() != front
    # A result of `quantize` is none of the front's.
    with pytest.raises(ConfigError, match=r"the result there, which has compression\."):
        Replacement(copied.parent / "out", overwrite=False).check_front(read(copied).config, takes_model=True)
