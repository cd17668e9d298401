"""A trainer in another language, run as 5x20: what it did is judged by its own checkpoints and by a log that only it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TRIALS, POPULATION, STEPS = 160, 20, 7
STUDY = f"""
name = "stranger"
trial_steps = {STEPS}
population = {POPULATION}
workers = 5
seed = 3
[objective]
score = "maximize"
[space]
lr = {{ float = [1e-4, 1.0], log = true }}
[budget]
trials = {TRIALS}
[checkpoints]
keep_all = true
[train]
command = ["sh", "{Path(__file__).with_name("stranger.sh")}"]
"""


class Logged(NamedTuple):
    """One line of the trainer's own log."""

    trial: int
    attempt: int
    came_from: str
    steps_behind: int
    start: int
    lr: float
    weights: str


class Run(NamedTuple):
    """A finished study: what the trainer logged, and what broodline recorded."""

    log: list[Logged]
    trials: list[dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("stranger")
    (directory / "study.toml").write_text(STUDY)
    log = directory / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRANGER_LOG", str(log))
        broodline(directory, "run", "study.toml")
    lines = [line.split() for line in log.read_text().splitlines()]
    logged = [Logged(int(t), int(a), f, int(b), int(s), float(lr), w) for t, a, f, b, s, lr, w in lines]
    return Run(logged, [json.loads(line) for line in broodline(directory, "trials", "study.toml", "--json").splitlines()])


def broodline(directory: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "broodline", *arguments]
    return subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout


def checkpoint_of(trial: dict[str, Any]) -> dict[str, str]:
    text = (Path(trial["checkpoint"]) / "checkpoint.sh").read_text()
    return dict(pair.split("=") for pair in text.split())


def test_every_trial_was_trained_once(run: Run) -> None:
    assert sorted(line.trial for line in run.log) == list(range(TRIALS))
    assert [trial["number"] for trial in run.trials] == list(range(TRIALS))
    assert {trial["state"] for trial in run.trials} == {"completed"}


def test_every_warm_start_was_the_recorded_parents_checkpoint(run: Run) -> None:
    warm = 0
    for line in run.log:
        parent = run.trials[line.trial]["parent"]
        assert line.came_from == ("nothing" if parent is None else str(parent))
        assert line.start == line.steps_behind == run.trials[line.trial]["start"]
        warm += parent is not None
    assert warm == TRIALS - POPULATION


def test_every_checkpoint_holds_what_its_trial_trained(run: Run) -> None:
    for line in run.log:
        saved = checkpoint_of(run.trials[line.trial])
        assert saved == {"weights": line.weights, "written_by": str(line.trial), "steps_done": str(line.start + STEPS)}


def test_recorded_params_and_metrics_are_what_the_trainer_saw(run: Run) -> None:
    for line in run.log:
        trial = run.trials[line.trial]
        assert trial["params"]["lr"] == line.lr
        assert trial["metrics"]["score"] == trial["fitness"] == float(line.weights)


def test_a_member_has_one_trial_in_each_generation(run: Run) -> None:
    places = {(trial["member"], trial["generation"]) for trial in run.trials}
    assert len(places) == TRIALS
    assert [trial["member"] for trial in run.trials[:POPULATION]] == list(range(POPULATION))
    assert {trial["generation"] for trial in run.trials[:POPULATION]} == {0}


def test_every_finished_trial_initiates_at_most_once_and_its_child_takes_its_member(run: Run) -> None:
    children = run.trials[POPULATION:]
    assert len({child["initiator"] for child in children}) == len(children)
    for child in children:
        initiator = run.trials[child["initiator"]]
        assert (child["member"], child["generation"]) == (initiator["member"], initiator["generation"] + 1)


def test_the_initiator_is_of_the_lowest_generation_then_the_workers_own_then_of_the_lowest_number(run: Run) -> None:
    for child in run.trials[POPULATION:]:
        initiated = {trial["initiator"] for trial in run.trials[: child["number"]]}
        waiting = [t for t in run.trials if t["finished"] <= child["created"] and t["number"] not in initiated]
        lowest = [t for t in waiting if t["generation"] == min(t["generation"] for t in waiting)]
        own = [t for t in waiting if t["worker"] == child["worker"]]
        last = max(own, key=lambda t: t["finished"], default=None)
        expected = last if last in lowest else min(lowest, key=lambda t: t["number"])
        assert child["initiator"] == expected["number"]


def test_the_opponent_is_one_of_the_last_two_completed_of_another_member(run: Run) -> None:
    seen = set()
    for child in run.trials[POPULATION:]:
        opponent = run.trials[child["opponent"]]
        done = [t for t in run.trials if t["finished"] <= child["created"] and t["member"] == opponent["member"]]
        last_two = sorted(done, key=lambda t: t["generation"])[-2:]
        assert opponent["number"] in [t["number"] for t in last_two]
        assert opponent["member"] != child["member"]
        seen.add(last_two.index(opponent) if len(last_two) == 2 else None)
    assert seen >= {0, 1}


def test_the_fitter_is_the_parent_and_a_tie_keeps_the_initiator(run: Run) -> None:
    winners = set()
    for child in run.trials[POPULATION:]:
        initiator, opponent = run.trials[child["initiator"]], run.trials[child["opponent"]]
        expected = opponent if opponent["fitness"] > initiator["fitness"] else initiator
        assert child["parent"] == expected["number"]
        winners.add("opponent" if expected is opponent else "initiator")
    assert winners == {"initiator", "opponent"}


def test_a_childs_params_are_its_parents_mutated_and_in_range(run: Run) -> None:
    happened = set()
    for child in run.trials[POPULATION:]:
        before, after = run.trials[child["parent"]]["params"]["lr"], child["params"]["lr"]
        change = child["changes"]["lr"]
        happened.add(change)
        legal = {"kept": [before], "mutated": [min(before * f, 1.0) if f > 1 else max(before * f, 1e-4) for f in (0.8, 1.2)]}
        assert after in [pytest.approx(value, rel=1e-12) for value in legal[change]]
    assert happened == {"kept", "mutated"}


def test_no_more_workers_train_at_once_than_there_are(run: Run) -> None:
    edges = sorted([(t["started"], 1) for t in run.trials] + [(t["finished"], -1) for t in run.trials])
    running = 0
    for _, change in edges:
        running += change
        assert running <= 5
    assert {trial["worker"] for trial in run.trials} == {"0", "1", "2", "3", "4"}


def test_generation_zero_is_full_before_any_child_is_made(run: Run) -> None:
    created = [trial["created"] for trial in run.trials]
    assert all(a <= b for a, b in pairwise(created))
    assert all(trial["generation"] == 0 for trial in run.trials[:POPULATION])
