"""A study on which an engine is tried, with workers that wait for as long as a test holds them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from broodline.controller.controller import Controller
from broodline.core.trial import Trial
from broodline.storage.base import Store
from broodline.storage.location import StudyLocation
from broodline.testing.playing import study_from_tables
from broodline.workers.engines.base import Engine
from broodline.workers.engines.launcher import Handle, Job, Launcher, LauncherType, WorkerSpec
from broodline.workers.trainers.base import MakesTrainer
from broodline.workers.trainers.function import FunctionTrainer

_SECONDS = 60.0  # a fact that does not come true within these will not


class RecordingLauncher:
    """A launcher that keeps the handles of the workers that it has started.

    Args:
        launcher: Starts them.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self.started: list[tuple[WorkerSpec, Handle]] = []

    def launch(self, spec: WorkerSpec) -> Handle:
        handle = self._launcher.launch(spec)
        self.started.append((spec, handle))
        return handle

    def wait(self, seconds: float) -> None:
        self._launcher.wait(seconds)

    def close(self) -> None:
        self._launcher.close()


def function_that_waits(directory: Path) -> MakesTrainer:
    """Makes a trainer whose trials write `TRIAL.ATTEMPT.begun`, and then wait while there is a file `hold`.

    Args:
        directory: Where these files are.
    """
    here = str(directory)

    def train(trial: Any) -> dict[str, float]:
        import json
        import os
        import time

        path = f"{here}/{trial.number}.{trial.attempt}"
        with open(f"{path}.new", "w") as file:
            json.dump({"worker": trial.worker, "devices": list(trial.devices)}, file)
        os.rename(f"{path}.new", f"{path}.begun")
        while os.path.exists(f"{here}/hold"):
            time.sleep(0.01)
        (trial.save_to / "weights").write_text(str(trial.number))
        return {"score": float(trial.number)}

    return trainer_of(train)


def trainer_of(function: Callable[[Any], Any]) -> MakesTrainer:
    """Makes a trainer that calls a function; one that is defined within another function travels to workers by value."""
    return partial(FunctionTrainer, function)


class EngineBench:
    """A study on which engines are tried: its store, its trials, and the engines.

    Args:
        directory: For everything; workers see it too.
        launcher: Makes launchers.
        trials: The study's budget.
    """

    def __init__(self, directory: Path, launcher: LauncherType, *, trials: int = 4) -> None:
        self.directory, self._launcher_type = directory, launcher
        self.location = StudyLocation(url=f"sqlite:///{directory / 'broodline.db'}")
        self._tables: dict[str, Any] = {"name": "bench", "population": 2, "budget": {"trials": trials}}
        self.study = study_from_tables(**self._tables)
        self.store: Store = self.location.open()
        self.client = Controller(self.store)
        self.client.open(self.study)
        self.location.claimed_files(self.study.name).prepare()
        self.engines: list[Engine] = []

    def engine(self, make: MakesTrainer, **options: Any) -> tuple[Engine, RecordingLauncher]:
        """An engine whose workers make this trainer; `options` are those of `Engine`."""
        import cloudpickle

        job = Job(store=self.location.url, study=self.study.name, trainer=cloudpickle.dumps(make))
        launcher = RecordingLauncher(self._launcher_type(job=job, cwd=self.directory, threads=1))
        engine = Engine(launcher=launcher, client=self.client, study=self.study.name, **options)
        self.engines.append(engine)
        return engine, launcher

    def redefine(self, **tables: Any) -> None:
        """Changes tables of the study, such as its budget."""
        self.study = study_from_tables(**{**self._tables, **tables})
        self.client.open(self.study)

    def hold(self) -> None:
        """Makes trials wait that begin from now on."""
        (self.directory / "hold").touch()

    def let_go(self) -> None:
        """Lets all trials end."""
        (self.directory / "hold").unlink()

    def begun(self) -> dict[str, dict[str, Any]]:
        """The worker and the devices of each attempt that has started, by "TRIAL.ATTEMPT"."""
        return {path.stem: json.loads(path.read_text()) for path in self.directory.glob("*.begun")}

    def trials(self) -> list[Trial]:
        """The study's trials."""
        with self.store.snapshot(self.study.name) as records:
            return list(records.trials())

    def outcomes(self) -> list[tuple[str, int]]:
        """The state and the attempt of each trial."""
        return [(trial.state.value, trial.attempt) for trial in self.trials()]

    def until(self, fact: Callable[[], object], *engines: Engine) -> None:
        """Attends engines until a fact is true."""
        deadline = time.monotonic() + _SECONDS
        while not fact():
            assert time.monotonic() < deadline, "the fact did not come true"
            for engine in engines:
                engine.attend(0.02)

    def close(self) -> None:
        """Ends all engines, and closes the store."""
        for engine in self.engines:
            engine.stop(0.0)
        self.store.close()
