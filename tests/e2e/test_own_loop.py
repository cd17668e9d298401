"""`broodline.trials(store, study)`: a program that is a worker of its own, and its heartbeat process."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from living import Run, interrupted, lives, script, wait_for

import broodline
from broodline.config.study import parse
from broodline.controller.client import Start, Wait, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement, Trial
from broodline.storage.base import Store
from broodline.storage.checkpoints.manifest import MANIFEST
from broodline.storage.location import StudyLocation
from broodline.studies.recovery import recover

LEASE = 4.0
PATIENT_LEASE = 9.0  # where another worker takes the trial as soon as it runs out: a busy machine may delay a renewal
STUDY: dict[str, Any] = {
    "name": "own",
    "trial_steps": 10,
    "population": 2,
    "objective": {"score": "maximize"},
    "space": {"lr": {"float": [0.1, 1.0]}},
    "budget": {"trials": 1},
}
HOLD = 'open("begun", "a").write(f"{trial.number} {trial.attempt}\\n")\n        '
# Holds the interpreter, as a C extension may, until there is a file `go`; the first of its trials only.
DEAF = HOLD + 'ctypes.PyDLL(None).system(b"while [ ! -e go ]; do sleep 0.05; done")'
QUIET = HOLD + 'while not os.path.exists("go"): time.sleep(0.05)'
CHATTY = HOLD + 'while not os.path.exists("go"): trial.report(step=trial.start + 1, score=0.0); time.sleep(0.05)'
LOOP = """\
import broodline, ctypes, logging, os, sys, time

logging.basicConfig()

for trial in broodline.trials(sys.argv[1], "own", worker="loop"):
    with trial:
        {hold}
        (trial.save_to / "weights").write_text("1")
        trial.report(score=1.0)
