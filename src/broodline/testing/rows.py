"""Rows for the contract of stores, and the answers that a scan of all rows would give."""

from __future__ import annotations

from random import Random
from typing import Any

from broodline.core.objective import fittest
from broodline.core.trial import Change, Checkpoint, Trial, TrialState
from broodline.storage.base import Leases, Transaction
from broodline.storage.checkpoints.base import checkpoint_of

EVERY_FIELD = Trial(
    number=0,
    member=3,
    generation=7,
    params={"lr": 0.1, "big": 2**53 + 1, "text": 'ä"\n\\', "flag": True, "none": None, "list": [1, {"a": 2.5}]},
    changes={"lr": Change.CROSSED, "big": Change.DRAWN},
    seed=2**31 - 1,
    start=2**40,
    steps=10,
    state=TrialState.COMPLETED,
    parent=5,
    initiator=6,
    opponent=4,
    attempt=2,
    reports=8,
    worker="gpu-1/0",
    session="f00",
    lease_until=12.5,
    lost=1,
    failures=2,
    metrics={"score": 0.1 + 0.2, "confusion": [[1, 0], [0, 1]], "note": "ä", "nothing": None},
    fitness=(0.1 + 0.2, -1e-300),
    checkpoint="checkpoints/000000.2",
    kept=True,
    reason="why",
    output="the tail\nof it",
    damaged=2,
    child=9,
    extendable=True,
    created=1.000001,
    started=2.000002,
    finished=3.000003,
)


def row(number: int, **fields: Any) -> Trial:
    """A trial as a store may have to save it; a store knows no rules, so rows need not follow any."""
    return Trial(**{"number": number, "member": number, "generation": 0, "params": {"lr": 0.1}, "steps": 10, **fields})


def completed(number: int, score: float = 0.0, **fields: Any) -> Trial:
    """A completed trial."""
    done = {"state": TrialState.COMPLETED, "fitness": (score,), "checkpoint": f"checkpoints/{number:06d}.1", "finished": 1.0}
    return row(number, **{**done, **fields})


def any_row(number: int, rng: Random) -> Trial:
    """Member and generation follow from the number, so that rows can be replaced."""
    state = rng.choice(list(TrialState))
    trial = row(number, member=number % 5, generation=number // 5, state=state, attempt=1, parent=rng.randrange(60))
    if state is TrialState.RUNNING:
        return trial.evolve(worker=f"w{number}", session=f"s{rng.randrange(3)}", lease_until=float(rng.randrange(9)))
    if state.finished:
        trial = trial.evolve(worker=f"w{rng.randrange(3)}", finished=float(number // 2), child=rng.choice([None, 99]))
    if state is TrialState.COMPLETED:
        path = rng.choice([None, checkpoint_of(trial)])
        doubt = rng.choice([None, None, "trained nothing"])
        start, fitness = rng.randrange(3), (float(rng.randrange(4)),)
        kept, extendable = rng.random() < 0.2, rng.random() < 0.7
        return trial.evolve(fitness=fitness, start=start, checkpoint=path, kept=kept, extendable=extendable, reason=doubt)
    return trial


def check_answers(records: Transaction, trials: list[Trial]) -> None:
    """Asks each question that a store answers, and requires the answer that a scan of all rows gives."""
    done = [trial for trial in trials if trial.state is TrialState.COMPLETED]
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    pending = [trial for trial in trials if trial.state is TrialState.PENDING]
    unfinished = sorted(running + pending, key=lambda trial: trial.number)
    waiting = [trial for trial in trials if trial.state.finished and trial.child is None]
    assert list(records.trials()) == trials
    assert records.first_pending() == next(iter(pending), None)
    assert records.any_running() == bool(running)
    assert records.unfinished() == tuple(unfinished)
    assert records.best(7) == tuple(fittest(done)[:7])
    for score in (0.0, 3.0, 9.0):
        assert records.count_of_score(score) == sum(trial.fitness == (score,) for trial in done)
    doubtful = [trial for trial in done if trial.reason]
    assert records.doubtful() == (len(doubtful), next(iter(doubtful), None))
    expired = tuple(trial for trial in running if (trial.lease_until or 0.0) < 5.0)
    assert records.running_in(["s0", "s2"]) == tuple(trial for trial in running if trial.session in ("s0", "s2"))
    assert records.running_in([]) == ()
    for trial in trials:
        held = [each for each in running if each.worker == trial.worker]
        assert records.leases(str(trial.worker), 5.0) == Leases(held=next(iter(held), None), expired=expired)
        assert records.first_pending() == next(iter(pending), None)
    lowest = [trial for trial in waiting if trial.generation == min(each.generation for each in waiting)]
    assert records.first_initiator("stranger") == next(iter(lowest), None)
    for worker in ("w0", "w1", "w2"):
        last = max((trial for trial in waiting if trial.worker == worker), key=lambda each: each.finished or 0.0, default=None)
        assert records.first_initiator(worker) == (last if last in lowest else next(iter(lowest), None))
    assert records.members_started() == 5
    leaves = sorted(waiting, key=lambda trial: (trial.generation, trial.number))
    assert records.leaves() == tuple(leaves)
    open_leaves = [trial for trial in leaves if trial.can_be_parent and trial.extendable]
    for worker in ("w0", "w1", "stranger"):
        own_first = sorted(open_leaves, key=lambda trial: trial.worker != worker)
        assert list(records.open_leaves(worker)) == own_first
        for generation in range(13):
            below = [trial for trial in own_first if trial.generation < generation]
            assert list(records.open_leaves(worker, generation)) == below
    for member in range(5):
        assert records.last_completed(member) == tuple(trial for trial in reversed(done) if trial.member == member)[:2]
    assert records.members_with_completed() == tuple(sorted({trial.member for trial in done}))
    for generation in range(13):
        assert records.of_generation(generation) == tuple(trial for trial in trials if trial.generation == generation)
    used = {trial.parent for trial in unfinished}
    sweepable = [trial for trial in trials if trial.checkpoint and not trial.kept]
    for whose in (None, (), *((member,) for member in range(5)), (0, 3)):
        assert list(records.checkpoints(whose)) == [
            Checkpoint(
                trial=each.number,
                member=each.member,
                generation=each.generation,
                path=each.checkpoint or "",
                in_use=each.number in used,
            )
            for each in sweepable
            if whose is None or each.member in whose
        ]
