"""A run that was killed with everything in it: what the next one finds, and what it does not wait for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from commands import lines_of_json, output, started, write_study

from broodline.lifelines import alive, bury_the_dead

# Trains for ever until there is a file `go`; logs every trial that it finishes, flushed to the disk.
PATIENT = """\
set -eu
echo "$BROODLINE_TRIAL $BROODLINE_ATTEMPT" >> begun
while [ ! -e go ]; do sleep 0.05; done
echo "$BROODLINE_TRIAL" > "$BROODLINE_SAVE/weights"
echo '{"accuracy": 1}' >> "$BROODLINE_METRICS"
"""


def wait_for(fact: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < until, "it did not come true in a minute"
        time.sleep(0.02)


def begun(directory: Path) -> list[str]:
    path = directory / "begun"
    return path.read_text().splitlines() if path.exists() else []


def kill_everything(run: psutil.Process) -> None:
    family = [run, *run.children(recursive=True)]
    for process in family:
        process.suspend()
    for process in family:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family[1:], timeout=20)


def test_a_restart_does_not_wait_for_the_leases_of_dead_workers(tmp_path: Path) -> None:
    study = write_study(tmp_path, trials=3, trainer=PATIENT, more='[engine]\nlease = "1h"\n')
    study.write_text(study.read_text().replace("population = 2", "population = 3"))
    first = started("run", study, "--workers", "3")
    wait_for(lambda: len(begun(tmp_path)) == 3)
    kill_everything(psutil.Process(first.pid))
    first.communicate()

    (tmp_path / "go").touch()
    output("run", study, "--workers", "1")

    trials = lines_of_json("trials", study)
    assert [(trial["state"], trial["attempt"]) for trial in trials] == [("completed", 2)] * 3
    assert sorted(begun(tmp_path)) == ["0 1", "0 2", "1 1", "1 2", "2 1", "2 2"]


def test_what_a_crash_left_on_the_disk_is_swept(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    study = write_study(tmp_path, trials=4, trainer=PATIENT)
    output("run", study)
    files = tmp_path / "broodline.files" / "digits"
    before = {path.name for path in (files / "checkpoints").iterdir()}
    for orphan in ("staging/000001.1", "staging/000099.1", "checkpoints/000003.7", "checkpoints/000099.1"):
        (files / orphan).mkdir()
    (files / "checkpoints" / "mine").mkdir()

    output("run", study)

    assert {path.name for path in (files / "checkpoints").iterdir()} == before | {"mine"}
    assert not any((files / "staging").iterdir())


def test_a_worker_is_dead_when_its_process_has_ended_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "dead").touch()
    child = os.fork()
    if not child:
        with alive(tmp_path, "killed"):
            signal.pause()
    wait_for(lambda: (tmp_path / "killed").exists() and "killed" not in _unlocked(tmp_path))
    with alive(tmp_path, "living"):
        assert bury_the_dead(tmp_path) == ["dead"]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert bury_the_dead(tmp_path) == ["killed"]
        assert bury_the_dead(tmp_path) == []


def _unlocked(directory: Path) -> list[str]:
    import fcntl

    free = []
    for path in directory.iterdir():
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            free.append(path.name)
    return free
