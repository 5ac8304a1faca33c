"""Replacing an IR, which is two files, so that it can be read at every moment."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nncf_mcq.utils.files import temporary_sibling

# `<` is always escaped inside an attribute.
_PLACE = re.compile(rb'(<data [^<]*?offset=")(\d+)(" size="\d+")')
_ALIGNMENT: Final = 4096


def replace_pair(new: Path, old: Path) -> None:
    """Renames an .xml and its .bin to names that another IR may have; whoever reads them finds one of the two.

    No two files can be renamed at once, and an .xml beside another's .bin is no model. So the .bin is replaced by
    one that serves both: what the old .xml reads stands where it was, the new constants behind it. Then comes a new
    .xml that reads them there, a .bin with the new constants in both places, the new .xml, and the new .bin. Where
    there is no room for that, or no readable IR to keep, the .bin is renamed first: a new .xml never stands beside a
    missing .bin.

    Args:
        new: The .xml to rename, in the same file system, with its .bin beside it.
        old: The .xml's name from now on.

    Raises:
        OSError: A file cannot be renamed; one of the two IRs can be read.
    """
    new_bin, old_bin = new.with_suffix(".bin"), old.with_suffix(".bin")
    steps: list[tuple[Path, Path]] = [(new_bin, old_bin), (new, old)]
    made: list[Path] = []
    try:
        if old.is_file() and old_bin.is_file() and not filecmp.cmp(new_bin, old_bin, shallow=False):
            steps = _careful_steps(new, old, made) or steps
        for source, target in steps:
            source.replace(target)
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _careful_steps(new: Path, old: Path, made: list[Path]) -> list[tuple[Path, Path]]:
    """The renames that keep the IR readable, with the files for them; none where there is no room for those."""
    new_bin, old_bin = new.with_suffix(".bin"), old.with_suffix(".bin")
    longest = max(new_bin.stat().st_size, old_bin.stat().st_size)
    start = -(-longest // _ALIGNMENT) * _ALIGNMENT
    old_first, shifted, new_first = (temporary_sibling(path) for path in (old_bin, old, old_bin))
    made += [old_first, shifted, new_first]
    try:
        _join(old_first, [(0, old_bin), (start, new_bin)])
        _join(new_first, [(0, new_bin), (start, new_bin)])
        shifted.write_bytes(
            _PLACE.sub(lambda found: b"%b%d%b" % (found[1], int(found[2]) + start, found[3]), new.read_bytes())
        )
        for path in made:
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
    except OSError:
        return []
    return [(old_first, old_bin), (shifted, old), (new_first, old_bin), (new, old), (new_bin, old_bin)]


def _join(target: Path, parts: Sequence[tuple[int, Path]]) -> None:
    """Writes files at offsets of another one."""
    with target.open("wb") as stream:
        for offset, path in parts:
            stream.seek(offset)
            with path.open("rb") as source:
                shutil.copyfileobj(source, stream)
