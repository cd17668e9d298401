"""Plays a small study in processes that die at a given call, and checks it after the crash and at its end.

As a program, with `crashpoints.c` preloaded, it reads orders as lines of JSON, plays a study in a fork for each, and answers with
the exit status of the fork. That one process holds the whole run: the work of `broodline run`, and the worker.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from warm import leave

import broodline
from broodline.controller.controller import Controller
from broodline.core.study import Budget
from broodline.core.trial import Trial
from broodline.registry import ENGINES, Registry
from broodline.storage.base import Store
from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.location import StudyLocation
from broodline.studies.api import Study
from broodline.testing import check_invariants
from broodline.workers.engines import worker_process as child
from broodline.workers.engines.launcher import Job, WorkerSpec
from broodline.workers.engines.messages import Event, encoded

NAME, TRIALS, FAILS = "small", 6, 3
BEFORE, WITHIN, AFTER = 1, 2, 3
DIARY = "TEST_DIARY"  # the environment variable with the path of the trainer's own log, outside of the study
SOURCE = Path(broodline.__file__).parents[1]
_FIELDS = (
    *("number", "member", "generation", "state", "start", "steps", "seed", "params", "changes"),
    *("parent", "opponent", "initiator", "child", "fitness", "reason", "failures"),
)


def note(*words: object) -> None:
    """Appends a line to the diary; it outlives this process."""
    descriptor = os.open(os.environ[DIARY], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    os.close(descriptor)


def train(trial: Any) -> dict[str, float]:
    """Trains weights that are the sum of all learning rates of the lineage."""
    note("starts", trial.number, trial.attempt)
    print("training")
    if trial.number == FAILS:
        raise ValueError("this trial always fails")
    weights = float((trial.restore_from / "deep" / "weights").read_text()) if trial.restore_from else 0.0
    weights += trial.params["lr"]
    (trial.save_to / "deep").mkdir()
    (trial.save_to / "deep" / "weights").write_text(repr(weights))
    (trial.save_to / "optimizer").write_bytes(bytes(5000))
    return {"accuracy": weights}


class InOneProcess:
    """A launcher whose only worker is the process itself."""

    def __init__(self, *, job: Job, **_: object) -> None:
        self._job = job

    def launch(self, spec: WorkerSpec) -> Ended:
        worker = child.worker_for(self._job, spec)
        with ExitStack() as life:
            child.work(worker, life)
        return Ended()

    def wait(self, seconds: float) -> None: ...

    def close(self) -> None: ...


class Ended:
    """The handle of a worker that has ended well."""

    is_stopped = False

    def poll(self) -> int:
        return 0

    def lines(self) -> list[str]:
        return encoded(Event.FINISHED, done=True).decode().splitlines()

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


def play(directory: Path) -> None:
    """Runs the study to its end, or resumes it."""
    load = Registry.load
    Registry.load = lambda self, name: InOneProcess if self == ENGINES else load(self, name)  # type: ignore[method-assign]
    complete = Controller.complete

    def noted(self: Controller, study: str, number: int, attempt: int, *rest: Any) -> Any:
        answer = complete(self, study, number, attempt, *rest)
        note("acknowledged", number, attempt)
        return answer

    Controller.complete = noted  # type: ignore[method-assign, assignment]
    study = Study(
        name=NAME,
        space={"lr": broodline.Float(1e-4, 1.0, log=True), "width": broodline.Int(1, 512)},
        objective={"accuracy": "maximize"},
        trial_steps=10,
        population=2,
        store=f"sqlite:///{directory / 'broodline.db'}",
    )
    study.run(train, budget=Budget(trials=TRIALS), show=False)


def obey() -> None:
    """Plays a study for each order."""
    library = ctypes.CDLL(None)
    library.crash_arm.argtypes = [*[ctypes.c_char_p] * 4, ctypes.c_int]
    gc.freeze()
    while line := sys.stdin.readline():
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            os.dup2(2, 1)  # standard output belongs to the parent's answers
            os.environ[DIARY] = order["diary"]
            texts = [value and value.encode() for value in (order["study"], order["trace"], order["flushed"], order["point"])]
            library.crash_arm(*texts, order["moment"])
            play(Path(order["study"]))
            leave(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


# The side of the tests


@dataclass(kw_only=True)
class Stage:
    """The directory in which studies are played, and the process that plays them.

    Args:
        directory: The parent directory of their files.
        player: The program above.
    """

    directory: Path
    player: subprocess.Popen[str]
    _places: int = 0

    def new_directory(self) -> Path:
        """The path of a new study, which does not exist yet, in a new directory."""
        self._places += 1
        directory = self.directory / f"{self._places:05}"
        directory.mkdir()
        return directory / "study"

    def copy(self, study: Path) -> Path:
        """Copies a study and its diary to another directory."""
        other = self.new_directory()
        shutil.copytree(study, other)
        shutil.copy(diary_of(study), diary_of(other))
        return other

    def play(self, study: Path, *, trace: bool = False, flushed: bool = False, point: str | None = None, moment: int = 0) -> int:
        """Plays a study in a new process; returns the exit status."""
        study.mkdir(exist_ok=True)
        copies = study.parent / "flushed"
        copies.mkdir(exist_ok=True)
        order = {
            "study": str(study),
            "diary": str(diary_of(study)),
            "trace": str(study.parent / "trace") if trace else None,
            "flushed": str(copies) if flushed else None,
            "point": point,
            "moment": moment,
        }
        assert self.player.stdin is not None
        assert self.player.stdout is not None
        print(json.dumps(order), file=self.player.stdin, flush=True)
        return int(self.player.stdout.readline())

    def traced(self, study: Path) -> list[str]:
        """Plays a study to its end; returns its points."""
        assert self.play(study, trace=True) == 0, self.said
        return (study.parent / "trace").read_text().splitlines()

    @property
    def said(self) -> str:
        """The standard error of all plays."""
        return (self.directory / "said").read_text()


@contextmanager
def stage(directory: Path, compiler: str) -> Iterator[Stage]:
    """Starts the program that plays studies.

    Args:
        directory: The directory of all files.
        compiler: The C compiler.
    """
    library, here = directory / "crashpoints.so", Path(__file__)
    options = ("-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", str(library))
    subprocess.run([compiler, *options, str(here.with_name("crashpoints.c")), "-ldl", "-lpthread"], check=True)
    environ = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(SOURCE)}
    with (
        (directory / "said").open("w") as said,
        subprocess.Popen(
            [sys.executable, str(here)], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        ) as player,
    ):
        yield Stage(directory=directory, player=player)


def diary_of(study: Path) -> Path:
    """The path of a study's diary."""
    return study.parent / "diary"


