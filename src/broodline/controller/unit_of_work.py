"""What one call of a worker does inside of its transaction: the decisions of other modules, carried out on the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from broodline.config.study import study_from
from broodline.controller.client import Answer, Done, Signal, Start, Wait, WorkerSession
from broodline.controller.sweep import no_longer_needed
from broodline.core import lifecycle
from broodline.core.early_stopping import reason_to_stop, scores
from broodline.core.next_trial import SampleInitial, next_trial, program_seed, rerooted
from broodline.core.population import End, NewTrial, Pause, Progress, Resume, StudyState
from broodline.core.retention import keeps_for_good
from broodline.core.strategy import Strategy
from broodline.core.study import Evolution, Retention, StudyConfig
from broodline.core.trial import Measurement, Score, Trial, TrialState
from broodline.errors import StudyNotFound
from broodline.storage.base import Transaction

StrategyOf = Callable[[Evolution], Strategy]

_ANCESTORS = 100  # how far back a whole checkpoint is looked for
_FITTEST = 100  # among how many of the fittest trials one is looked for that has its checkpoint
_PEERS = 2  # trials a member, among which those are looked for that a trial is compared with at a step
_NOTHING_TO_GO_ON_FROM = "the checkpoint from which it was to go on is damaged; make another continuation, under another --name"


class SlowDecision(Exception):
    """A decision takes longer than the lock may be held."""


def not_now(*_: Any) -> NewTrial:
    """In the place of a strategy's `sample_initial`, where that would take too long."""
    raise SlowDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecomputedDecision:
    """How a member would begin, decided outside of the lock, and the version of the study for which that holds."""

    version: tuple[StudyConfig, int, int]
    new_trial: NewTrial | None