print("the loop is over")
"""


class Own:
    """A study, and a program that trains it by a loop of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.location = StudyLocation(url=f"sqlite:///{directory}/broodline.db")
        self.store: Store = self.location.open()
        self.controller = Controller(self.store)
        self.set_lease(LEASE)

    def set_lease(self, seconds: float) -> None:
        self.lease = seconds
        self.controller.open(parse({**STUDY, "engine": {"lease": seconds}}, "test"))

    def loop(self, hold: str, **environ: str) -> Any:
        (self.directory / "loop.py").write_text(LOOP.format(hold=hold))
        return script("loop.py", self.location.url, cwd=self.directory, **environ)

    def trial(self, number: int = 0) -> Trial:
        with self.store.snapshot("own") as records:
            found = records.trial(number)
        assert found is not None
        return found

    def has_begun(self) -> bool:
        return (self.directory / "begun").exists()

    def ask(self) -> Start | Any:
        """Another worker asks."""
        return self.controller.ask("own", WorkerSession(worker="other", session="other"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Own]:
    own = Own(tmp_path)
    with closing(own.store):
        yield own


def heartbeat_of(run: Run) -> psutil.Process:
    (heartbeat,) = (process for process in run.workers if "broodline.workers.heartbeat" in " ".join(process.cmdline()))
    return heartbeat


def past_leases(own: Own, leases: int) -> Callable[[], bool]:
    """Returns whether the lease of trial 0 has been renewed for so long, as a function."""
    first = own.trial().lease_until
    assert first is not None
    return lambda: (own.trial().lease_until or 0.0) > first + leases * own.lease


def test_a_loop_has_the_devices_that_its_program_inherited(own: Own) -> None:
    with own.loop('open("devices", "w").write(",".join(trial.devices))', CUDA_VISIBLE_DEVICES="5,6") as run:
        assert run.end() == 0, run.said
    assert (own.directory / "devices").read_text() == "5,6"


@pytest.mark.parametrize("hold", [DEAF, QUIET], ids=["holds the interpreter", "reports nothing"])
def test_a_loop_keeps_its_trial_for_many_leases(own: Own, hold: str) -> None:
    own.set_lease(PATIENT_LEASE)
    with own.loop(hold) as run:
        wait_for(own.has_begun)
        renewed = past_leases(own, 2)

        def renewed_although_another_asks() -> bool:
            assert isinstance(own.ask(), Wait), run.said
            return renewed()

        wait_for(renewed_although_another_asks)
        (own.directory / "go").touch()
        assert run.end() == 0, run.said
    assert (own.trial().state, own.trial().attempt) == ("completed", 1)
    assert run.left_behind() == []


@pytest.mark.parametrize("hold", [DEAF, QUIET], ids=["holds the interpreter", "reports nothing"])
def test_a_killed_loop_leaves_no_heartbeat_process_and_its_trial_is_given_out_after_its_lease(own: Own, hold: str) -> None:
    with own.loop(hold) as run:
        wait_for(own.has_begun)
        heartbeat = heartbeat_of(run)
        run.popen.kill()
        wait_for(lambda: not lives(heartbeat), "the end of the heartbeat process")
        until = own.trial().lease_until
        wait_for(lambda: isinstance(own.ask(), Start))
    assert until is not None
    again = own.trial()
    assert (again.attempt, again.worker, again.lost) == (2, "other", 1)
    assert (again.started or 0.0) > until


def test_a_killed_loops_trial_is_given_out_at_once_when_the_study_recovers(own: Own) -> None:
    with own.loop(QUIET) as run:
        wait_for(own.has_begun)
        run.kill()
    recover(own.store, own.controller, "own", own.location.files_of("own"))
    assert (own.trial().state, own.trial().lost) == ("pending", 1)


def test_a_heartbeat_process_that_dies_is_replaced(own: Own) -> None:
    with own.loop(QUIET) as run:
        wait_for(own.has_begun)
        heartbeat = heartbeat_of(run)
        heartbeat.kill()
        wait_for(
            lambda: [process for process in run.workers if process != heartbeat and lives(process)], "another heartbeat process"
        )
        wait_for(past_leases(own, 1))
        assert own.trial().attempt == 1
        (own.directory / "go").touch()
        assert run.end() == 0, run.said


def test_the_lease_of_a_stopped_loop_runs_out_and_what_it_brings_late_is_refused(own: Own) -> None:
    with own.loop(QUIET) as run:
        wait_for(own.has_begun)
        run.popen.send_signal(signal.SIGSTOP)
        wait_for(lambda: isinstance(own.ask(), Start))
        measured = [Measurement(step=10, metrics={"score": 0.5})]
        own.controller.complete("own", 0, 2, measured, "checkpoints/x", WorkerSession(worker="other", session="other"))
        (own.directory / "go").touch()
        run.popen.send_signal(signal.SIGCONT)
        assert run.end() == 0, run.said
        assert "attempt 1 has been superseded by attempt 2" in run.said
    assert (own.trial().state, own.trial().attempt, own.trial().worker) == ("completed", 2, "other")


def test_a_stopped_loop_that_continues_before_another_worker_asks_still_has_its_trial(own: Own) -> None:
    with own.loop(QUIET) as run:
        wait_for(own.has_begun)
        run.popen.send_signal(signal.SIGSTOP)
        until = own.trial().lease_until or 0.0

        def has_run_out() -> bool:
            with own.store.snapshot("own") as records:
                return records.now > until + LEASE

        wait_for(has_run_out)
        run.popen.send_signal(signal.SIGCONT)
        wait_for(past_leases(own, 0))
        (own.directory / "go").touch()
        assert run.end() == 0, run.said
    assert (own.trial().state, own.trial().attempt) == ("completed", 1)


def test_stop_now_gives_the_trial_of_a_silent_loop_back_and_its_late_completion_counts(own: Own) -> None:
    with own.loop(DEAF) as run:
        wait_for(own.has_begun)
        own.controller.end("own", now=True, reason="enough")
        wait_for(lambda: own.trial().state == "pending")
        (own.directory / "go").touch()
        assert run.end() == 0, run.said
    assert (own.trial().attempt, own.trial().lost) == (1, 0)


def test_stop_now_ends_a_loop_that_reports(own: Own) -> None:
    with own.loop(CHATTY) as run:
        wait_for(own.has_begun)
        own.controller.end("own", now=True, reason="enough")
        assert run.end() == 0, run.said
        assert "the loop is over" in run.said
    assert own.trial().state == "pending"


def test_heartbeats_continue_when_the_store_answers_again(own: Own) -> None:
    with own.loop(QUIET) as run:
        wait_for(own.has_begun)
        heartbeat = heartbeat_of(run)
        with closing(sqlite3.connect(own.directory / "broodline.db", isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            time.sleep(LEASE)  # no renewal gets the lock
            database.execute("ROLLBACK")
        wait_for(past_leases(own, 0))
        assert lives(heartbeat)
        (own.directory / "go").touch()
        assert run.end() == 0, run.said
    assert (own.trial().state, own.trial().attempt) == ("completed", 1)


def test_ctrl_c_ends_the_loop_and_its_heartbeat_process_and_gives_the_trial_back(own: Own) -> None:
    with own.loop(QUIET) as run:
        wait_for(own.has_begun)
        heartbeat = heartbeat_of(run)
        assert interrupted(run, signal.SIGINT) != 0
        wait_for(lambda: not lives(heartbeat))
    assert (own.trial().state, own.trial().lost) == ("pending", 0)


def test_the_heartbeat_process_has_nothing_of_its_owner_open(own: Own) -> None:
    with own.loop(f'open_file = open("weights", "w")\n        {QUIET}') as run:
        wait_for(own.has_begun)
        heartbeat = heartbeat_of(run)
        opened = {Path(file.path).name for file in heartbeat.open_files()}
        assert "weights" not in opened
        assert heartbeat.terminal() is None
        (own.directory / "go").touch()
        assert run.end() == 0, run.said


def test_a_loop_writes_the_checksums_that_its_study_asks_for(tmp_path: Path) -> None:
    location = StudyLocation(url=f"sqlite:///{tmp_path}/broodline.db")
    with closing(location.open()) as store:
        Controller(store).open(parse({**STUDY, "checkpoints": {"checksums": True}}, "test"))
    for trial in broodline.trials(location.url, "own"):
        with trial:
            (trial.save_to / "weights").write_text("1")
            trial.report(score=1.0)
    with location.records("own") as records:
        (only,) = records.trials()
    assert only.checkpoint is not None
    manifest = json.loads((location.files_of("own").path(only.checkpoint) / MANIFEST).read_bytes())
    assert list(manifest["sha256"]) == ["weights"]
