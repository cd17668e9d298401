"""Studies in virtual time: real decisions, faults at their rates, and all invariants of a study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import share_of_examples

import broodline
from broodline.cli import main
from broodline.core.population import NewTrial, Population
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState
from broodline.errors import StoreError, StudyFailed, UsageError
from broodline.simulation.clock import EPOCH
from broodline.simulation.faults import Departures
from broodline.testing import check_invariants

EVERYTHING = broodline.Faults(
    preemptions=30,
    crashes=15,
    absence=40,
    failures=0.05,
    damaged=0.08,
    lost_answers=0.1,
    outages=10,
    outage=45,
    stragglers=0.2,
    slowness=5,
    spread=0.3,
)
PATTERNS = {
    "nothing": broodline.Faults(),
    "preemptions": broodline.Faults(preemptions=40, absence=30),
    "crashes": broodline.Faults(crashes=40, absence=200),
    "failures": broodline.Faults(failures=0.3),
    "damaged checkpoints": broodline.Faults(damaged=0.4),
    "lost answers": broodline.Faults(lost_answers=0.4),
    "outages": broodline.Faults(outages=30, outage=100),
    "stragglers": broodline.Faults(stragglers=0.2, slowness=20, spread=0.5),
    "everything": EVERYTHING,
}


def study_of(population: int = 8, **options: Any) -> broodline.Study:
    space = {"rate": broodline.Float(0.0, 1.0), "layers": broodline.Int(1, 8)}
    named = {"name": "walk", "space": space, "objective": {"x": "maximize"}, "trial_steps": 10, "max_failures": 1000}
    return broodline.Study(**{**named, "population": population, **options})


def walk(trial: broodline.SimulatedTrial) -> tuple[float, dict[str, float]]:
    x = (trial.state or 0.0) + trial.params["rate"] * trial.steps + 0.01 * trial.rng.random()
    return x, {"x": x}


def simulated(
    population: int = 8, *, train: Any = walk, study: dict[str, Any] | None = None, **options: Any
) -> broodline.Simulation:
    """A simulation, after a check of all its records."""
    budget = broodline.Budget(generations=6)
    given_ = {"workers": 4, "budget": budget, "seconds_per_step": 6.0, **options}
    simulation = broodline.simulate(study_of(population, **(study or {})), train, **given_)
    check_invariants(simulation.store, "walk", damaged=simulation.damaged)
    return simulation


# Results


def test_without_faults_the_time_is_that_of_the_trials_shared_among_the_workers() -> None:
    simulation = simulated(8, workers=4)
    assert len(simulation.result.trials) == 48
    assert simulation.elapsed == 48 / 4 * 60
    assert simulation.seconds == {"trained": 48 * 60, "wasted": 0, "waited": 0, "away": 0}
    assert simulation.utilisation == 1.0
    assert (simulation.faults, simulation.wasted) == ({}, {})


def test_the_former_name_of_wasted_warns() -> None:
    simulation = simulated(faults=broodline.Faults(crashes=40, absence=200))
    with pytest.warns(DeprecationWarning, match=r"Simulation\.wasted"):
        assert simulation.vain == simulation.wasted


def test_workers_beyond_the_population_wait() -> None:
    assert simulated(4, workers=6).seconds == {"trained": 24 * 60, "wasted": 0, "waited": 2 * 6 * 60, "away": 0}


def test_a_child_gets_the_state_of_its_parent() -> None:
    def train(trial: broodline.SimulatedTrial) -> tuple[list[int], dict[str, float]]:
        lineage = [*(trial.state or []), trial.number]
        return lineage, {"x": trial.params["rate"]}

    simulation = simulated(train=train)
    assert simulation.states
    for number, lineage in simulation.states.items():
        expected = [number]
        while (parent := simulation.result.trials[expected[0]].parent) is not None:
            expected.insert(0, parent)
        assert lineage == expected


def test_a_function_that_changes_the_state_of_its_parent_changes_only_a_copy() -> None:
    def train(trial: broodline.SimulatedTrial) -> tuple[dict[str, int], dict[str, float]]:
        state = trial.state or {"trials": 0}
        state["trials"] += 1
        return state, {"x": state["trials"]}

    for trial in simulated(train=train).result.trials:
        assert trial.metrics == {"x": trial.end // 10}


def test_the_result_has_the_form_of_a_real_study() -> None:
    simulation = simulated()
    best = simulation.best
    assert best.metrics["x"] == max(trial.metrics["x"] for trial in simulation.result.trials if trial.metrics)
    assert best.schedule()(0) == best.lineage[-1].params
    assert best.checkpoint is None
    assert simulation.states[best.trial.number] == best.metrics["x"]


def test_seconds_may_depend_on_the_trial() -> None:
    simulation = simulated(4, seconds_per_step=lambda trial: trial.params["layers"])
    for trial in simulation.result.trials:
        assert trial.finished is not None
        assert trial.started is not None
        assert trial.finished - trial.started == pytest.approx(10 * trial.params["layers"], abs=1e-5)


def test_a_budget_of_time_counts_virtual_time() -> None:
    simulation = simulated(budget=broodline.Budget(time=3600.0), workers=2, seconds_per_step=60.0, population=4)
    assert simulation.ended == "3600 s are used up"
    assert simulation.elapsed == 3600


def test_trials_that_take_longer_than_a_lease_are_kept_by_heartbeats() -> None:
    simulation = simulated(seconds_per_step=60.0)
    assert {trial.attempt for trial in simulation.result.trials} == {1}


def test_a_custom_strategy_needs_no_entry_point() -> None:
    class Alone(Strategy):
        def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial:
            return NewTrial(
                member=initiator.member,
                generation=initiator.generation + 1,
                params=initiator.params,
                changes=dict.fromkeys(initiator.params, broodline.core.trial.Change.KEPT),
                start=initiator.end,
                parent=initiator.number,
                initiator=initiator.number,
            )

    simulation = broodline.simulate(study_of(), walk, workers=4, budget=broodline.Budget(generations=4), strategy=Alone())
    assert all(trial.parent == trial.initiator for trial in simulation.result.trials)


def test_a_strategy_that_waits_forever_fails_the_study() -> None:
    class Never(Strategy):
        def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> None:
            return None

    for faults in (None, EVERYTHING):
        with pytest.raises(StudyFailed, match="all workers wait"):
            simulated(strategy=Never(), faults=faults)


def test_reports_arrive_when_their_step_is_reached_at_most_one_per_second() -> None:
    def train(trial: broodline.SimulatedTrial) -> tuple[None, dict[str, float]]:
        for step in range(trial.start + 1, trial.start + trial.steps):
            trial.report(step=step, x=step)
        return None, {"x": trial.start + trial.steps}

    simulation = simulated(2, train=train, workers=2, seconds_per_step=0.5)
    assert [(each.step, each.metrics["x"]) for each in simulation.result.measurements(0)] == [(n, n) for n in range(1, 11)]
    assert simulation.calls == 2 + 12 + 12 * 4 + simulation.faults.get("none", 0)


def test_trials_stop_early_in_virtual_time_too() -> None:
    def train(trial: broodline.SimulatedTrial) -> tuple[float, dict[str, float]]:
        state = trial.state or 0.0
        for step in range(trial.start + 1, trial.start + trial.steps + 1):
            state += trial.params["rate"]
            trial.report(step=step, x=state)
        return state, {"x": state}

    simulation = simulated(20, train=train, workers=5, study={"stopping": broodline.Stopping()}, faults=EVERYTHING)
    stopped = [trial for trial in simulation.result.trials if trial.state is TrialState.STOPPED]
    assert stopped
    assert all(0 < trial.steps < 10 for trial in stopped)


def test_calls_queue_for_a_slow_store() -> None:
    slow = simulated(20, workers=20, seconds_per_step=0.1, call_seconds=0.5)
    assert slow.elapsed >= 20 * 6 * 0.5
    assert slow.seconds["waited"] > slow.seconds["trained"]


def test_the_number_of_workers_changes_over_time() -> None:
    simulation = simulated(20, workers={0: 2, 300: 20, 600: 1})
    names = [trial.worker for trial in simulation.result.trials if (trial.started or 0) % 86_400 < 300]
    assert set(names) == {"0", "1"}
    assert {trial.worker for trial in simulation.result.trials if (trial.finished or 0) % 86_400 > 600} == {"0"}
    assert simulation.seconds["away"] == 0


def test_a_study_file_can_be_simulated(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'name = "walk"\ntrial_steps = 10\npopulation = 4\nworkers = 2\n[objective]\nx = "maximize"\n[budget]\ntrials = 12\n'
        '[space]\nrate = { float = [0.0, 1.0] }\n[train]\ncommand = ["false"]\n',
        encoding="utf-8",
    )
    simulation = broodline.simulate(path, walk)
    assert (simulation.study.workers, simulation.ended) == (2, "12 trials are done")


def test_a_budget_that_the_strategy_of_a_study_file_can_not_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'name = "walk"\ntrial_steps = 10\npopulation = 3\n[objective]\nx = "maximize"\n[budget]\ngenerations = 2\n'
        '[evolution]\nstrategy = "grid"\npoints = 3\n[space]\nrate = { float = [0.0, 1.0] }\n',
        encoding="utf-8",
    )
    assert broodline.simulate(path, walk).ended == "every lineage has ended"
    with pytest.raises(UsageError, match=r"simulate: budget\.generations: is missing; strategy 'grid' needs it"):
        broodline.simulate(path, walk, budget=broodline.Budget(trials=4))


def test_the_commands_read_a_saved_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulation = simulated(faults=EVERYTHING)
    simulation.save(tmp_path / "walk.db")
    assert main(["trials", "walk", "--store", f"sqlite:///{tmp_path / 'walk.db'}", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["params"] for record in records] == [dict(trial.params) for trial in simulation.result.trials]
    assert records[0]["created"].startswith("2000-01-01T00:00:00")
    with pytest.raises(StoreError, match="exists"):
        simulation.save(tmp_path / "walk.db")


def test_the_summary_has_duration_activities_faults_and_the_best_trial() -> None:
    text = str(simulated(faults=EVERYTHING))
    assert "48 trials of 8 members on 4 workers" in text
    for word in ("ended", "% trained", "wasted", "crashes", "steps to preemptions", "best     trial"):
        assert word in text, text


# Faults


EVOLUTIONS: dict[str, dict[str, Any]] = {"initiator": {"crossover": 0.2}, "generational": {"parents": 2}, "random": {}}
SIZES = [(3, 9), (6, 6), (8, 4), (2, 1)]  # workers, members
# A generational study keeps some of a generation and drops others, so it needs two members.
SETTINGS = [(strategy, *sizes) for strategy in EVOLUTIONS for sizes in SIZES if (strategy, sizes[1]) != ("generational", 1)]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("strategy", "workers", "population"), SETTINGS)
def test_the_invariants_hold_under_all_faults(pattern: str, strategy: str, workers: int, population: int) -> None:
    knobs = broodline.Evolution(strategy=strategy, **EVOLUTIONS[strategy])
    simulation = simulated(population, workers=workers, faults=PATTERNS[pattern], study={"evolution": knobs})
    assert simulation.ended == "6 generations are done"
    assert all(trial.state.finished for trial in simulation.result.trials)
    spent = sum(simulation.seconds.values())
    assert spent == pytest.approx(workers * simulation.elapsed)
    assert all(seconds >= 0 for seconds in simulation.seconds.values())


RATES = st.fixed_dictionaries(
    {
        "preemptions": st.floats(0, 60),
        "crashes": st.floats(0, 60),
        "absence": st.floats(0, 300),
        "failures": st.floats(0, 0.5),
        "damaged": st.floats(0, 1),
        "lost_answers": st.floats(0, 0.6),
        "outages": st.floats(0, 30),
        "outage": st.floats(0, 200),
        "stragglers": st.floats(0, 1),
        "spread": st.floats(0, 1),
    }
)


@share_of_examples(0.5, suppress_health_check=[HealthCheck.too_slow])
@given(
    rates=RATES,
    seed=st.integers(0, 1000),
    workers=st.integers(1, 8),
    population=st.integers(2, 8),
    strategy=st.sampled_from(["initiator", "generational", "random"]),
    retries=st.integers(0, 1),
    call_seconds=st.sampled_from([0.0, 0.3]),
)
def test_the_invariants_hold_for_all_rates(
    rates: dict[str, float], seed: int, workers: int, population: int, strategy: str, retries: int, call_seconds: float
) -> None:
    knobs = broodline.Evolution(strategy=strategy, parents=1 if strategy == "generational" else None)
    simulation = simulated(
        population,
        workers=workers,
        faults=broodline.Faults(**rates),
        seed=seed,
        call_seconds=call_seconds,
        budget=broodline.Budget(generations=3),
        study={"evolution": knobs, "retries": retries, "seed": seed},
    )
    assert simulation.ended == "3 generations are done"


def test_each_fault_happens_at_its_rate() -> None:
    faults = broodline.Faults(preemptions=6, crashes=3, failures=0.1, damaged=0.1, lost_answers=0.1)
    simulation = simulated(30, workers=30, faults=faults, budget=broodline.Budget(generations=30))
    present = (sum(simulation.seconds.values()) - simulation.seconds["away"]) / 3600
    attempts = sum(trial.attempt for trial in simulation.result.trials)
    expected = {"preemptions": 6 * present, "crashes": 3 * present, "failures": 0.1 * attempts}
    for name, count in expected.items():
        assert simulation.faults[name] == pytest.approx(count, rel=0.3), name
    assert simulation.faults["lost answers"] == pytest.approx(0.1 * simulation.calls, rel=0.3)


def test_the_trial_of_a_crashed_worker_is_retried_when_its_lease_expires_and_not_before() -> None:
    faults = broodline.Faults(crashes=20, absence=1e9)
    simulation = simulated(10, workers=40, faults=faults, budget=broodline.Budget(trials=10))
    # Worker n starts with trial n. Its last heartbeat before the crash is at most a third of a lease old.
    ends = [departure[0] for worker in range(10) if (departure := Departures(faults, 0, worker).next())]
    crashed = [number for number, end in enumerate(ends) if end < 60]
    assert crashed == [trial.number for trial in simulation.result.trials if trial.lost]
    for number in (trial.number for trial in simulation.result.trials if trial.lost == 1):
        again = (simulation.result.trials[number].started or 0) - EPOCH
        assert ends[number] + 20 < again <= ends[number] + 30.1
    assert simulation.wasted["crashes"] >= sum(int(ends[number] / 6) for number in crashed) > 0


def test_a_worker_that_returns_before_its_lease_expires_retries_its_trial() -> None:
    simulation = simulated(1, workers=1, faults=broodline.Faults(crashes=60, absence=1), budget=broodline.Budget(trials=5))
    assert any(trial.attempt > 1 for trial in simulation.result.trials)
    assert simulation.faults["crashes"] == sum(trial.lost for trial in simulation.result.trials)


def test_leases_expire_in_a_long_outage_and_late_completions_count() -> None:
    faults = broodline.Faults(outages=6, outage=400)
    simulation = simulated(12, workers=6, faults=faults, seconds_per_step=60.0, budget=broodline.Budget(generations=12))
    lost = [trial for trial in simulation.result.trials if trial.lost]
    assert lost
    assert any(trial.attempt == 1 and trial.state is TrialState.COMPLETED for trial in lost)


def test_stragglers_have_the_given_share_and_slowness() -> None:
    simulation = simulated(20, workers=20, faults=broodline.Faults(stragglers=0.25, slowness=7))
    took = {trial.worker: (trial.finished or 0) - (trial.started or 0) for trial in simulation.result.trials}
    assert Counter(round(seconds) for seconds in took.values()) == {60: 15, 420: 5}


def test_a_trial_failed_error_of_the_function_fails_the_trial() -> None:
    def train(trial: broodline.SimulatedTrial) -> tuple[float, dict[str, float]]:
        if trial.params["layers"] > 6:
            raise broodline.TrialFailed("out of memory")
        return walk(trial)

    trials = simulated(train=train).result.trials
    assert {trial.reason for trial in trials if trial.params["layers"] > 6} == {"out of memory"}
    assert all(trial.state is TrialState.COMPLETED for trial in trials if trial.params["layers"] <= 6)


def test_a_metric_that_is_not_finite_fails_the_trial() -> None:
    trials = simulated(train=lambda trial: (0, {"x": float("nan") if trial.number == 3 else 1.0})).result.trials
    assert [trial.number for trial in trials if trial.state is TrialState.FAILED] == [3]


def test_any_other_error_of_the_function_is_raised_with_its_trial() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        simulated(train=lambda trial: (0, {"x": 1 / 0}))
    assert "trial 0" in raised.value.__notes__[0]


def test_a_study_whose_first_trials_all_fail_ends() -> None:
    simulation = simulated(faults=broodline.Faults(failures=1.0), study={"max_failures": 5})
    assert simulation.ended.startswith("the first 5 trials all failed")
    assert "no trial has completed" in str(simulation)


# Reproducibility

SCRIPT = """
import sys
from test_simulation import EVERYTHING, simulated
from broodline.cli import main
simulated(faults=EVERYTHING, seed=int(sys.argv[1]), call_seconds=0.01).save(sys.argv[2])
main(["export", "walk", "--store", "sqlite:///" + sys.argv[2]])
"""


def exported(directory: Path, name: str, *, seed: int, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))}
    command = [sys.executable, "-c", SCRIPT, str(seed), f"{directory / name}.db"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.replace(f"{directory / name}", "")


def test_the_same_seed_gives_identical_records_in_another_process(tmp_path: Path) -> None:
    first = exported(tmp_path, "a", seed=1, hash_seed="1")
    assert len(first) > 10_000
    assert first == exported(tmp_path, "b", seed=1, hash_seed="2")
    assert first != exported(tmp_path, "c", seed=2, hash_seed="1")


def test_strategies_meet_the_same_faults_under_the_same_seed() -> None:
    told = [
        simulated(faults=broodline.Faults(stragglers=0.5), workers=6, study={"evolution": broodline.Evolution(strategy=name)})
        for name in ("initiator", "random")
    ]
    slow = [{trial.worker for trial in each.result.trials if (trial.finished or 0) - (trial.started or 0) > 100} for each in told]
    assert slow[0] == slow[1]
    assert len(slow[0]) == 3


# Wrong use


@pytest.mark.parametrize(
    "rates",
    [{"preemptions": -1}, {"failures": 1.5}, {"damaged": float("nan")}, {"slowness": 0}, {"lost_answers": 1}],
    ids=str,
)
def test_an_impossible_rate_is_refused(rates: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(rates))):
        broodline.Faults(**rates)


def test_a_tiny_rate_causes_no_fault() -> None:
    assert simulated(faults=broodline.Faults(outages=5e-324, preemptions=5e-324)).faults == {}


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="budget: must not be empty"):
        broodline.simulate(study_of(), walk, workers=2)
    with pytest.raises(UsageError, match="workers"):
        simulated(workers=0)
    with pytest.raises(UsageError, match="must return a state and metrics"):
        simulated(train=lambda trial: {"x": 1.0})
    with pytest.raises(UsageError, match="seconds_per_step"):
        simulated(seconds_per_step=-1.0)
