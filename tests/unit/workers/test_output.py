"""What programs print: captured, kept, and shown where a trial failed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from assignments import SEES_US, script

from broodline.workers.trainers.output import JsonLines, last_lines, log_file, tail


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


def test_the_last_json_object_counts_however_its_bytes_arrive(tmp_path: Path) -> None:
    with log_file(tmp_path / "log") as log:
        lines = JsonLines(log)
        for piece in (b'epoch 1\n{"a": 1}\n{"a"', b": 2}\n{bro", b"ken\n", b"done", b""):
            lines.receive(piece)
        assert lines.last() == {"a": 2}
    assert (tmp_path / "log").read_bytes() == b'epoch 1\n{"a": 1}\n{"a": 2}\n{broken\ndone'


def test_the_last_line_of_output_needs_no_end(tmp_path: Path) -> None:
    with log_file(tmp_path / "log") as log:
        lines = JsonLines(log)
        lines.receive(b'{"a": 3}')
        assert lines.last() == {"a": 3}
