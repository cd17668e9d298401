"""`broodline.trials(store, study)`: a program that is a worker of its own."""

from __future__ import annotations

import time
from pathlib import Path

import broodline
from broodline.client import Asker, Start
from broodline.controller import Controller
from broodline.definition import parse
from broodline.places import Place

STUDY = {
    "name": "own",
    "trial_steps": 10,
    "population": 2,
    "objective": {"score": "maximize"},
    "space": {"lr": {"float": [0.1, 1.0]}},
    "budget": {"trials": 1},
    "engine": {"lease": "1s"},
}


def test_a_trial_that_reports_nothing_for_longer_than_a_lease_is_not_given_away(tmp_path: Path) -> None:
    place = Place(url=f"sqlite:///{tmp_path}/broodline.db")
    store = place.open()
    controller = Controller(store)
    controller.open(parse(STUDY, "test"))
    for trial in broodline.trials(place.url, "own"):
        with trial:
            until = time.monotonic() + 2.5
            while time.monotonic() < until:  # somebody else asks all the time
                assert not isinstance(controller.ask("own", Asker(worker="other", session="x")), Start)
                time.sleep(0.1)
            (trial.save_to / "weights").write_text("1")
            trial.report(score=1.0)
    with store.snapshot("own") as records:
        (only,) = records.trials()
    assert (only.state, only.attempt) == ("completed", 1)
    store.close()