def noted(study: Path, what: str) -> list[int]:
    """The trials in the diary's lines of a kind."""
    lines = [line.split() for line in diary_of(study).read_text().splitlines()] if diary_of(study).exists() else []
    return [int(words[1]) for words in lines if words[0] == what]


@contextmanager
def opened(study: Path) -> Iterator[Store]:
    """Opens a copy of a study's store, because opening the store itself would repair it."""
    copy = study.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in filter(Path.is_file, study.glob("broodline.db*")):
        shutil.copy(path, copy)
    with closing(StudyLocation(url=f"sqlite:///{copy / 'broodline.db'}").open()) as store:
        yield store


def recorded(study: Path) -> list[dict[str, Any]]:
    """The records of all trials, without times, attempts and checkpoint paths."""
    with opened(study) as store:
        if NAME not in store.studies():
            return []
        check_invariants(store, NAME)
        with store.snapshot(NAME) as records:
            return [
                {
                    **{name: getattr(trial, name) for name in _FIELDS},
                    "metrics": [m.metrics for m in records.measurements(trial.number)],
                }
                for trial in records.trials()
            ]


def completed(trials: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """The completed trials by number, without their child, which may be created later."""
    return {trial["number"]: {**trial, "child": None} for trial in trials if trial["state"] == "completed"}


def assert_tidy(study: Path) -> None:
    """Requires that the disk holds the recorded checkpoints, complete, and no other file."""
    files = StudyLocation(url=f"sqlite:///{study / 'broodline.db'}").files_of(NAME)
    checkpoints_of = LocalCheckpointStore(files.root)
    with opened(study) as store, store.snapshot(NAME) as records:
        checkpoints = {trial.checkpoint: trial for trial in records.trials() if trial.checkpoint is not None}
    assert {f"checkpoints/{path.name}" for path in checkpoints_of.committed.iterdir()} == set(checkpoints)
    for checkpoint, trial in checkpoints.items():
        assert (files.checkpoints.open(checkpoint) / "deep" / "weights").read_text() == repr(_accuracy(trial))
    assert os.listdir(checkpoints_of.staging) == []
    assert os.listdir(files.workers) == []
    names = {path.name for path in files.root.iterdir()}
    assert names - {files.function.name} == {"checkpoints", "staging", "logs", "workers", "run.lock"}
    logs = [path.name for path in files.logs.iterdir()]
    assert all(re.fullmatch(r"\d{6}\.\d\.log", name) for name in logs)


def _accuracy(trial: Trial) -> float:
    assert trial.fitness is not None
    return trial.fitness[0]


# Power failures


@dataclass(frozen=True, slots=True)
class _Disk:
    """The flushed content, by the keys of files and directories.

    Args:
        copies: The directory with one file for each key; for a directory it lists the names.
    """

    copies: Path

    def content(self, key: str) -> bytes:
        path = self.copies / key
        return path.read_bytes() if path.exists() else b""

    def rebuild(self, key: str, into: Path) -> None:
        """Restores a directory as of its last flush; files that were never flushed are empty."""
        into.mkdir()
        for line in self.content(key).decode().splitlines():
            kind, inner, name = line.split(" ", 2)
            if kind == "d":
                self.rebuild(inner, into / name)
            else:
                (into / name).write_bytes(self.content(inner))


def lose_power(study: Path, *, names_too: bool) -> None:
    """Removes all data from a study's directory that was never flushed.

    Args:
        study: The directory.
        names_too: Also undo each creation, rename and removal since the last flush of its directory. This is stricter than
            most file systems, since a journal keeps the order of names.
    """
    disk, after = _Disk(study.parent / "flushed"), study.parent / "after"
    keys = partial(key_of, library=ctypes.CDLL(str(study.parents[1] / "crashpoints.so")))
    if names_too:
        disk.rebuild(keys(study), after)
    else:
        shutil.copytree(study, after)
        for path in study.rglob("*"):
            if path.is_file():
                (after / path.relative_to(study)).write_bytes(disk.content(keys(path)))
    shutil.rmtree(study)
    after.rename(study)


def key_of(path: Path, *, library: ctypes.CDLL) -> str:
    """The key of a file or directory."""
    key = ctypes.create_string_buffer(96)
    assert library.crash_key(str(path).encode(), key, 96) == 0
    return key.value.decode()


if __name__ == "__main__":
    obey()
