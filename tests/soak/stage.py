"""The small file system of the soak, its study, and the processes of that study."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from commands import ENVIRONMENT
from soak.phase_log import DIRECTORY, Marks

from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.location import StudyLocation
from broodline.storage.study_files import StudyFiles

HERE = Path(__file__).parent
MIB = 1 << 20
DISK = 96 * MIB
LEASE = 2.0
POPULATION, WORKERS, KEEP_BEST = 8, 3, 2
SECONDS = 120.0  # a timeout that also suits a slow machine

NAME = "soak"
COMMAND, RESIDENT, FUNCTION = "command", "resident", "function"
KINDS = {COMMAND: '["{python}", "-E", "-S", "{train}"]', RESIDENT: '["{python}", "-S", "{train}", "resident"]\nresident = true'}
KINDS[FUNCTION] = KINDS[COMMAND]  # which is never run: `function_study.py` has the function
_OF_WORKERS = (b"broodline.workers.engines.worker_process", b"function_study.py\0worker")

STUDY = """\
name = "{name}"
trial_steps = 10
population = {population}
workers = {workers}
seed = {seed}

[objective]
score = "maximize"

[budget]
trials = {trials}

[space]
lr = {{ float = [1e-5, 1.0], log = true }}
size = {{ ordered = [16, 32, 64] }}
kind = {{ choice = ["plain", "fast"] }}
momentum = {{ float = [0.0, 1.0], when = {{ kind = "fast" }} }}

[train]
command = {command}
retries = 2
grace = "2s"

[checkpoints]
keep_best = {keep_best}

