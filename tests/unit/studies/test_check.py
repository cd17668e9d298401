"""What a check finds in programs that make each of the usual mistakes, whether their repeats are equal or not."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

import broodline
from broodline.studies.check import check, plan
from broodline.studies.check_effects import Ends, lost_at_restore
from broodline.studies.check_findings import Finding, Verdict, conclusion, verdict_of
from broodline.studies.trainer import setup_for

STEPS = 20
Train = Callable[[broodline.RunningTrial], Mapping[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A quadratic that gradient descent minimises, with the mistakes that programs make.

    Args:
        noise: Of each step, from a generator that runs on from trial to trial; 0: repeats are equal.
        restores_lr: It takes the learning rate out of the checkpoint.
        ignores_steps: It trains this many steps whatever it is asked for.
        absolute: It counts steps from the beginning of the lineage, up to the steps of one trial.
        forgets: The factor of the weights at a restore.
        uses_lr: The learning rate has an effect at all.
        told: It reports the step that it has reached.
        source: Of the noise.
    """

    noise: float = 0.0
    restores_lr: bool = False
    ignores_steps: int = 0
    absolute: bool = False
    forgets: float = 1.0
    uses_lr: bool = True
    told: bool = False
    source: Random = field(default_factory=lambda: Random(1))

    def __call__(self, trial: broodline.RunningTrial) -> Mapping[str, Any] | None:
        state: dict[str, Any] = {"x": 10.0, "step": 0}
        if trial.restore_from:
            loaded = json.loads((trial.restore_from / "state").read_text())
            state |= {"x": loaded["x"] * self.forgets, "step": loaded["step"]}
        state["lr"] = loaded["lr"] if trial.restore_from and self.restores_lr else trial.params["lr"]
        steps = max(0, trial.steps - state["step"]) if self.absolute else self.ignores_steps or trial.steps
        for _ in range(steps):
            rate = state["lr"] if self.uses_lr else 0.02
            state["x"] -= rate * (state["x"] + (self.source.gauss(0, self.noise) if self.noise else 0.0))
            state["step"] += 1
        (trial.save_to / "params").write_text(json.dumps(trial.params))  # as programs do that save their arguments too
        (trial.save_to / "state").write_text(json.dumps(state if self.restores_lr else {**state, "lr": "of the trial"}))
        trial.report(loss=state["x"] ** 2, **({"step": state["step"]} if self.told else {}))
        return None


def study() -> broodline.Study:
    return broodline.Study(
        name="check",
        space={"lr": broodline.Float(0.001, 0.05, log=True)},
        objective={"loss": "minimize"},
        trial_steps=STEPS,
        population=2,
    )


def checked(train: Train, **options: Any) -> list[Finding]:
    return list(check(study().definition(), setup_for(train), **options))


def texts(found: list[Finding], verdict: Verdict) -> str:
    return " | ".join(finding.text for finding in found if finding.verdict is verdict)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_good_program_passes_whether_its_repeats_are_equal_or_not(noise: float) -> None:
    found = checked(Program(noise=noise))
    assert verdict_of(found) is Verdict.GOOD, found
    assert "lr takes effect after a restore" in texts(found, Verdict.GOOD)
    assert "the metric is the same after a restore" in texts(found, Verdict.GOOD)
    assert conclusion(found).startswith("passed: all")


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_learning_rate_that_a_checkpoint_restores_is_found_whether_repeats_are_equal_or_not(noise: float) -> None:
    found = checked(Program(noise=noise, restores_lr=True))
    assert "lr has no effect after a restore" in texts(found, Verdict.BAD)
    assert "set the new ones after loading" in texts(found, Verdict.BAD)
    assert conclusion(found).startswith("not passed: 1 of")


def test_a_parameter_without_an_effect_is_found_where_repeats_are_equal_and_not_passed_where_they_differ() -> None:
    assert "lr has no effect at all" in texts(checked(Program(uses_lr=False)), Verdict.BAD)
    found = checked(Program(uses_lr=False, noise=0.3))
    assert verdict_of(found) is Verdict.UNKNOWN
    assert "BROODLINE_SEED" in texts(found, Verdict.UNKNOWN)
    assert "--steps" in texts(found, Verdict.UNKNOWN)
    assert conclusion(found).startswith("not passed: 1 of")


@pytest.mark.parametrize(("noise", "told"), [(0.0, False), (0.3, False), (0.3, True)])
def test_a_program_that_trains_although_it_is_asked_for_no_steps_is_called_that(noise: float, told: bool) -> None:
    wrong = texts(checked(Program(noise=noise, ignores_steps=STEPS, told=told)), Verdict.BAD)
    assert "it trained although it was asked for 0 steps" in wrong
    assert "without any training" not in wrong


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_limit_that_counts_from_the_beginning_is_found(noise: float) -> None:
    wrong = texts(checked(Program(noise=noise, absolute=True)), Verdict.BAD)
    assert "trained nothing: asked for 20 steps from step 20" in wrong
    assert "start + steps" in wrong
    assert "has no effect" not in wrong


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_state_that_is_not_restored_is_found(noise: float) -> None:
    wrong = texts(checked(Program(noise=noise, forgets=1.5)), Verdict.BAD)
    assert "the metric changes at a restore without training" in wrong


