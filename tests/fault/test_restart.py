"""A run is killed with all its processes, and the next run resumes the study without waiting for leases."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
from assignments import is_gone
from commands import ENVIRONMENT, output
from living import PATIENT, begun, collect_dead_sessions, running, trials_of, wait_for, write_study
from recorded import recorded

from broodline.storage.location import StudyLocation
from broodline.storage.sqlite.store import SqliteStore
from broodline.workers.liveness import alive


def test_a_restart_does_not_wait_for_the_leases_of_dead_workers(tmp_path: Path) -> None:
    study = write_study(tmp_path, population=3, workers=3, budget="trials = 3", more='[engine]\nlease = "1h"\n')
    with running("run", study, cwd=tmp_path) as first:
        wait_for(lambda: len(begun(tmp_path)) == 3)
        first.kill()

    (tmp_path / "go").touch()
    output("run", study, "--workers", "1")

    assert [(trial["state"], trial["attempt"]) for trial in trials_of(study)] == [("completed", 2)] * 3
    assert sorted(begun(tmp_path)) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_restart_removes_the_temporary_files_of_killed_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    (temporary / "broodline-of-another").mkdir(parents=True)
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(temporary))
    study = write_study(tmp_path, population=2, workers=2, budget="trials = 2")
    with running("run", study, cwd=tmp_path) as first:
        wait_for(lambda: len(begun(tmp_path)) == 2)
        first.kill()
    assert len(list(temporary.iterdir())) == 3

    (tmp_path / "go").touch()
    output("run", study)

    assert [path.name for path in temporary.iterdir()] == ["broodline-of-another"]


# Each attempt leaves a helper that outlives it, in a session of its own.
HELPED = PATIENT.replace('echo "$BROODLINE_TRIAL', 'setsid sleep 3600 & echo $! >> helpers\necho "$BROODLINE_TRIAL', 1)


def assert_nothing_is_left(directory: Path) -> None:
    """Requires that no session file, scratch directory or helper of a killed worker outlives the study."""
    assert os.listdir(StudyLocation(url=f"sqlite:///{directory / 'broodline.db'}").files_of("digits").workers) == []
    assert os.listdir(directory / "tmp") == []
    helpers = [int(line) for line in (directory / "helpers").read_text().split()]
    assert helpers
    assert all(map(is_gone, helpers))


@pytest.fixture
def helped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study whose attempts leave helpers, with short leases and temporary files of its own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(tmp_path / "tmp"))
    return write_study(tmp_path, trainer=HELPED, budget="trials = 6", more="[engine]\nlease = 1\n")


def test_a_run_ends_without_a_trace_of_a_worker_that_joined_and_was_killed(helped: Path, tmp_path: Path) -> None:
    with running("run", helped, cwd=tmp_path) as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        with running("worker", helped, cwd=tmp_path) as joined:
            wait_for(lambda: len(begun(tmp_path)) == 2)
            (worker,) = joined.workers
            for pid in (joined.popen.pid, worker.pid):  # the supervisor first: it would clean up
                os.kill(pid, signal.SIGKILL)
            (tmp_path / "go").touch()
            assert run.end() == 0
    assert_nothing_is_left(tmp_path)


def test_a_worker_that_joined_ends_without_a_trace_of_its_dead_predecessor(helped: Path, tmp_path: Path) -> None:
    with running("run", helped, cwd=tmp_path) as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        run.kill()
    with running("worker", helped, cwd=tmp_path) as joined:  # the only process that is left
        wait_for(lambda: len(begun(tmp_path)) == 2)
        (worker,) = joined.workers
        worker.kill()
        (tmp_path / "go").touch()
        assert joined.end() == 0
    assert_nothing_is_left(tmp_path)


def test_time_in_which_no_worker_trains_does_not_count_against_the_budget() -> None:
    now = 1000.0
    with closing(SqliteStore(None, clock=lambda: now)) as store:
        study = recorded(store, budget={"time": 100})
        study.ask()
        now += 5
        study.controller.release(study.name, ["session of 0"])
        now += 20  # less than a lease
        recorded(store, budget={"time": 100})
        study.ask()
        with store.snapshot(study.name) as records:
            assert records.progress().elapsed == 5


def test_orphans_of_a_crash_are_deleted_from_the_disk(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    study = write_study(tmp_path, budget="trials = 4")
    output("run", study)
    files = tmp_path / "broodline.db.files" / "digits"
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
        assert collect_dead_sessions(tmp_path) == ["dead"]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert collect_dead_sessions(tmp_path) == ["killed"]
        assert collect_dead_sessions(tmp_path) == []


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
