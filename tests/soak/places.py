"""A directory of two studies in which mounts come and go: the files of one of them, and the paths to its store."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from soak.fault_injector import FaultInjector
from soak.stage import NAME, SECONDS, Stage

AWAY = (0.2, 2.5)  # seconds


@dataclass(frozen=True, kw_only=True)
class Mounts:
    """The mounts around one study.

    Args:
        files: The directory of the store's files, which is a mount point.
        kept: What is mounted there.
        astray: The URL of the same store by a mount that lacks the files.
    """

    files: Path
    kept: Path
    astray: str

    def faults(self, injector: FaultInjector, unmounts: int) -> list[Callable[[], None]]:
        """Unmounts with each event during them, and workers that come by a wrong path."""
        during: tuple[Callable[[FaultInjector], None], ...] = (
            self._wait,
            FaultInjector.kill_a_worker_at_work,
            FaultInjector.kill_a_trainer,
            self._kill_and_refuse,
            self._refuse_worker,
        )
        chosen = [partial(self._unmount, injector, during[number % len(during)]) for number in range(unmounts)]
        return [*chosen, *[partial(self._lead_astray, injector)] * 3]

    def _unmount(self, injector: FaultInjector, event: Callable[[FaultInjector], None]) -> None:
        """Unmounts the files for a while; the study must resume when they are back, whatever happened meanwhile."""
        run = injector.run_at_work()
        if run.poll() is not None or not injector.stage.completions():
            return
        unmount(self.files)
        try:
            event(injector)
            time.sleep(injector.rng.uniform(*AWAY))
            assert os.listdir(self.files) == [], "the mount point is no place for files"
        finally:
            bind(self.kept, self.files)
        injector.faults["files unmounted"] += 1
        if run.poll() is None:
            injector.assert_resumes(run, "the files were back")

    def _wait(self, injector: FaultInjector) -> None:
        """Lets the workers find out."""

    def _kill_and_refuse(self, injector: FaultInjector) -> None:
        """Kills the run; another one must be refused while the files are away."""
        stage = injector.stage
        if stage.run is None or stage.run.poll() is not None:
            return
        stage.run.kill()
        injector.kills["run", "files away"] += 1
        stage.run.wait()
        assert_refused(stage, stage.started("run"), "is not there")
        injector.faults["run refused"] += 1

    def _refuse_worker(self, injector: FaultInjector) -> None:
        """Has a worker join, which must be refused while the files are away."""
        assert_refused(injector.stage, injector.stage.started("worker"), "is not there")
        injector.faults["worker refused"] += 1

    def _lead_astray(self, injector: FaultInjector) -> None:
        """Has a worker join by a mount without the files, which must be refused."""
        if injector.stage.completions():
            assert_refused(injector.stage, injector.stage.started("worker", self.astray), "is not there")
            injector.faults["worker by a mount without the files refused"] += 1


def assert_refused(stage: Stage, process: subprocess.Popen[bytes], why: str) -> None:
    """Requires that a command ends with the exit status of a refusal."""
    status = process.wait(SECONDS)
    said = stage.printed + (stage.notes / "joined.out").read_text(errors="replace")
    assert status == 2, f"status {status} while the files are away:\n{said[-3000:]}"
    assert why in said


@contextmanager
def chaotic_place(stage: Stage, around: Path) -> Iterator[Mounts]:
    """Makes the directory of a stage, with the files of its store on a mount, and its store at three paths.

    Args:
        stage: The study.
        around: The directory for the other ends of the mounts.
    """
    stage.disk.mkdir()
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root can mount a directory")
    files, kept = stage.location.files_of(NAME).root.parent, around / "kept"
    view, astray, link = around / "view", around / "astray", around / "links" / "link.db"
    for directory in (files, kept, view, astray, link.parent):
        directory.mkdir()
    link.symlink_to(stage.database)
    with ExitStack() as mounted:
        for source, at, options in ((kept, files, "--bind"), (stage.disk, view, "--rbind"), (stage.disk, astray, "--bind")):
            bind(source, at, options)
            mounted.callback(unmount, at)
        stage.paths += [f"sqlite:///{link}", f"sqlite:///{view / stage.database.name}"]
        yield Mounts(files=files, kept=kept, astray=f"sqlite:///{astray / stage.database.name}")


def bind(source: Path, at: Path, options: str = "--bind") -> None:
    """Mounts a directory at another path; what is mounted later at one of them is not seen at the other."""
    done = subprocess.run(["mount", options, str(source), str(at)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a directory can't be mounted here: {done.stderr.strip()}")
    subprocess.run(["mount", "--make-rprivate", str(at)], check=True)


def unmount(at: Path) -> None:
    """Unmounts a directory, and all that is mounted in it, at once; open files stay usable."""
    subprocess.run(["umount", "--lazy", "--recursive", str(at)], check=True)
