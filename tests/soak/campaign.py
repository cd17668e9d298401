"""Plays one study through many faults, checks it after each round, and reports."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from soak.fault_injector import PATIENCE, FaultInjector
from soak.log_checker import Verdict
from soak.observer import Observer, problems_after_end, records_of, verdict_on
from soak.phase_log import PHASES
from soak.stage import Stage

ROUND = 500  # trials; then the study is checked, and resumes with a larger budget
JOINED = 2
PACE = 3  # completions between two faults, or PATIENCE seconds

Fault = Callable[[], None]


@dataclass(kw_only=True)
class Campaign:
    """One study under faults.

    Args:
        stage: The study and its processes.
        injector: Injects the faults.
        faults: Faults that are injected once each, next to kills of workers.
        trials: The least budget.
        enough: The least number of kills in each phase.
        show: Prints a line.
    """

    stage: Stage
    injector: FaultInjector
    faults: list[Fault]
    trials: int
    enough: int
    show: Callable[[str], None]
    observer: Observer = field(init=False)
    verdict: Verdict = field(default_factory=Verdict, init=False)
    seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.observer = Observer(self.stage)

    def play(self) -> Verdict:
        """Runs rounds until each phase and fault has had its share or a check fails; checks everything after each round."""
        began, allowed = time.monotonic(), 0
        try:
            with self.observer.looking():
                while not self._is_over(allowed):
                    allowed += min(ROUND, self.trials)
                    self._round(allowed)
                    self.seconds = time.monotonic() - began
                    self.show(
                        f"{self.stage.database.name}: {allowed} trials, {self.injector.kills.total()} kills, "
                        f"{len(self.faults)} faults left, {self.seconds:.0f} s"
                    )
            self.show(report_of(self))
        finally:
            self.stage.kill_everything()
        return self.verdict

    def assert_clean(self) -> None:
        """Requires that nothing was lost, that no rule was broken, and that all faults were injected."""
        assert self.verdict.clean, "\n".join([*self.verdict.lost, *self.verdict.retrained, *self.verdict.breaches])
        assert self.verdict.acknowledged >= 0.9 * self.trials
        assert not self.faults, f"{len(self.faults)} faults were not injected"
        assert not self.missing, f"too few kills: {self.missing}"

    @property
    def missing(self) -> dict[str, int]:
        """The phases with too few kills."""
        return {phase: hits for phase in PHASES if (hits := self.injector.hits(phase)) < self.enough}

    def _round(self, allowed: int) -> None:
        self.stage.allow(allowed)
        self.stage.start()
        assert self.stage.completes(1), "nothing was completed"
        inject(self.stage, self.injector, self.faults)
        left = problems_after_end(self.stage)
        self.verdict = verdict_on(self.stage, self.observer)
        self.verdict.breaches += left

    def _is_over(self, allowed: int) -> bool:
        enough = allowed >= self.trials and not self.missing and not self.faults
        return enough or not self.verdict.clean or allowed >= 5 * self.trials


def faults_of(injector: FaultInjector, *, may_fill: bool = False, share: float = 1.0, more: Sequence[Fault] = ()) -> list[Fault]:
    """The faults other than kills of workers, in random order.

    Args:
        injector: Injects them.
        may_fill: The study has a disk of its own, which may be filled.
        share: The part of the usual number, from 0 to 1.
        more: Further faults.
    """
    numbers: dict[Fault, int] = {
        injector.kill_a_trainer: 25,
        injector.kill_the_run: 8,
        injector.kill_everything: 12,
        injector.kill_a_clean_up: 12,
        injector.kill_a_joined_worker: 8,
        injector.pause_a_worker: 4,
        injector.pause_a_trainer: 3,
        injector.pause_the_run: 4,
        injector.pause_everything: 3,
        injector.lock_the_database: 1,
        injector.fill_the_disk: 3 if may_fill else 0,
    }
    faults = [fault for fault, number in numbers.items() for _ in range(number)]
    chosen = [*injector.rng.sample(faults, round(share * len(faults))), *more]
    injector.rng.shuffle(chosen)
    return chosen


def inject(stage: Stage, injector: FaultInjector, faults: list[Fault]) -> None:
    """Injects faults until the run is done; starts a killed run again."""
    while True:
        if stage.run is None or stage.run.poll() == -signal.SIGKILL:
            stage.start()
        run = stage.run
        assert run is not None
        if (status := run.poll()) == 0:
            return
        assert status is None, f"the run ended by itself with status {status}:\n{stage.printed[-3000:]}"
        stage.joined = [joined for joined in stage.joined if not _has_left(joined, stage)]
        while len(stage.joined) < JOINED:
            stage.join()
        fault = faults.pop() if faults and injector.rng.random() < 0.5 else injector.kill_a_worker
        fault()
        if run.poll() == 0:  # the fault may have killed a worker that no process looks after any more
            stage.start()
        stage.completes(PACE, seconds=PATIENCE)


def _has_left(joined: subprocess.Popen[bytes], stage: Stage) -> bool:
    """True if a worker that joined has ended; it may end with the study, by a kill, or because it was refused."""
    said = (stage.notes / "joined.out").read_text(errors="replace")
    assert joined.poll() in (None, 0, 2, -signal.SIGKILL), f"a worker that joined ended with {joined.poll()}:\n{said[-3000:]}"
    return joined.poll() is not None


def report_of(campaign: Campaign) -> str:
    """The report of a whole campaign."""
    injector, observer, verdict, stage = campaign.injector, campaign.observer, campaign.verdict, campaign.stage
    victims = sorted({victim for victim, _ in injector.kills})
    phases = [*PHASES, *sorted({phase for _, phase in injector.kills} - set(PHASES))]
    table = [["killed in", *victims, "all"]]
    table += [[phase, *(str(injector.kills[victim, phase]) for victim in victims), str(injector.hits(phase))] for phase in phases]
    table += [
        ["all", *(str(sum(injector.kills[victim, phase] for phase in phases)) for victim in victims), str(injector.kills.total())]
    ]
    ends = Counter(f"{record['state']} {record['reason'] or ''}".strip() for record in records_of(stage))
    return "\n".join(
        (
            f"{stage.kind} in {stage.database.name}: {campaign.seconds:.0f} s, {stage.runs} runs",
            *("".join(f"{cell:>16}" for cell in row) for row in table),
            "faults: " + ", ".join(f"{fault} {count}" for fault, count in sorted(injector.faults.items())),
            "trials: " + ", ".join(f"{count} {end}" for end, count in ends.most_common()),
            f"observed {observer.looks} times, {observer.failed_looks} attempts failed",
            f"at most {observer.most} directories of checkpoints",
            f"acknowledged {verdict.acknowledged}, checkpoints compared at the end {verdict.compared}",
            f"lost {len(verdict.lost)}, trained again {len(verdict.retrained)}, breaches {len(verdict.breaches)}",
            f"late completions refused {verdict.refused}, superseded attempts that started late {verdict.late}",
        )
    )
