"""Real programs and their ends: no process that they started is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from assignments import PYTHON, is_gone
from living import wait_for

from broodline.errors import Preempted, TrialFailed
from broodline.workers.trainers.process import Process
from broodline.workers.trainers.process_problems import ending
from broodline.workers.trainers.process_tree import descendants, kill_all_of

FAR = 60.0
# Starts others in sessions of their own and prints their numbers; one of them has hidden its environment.
STARTER = """
import os, subprocess, sys
one = subprocess.Popen(["sleep", "600"], start_new_session=True)
two = subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
print(os.getpid(), one.pid, two.pid, flush=True)
"""


class Output(list[bytes]):
    """The output of a program."""

    @property
    def text(self) -> str:
        return b"".join(self).decode()


def started(process: Process, *command: str, directory: Path) -> Output:
    output = Output()
    process.start(command, environ=os.environ, cwd=directory, stdout=subprocess.PIPE)
    process.listen(process.output, output.append)
    return output


def first_line(process: Process, output: Output) -> str:
    """The first line that a program prints."""
    until = time.monotonic() + FAR
    while "\n" not in output.text:
        assert time.monotonic() < until
        process.wait(1.0)
    return output.text.splitlines()[0]


def test_the_status_of_a_program_is_known_when_it_has_ended(tmp_path: Path) -> None:
    with Process(grace=5) as process:
        output = started(process, "sh", "-c", "echo out; echo err >&2; exit 3", directory=tmp_path)
        while not process.wait(FAR):
            pass
    assert process.status == 3
    assert sorted(output.text.split()) == ["err", "out"]


def test_waiting_is_over_as_soon_as_the_program_is(tmp_path: Path) -> None:
    with Process(grace=5) as process:
        process.start(["sh", "-c", ":"], environ=os.environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
        begun = time.monotonic()
        assert process.wait(FAR)
        assert time.monotonic() - begun < FAR / 2


def test_the_end_is_found_by_looking_where_the_system_does_not_signal_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with Process(grace=5) as process:
        process.start(["sh", "-c", "exit 4"], environ=os.environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
        until = time.monotonic() + FAR
        while not process.wait(FAR):
            assert time.monotonic() < until
    assert process.status == 4


def test_a_signal_handler_that_raises_while_a_program_is_started_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal arrives when the program runs and `Popen` has not returned: the only moment at which nothing knows it."""
    begun: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            begun.append(self)
            signal.raise_signal(signal.SIGUSR1)

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise Preempted

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.signal(signal.SIGUSR1, leave)
    try:
        with pytest.raises(Preempted), Process(grace=5) as process:
            process.start(["sleep", "600"], environ=os.environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
        assert signal.getsignal(signal.SIGUSR1) is leave
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert begun[0].returncode == -signal.SIGTERM, "its exit status was not collected"


def test_a_program_that_is_asked_to_end_may_end_well(tmp_path: Path) -> None:
    with Process(grace=FAR) as process:
        program = (
            "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True); signal.pause()"
        )
        output = started(process, PYTHON, "-c", program, directory=tmp_path)
        first_line(process, output)
        process.end()
    assert process.status == 7


def test_a_program_that_does_not_listen_is_killed_after_its_grace(tmp_path: Path) -> None:
    with Process(grace=0.1) as process:
        output = started(process, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 600; done", directory=tmp_path)
        first_line(process, output)
        process.end()
    assert process.status == -signal.SIGKILL


def test_a_program_outlives_the_shell_that_started_it_by_its_grace(tmp_path: Path) -> None:
    child = f"""trap 'echo saved >"{tmp_path}/saved"; exit' TERM; echo up; while :; do sleep 0.05; done"""
    with Process(grace=FAR) as process:
        output = started(process, "sh", "-c", 'sh -c "$1" & wait', "sh", child, directory=tmp_path)
        first_line(process, output)
        process.end()
    assert (tmp_path / "saved").read_text() == "saved\n"


@pytest.mark.parametrize("stays", [True, False], ids=["while it runs", "after it ended"])
def test_descendants_in_sessions_of_their_own_end_with_the_program(tmp_path: Path, stays: bool) -> None:
    program = STARTER + ("import signal; signal.pause()" if stays else "two.kill(); two.wait()")
    with Process(grace=5) as process:
        output = started(process, PYTHON, "-c", program, directory=tmp_path)
        pids = [int(word) for word in first_line(process, output).split()]
        if stays:
            assert not any(is_gone(pid) for pid in pids)
            process.end()
        else:
            process.wait_for_end()
    assert all(is_gone(pid) for pid in pids)


def test_a_background_job_ends_with_the_program(tmp_path: Path) -> None:
    with Process(grace=5) as process:
        output = started(process, "sh", "-c", "env -i sleep 600 & echo $!", directory=tmp_path)
        pid = int(first_line(process, output))
        process.wait_for_end()
    assert process.status == 0
    assert is_gone(pid)


@pytest.mark.parametrize("error", [Preempted, KeyboardInterrupt, ValueError])
def test_a_block_left_by_an_error_leaves_no_process(tmp_path: Path, error: type[BaseException]) -> None:
    pids: list[int] = []

    def fail_in_the_midst() -> None:
        with Process(grace=5) as process:
            output = started(process, PYTHON, "-c", STARTER + "import signal; signal.pause()", directory=tmp_path)
            pids.extend(int(word) for word in first_line(process, output).split())
            raise error

    with pytest.raises(error):
        fail_in_the_midst()
    assert len(pids) == 3
    assert all(is_gone(pid) for pid in pids)


def test_a_process_of_ours_that_is_no_descendant_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        with Process(grace=5) as process:
            process.start(["sh", "-c", "sleep 600"], environ=os.environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
            process.end()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_processes_that_a_dead_worker_left_are_found_by_its_session(tmp_path: Path) -> None:
    with Process(grace=5, owner="life-1") as process, Process(grace=5, owner="life-2") as another:
        output = started(process, PYTHON, "-c", STARTER + "import signal; signal.pause()", directory=tmp_path)
        pids = [int(word) for word in first_line(process, output).split()]
        other = int(first_line(another, started(another, "sh", "-c", "echo $$; sleep 600", directory=tmp_path)))
        kill_all_of("life-1")
        assert all(is_gone(pid) for pid in pids)
        assert not is_gone(other)


def test_a_program_has_no_descendants_once_all_have_ended(tmp_path: Path) -> None:
    with Process(grace=5, owner="mine") as process:
        process.start(["sleep", "600"], environ=os.environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
        wait_for(lambda: len(descendants(None, "mine.")) == 1, "the environment of the program, which begins a moment after it")
        process.end()
    assert descendants(None, "mine.") == {}


def test_data_arrives_whole_even_if_it_is_more_than_a_pipe_holds(tmp_path: Path) -> None:
    with Process(grace=5) as process:
        output = Output()
        process.start(["wc", "-c"], environ=os.environ, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.listen(process.output, output.append)
        process.send(b"x" * 1_000_000)
        while process.sending:
            process.wait(FAR)
        process.hang_up()
    assert output.text.strip() == "1000000"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Process(grace=5) as process:
            started(process, "sh", "-c", "echo up", directory=tmp_path)
            process.wait_for_end()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("no-such-program", "no such program: no-such-program"),
        ("./here", "./here can't be started: Permission denied"),
        ("./scripted", "./scripted can't be started: the interpreter that its first line names does not exist"),
        ("nul\0", "can't be started: embedded null byte"),
    ],
)
def test_a_program_that_cannot_be_started_fails_the_trial(tmp_path: Path, program: str, reason: str) -> None:
    (tmp_path / "here").touch()
    (tmp_path / "scripted").write_text("#!/no/such/interpreter\n", encoding="utf-8")
    (tmp_path / "scripted").chmod(0o755)
    with pytest.raises(TrialFailed) as failed, Process(grace=5) as process:
        process.start([program], environ=os.environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert reason in failed.value.reason


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrialFailed, match=r"no such folder to run sh in: .*/gone"), Process(grace=5) as process:
        process.start(["sh"], environ=os.environ, cwd=tmp_path / "gone", stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("status", "words"),
    [(3, "exit status 3"), (-9, "killed by signal SIGKILL"), (-11, "killed by signal SIGSEGV"), (-40, "killed by signal 40")],
)
def test_the_end_of_a_program_is_described_in_words(status: int, words: str) -> None:
    assert ending(status) == words
