"""The scores of a contest in a file: nothing is scored twice, by whichever method, process or attempt.

A search keeps its own scores as trials of an Optuna study, in `nncf_mcq.precision_init.study`. What all searches of a
contest share is another kind of file: each score has the time that it took, the first one of a policy counts for every
process, and the whole is asked before each evaluation. A study gives the same numbers, but a look-up goes through all
of its trials: to ask for 5,000 policies of 50 layers and to write them took it 3 s of processor time and 11 MB, this
file 0.9 s and 0.9 MB.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np
from filelock import FileLock

from nncf_mcq import PolicyKey
from nncf_mcq.precision_init import ImageScores, from_text, mean_score, to_text
from openvino_eval.errors import EvaluationError

SCORES_FILE: Final = "scores.jsonl"

_BASE = 36
"""Of the digits of widths: a float layer counts 16 bits."""


class ScoreFile(MutableMapping[PolicyKey, ImageScores]):
    """Policies and the scores of their images, one line each; a line that a killed process left unfinished is ignored.

    The first line says what the scores are of. Widths are written as digits in the order of the sorted names. The time
    from asking for an unknown policy to its score is kept with it, so one policy is asked for at a time.

    Args:
        path: The file; made if it is missing, as is its lock beside it.
        identity: What the scores are of, e.g. digests of model and images.
        layers: Names of the policies' layers.
        activations: Names of their activation quantizers.

    Raises:
        EvaluationError: The file's scores are of something else.
    """

    def __init__(
        self, path: Path, identity: Mapping[str, str], layers: Sequence[str], activations: Sequence[str]
    ) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.lock")
        self._layers = sorted(layers)
        self._activations = sorted(activations)
        self._scores: dict[PolicyKey, ImageScores] = {}
        self._seconds: dict[PolicyKey, float] = {}
        self._read_bytes = 0
        self._asked = 0.0
        self.computed_seconds = 0.0
        header = {"subject": dict(identity), "layers": self._layers}
        with self._lock, self._open() as stream:
            if stream.seek(0, os.SEEK_END) == 0:
                self._append(stream, header)
            stream.seek(0)
            found = _parse(stream.readline())
        if found != header:
            different = [
                name
                for name, digest in identity.items()
                if not isinstance(found, dict) or dict(found.get("subject", {})).get(name) != digest
            ]
            words = " and ".join(different or ["layers"])
            raise EvaluationError(f"{path}: holds the scores of other {words}: name another folder")

    def refresh(self) -> None:
        """Reads what other processes have written since."""
        if self._path.stat().st_size == self._read_bytes:
            return
        with self._path.open("rb") as stream:
            stream.seek(self._read_bytes)
            complete, newline, _ = stream.read().rpartition(b"\n")
        self._read_bytes += len(complete) + len(newline)
        for line in complete.split(b"\n"):
            self._take(_parse(line))

    def seconds(self, key: PolicyKey) -> float:
        """How long it took to score a policy."""
        return self._seconds[key]

    def __contains__(self, key: object) -> bool:
        self.refresh()
        self._asked = time.perf_counter()
        return key in self._scores

    def __getitem__(self, key: PolicyKey) -> ImageScores:
        return self._scores[key]

    def __setitem__(self, key: PolicyKey, score: ImageScores) -> None:
        seconds = time.perf_counter() - self._asked
        self.computed_seconds += seconds
        with self._lock, self._open() as stream:
            # Another process may have been faster: its score is then everybody's.
            self.refresh()
            if key in self._scores:
                return
            self._append(
                stream,
                {
                    "weights": "".join(np.base_repr(bits, _BASE) for _, bits in key[0]),
                    "activations": "".join(str(bits) for _, bits in key[1]),
                    "score": mean_score(score),
                    "images": to_text(score),
                    "seconds": round(seconds, 4),
                },
            )
        self.refresh()

    def __delitem__(self, key: PolicyKey) -> None:
        raise TypeError("scores are kept")

    def __iter__(self) -> Iterator[PolicyKey]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def _take(self, line: object) -> None:
        if not isinstance(line, dict) or "images" not in line:
            return
        key = (
            tuple(zip(self._layers, (int(digit, _BASE) for digit in line["weights"]), strict=True)),
            tuple(zip(self._activations, map(int, line["activations"]), strict=True)),
        )
        self._scores.setdefault(key, from_text(line["images"]))
        self._seconds.setdefault(key, line["seconds"])

    def _open(self) -> IO[bytes]:
        # Unbuffered: a line is one write, which a killed process did or did not do.
        return self._path.open("a+b", buffering=0)

    @staticmethod
    def _append(stream: IO[bytes], line: Mapping[str, object]) -> None:
        begin = b""
        if stream.seek(0, os.SEEK_END) > 0:
            stream.seek(-1, os.SEEK_END)
            # What a full disk has cut ends here.
            begin = b"" if stream.read(1) == b"\n" else b"\n"
        stream.write(begin + json.dumps(line).encode() + b"\n")


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None
