"""Indexed questions decide as the plain ones did: the former rules, written out here, are the oracle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from random import Random
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import share_of_examples
from recorded import DOCUMENT, Recorded, identity, recorded

from broodline.config.study import dump, parse
from broodline.controller.client import Start
from broodline.core.early_stopping import middle_of
from broodline.core.grid import combination, combinations
from broodline.core.objective import Goal, Objective
from broodline.core.parameters import Choice, Float, Int
from broodline.core.population import Population
from broodline.core.space import Space
from broodline.core.trial import Measurement, PeerScore, Score, Trial, TrialState
from broodline.storage.base import Transaction
from broodline.storage.location import open_store
from broodline.storage.sql.transaction import SqlTransaction
from broodline.storage.urls import IN_MEMORY


def all_leaves(self: Population, worker: str, before: int | None = None) -> Iterator[Trial]:
    """The former question: every lineage that has ended is read, and those without a usable checkpoint are skipped."""
    below = [leaf for leaf in self.leaves() if before is None or leaf.generation < before]
    yield from (leaf for leaf in sorted(below, key=lambda trial: trial.worker != worker) if leaf.can_be_parent)


def play(study: Recorded, seed: int) -> list[Any]:
    """Workers that complete, fail and lose their checkpoints, by chance; returns the decisions."""
    rng, decisions = Random(seed), list[Any]()
    for _ in range(60):
        worker = rng.choice("abc")
        answer = study.answers.get(worker) or study.controller.ask(study.name, identity(worker))
        if not isinstance(answer, Start):
            study.answers.pop(worker, None)
            decisions.append(type(answer).__name__)
            continue
        trial, study.answers[worker] = answer.trial, answer
        decisions.append((worker, trial.number, trial.member, trial.generation, trial.parent, dict(trial.params)))
        if trial.parent is not None and rng.random() < 0.1:
            study.answers[worker] = study.controller.damaged(
                study.name, trial.number, trial.attempt, trial.parent, identity(worker)
            )
        elif rng.random() < 0.2:
            study.fail("a chance", worker)
        else:
            study.complete({"accuracy": rng.random()}, worker)
    return decisions


GRID = {
    "evolution": {"strategy": "grid", "points": 3},
    "population": 9,
    "budget": {"generations": 4},
    "space": {"lr": {"float": [0.1, 0.9]}, "width": {"int": [1, 3]}},
}
SEGMENTS = [
    {"trial": n, "start": 10 * n, "steps": 10, "params": {"lr": 0.1 + 0.1 * n, "width": 64}, "seed": n, "metrics": {}}
    for n in range(4)
]
REPLAY = {
    "evolution": {"strategy": "replay"},
    "population": 9,
    "replay": {"study": "s", "trial": 3, "segments": SEGMENTS, "seeds": "recorded", "only": None, "fixed": {}},
}


def replayed(changes: dict[str, Any]) -> Recorded:
    """A study of this definition; the definition of a replay is only read from a store."""
    store = open_store(IN_MEMORY)
    if "replay" not in changes:
        return recorded(store, **changes)
    store.create("digits", json.dumps(dump(parse({**DOCUMENT, **changes}, "store", stored=True))))
    return Recorded(store)


@pytest.mark.parametrize("changes", [GRID, REPLAY], ids=["grid", "replay"])
@pytest.mark.parametrize("seed", range(5))
def test_open_leaves_decide_as_all_leaves_did(changes: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    study = replayed(changes)
    with closing(study.store):
        found = play(study, seed)
    monkeypatch.setattr(SqlTransaction, "open_leaves", all_leaves)
    oracle = replayed(changes)
    with closing(oracle.store):
        assert found == play(oracle, seed)
    assert len({decision[2] for decision in found if isinstance(decision, tuple)}) > 5


def former_median(step: int, besides: int, peers: Sequence[PeerScore]) -> tuple[int, float | None]:
    counting = [p for p in peers if p.trial != besides and p.state is not TrialState.FAILED]
    values = [p.score for p in counting if p.measured is not None and p.measured >= step and p.score is not None]
    return len(values), 2 * median(value / 2 for value in values) if values else None


def check_medians(records: Transaction) -> int:
    """Compares at each step, for several sizes of the window and trials that ask; returns how often the index answered."""
    answered = 0
    for step in range(1, 13):
        for count, besides in ((3, 0), (8, 5), (50, 2)):
            peers, expected = records.peer_scores(step, count), None
            expected = former_median(step, besides, peers)
            asker = Trial(number=besides, member=0, generation=0, params={}, steps=1)
            for number, middle in filter(None, [records.middle_scores(step, count, besides), middle_of(asker, step, peers)]):
                assert (number, 2 * median(value / 2 for value in middle) if middle else None) == expected
            answered += records.middle_scores(step, count, besides) is not None
    return answered


@share_of_examples(0.5)
@given(seed=st.integers(0, 10**6), stride=st.sampled_from([1, 1, 2]))
def test_the_indexed_median_is_that_of_all_peers(seed: int, stride: int) -> None:
    """Trials report, in batches and again, fail, begin another attempt and are given another start."""
    rng, answered = Random(seed), 0
    with closing(open_store(IN_MEMORY)) as store:
        store.create("s", "{}")
        with store.transaction("s") as records:
            for number in range(12):
                records.insert(Trial(number=number, member=number, generation=0, params={}, start=4 * (number // 5), steps=9))
            for _ in range(60):
                trial = records.trial(rng.randrange(12))
                assert trial is not None
                match rng.choice(["report"] * 8 + ["again", "fail", "attempt", "start"]):
                    case "report":
                        until = rng.randint(trial.start + 1, 12)
                        steps = range(trial.start + 1, until + 1, stride)
                        records.add_scores(trial.number, trial.attempt, [score(step, rng) for step in steps])
                    case "again":
                        records.add_scores(trial.number, rng.choice([0, trial.attempt]), [score(3, rng), score(3, rng)])
                    case "fail":
                        records.update(trial.evolve(state=TrialState.FAILED))
                    case "attempt":
                        records.update(trial.evolve(attempt=trial.attempt + 1))
                    case "start":
                        records.update(trial.evolve(start=rng.choice([0, 2, 4])))
            answered += check_medians(records)
    assert answered or stride > 1


def score(step: int, rng: Random) -> Score:
    return Score(step=step, value=rng.choice([-float("inf"), 0.1, 0.2, 1e308, rng.random()]))


metrics = st.dictionaries(st.sampled_from("xy"), st.sampled_from([0.1, 0.7, 3, float("nan"), None, "text"]))


@given(told=st.lists(metrics, min_size=1, max_size=12), last=st.integers(0, 12), x=st.integers(1, 4), y=st.integers(1, 4))
def test_recent_measurements_give_the_fitness_of_all_of_them(told: list[dict[str, Any]], last: int, x: int, y: int) -> None:
    objective = Objective(goals=(Goal(metric="x", mean_of_last=x), Goal(metric="y", goal="minimize", mean_of_last=y)))
    every = [Measurement(step=step, metrics=each) for step, each in enumerate(told)]
    cut = max(0, len(every) - last)
    earlier, batch = every[:cut], every[cut:]
    assert objective.fitness(objective.recent(batch, reversed(earlier))) == objective.fitness(every)


@pytest.mark.parametrize("points", [2, 3])
def test_a_point_of_a_grid_is_found_by_its_index(points: int) -> None:
    space = Space(
        {
            "kind": Choice(["a", "b", "c"]),
            "depth": Int(1, 5, when={"kind": ["a", "b"]}),
            "rate": Float(0.1, 1.0),
            "width": Choice([1, 2], when={"depth": [1]}),
            "fixed": 7,
        }
    )
    every = list(combinations(space.params, points))
    assert [combination(space.params, points, index) for index in range(len(every))] == every