[engine]
lease = {lease}
"""


def study_text(
    trials: int,
    *,
    kind: str = COMMAND,
    population: int = POPULATION,
    workers: int = WORKERS,
    seed: int = 0,
    keep_best: int = KEEP_BEST,
    lease: float = LEASE,
) -> str:
    """The study file of a study of so many trials, which the trainer of the soak trains."""
    command = KINDS[kind].format(python=sys.executable, train=HERE / "train.py")
    options = {"population": population, "workers": workers, "seed": seed, "keep_best": keep_best, "lease": lease}
    return STUDY.format(name=NAME, trials=trials, command=command, **options)


class Stage:
    """One study, and all processes that work on it.

    Args:
        disk: The directory of the study.
        notes: The directory of its processes' log, marks and temporary files.
        seed: The seed of the study.
        kind: How it trains: by a command, a resident program or a function.
        database: The name of the database. The study file is named after it.
    """

    def __init__(self, disk: Path, notes: Path, seed: int, *, kind: str = COMMAND, database: str = "broodline.db") -> None:
        self.disk, self.notes, self.kind, self._seed = disk, notes, kind, seed
        self.database, self.study = disk / database, disk / f"{database}.toml"
        self.location = StudyLocation(url=f"sqlite:///{self.database}")
        self.paths = [self.location.url]  # by which workers join
        self.scratch = notes / "tmp"
        self._mark = f"{DIRECTORY}={notes}".encode()
        path = os.pathsep.join([str(HERE / "phase_probe"), ENVIRONMENT["PYTHONPATH"]])
        self._environ = ENVIRONMENT | {DIRECTORY: str(notes), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        self._environ["TMPDIR"] = str(self.scratch)
        (notes / "phases").mkdir(parents=True)
        self.scratch.mkdir()
        self.runs = 0
        self.run: subprocess.Popen[bytes] | None = None
        self.joined: list[subprocess.Popen[bytes]] = []

    @property
    def files(self) -> StudyFiles:
        """The study's files, wherever the product keeps them."""
        return self.location.files_of(NAME)

    @property
    def checkpoints(self) -> LocalCheckpointStore:
        """The study's checkpoints."""
        return LocalCheckpointStore(self.files.root)

    def allow(self, trials: int) -> None:
        """Writes the study file with a budget of trials."""
        self.study.write_text(study_text(trials, kind=self.kind, seed=self._seed))

    def start(self) -> None:
        """Starts the run."""
        self.runs += 1
        self.run = self.started("run")

    def join(self) -> None:
        """Starts a worker that joins the study, by one of the paths to its store."""
        self.joined.append(self.started("worker", random.choice(self.paths)))

    def call(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs a command that reads the study."""
        command = [sys.executable, "-m", "broodline", *map(str, arguments), "--store", self.location.url]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=10 * SECONDS)

    @property
    def printed(self) -> str:
        """The output of the last run so far."""
        return self._output(self.runs).read_text(errors="replace")

    def workers(self) -> dict[int, Marks]:
        """The worker processes that work, by process number."""
        found = {}
        for path in (self.notes / "phases").iterdir():
            pid = int(path.name)
            if any(each in _read(pid, "cmdline") for each in _OF_WORKERS) and self.lives(pid):
                found[pid] = Marks(path)
        return {pid: marks for pid, marks in found.items() if marks.ready}

    def processes(self) -> list[int]:
        """All living processes of the soak."""
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and self.lives(int(name))]

    def below(self, pid: int) -> list[int]:
        """A process and its descendants."""
        parents = {member: parent_of(member) for member in self.processes()}
        found = {pid}
        while more := {member for member, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def lives(self, pid: int) -> bool:
        """True if a process belongs to the soak and has not ended."""
        return self._mark in _read(pid, "environ").split(b"\0") and state_of(pid) not in "ZX"

    def send(self, number: signal.Signals, *pids: int) -> None:
        """Signals processes of the soak, but never another process that has inherited a number."""
        for pid in pids:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                try:
                    if self.lives(pid):
                        signal.pidfd_send_signal(descriptor, number)
                finally:
                    os.close(descriptor)

    def halt(self, *pids: int) -> None:
        """Stops processes, and waits until they are stopped."""
        self.send(signal.SIGSTOP, *pids)
        wait_for(lambda: all(state_of(pid) in "TZX" for pid in pids), "the stop of all processes")

    def kill_everything(self) -> None:
        """Kills all processes of the soak, including those that start while it kills."""
        while pids := self.processes():
            self.send(signal.SIGKILL, *pids)
            time.sleep(0.01)
        for process in (self.run, *self.joined):
            if process is not None:
                process.wait()
        self.joined.clear()

    def completions(self) -> int:
        """The number of acknowledged completions so far."""
        with suppress(FileNotFoundError):
            return (self.notes / "log").read_text().count('"acknowledged"')
        return 0

    def completes(self, more: int, *, seconds: float = SECONDS) -> bool:
        """Waits for a number of further acknowledged completions; also True if the run has ended."""
        enough, run = self.completions() + more, self.run
        return came_true(
            lambda: self.completions() >= enough or (run is not None and run.poll() is not None), seconds=seconds, pause=0.05
        )

    def started(self, command: str, url: str | None = None) -> subprocess.Popen[bytes]:
        """Starts a process that trains: `run`, or a `worker` that reaches the store at a URL."""
        program = ["-m", "broodline"] if self.kind != FUNCTION else [str(HERE / "function_study.py")]
        out = self._output(self.runs) if command == "run" else self.notes / "joined.out"
        with out.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, *program, command, str(self.study), "--store", url or self.location.url],
                cwd=self.disk,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _output(self, number: int) -> Path:
        return self.notes / f"run-{number:03d}.out"


def wait_for(fact: Callable[[], object], what: str, *, seconds: float = SECONDS, pause: float = 0.01) -> None:
    """Waits until a fact is true."""
    if not came_true(fact, seconds=seconds, pause=pause):
        raise TimeoutError(f"{what}: timeout after {seconds:g} s")


def came_true(fact: Callable[[], object], *, seconds: float, pause: float = 0.01) -> bool:
    """True if a fact becomes true within a time."""
    until = time.monotonic() + seconds
    while not fact():
        if time.monotonic() >= until:
            return False
        time.sleep(random.uniform(0.5, 1.0) * pause)
    return True


def state_of(pid: int) -> str:
    """The kernel's letter for the state of a process; X without such a process."""
    return _stat(pid)[0]


def parent_of(pid: int) -> int:
    """The process number of a process's parent."""
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    return _read(pid, "stat").rpartition(b")")[2].decode().split() or ["X", "0"]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


@contextmanager
def small_disk(directory: Path, size: int = DISK, *, in_memory: bool = False) -> Iterator[str | None]:
    """Mounts a small file system at a directory, ext4 if mkfs exists; yields the reason if that fails, else None.

    Args:
        directory: The mount point, which is made.
        size: Bytes.
        in_memory: Mount a tmpfs in any case.
    """
    directory.mkdir()
    if os.geteuid() or shutil.which("mount") is None:
        yield "only root can mount a file system"
        return
    image = directory.with_suffix(".img")
    commands = [["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]]
    if shutil.which("mkfs.ext4") and not in_memory:
        with image.open("wb") as file:
            file.truncate(size)
        made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "60000", str(image)], capture_output=True)
        commands[:0] = [["mount", "-o", "loop", str(image), str(directory)]] if made.returncode == 0 else []
    problem = ""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        problem = done.stderr.strip()
        if done.returncode == 0:
            break
    else:
        yield f"a file system can't be mounted here: {problem}"
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        image.unlink(missing_ok=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fills a file system to its last byte while the block runs."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (MIB, 4096, 512):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        yield
    finally:
        filler.unlink()
