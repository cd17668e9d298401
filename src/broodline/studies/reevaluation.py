"""Re-evaluates the best trials: the best of many noisy scores is too high, because its noise helped it to be the best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial
from broodline.errors import CheckpointError, CheckpointUnavailable, TrialFailed, UsageError

if TYPE_CHECKING:
    from broodline.config.programs import Evaluate, Train
    from broodline.config.study_file import StudyFile
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


def programs_of(file: StudyFile | None) -> tuple[Train, Evaluate]:
    """The training and the evaluation program of a study file.

    Raises:
        UsageError: There is no study file, or it has no [evaluate].
    """
    if file is None:
        raise UsageError("--reevaluate needs a study file, for its [evaluate]\nhelp: give STUDY.toml in place of a name")
    if file.train is None or file.evaluate is None:
        raise UsageError(
            f"{file.path}: [evaluate]: is missing, and --reevaluate runs it\n"
            'help: add [evaluate] command = ["python", "evaluate.py"]; it reads the checkpoint in BROODLINE_RESTORE'
        )
    return file.train, file.evaluate


def reevaluated(
    study: StudyConfig, trials: Sequence[Trial], *, files: StudyFiles, programs: tuple[Train, Evaluate], cwd: Path, times: int
) -> Iterator[Again]:
    """Evaluates the checkpoints of trials again, with fresh seeds, and yields each result at once.

    Args:
        study: The study.
        trials: Completed trials.
        files: The files of the study.
        programs: The training and the evaluation program.
        cwd: Their working directory.
        times: The number of evaluations of each trial.

    Raises:
        UsageError: A checkpoint was deleted, or the program failed.
    """
    for trial in trials:
        if trial.checkpoint is None:
            raise UsageError(
                f"the checkpoint of trial {trial.number} was deleted\n"
                "help: evaluate fewer trials, or keep more checkpoints: [checkpoints] keep_best"
            )
        seeds = Random(f"broodline reevaluation {study.seed} {trial.number}")
        try:
            checkpoint = files.checkpoints.open(trial.checkpoint)
            metrics = [_metrics(trial.evolve(seed=seeds.getrandbits(31)), checkpoint, programs, cwd) for _ in range(times)]
        except (TrialFailed, CheckpointError, CheckpointUnavailable, OSError) as error:
            output = f"\n{error.output}" if isinstance(error, TrialFailed) else ""
            raise UsageError(f"trial {trial.number} can't be evaluated: {error}{output}") from error
        yield Again(trial=trial, fitnesses=tuple(_fitness(study, trial, each) for each in metrics))


def _metrics(trial: Trial, checkpoint: Path, programs: tuple[Train, Evaluate], cwd: Path) -> Mapping[str, Any]:
    from tempfile import TemporaryDirectory

    from broodline.workers.trainers.base import Assignment
    from broodline.workers.trainers.environment import facts
    from broodline.workers.trainers.output import log_file
    from broodline.workers.trainers.program_run import evaluated, evaluation, free_port

    train, evaluate = programs
    with TemporaryDirectory(prefix="broodline-") as scratch, log_file(Path(scratch) / "log") as log:
        assignment = Assignment(
            trial=trial,
            restore=None,
            save=checkpoint,
            log=Path(scratch) / "log",
            worker=trial.worker or "0",
            devices=(),
            report=lambda _measurement: None,
        )
        environment = facts(assignment, port=free_port())
        return evaluated(evaluation(evaluate, train, cwd), assignment, environment, log, step=trial.end)


def _fitness(study: StudyConfig, trial: Trial, metrics: Mapping[str, Any]) -> tuple[float, ...]:
    measurement = Measurement(step=trial.end, metrics={**(trial.metrics or {}), **metrics})
    fitness = study.objective.fitness([measurement])
    if fitness is None:
        raise TrialFailed(study.objective.problem([measurement]) or "it has no fitness")
    return fitness
