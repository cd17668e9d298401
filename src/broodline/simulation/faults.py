"""What goes wrong in a simulated cluster, by rate; and what that means for one worker, or one attempt at a trial."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import exp, inf, isfinite
from random import Random

from broodline.core.trial import Trial
from broodline.errors import UsageError

HOUR = 3600.0
_SHARES = ("failures", "damaged", "lost_answers", "stragglers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, and how often; nothing does by default.

    Rates are of Poisson processes in virtual time. When a worker goes depends on the seed of the simulation and on the worker's
    number alone, so two strategies that are simulated with the same seed meet the same faults.

    Args:
        preemptions: An hour and worker: it says goodbye (SIGTERM); its trial is given out again at once, and trained from its
            start.
        crashes: An hour and worker: it is gone without a goodbye (`kill -9`); its trial is given out again when its lease has
            run out, or when it is back.
        absence: Mean seconds until a worker that went is back, under its name, in a new session; exponentially distributed.
        failures: The probability that the program of a trial fails, at each attempt, at a moment drawn uniformly from its time.
        damaged: The probability that a checkpoint is found damaged by whoever is to start from it.
        lost_answers: The probability, at each call, that the store did what it was asked to and the worker never hears of it:
            it calls again.
        outages: An hour: the store answers nobody, and hears no heartbeats.
        outage: Mean seconds until it answers again; exponentially distributed.
        stragglers: The share of the workers that are slow.
        slowness: How many times longer a straggler takes.
        spread: Workers also take times of a log-normal distribution: the standard deviation of its logarithm.

    Raises:
        UsageError: A rate is negative, or a share is not between 0 and 1.
    """

    preemptions: float = 0.0
    crashes: float = 0.0
    absence: float = 60.0
    failures: float = 0.0
    damaged: float = 0.0
    lost_answers: float = 0.0
    outages: float = 0.0
    outage: float = 60.0
    stragglers: float = 0.0
    slowness: float = 10.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value, most = getattr(self, name), 1.0 if name in _SHARES else inf
            if not (isfinite(value) and 0 <= value <= most):
                raise UsageError(f"Faults({name}={value!r}): must be a number from 0 {'to 1' if name in _SHARES else 'on'}")
        if self.slowness == 0:
            raise UsageError("Faults(slowness=0): must be above 0; 10 is ten times slower")
        if self.lost_answers == 1:
            raise UsageError("Faults(lost_answers=1): must be below 1, or no worker ever hears anything")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What will happen to one attempt at a trial.

    Args:
        fails_after: The share of its time after which its program fails; None if it does not.
        damaged: Whether the checkpoint that it leaves is damaged.
    """

    fails_after: float | None = None
    damaged: bool = False


_GOOD = Fate()


def fate_of(faults: Faults, seed: int, trial: Trial) -> Fate:
    """The fate of an attempt; it depends on the seed, the trial's number and its attempt alone."""
    if not faults.failures and not faults.damaged:
        return _GOOD
    rng = Random(f"broodline simulation {seed} trial {trial.number} {trial.attempt}")
    fails, after, damaged = rng.random() < faults.failures, rng.random(), rng.random() < faults.damaged
    return Fate(fails_after=after if fails else None, damaged=damaged)


def paces(faults: Faults, seed: int, workers: int) -> list[float]:
    """How many times longer than normal each worker takes."""
    rng = Random(f"broodline simulation {seed} paces")
    slow = set(rng.sample(range(workers), round(faults.stragglers * workers)))
    return [
        (faults.slowness if number in slow else 1.0) * (exp(rng.gauss(0.0, faults.spread)) if faults.spread else 1.0)
        for number in range(workers)
    ]


class Departures:
    """When one worker goes, how, and for how long.

    Args:
        faults: The rates.
        seed: Of the simulation.
        worker: The number of the worker.
    """

    __slots__ = ("_faults", "_rng")

    def __init__(self, faults: Faults, seed: int, worker: int) -> None:
        self._faults = faults
        self._rng = Random(f"broodline simulation {seed} worker {worker}")

    def next(self) -> tuple[float, bool] | None:
        """After how many seconds of presence it goes, and whether with a goodbye; None if it never does."""
        rate = self._faults.preemptions + self._faults.crashes
        if not rate:
            return None
        after, goodbye = _gap(self._rng, rate), self._rng.random() * rate < self._faults.preemptions
        return None if after == inf else (after, goodbye)

    def absence(self) -> float:
        """For how many seconds it is away."""
        return self._rng.expovariate(1.0) * self._faults.absence


class Outages:
    """When the store does not answer; asked about times that never go back.

    Args:
        faults: The rate.
        seed: Of the simulation.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._rng = Random(f"broodline simulation {seed} outages")
        self._begin, self._end = self._next(0.0)
        self.count = 0

    def at(self, time: float) -> tuple[float, float] | None:
        """The beginning and the end of the outage that lasts at a time; None if none does."""
        return (self._begin, self._end) if self._begin <= time < self._end else None

    def ended(self, time: float) -> tuple[float, float] | None:
        """The beginning and the end of one that is over at a time; each is told once, in order."""
        if time < self._end:
            return None
        over = (self._begin, self._end)
        self._begin, self._end = self._next(self._end)
        self.count += 1
        return over

    def _next(self, after: float) -> tuple[float, float]:
        if not self._faults.outages or not self._faults.outage:
            return inf, inf
        begin = after + _gap(self._rng, self._faults.outages)
        return begin, begin + self._rng.expovariate(1.0) * self._faults.outage


def _gap(rng: Random, rate: float) -> float:
    """Seconds to the next event of a Poisson process, of a rate an hour; a rate that is next to nothing may make it infinite."""
    return rng.expovariate(1.0) * HOUR / rate
