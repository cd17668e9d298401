"""The contracts of an engine: workers train a study to its end, even if workers die, join or leave. Tests with real workers.

A test runs `workers.engines.base.Engine` over the launcher under test. Workers must see the directory of the test.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broodline.controller.client import Start, WorkerSession
from broodline.core.trial import TrialState
from broodline.errors import WorkerError
from broodline.testing.engine_bench import EngineBench, function_that_waits, trainer_of
from broodline.workers.engines.launcher import Handle, LauncherType

_GRACE = 30.0
_LEASE = 3.0


class _WithBench(ABC):
    @abstractmethod
    def launcher(self) -> LauncherType:
        """Returns the class that is registered as the engine."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[EngineBench]:
        """A study of four trials and two members."""
        with closing(EngineBench(tmp_path, self.launcher())) as bench:
            yield bench


class EngineContract(_WithBench):
    """Subclass it as `TestMyEngine` and return the class that is registered as the engine."""

    def test_its_workers_train_a_study_to_its_end_and_end_themselves(self, bench: EngineBench) -> None:
        engine, started = bench.engine(function_that_waits(bench.directory))
        engine.start(2)
        bench.until(lambda: engine.alive() == 0, engine)
        assert bench.outcomes() == [("completed", 1)] * 4
        assert [handle.poll() for _, handle in started.started] == [0, 0]

    def test_a_killed_worker_is_replaced_and_its_trial_is_trained_in_another_session(self, bench: EngineBench) -> None:
        engine, launcher = bench.engine(function_that_waits(bench.directory))
        bench.hold()
        engine.start(1)
        bench.until(lambda: "0.1" in bench.begun(), engine)
        launcher.started[0][1].kill()
        bench.until(lambda: "0.2" in bench.begun(), engine)
        bench.let_go()
        bench.until(lambda: engine.alive() == 0, engine)
        assert bench.outcomes() == [("completed", 2), ("completed", 1), ("completed", 1), ("completed", 1)]
        first, second = (spec.identity for spec, _ in launcher.started)
        assert first.worker == second.worker
        assert first.session != second.session

    @pytest.mark.parametrize("status", [0, 3])
    def test_a_worker_that_exits_in_the_midst_of_a_trial_is_replaced(self, bench: EngineBench, status: int) -> None:
        def train(trial: Any) -> dict[str, float]:
            import os

            if (trial.number, trial.attempt) == (1, 1):
                os._exit(status)
            (trial.save_to / "weights").write_text("1")
            return {"score": 1.0}

        engine, launcher = bench.engine(trainer_of(train))
        engine.start(1)
        bench.until(lambda: engine.alive() == 0, engine)
        assert bench.outcomes() == [("completed", 1), ("completed", 2), ("completed", 1), ("completed", 1)]
        assert [handle.poll() for _, handle in launcher.started] == [status, 0]

    def test_stop_gives_running_trials_back_and_leaves_no_worker(self, bench: EngineBench) -> None:
        engine, launcher = bench.engine(function_that_waits(bench.directory))
        bench.hold()
        engine.start(2)
        bench.until(lambda: bench.begun().keys() == {"0.1", "1.1"}, engine)
        engine.stop(_GRACE)
        assert engine.alive() == 0
        assert [handle.poll() for _, handle in launcher.started] == [0, 0]
        assert [(trial.state, trial.lost) for trial in bench.trials()] == [(TrialState.PENDING, 0)] * 2

    def test_stop_kills_a_worker_that_ignores_the_request_and_releases_its_trial(self, bench: EngineBench) -> None:
        here = str(bench.directory)

        def train(_trial: Any) -> None:
            import contextlib
            import time

            open(f"{here}/deaf", "w").close()
            while True:
                with contextlib.suppress(BaseException):
                    time.sleep(0.01)

        engine, launcher = bench.engine(trainer_of(train))
        engine.start(1)
        bench.until((bench.directory / "deaf").exists, engine)
        engine.stop(0.2)
        assert launcher.started[0][1].poll() is not None
        assert bench.outcomes() == [("pending", 1)]

    def test_another_engine_joins_a_study_and_leaves_it(self, bench: EngineBench) -> None:
        train = function_that_waits(bench.directory)
        (first, _), (second, _) = bench.engine(train, name=lambda _: "first"), bench.engine(train, name=lambda _: "second")
        bench.hold()
        first.start(1)
        bench.until(lambda: "0.1" in bench.begun(), first)
        second.start(1)
        bench.until(lambda: "1.1" in bench.begun(), first, second)
        second.stop(_GRACE)
        assert bench.outcomes() == [("running", 1), ("pending", 1)]
        bench.let_go()
        bench.until(lambda: first.alive() == 0, first)
        assert bench.outcomes() == [("completed", 1), ("completed", 2), ("completed", 1), ("completed", 1)]
        assert [bench.begun()[attempt]["worker"] for attempt in ("0.1", "1.1", "1.2")] == ["first", "second", "first"]

    def test_devices_are_dealt_out_among_workers(self, bench: EngineBench) -> None:
        engine, _ = bench.engine(function_that_waits(bench.directory), devices=("4", "5", "6", "7"))
        bench.hold()
        engine.start(2)
        bench.until(lambda: len(bench.begun()) == 2, engine)
        assert {each["worker"]: each["devices"] for each in bench.begun().values()} == {"0": ["4", "5"], "1": ["6", "7"]}

    def test_the_lease_of_a_running_worker_is_renewed(self, bench: EngineBench) -> None:
        bench.redefine(engine={"lease": _LEASE})
        engine, _ = bench.engine(function_that_waits(bench.directory), lease=_LEASE)
        bench.hold()
        engine.start(1)
        bench.until(lambda: "0.1" in bench.begun(), engine)
        first = bench.trials()[0].lease_until or 0.0
        bench.until(lambda: (bench.trials()[0].lease_until or 0.0) > first + _LEASE, engine)

    def test_a_trainer_that_can_not_be_made_is_one_error_with_its_cause(self, bench: EngineBench) -> None:
        def make(*, cwd: Path) -> Any:
            raise ImportError("no such driver")

        engine, _ = bench.engine(make)
        engine.start(2)
        with pytest.raises(WorkerError, match="ImportError: no such driver"):
            bench.until(lambda: engine.alive() == 0, engine)

    def test_workers_that_die_while_they_start_end_the_engine(self, bench: EngineBench) -> None:
        def make(*, cwd: Path) -> Any:
            os.write(1, b"out of luck\n")
            os._exit(3)

        engine, launcher = bench.engine(make)
        engine.start(1)
        with pytest.raises(WorkerError, match="3 workers in a row died while they started: exit status 3\nout of luck"):
            bench.until(lambda: engine.alive() == 0, engine)
        assert len(launcher.started) == 3

    def test_records_that_a_worker_logs_are_logged_here_with_their_fields(
        self, bench: EngineBench, caplog: pytest.LogCaptureFixture
    ) -> None:
        def train(trial: Any) -> dict[str, float]:
            import logging

            fields = {"study": "bench", "trial": trial.number, "worker": trial.worker}
            print("no end of line", end="", flush=True)
            logging.getLogger("broodline.test").info("hello from %d", trial.number, extra=fields)
            (trial.save_to / "weights").write_text("1")
            return {"score": 1.0}

        caplog.set_level(logging.INFO, "broodline")
        engine, _ = bench.engine(trainer_of(train))
        engine.start(1)
        bench.until(lambda: engine.alive() == 0, engine)
        records = [record for record in caplog.records if record.name == "broodline.test"]
        assert [record.getMessage() for record in records] == [f"hello from {number}" for number in range(4)]
        assert [(r.__dict__["study"], r.__dict__["trial"], r.__dict__["worker"]) for r in records] == [
            ("bench", number, "0") for number in range(4)
        ]


class StoppedWorkersContract(_WithBench):
    """The contract of an engine that knows when a worker is stopped (SIGSTOP) and does not run."""

    @abstractmethod
    def stop_running(self, handle: Handle) -> None:
        """Stops a worker as SIGSTOP does: it lives on."""

    def test_a_stopped_worker_loses_its_trial_after_its_lease(self, bench: EngineBench) -> None:
        bench.redefine(engine={"lease": _LEASE}, budget={"trials": 1})
        engine, launcher = bench.engine(function_that_waits(bench.directory), lease=_LEASE)
        other = WorkerSession(worker="other", session="other")
        bench.hold()
        engine.start(1)
        bench.until(lambda: "0.1" in bench.begun(), engine)
        self.stop_running(launcher.started[0][1])
        bench.until(lambda: launcher.started[0][1].is_stopped, engine)

        def other_has_it() -> bool:
            answer = bench.client.ask(bench.study.name, other)
            return isinstance(answer, Start) and (answer.trial.number, answer.trial.attempt) == (0, 2)

        bench.until(other_has_it, engine)