class UnitOfWork:
    """What one call does inside of its transaction."""

    def __init__(self, transaction: Transaction, strategy_of: StrategyOf) -> None:
        self.study = study_from(transaction.definition())
        self._tx, self.strategy = transaction, strategy_of(self.study.evolution)
        self._saved = transaction.progress()
        self._progress = _touched(self._saved, transaction.now, self.study.limits.lease)
        self.deleted: list[str] = []

    def held_by(self, identity: WorkerSession) -> Trial | None:
        """The trial that the asker holds; if it held one in another session, that life has ended, and the trial is taken back."""
        held = self._tx.held_by(identity.worker)
        if held is None or held.session == identity.session:
            return held
        self._lose(held)
        return None

    @property
    def _version(self) -> tuple[StudyConfig, int, int]:
        return self.study, self._progress.trials, self._progress.finished

    def precomputed(self, identity: WorkerSession) -> PrecomputedDecision:
        """How a member begins, if this worker's next ask leads to that."""
        decision = next_trial(self.study, self._progress, self._tx, strategy=self.strategy, worker=identity.worker)
        new_trial = decision if isinstance(decision, NewTrial) and decision.initiator is None else None
        return PrecomputedDecision(version=self._version, new_trial=new_trial)

    def as_precomputed(self, precomputed: PrecomputedDecision) -> SampleInitial:
        """Begins a member as it was foreseen; where the study has gone on since then, not now."""
        new_trial = precomputed.new_trial if precomputed.version == self._version else None
        return not_now if new_trial is None else lambda *_: new_trial

    def answer(self, identity: WorkerSession, held: Trial | None, *, sample_initial: SampleInitial | None = None) -> Answer:
        for trial in self._tx.running_until(self._tx.now):
            if held is None or trial.number != held.number:  # who asks is alive
                self._lose(trial)
        decision = next_trial(
            self.study,
            self._progress,
            self._tx,
            strategy=self.strategy,
            worker=identity.worker,
            held=held,
            sample_initial=sample_initial,
        )
        match decision:
            case NewTrial():
                return self._start(self._saved_new_trial(decision, identity))
            case Resume(trial=trial):
                return self._start(self._resumed(trial, identity))
            case Pause():
                # Nothing is written for one who waits, or all who wait would wake each other.
                self._progress = self._progress.evolve(elapsed=self._saved.elapsed, touched=self._saved.touched)
                return Wait(delete=tuple(self.deleted))
            case End(reason=reason):
                self._leave_out_a_rest()
                if held is not None and held.state is TrialState.RUNNING:  # called back; who is done tells nothing more
                    self._tx.update(lifecycle.release(held))
                return Done(reason=reason, delete=tuple(self.deleted))

    def report(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> Signal:
        trial = self._trial(number)
        lifecycle.check_unfinished(trial, attempt)
        told = self._measured(trial, measurements)
        if trial.state is TrialState.RUNNING:
            trial = trial.evolve(reason=trial.reason or self._reason_to_stop(trial, told))
            self._renew(trial)
        if self._progress.state in (StudyState.STOPPED, StudyState.FAILED):
            return Signal.RELEASE
        # Who was told to stop is told so again, however others do meanwhile: the answer may have been lost.
        return Signal.STOP if trial.state is TrialState.RUNNING and trial.reason else Signal.CONTINUE

    def damaged(self, number: int, attempt: int, parent: int, identity: WorkerSession) -> Answer:
        trial = self._trial(number)
        lifecycle.check_unfinished(trial, attempt)
        if trial.parent == parent:  # else it was told before
            self._tx.update(self._trial(parent).evolve(checkpoint=None, kept=False))
            independent_lineages = self.strategy.independent_lineages
            other = self._in_place_of(parent, independent_lineages=independent_lineages)
            if other is None and self._trial(0).is_copy:
                self.end(StudyState.FAILED, _NOTHING_TO_GO_ON_FROM)
                return self.answer(identity, held=trial)
            again = rerooted(self.study, trial, other, independent_lineages=independent_lineages)
            self._tx.update(again)
            self._progress = self._progress.evolve(steps=self._progress.steps + again.steps - trial.steps)
        return self.answer(identity, held=self._trial(number))

    def complete(self, number: int, attempt: int, measurements: Sequence[Measurement], checkpoint: str) -> None:
        before = self._trial(number)
        if before.state is TrialState.COMPLETED and before.attempt == attempt:
            return
        lifecycle.check_attempt(before, attempt)
        reported = self._reported(number, attempt, measurements)
        if problem := self.study.objective.problem(reported):
            self.deleted.append(checkpoint)
            self._fail(before, attempt, measurements, problem, "")
            return
        self._measured(before, measurements)
        last = reported[-1]
        fitness = self.study.objective.fitness(reported)
        assert fitness is not None
        done = lifecycle.complete(
            before,
            attempt=attempt,
            now=self._tx.now,
            steps=last.step - before.start,
            metrics=last.metrics,
            fitness=fitness,
            checkpoint=checkpoint,
        )
        self._finish(before, done.evolve(kept=keeps_for_good(self.study.checkpoints, done)))

    def fail(self, number: int, attempt: int, measurements: Sequence[Measurement], reason: str, output: str) -> None:
        self._fail(self._trial(number), attempt, measurements, reason, output)

    def stop(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> None:
        before = self._trial(number)
        if before.state is TrialState.STOPPED and before.attempt == attempt:  # told twice
            return
        reported = self._reported(number, attempt, measurements)
        last = reported[-1] if reported else Measurement(step=before.start, metrics={})
        after = lifecycle.stop(
            before,
            attempt=attempt,
            now=self._tx.now,
            steps=max(0, last.step - before.start),
            reason=before.reason or "stopped early",
            metrics=last.metrics,
        )
        self._measured(before, measurements)
        self._finish(before, after)

    def _reported(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
        """As much of all that the attempt reported, these last, as deciding its fitness takes."""
        enough = len(measurements) >= self.study.objective.measurements_needed
        return measurements if enough else (*self._tx.measurements(number, attempt), *measurements)

    def _measured(self, trial: Trial, measurements: Sequence[Measurement]) -> list[Score]:
        """Adds what the trial's present attempt measured; returns its scores, of a study that stops trials early."""
        earlier: Sequence[Measurement] = ()
        if self.study.stopping is not None and self.study.objective.measurements_needed > 1:
            earlier = self._tx.measurements(trial.number, trial.attempt)
        self._tx.add_measurements(trial.number, trial.attempt, measurements)
        if self.study.stopping is None:
            return []
        told = scores(self.study.objective, [*earlier, *measurements], after=len(earlier))
        self._tx.add_scores(trial.number, trial.attempt, told)
        return told

    def _reason_to_stop(self, trial: Trial, told: Sequence[Score]) -> str | None:
        rule = self.study.stopping
        if rule is None or not told:
            return None
        peer_scores = self._tx.peer_scores(told[-1].step, _PEERS * self.study.population)
        return reason_to_stop(rule, trial, told[-1], peer_scores)

    def renew(self, sessions: Sequence[str]) -> None:
        for trial in self._tx.running_in(sessions):
            self._renew(trial)

    def release(self, sessions: Sequence[str], *, lost: bool) -> None:
        for trial in self._tx.running_in(sessions):
            self._lose(trial) if lost else self._tx.update(lifecycle.release(trial))

    def redefine(self, study: StudyConfig, text: str) -> None:
        if text != self._tx.definition():
            self._tx.redefine(text)
        if study.checkpoints != self.study.checkpoints:
            self._keep_what_is_there(study.checkpoints)
        self._progress = self._progress.evolve(state=StudyState.ACTIVE, reason=None, failures=0)
        self._leave_out_a_rest()

    def _keep_what_is_there(self, retention: Retention) -> None:
        """Keeps for good, from now on, what new rules keep; what older ones kept stays until `broodline gc` is asked to look."""
        for checkpoint in self._tx.checkpoints():
            trial = self._trial(checkpoint.trial)
            if keeps_for_good(retention, trial):
                self._tx.update(trial.evolve(kept=True))

    def _leave_out_a_rest(self) -> None:
        """Takes back the time since the last call if nobody has trained since, however short it was."""
        if self._progress.finished == self._saved.finished and not self._tx.any_running():
            self._progress = self._progress.evolve(elapsed=self._saved.elapsed)

    def end(self, state: StudyState, reason: str) -> None:
        self._leave_out_a_rest()
        self._progress = self._progress.evolve(state=state, reason=reason)

    def save(self) -> None:
        if self._progress != self._saved:
            self._tx.save_progress(self._progress)

    def _lose(self, trial: Trial) -> None:
        after = lifecycle.lose(trial, now=self._tx.now, max_lost=self.study.limits.max_lost)
        if after.state.finished:
            self._finish(trial, after)
        else:
            self._tx.update(after)

    def _saved_new_trial(self, new_trial: NewTrial, identity: WorkerSession) -> Trial:
        number = self._progress.trials
        trial = Trial(
            number=number,
            steps=self.study.trial_steps if new_trial.steps is None else new_trial.steps,
            seed=program_seed(self.study.seed, number) if new_trial.seed is None else new_trial.seed,
            created=self._tx.now,
            **{name: getattr(new_trial, name) for name in NewTrial.__slots__ if name not in ("steps", "seed")},
        )
        leased = self._leased(trial, identity)
        self._tx.insert(leased)
        if new_trial.initiator is not None:
            self._tx.update(self._trial(new_trial.initiator).evolve(child=number))
        self._progress = self._progress.evolve(trials=number + 1, steps=self._progress.steps + trial.steps)
        return leased

    def _resumed(self, trial: Trial, identity: WorkerSession) -> Trial:
        now, seconds = self._tx.now, self.study.limits.lease
        running = trial.state is TrialState.RUNNING
        leased = lifecycle.renew(trial, now=now, seconds=seconds) if running else self._leased(trial, identity)
        self._tx.update(leased)
        return leased

    def _leased(self, trial: Trial, identity: WorkerSession) -> Trial:
        return lifecycle.lease(
            trial, worker=identity.worker, session=identity.session, now=self._tx.now, seconds=self.study.limits.lease
        )

    def _start(self, trial: Trial) -> Start:
        restore = None if trial.parent is None else self._trial(trial.parent).checkpoint
        return Start(trial=trial, restore=restore, delete=tuple(self.deleted))

    def _renew(self, trial: Trial) -> None:
        self._tx.update(lifecycle.renew(trial, now=self._tx.now, seconds=self.study.limits.lease))

    def _fail(self, before: Trial, attempt: int, measurements: Sequence[Measurement], reason: str, output: str) -> None:
        if before.attempt == attempt and before.reason == reason:  # told twice
            return
        reported = self._reported(before.number, attempt, measurements)
        after = lifecycle.fail(
            before,
            attempt=attempt,
            now=self._tx.now,
            reason=reason,
            output=output,
            retries=self.study.limits.retries,
            metrics=reported[-1].metrics if reported else None,
        )
        if after is before:  # told twice, or lost meanwhile: it has failed for another reason
            return
        self._measured(before, measurements)
        if after.state.finished:
            self._finish(before, after)
        else:
            self._tx.update(after)

    def _finish(self, before: Trial, after: Trial) -> None:
        if after is before:  # told twice
            return
        self._tx.update(after)
        self._progress = _counted(self.study, self._progress, before, after)
        self.deleted += no_longer_needed(self._tx, self.study.checkpoints, after)

    def _in_place_of(self, damaged: int, *, independent_lineages: bool) -> Trial | None:
        """Whom to start from instead: the nearest ancestor that has its checkpoint, or the fittest trial that has.

        Where lineages are separate, nobody but an ancestor will do.
        """
        ancestor = self._trial(damaged)
        for _ in range(_ANCESTORS):
            if ancestor.parent is None:
                break
            ancestor = self._trial(ancestor.parent)
            if ancestor.can_be_parent:
                return ancestor
        if independent_lineages:
            return None
        # Nearly always the first of these is whole; those that are kept for good are found nowhere else.
        if fittest := next((trial for trial in self._tx.best(_FITTEST) if trial.can_be_parent), None):
            return fittest
        held = [self._trial(checkpoint.trial) for checkpoint in self._tx.checkpoints()]
        whole = [trial for trial in held if trial.can_be_parent]
        return min(whole, key=lambda trial: (tuple(-value for value in trial.fitness or ()), trial.number), default=None)

    def _trial(self, number: int) -> Trial:
        trial = self._tx.trial(number)
        if trial is None:
            raise StudyNotFound(f"study '{self.study.name}' has no trial {number}")
        return trial


def _touched(progress: Progress, now: float, lease: float) -> Progress:
    """The progress with the time since the last call added: a study that nobody trained for longer than a lease was resting."""
    since = 0.0 if progress.touched is None else now - progress.touched
    active = since if 0 <= since <= lease else 0.0
    return progress.evolve(elapsed=progress.elapsed + active, touched=now)


def _counted(study: StudyConfig, progress: Progress, before: Trial, after: Trial) -> Progress:
    """The progress after a trial finished; the study fails if its first trials all did."""
    completed = progress.completed + (after.state is TrialState.COMPLETED)
    failures = progress.failures + (after.state is TrialState.FAILED and not completed)
    progress = progress.evolve(
        finished=progress.finished + 1,
        completed=completed,
        failures=failures,
        steps=progress.steps + after.steps - before.steps,
    )
    limit = study.limits.max_failures or min(study.population, 5)
    if completed or failures < limit or progress.state is StudyState.FAILED:
        return progress
    told = f": {after.reason}" + (f"\n{after.output}" if after.output else "")
    return progress.evolve(state=StudyState.FAILED, reason=f"the first {failures} trials all failed, the last one{told}")
