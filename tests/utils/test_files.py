"""Files that are no plain ones, and names that are no text."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from nncf_mcq.utils.files import write_text_atomically


def test_a_device_is_written_and_stays_one(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_text_atomically(link, "text")
    assert link.is_symlink()
    assert link.is_char_device()
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    write_text_atomically(pipe, "text")
    reader.join()
    assert (found, pipe.is_fifo()) == (["text"], True)


def test_a_stream_by_its_name_gets_more(tmp_path: Path) -> None:
    """As /dev/stdout that a shell has sent to a file."""
    with (tmp_path / "log").open("ab") as log:
        log.write(b"before ")
        log.flush()
        write_text_atomically(Path(f"/dev/fd/{log.fileno()}"), "text")
    assert (tmp_path / "log").read_text() == "before text"


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "folder" / "file"
    link.symlink_to(target)
    write_text_atomically(link, "text")
    assert (link.is_symlink(), target.read_text()) == (True, "text")


def test_names_that_are_no_characters_are_escaped(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "page.html", "größe \udcff")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "größe \\udcff"
