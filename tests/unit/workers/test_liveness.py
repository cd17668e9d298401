"""Workers that have died, and processes that are stopped."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest
from living import collect_dead_sessions, wait_for

from broodline.workers.liveness import alive, dead_sessions, is_stopped, remove_copied_sessions

Lock = Callable[[IO[str], int], None]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows it")
def test_a_process_is_stopped_from_sigstop_to_sigcont() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(process.pid))
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: not is_stopped(process.pid))
        process.kill()
    assert not is_stopped(process.pid)
    assert not is_stopped(os.getpid())


def once_before_locking(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Does something when a file has been opened, and before it is locked, the first time."""
    lock: Lock = fcntl.flock

    def later(file: IO[str], how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        act()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", later)


def test_a_worker_whose_new_file_is_taken_for_a_dead_ones_makes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once_before_locking(monkeypatch, lambda: collect_dead_sessions(tmp_path))
    with alive(tmp_path, "a"):
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert collect_dead_sessions(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_no_session_file_is_made_in_a_mount_point_whose_disk_is_away(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), alive(tmp_path / "digits" / "workers", "a"):
        pytest.fail("there is no directory of the study")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_process_has_replaced_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    with ExitStack() as living:

        def removed_and_made_again() -> None:
            (tmp_path / "a").unlink()
            living.enter_context(alive(tmp_path, "a"))

        once_before_locking(monkeypatch, removed_and_made_again)
        assert collect_dead_sessions(tmp_path) == []
        assert (tmp_path / "a").exists()


def test_a_session_file_that_was_copied_is_no_dead_worker_of_this_place(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with alive(here, "living"):
        shutil.copytree(here, there)
        assert remove_copied_sessions(here) == []
        assert remove_copied_sessions(there) == ["living"]
        assert collect_dead_sessions(there) == []
        here.rename(tmp_path / "moved")
        assert remove_copied_sessions(tmp_path / "moved") == []
        assert collect_dead_sessions(tmp_path / "moved") == []


def test_a_session_file_of_a_former_version_counts_as_one_of_this_place(tmp_path: Path) -> None:
    (tmp_path / "dead").touch()
    assert remove_copied_sessions(tmp_path) == []
    assert collect_dead_sessions(tmp_path) == ["dead"]


def test_a_clean_up_that_ends_with_an_error_forgets_no_session(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(RuntimeError), dead_sessions(tmp_path):
        raise RuntimeError("the clean-up fails")
    with dead_sessions(tmp_path) as dead:
        assert dead == ["a"]
        with dead_sessions(tmp_path) as others:
            assert others == []
        assert (tmp_path / "a").exists()
    assert list(tmp_path.iterdir()) == []


def test_more_dead_sessions_than_files_may_be_open_are_collected_in_turns(tmp_path: Path) -> None:
    for number in range(250):
        (tmp_path / f"{number:03d}").touch()
    turns = [len(collect_dead_sessions(tmp_path)) for _ in range(4)]
    assert sum(turns) == 250
    assert turns[-1] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_forked_process_does_not_keep_the_lock_of_a_worker_that_was_killed(tmp_path: Path) -> None:
    up, started = os.pipe()
    worker = os.fork()
    if not worker:
        with alive(tmp_path, "a"):
            if not os.fork():
                os.write(started, f"{os.getpid()}\n".encode())
                signal.pause()
            signal.pause()
        os._exit(0)
    helper = int(os.read(up, 100))
    try:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        assert collect_dead_sessions(tmp_path) == ["a"]
    finally:
        os.kill(helper, signal.SIGKILL)
        os.close(up)
        os.close(started)
