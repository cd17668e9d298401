"""`Study.run` again: with the stored budget, with another function, from scratch; and `Study.delete`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from broodline import Budget, Float, Study
from broodline.core.trial import TrialState
from broodline.errors import StudyNotFound
from broodline.studies.fingerprint import has_changed, note


def learn(trial: Any) -> dict[str, float]:
    (trial.save_to / "weights").write_text("1")
    return {"accuracy": 1.0}


def learn_otherwise(trial: Any) -> dict[str, float]:
    (trial.save_to / "weights").write_text("2")
    return {"accuracy": 2.0}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(
        name="digits",
        trial_steps=10,
        population=2,
        objective={"accuracy": "maximize"},
        space={"lr": Float(1e-4, 1.0, log=True)},
        store=f"sqlite:///{tmp_path / 'broodline.db'}",
    )


def test_a_run_without_a_budget_keeps_the_stored_one_and_says_that_nothing_was_left(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    study.run(learn, budget=Budget(trials=3), show=False)
    assert caplog.messages == []
    again = study.run(learn, show=False)  # without an end, if the budget were dropped
    assert [trial.state for trial in again.trials] == [TrialState.COMPLETED] * 3
    (said,) = caplog.messages
    assert said.startswith("study 'digits' is done (3 trials are done): nothing was left to train; raise the budget")
    caplog.clear()
    study.run(learn_otherwise, show=False)
    assert "the function has changed since it trained, and nothing was left to train" in caplog.text
    caplog.clear()
    fresh = study.run(learn_otherwise, budget=Budget(trials=2), fresh=True, show=False)
    assert [trial.metrics for trial in fresh.trials] == [{"accuracy": 2.0}] * 2
    assert caplog.messages == []
    study.delete()
    with pytest.raises(StudyNotFound):
        study.delete()


def test_unlimited_is_said(study: Study, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = []

    def stop(config: Any, **_: Any) -> None:
        budgets.append(config.budget)
        raise KeyboardInterrupt

    monkeypatch.setattr("broodline.studies.function_run.run", stop)
    for budget in (None, Budget.unlimited()):
        with pytest.raises(KeyboardInterrupt):
            study.run(learn, budget=budget, show=False)
    assert budgets == [Budget()] * 2
    (said,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "study 'digits' has no budget and trains until it is stopped" in said.message


def test_a_function_is_recognised_by_its_code_and_not_by_its_place(study: Study, tmp_path: Path) -> None:
    source = "def train(trial):\n    return {'a': max(x for x in (1, 2))}\n"

    def function(text: str) -> Any:
        names: dict[str, Any] = {}
        exec(compile(text, "train.py", "exec"), names)
        return names["train"]

    files = study._location.files_of("digits")
    files.root.mkdir(parents=True)
    assert not has_changed(function(source), files)
    note(function(source), files)
    assert not has_changed(function("\n\n" + source), files)
    assert has_changed(function(source.replace("(1, 2)", "(1, 3)")), files)
    assert has_changed(function(source.replace("max", "min")), files)
