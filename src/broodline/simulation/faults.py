"""The faults of a simulated cluster: their rates, and the faults of one worker or one attempt that follow from them."""

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
    """The rates of faults; by default there are none.

    Rates are those of Poisson processes in virtual time. The departures of a worker depend only on the seed of the simulation
    and on the number of the worker. So two strategies that are simulated with the same seed meet the same faults.

    Args:
        preemptions: Per hour and worker. The worker releases its trial (SIGTERM). Another worker gets the trial at once, and
            trains it from its start.
        crashes: Per hour and worker. The worker disappears without a release (`kill -9`). Another worker gets the trial when
            the lease expires, or the same worker when it returns.
        absence: Mean seconds until a departed worker returns, under its name, in a new session; exponentially distributed.
        failures: The probability that the program of a trial fails, at each attempt, at a uniformly drawn moment.
        damaged: The probability that a checkpoint is corrupt when a worker starts from it.
        lost_answers: The probability, at each call, that the store commits and the answer is lost. The worker retries.
        outages: Per hour. The store answers no call and receives no heartbeat.
        outage: Mean seconds of an outage; exponentially distributed.
        stragglers: The share of slow workers.
        slowness: The factor by which stragglers are slower.
        spread: The standard deviation of the logarithm of the workers' log-normally distributed durations.

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
            raise UsageError("Faults(slowness=0): must be above 0\nhelp: 10 is ten times slower")
        if self.lost_answers == 1:
            raise UsageError("Faults(lost_answers=1): must be below 1, or no worker ever receives an answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOutcome:
    """The faults of one attempt.

    Args:
        fails_after: The share of its duration after which its program fails; None if it does not fail.
        corrupt: True if its checkpoint is corrupt.
    """

    fails_after: float | None = None
    corrupt: bool = False


_GOOD = AttemptOutcome()


def outcome_of(faults: Faults, seed: int, trial: Trial) -> AttemptOutcome:
    """The faults of an attempt. They depend only on the seed, the number of the trial and its attempt."""
    if not faults.failures and not faults.damaged:
        return _GOOD
    rng = Random(f"broodline simulation {seed} trial {trial.number} {trial.attempt}")
    # All three are drawn at any rates: another rate of failures leaves the corrupt checkpoints the same.
    fails, after, corrupt = rng.random() < faults.failures, rng.random(), rng.random() < faults.damaged
    return AttemptOutcome(fails_after=after if fails else None, corrupt=corrupt)


def paces(faults: Faults, seed: int, workers: int) -> list[float]:
    """The factor by which each worker is slower than a normal one."""
    rng = Random(f"broodline simulation {seed} paces")
    # A fixed number of them, not a chance for each worker: every seed gives the share that was asked for.
    slow = set(rng.sample(range(workers), round(faults.stragglers * workers)))
    return [
        (faults.slowness if number in slow else 1.0) * (exp(rng.gauss(0.0, faults.spread)) if faults.spread else 1.0)
        for number in range(workers)
    ]


class Departures:
    """The departures of one worker.

    Args:
        faults: The rates.
        seed: The seed of the simulation.
        worker: The number of the worker.
    """

    __slots__ = ("_faults", "_rng")

    def __init__(self, faults: Faults, seed: int, worker: int) -> None:
        self._faults = faults
        self._rng = Random(f"broodline simulation {seed} worker {worker}")

    def next(self) -> tuple[float, bool] | None:
        """The seconds of presence until the worker leaves, and whether it releases its trial; None if it never leaves."""
        rate = self._faults.preemptions + self._faults.crashes
        if not rate:
            return None
        after, releases = _gap(self._rng, rate), self._rng.random() * rate < self._faults.preemptions
        return None if after == inf else (after, releases)

    def absence(self) -> float:
        """The seconds until the worker returns."""
        return self._rng.expovariate(1.0) * self._faults.absence


class Outages:
    """The outages of the store, drawn one after the other. The times of calls must not decrease.

    Args:
        faults: The rate.
        seed: The seed of the simulation.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._rng = Random(f"broodline simulation {seed} outages")
        self._begin, self._end = self._next(0.0)
        self.count = 0

    def at(self, time: float) -> tuple[float, float] | None:
        """The start and the end of the outage at a time; None without one."""
        return (self._begin, self._end) if self._begin <= time < self._end else None

    def ended(self, time: float) -> tuple[float, float] | None:
        """The start and the end of an outage that is over at a time, each returned once; None if there is no further one."""
        if time < self._end:
            return None
        outage = (self._begin, self._end)
        self._begin, self._end = self._next(self._end)
        self.count += 1
        return outage

    def _next(self, after: float) -> tuple[float, float]:
        if not self._faults.outages or not self._faults.outage:
            return inf, inf
        begin = after + _gap(self._rng, self._faults.outages)
        return begin, begin + self._rng.expovariate(1.0) * self._faults.outage


def _gap(rng: Random, rate: float) -> float:
    """Seconds to the next event of a Poisson process; `rate` is per hour. A tiny rate may make them infinite."""
    return rng.expovariate(1.0) * HOUR / rate
