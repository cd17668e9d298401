"""Session files in a directory that hosts share: only the host of a session decides that its worker has died."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from living import collect_dead_sessions

from broodline.workers import liveness
from broodline.workers.liveness import alive, has_sessions, remove_copied_sessions


def session(directory: Path, *, inode: int | None = None, host: str = "another", device: int | None = None) -> Path:
    """The file of a session whose worker does not live here."""
    path = directory / "session"
    path.touch()
    status = path.stat()
    path.write_text(f"{status.st_dev if device is None else device} {inode or status.st_ino} {host}\n")
    return path


def test_the_session_of_another_host_is_left_alone(tmp_path: Path) -> None:
    """A shared file system shows its device under another number, and perhaps not its lock."""
    path = session(tmp_path, device=-1)
    assert (remove_copied_sessions(tmp_path), collect_dead_sessions(tmp_path), has_sessions(tmp_path)) == ([], [], False)
    assert path.exists()


def test_a_container_that_was_started_again_under_another_name_collects_its_dead(tmp_path: Path) -> None:
    session(tmp_path)
    assert has_sessions(tmp_path)
    assert (remove_copied_sessions(tmp_path), collect_dead_sessions(tmp_path)) == ([], ["session"])


def test_the_copy_of_a_session_of_this_host_is_removed(tmp_path: Path) -> None:
    session(tmp_path, inode=1, host=os.uname().nodename)
    assert remove_copied_sessions(tmp_path) == ["session"]


@pytest.mark.parametrize("content", ["", "{dev} {ino}\n"])
def test_a_file_of_a_former_version_or_of_a_full_disk_is_of_this_host(tmp_path: Path, content: str) -> None:
    path = session(tmp_path)
    path.write_text(content.format(dev=path.stat().st_dev, ino=path.stat().st_ino))
    assert remove_copied_sessions(tmp_path) == []
    assert collect_dead_sessions(tmp_path) == ["session"]


def test_a_session_that_lives_is_neither_dead_nor_copied(tmp_path: Path) -> None:
    with alive(tmp_path, "session"):
        assert (tmp_path / "session").read_text().split()[2] == liveness._HOST
        assert (remove_copied_sessions(tmp_path), collect_dead_sessions(tmp_path), has_sessions(tmp_path)) == ([], [], True)
    assert not has_sessions(tmp_path)
