"""Re-evaluates the best trials: the best of many noisy scores is too high, because its noise helped it to be the best."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from broodline.config.study import study_from
from broodline.core.objective import fittest, front
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import CheckpointError, CheckpointUnavailable, TrialFailed, UsageError
from broodline.studies.trainer import TrainerSetup, setup_of
from broodline.studies.worker_environment import environment_of_worker
from broodline.workers.likeness import likeness
from broodline.workers.trainers.base import Assignment, Trainer

if TYPE_CHECKING:
    from broodline.config.programs import Evaluate, Train
    from broodline.config.study_file import StudyFile
    from broodline.storage.base import Transaction
    from broodline.storage.location import StudyLocation
    from broodline.storage.study_files import StudyFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The re-evaluation of one trial.

    Args:
        trial: The trial.
        fitnesses: The fitness of each evaluation.
    """

    trial: Trial
    fitnesses: tuple[tuple[float, ...], ...]

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean fitness, one value per goal."""
        return tuple(fmean(values) for values in zip(*self.fitnesses, strict=True))

    @property
    def spread(self) -> tuple[float, ...]:
        """The standard deviation of the fitness, one value per goal; 0 after a single evaluation."""
        return tuple(stdev(values) if len(values) > 1 else 0.0 for values in zip(*self.fitnesses, strict=True))

    def document(self) -> dict[str, Any]:
        """As a JSON value, to add to the fields of the trial."""
        mean, spread = (values[0] if len(values) == 1 else list(values) for values in (self.mean, self.spread))
        return {"times": len(self.fitnesses), "mean": mean, "spread": spread}


Evaluation = Callable[[Trial, Path], Mapping[str, Any]]
"""Evaluates a checkpoint with the seed of a trial, and returns the metrics."""


def restorable(records: Transaction, count: int) -> tuple[Trial, ...]:
    """The fittest completed trials that have their checkpoint, the fittest first; most checkpoints are deleted in time.

    Raises:
        UsageError: No completed trial has its checkpoint.
    """
    study = study_from(records.definition())
    saved = [trial for trial in records.trials() if trial.can_be_parent]
    found = (front if len(study.objective.goals) > 1 and not study.objective.weighted else fittest)(saved)[:count]
    if not found:
        raise UsageError(f"study '{study.name}': no completed trial has its checkpoint, so there is nothing to evaluate")
    return tuple(found)


@contextmanager
def evaluation_of(file: StudyFile | None, study: StudyConfig, files: StudyFiles) -> Iterator[Evaluation]:
    """How the programs of a study file evaluate a checkpoint: by [evaluate], or by a resident program with 0 steps to train.

    Args:
        file: The study file, whose [engine] names the devices and threads of the programs.
        study: The study.
        files: Its files.

    Raises:
        UsageError: There is no study file, it has neither program, or a device is not visible here.
    """
    if file is None:
        raise UsageError(
            "--reevaluate needs a study file, for its [evaluate] or its resident program\n"
            "help: give STUDY.toml in place of a name; a study of a Python function: call study.reevaluate(train)"
        )
    if file.train is not None and file.evaluate is not None:
        with environment_of_worker(file.engine, files=files, workers=study.workers) as devices:
            yield partial(_by_program, (file.train, file.evaluate), file.folder, devices)
        return
    if file.train is None or not file.train.resident:
        raise UsageError(
            f"{file.path}: [evaluate]: is missing, and --reevaluate runs it\n"
            'help: add [evaluate] command = ["python", "evaluate.py"]; it reads the checkpoint in BROODLINE_RESTORE'
        )
    with through_trainer(setup_of(file), study, files) as evaluate:
        yield evaluate


@contextmanager
def through_trainer(setup: TrainerSetup, study: StudyConfig, files: StudyFiles) -> Iterator[Evaluation]:
    """Evaluates a checkpoint by a trial of 0 steps: the program restores, evaluates and reports.

    Args:
        setup: The trainer, and its devices and threads.
        study: The study.
        files: Its files.

    Raises:
        UsageError: A device is not visible here.
    """
    # The environment first: a resident program inherits it, and a function may load its framework at the first call.
    with (
        environment_of_worker(setup.engine, files=files, workers=study.workers) as devices,
        closing(setup.trainer()) as trainer,
    ):
        yield partial(_by_trainer, trainer, devices)


def reevaluated_by(setup: TrainerSetup, location: StudyLocation, name: str, *, count: int, times: int) -> tuple[Again, ...]:
    """Evaluates the fittest trials of a study again, through a trainer.

    Args:
        setup: The trainer, and its devices and threads.
        location: The store and the files of the study.
        name: Its name.
        count, times: The number of trials, and of evaluations of each.

    Raises:
        UsageError: As in `restorable` and `reevaluated`.
        StudyNotFound: The study does not exist.
    """
    with location.records(name) as records:
        study, found = study_from(records.definition()), restorable(records, count)
    files = location.files_of(name)
    with through_trainer(setup, study, files) as evaluate:
        return tuple(reevaluated(study, found, files=files, evaluate=evaluate, times=times))


def reevaluated(
    study: StudyConfig, trials: Sequence[Trial], *, files: StudyFiles, evaluate: Evaluation, times: int
) -> Iterator[Again]:
    """Evaluates the checkpoints of trials again, with fresh seeds, and yields each result at once.

    Args:
        study: The study.
        trials: Completed trials that have their checkpoint.
        files: The files of the study.
        evaluate: Evaluates one checkpoint.
        times: The number of evaluations of each trial.

    Raises:
        UsageError: A checkpoint can't be read, or the program failed.
    """
    for trial in trials:
        assert trial.checkpoint is not None
        # They depend on the study and the trial alone: a repeated command evaluates with the same seeds.
        seeds = Random(f"broodline reevaluation {study.seed} {trial.number}")
        try:
            checkpoint = files.checkpoints.open(trial.checkpoint)
            metrics = [evaluate(_again(trial, seeds.getrandbits(31)), checkpoint) for _ in range(times)]
        except (TrialFailed, CheckpointError, CheckpointUnavailable, OSError) as error:
            output = f"\n{error.output}" if isinstance(error, TrialFailed) else ""
            raise UsageError(f"trial {trial.number} can't be evaluated: {error}{output}") from error
        yield Again(trial=trial, fitnesses=tuple(_fitness(study, trial, each) for each in metrics))


def _again(trial: Trial, seed: int) -> Trial:
    """The trial, with another seed, and with a session of its own: the worker that trained it may live.

    Programs are found by their session. When that worker ends, it kills all programs of its session.
    """
    return trial.evolve(seed=seed, session=uuid.uuid4().hex)


def _by_trainer(trainer: Trainer, devices: tuple[str, ...], trial: Trial, checkpoint: Path) -> Mapping[str, Any]:
    with TemporaryDirectory(prefix="broodline-") as scratch:
        save = Path(scratch) / "save"
        save.mkdir()
        again = trial.evolve(start=trial.end, steps=0, state=TrialState.RUNNING, attempt=1, parent=trial.number)
        last = trainer.train(_assignment(again, restore=checkpoint, save=save, log=Path(scratch) / "log", devices=devices))[-1]
        if last.step > trial.end or _trained(checkpoint, save):
            raise TrialFailed(
                "the program trained, though it was asked for 0 steps: add [evaluate], "
                "or train the number of steps that is asked for ({steps}, BROODLINE_STEPS, trial.steps)"
            )
        return last.metrics


def _trained(checkpoint: Path, save: Path) -> bool:
    """True if a run of 0 steps saved other weights; one that saves none has only evaluated."""
    return any(save.iterdir()) and likeness(checkpoint, save) is None


def _by_program(
    programs: tuple[Train, Evaluate], cwd: Path, devices: tuple[str, ...], trial: Trial, checkpoint: Path
) -> Mapping[str, Any]:
    from broodline.workers.trainers.environment import facts
    from broodline.workers.trainers.output import log_file
    from broodline.workers.trainers.program_run import evaluated, evaluation, free_port

    train, evaluate = programs
    with TemporaryDirectory(prefix="broodline-") as scratch, log_file(Path(scratch) / "log") as log:
        assignment = _assignment(trial, restore=None, save=checkpoint, log=Path(scratch) / "log", devices=devices)
        environment = facts(assignment, port=free_port())
        return evaluated(evaluation(evaluate, train, cwd), assignment, environment, log, step=trial.end)


def _assignment(trial: Trial, *, restore: Path | None, save: Path, log: Path, devices: tuple[str, ...]) -> Assignment:
    return Assignment(
        trial=trial,
        restore=restore,
        save=save,
        log=log,
        worker=trial.worker or "0",
        devices=devices,
        report=lambda _measurement: None,
    )


def _fitness(study: StudyConfig, trial: Trial, metrics: Mapping[str, Any]) -> tuple[float, ...]:
    # A goal that the evaluation does not measure, such as the cost of training, keeps its recorded value.
    measurement = Measurement(step=trial.end, metrics={**(trial.metrics or {}), **metrics})
    fitness = study.objective.fitness([measurement])
    if fitness is None:
        raise TrialFailed(study.objective.problem([measurement]) or "it has no fitness")
    return fitness