def test_a_metric_that_differs_after_a_restore_is_not_called_the_same() -> None:
    found = checked(Program(forgets=1.01))
    assert "the metric changes little at a restore" in texts(found, Verdict.GOOD)
    assert "the same" not in texts(found, Verdict.GOOD)


@pytest.mark.parametrize(
    ("noise", "said"),
    [(0.0, "the program fails (metric 'loss' must be a finite number, got nan"), (0.3, "failed, failed with 0.05")],
)
def test_a_program_that_diverges_at_other_values_shows_the_effect_of_the_parameter(noise: float, said: str) -> None:
    program, kept = Program(noise=noise), []

    def diverges(trial: broodline.RunningTrial) -> Mapping[str, Any] | None:
        kept.append(trial.params["lr"])
        metrics = program(trial)
        return {"loss": float("nan"), "time": 1} if trial.params["lr"] not in (kept[0], 0.001) else metrics

    found = checked(diverges)
    assert "lr takes effect after a restore" in texts(found, Verdict.GOOD)
    assert said in texts(found, Verdict.GOOD)


def test_the_plan_names_the_runs_and_the_limit_before_the_first_run() -> None:
    said: list[str] = []
    words = "check makes 6 runs of at most 7 steps, and up to 24 if the results of repeats differ"
    assert plan(study().definition(), steps=7, seconds=90) == f"{words}; it ends after 1.5 minutes at the latest"
    found = checked(Program(), steps=7, progress=said.append)
    assert len(said) == 6
    assert said[0].startswith("run 1: 7 steps from nothing, lr ")
    assert said[1].startswith("run 2: 7 steps from the checkpoint of run 1, lr ")
    assert verdict_of(found) is Verdict.GOOD


def test_no_check_makes_more_runs_than_it_says() -> None:
    said: list[str] = []
    checked(Program(uses_lr=False, noise=0.3), progress=said.append)
    assert len(said) <= 24


def test_a_check_ends_at_its_limit_in_the_midst_of_a_run() -> None:
    def hangs(trial: broodline.RunningTrial) -> Mapping[str, Any]:
        threading.Event().wait()
        return {"loss": 0.0}

    (found,) = checked(hangs, seconds=0.2)
    assert found.verdict is Verdict.UNKNOWN
    assert "the limit of" in found.text
    assert "--steps" in found.text
    assert "in run 1" in found.text


def test_a_function_is_checked_in_the_environment_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen: set[tuple[Any, ...]] = set()

    def train(trial: broodline.RunningTrial) -> Mapping[str, Any] | None:
        seen.add((os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES"), tuple(trial.devices)))
        return Program()(trial)

    before = dict(os.environ)
    assert study().check(train, threads=3, devices=[5, 6], show=False)
    assert seen == {("3", "5", ("5",))}
    assert dict(os.environ) == before


def test_a_function_that_fails_its_check_is_told_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert not study().check(Program(restores_lr=True), steps=5, time="5m")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("check makes 6 runs of at most 5 steps")
    assert lines[-1].startswith("not passed: 1 of")
    with pytest.raises(broodline.errors.UsageError, match="time: must be a time above zero"):
        study().check(Program(), time="soon")


MEASURED = {
    "a restored rate": (Ends((0.515, 0.506), (0.493, 0.684)), False),
    "a rate that took effect": (Ends((2.0107, 2.0107), (2.368, 2.391)), True),
    "two that happen to lie apart": (Ends((0.5, 0.6), (0.65, 0.7)), False),
    "four that lie apart": (Ends((0.5, 0.6, 0.55, 0.52), (0.67, 0.7, 0.75, 0.72)), True),
    "equal values": (Ends((1.0, 1.0), (1.0, 1.0)), False),
    "one end that fails": (Ends((1.0, 1.1), (float("-inf"), float("-inf"))), True),
    "both ends that fail": (Ends((float("-inf"),) * 2, (float("-inf"),) * 2), False),
}


@pytest.mark.parametrize("case", MEASURED)
def test_an_effect_is_a_gap_that_is_large_against_the_spread_of_repeats(case: str) -> None:
    ends, expected = MEASURED[case]
    assert ends.differ is expected
    assert Ends(ends.high, ends.low).differ is expected


def test_a_restored_value_is_told_from_an_effect_that_is_too_small() -> None:
    none, large = Ends((0.5, 0.6, 0.5, 0.6), (0.5, 0.6, 0.6, 0.5)), Ends((1.0, 1.1), (5.0, 5.1))
    half = Ends((1.0, 2.0, 3.0, 4.0), (3.0, 4.0, 5.0, 6.0))
    assert lost_at_restore(none, large) is True
    assert lost_at_restore(none, none) is None
    assert lost_at_restore(half, large) is None
