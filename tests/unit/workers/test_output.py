"""What programs print: captured, kept, and shown where a trial failed."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from assignments import SEES_US, script

from broodline.workers.trainers.output import LogWatch, captured, keep_short, last_lines, log_file, tail


def test_the_tail_is_the_last_20_lines_and_4_kilobytes_at_most(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(map(str, range(100))) + "\n\n", encoding="utf-8")
    assert tail(log).splitlines() == [str(n) for n in range(80, 100)]
    log.write_text("x" * 10_000, encoding="utf-8")
    assert len(tail(log)) == 4096


def test_the_tail_of_a_part_does_not_reach_before_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\nafter\n", encoding="utf-8")
    assert tail(log, since=7) == "after"


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"caf\xe9\n")
    assert tail(log) == "caf�"


def test_a_log_that_is_not_there_has_no_tail(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == ""


def test_last_lines_are_without_trailing_space() -> None:
    assert last_lines("a\nb\nc\n\n", 2) == "b\nc"


def test_a_log_that_stayed_empty_is_removed(tmp_path: Path) -> None:
    with log_file(tmp_path / "log"):
        pass
    assert not (tmp_path / "log").exists()


def test_a_log_begins_anew_with_the_attempt(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("the disk was full", encoding="utf-8")
    with log_file(tmp_path / "log") as log:
        log.write(b"again")
    assert (tmp_path / "log").read_bytes() == b"again"


CAPTURING = """
import ctypes, os, subprocess
from pathlib import Path
from broodline.workers.trainers.output import captured

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def speak():
    print("python", flush=True)
    os.write(2, b"descriptor\\n")
    subprocess.run(["echo", "program"], check=True)
    ctypes.CDLL(None).puts(b"c")
    print("python's buffer")

print("before")
with captured(Path("log")):
    speak()
print("between", (before := descriptors()) and "")
try:
    with captured(Path("second log")):
        print("inside")
        1 / 0
except ZeroDivisionError:
    print("after", descriptors() - before)
"""


def test_all_that_is_printed_is_captured_and_nothing_before_or_after(tmp_path: Path) -> None:
    done = subprocess.run(
        [*script(tmp_path, "speak.py", CAPTURING)], cwd=tmp_path, check=True, stdout=subprocess.PIPE, env=SEES_US
    )
    assert done.stdout.split() == [b"before", b"between", b"after", b"0"]
    printed = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert printed[:3] == ["python", "descriptor", "program"]
    assert sorted(printed[3:]) == ["c", "python's buffer"]
    assert tail(tmp_path / "second log") == "inside"


def test_a_log_that_grows_too_long_loses_its_middle_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broodline.workers.trainers.output.LOG_BYTES", 4 << 20)
    with log_file(tmp_path / "log") as log:
        log.write(b"first line\n")
        for _ in range(100):
            log.write(b"x" * (1 << 20) + b"\n")
            keep_short(log.fileno())
        log.write(b"last line\n")
    kept = (tmp_path / "log").read_bytes()
    assert len(kept) <= 5 << 20
    assert kept.startswith(b"first line\n")
    assert kept.endswith(b"\nlast line\n")
    assert b"the log grew over 4 MiB" in kept


def test_a_log_that_is_short_enough_is_left_alone(tmp_path: Path) -> None:
    with log_file(tmp_path / "log") as log:
        log.write(b"all of it\n")
        keep_short(log.fileno())
    assert (tmp_path / "log").read_bytes() == b"all of it\n"


def test_the_log_of_a_function_is_kept_short_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broodline.workers.trainers.output.LOG_BYTES", 4 << 20)
    with captured(tmp_path / "log"):
        os.write(1, b"x" * (8 << 20))
    assert (tmp_path / "log").stat().st_size < 4 << 20


def test_a_forked_process_ends_its_log_though_the_watch_held_its_lock(tmp_path: Path) -> None:
    code = """
import os
from pathlib import Path
from broodline.workers.trainers import output

with output.captured(Path("log")):
    with output._WATCH._lock:
        child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
if not child:
    os._exit(3)
os._exit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run(script(tmp_path, "forks.py", code), cwd=tmp_path, env=SEES_US, timeout=60)
    assert done.returncode == 3


def test_the_log_of_a_function_is_kept_short_while_it_runs_by_one_thread_for_all_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broodline.workers.trainers.output.LOG_BYTES", 4 << 20)
    monkeypatch.setattr("broodline.workers.trainers.output._WATCH_SECONDS", 0.01)
    watch, threads = LogWatch(), list[threading.Thread | None]()
    for name in ("first", "second"):
        with log_file(tmp_path / name) as log, watch.over(log.fileno()):
            log.write(b"x" * (8 << 20))
            until = time.monotonic() + 60
            while (tmp_path / name).stat().st_size > 4 << 20 and time.monotonic() < until:
                time.sleep(0.005)
            assert (tmp_path / name).stat().st_size < 4 << 20
            threads.append(watch._thread)
    assert threads[0] is threads[1] is not None


def test_the_tail_has_no_sequence_that_a_terminal_obeys(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x07bell 10%\r20%\n")
    assert tail(log) == "red  \\x07bell 10%\n20%"
