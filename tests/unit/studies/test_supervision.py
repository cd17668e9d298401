"""What the supervision of workers reads from the store while they run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from broodline.config.study import parse
from broodline.controller.controller import Controller
from broodline.storage.location import open_store
from broodline.studies import supervision
from broodline.studies.supervision import StudyWatch
from broodline.workers.engines.base import Engine

STUDY: dict[str, Any] = {
    "name": "digits",
    "trial_steps": 10,
    "population": 2,
    "objective": {"accuracy": "maximize"},
    "space": {"lr": {"float": [0.1, 1.0]}},
}


class Renewing:
    """The part of an engine that matters here."""

    lease = 30.0


def test_the_engine_renews_as_the_study_is_defined_now_and_a_stop_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.0)
    with closing(open_store(f"sqlite:///{tmp_path}/broodline.db")) as store:
        controller, engine = Controller(store), Renewing()
        controller.open(parse({**STUDY, "engine": {"lease": 30}}, "test"))
        watch = StudyWatch(store=store, study="digits", engine=cast(Engine, engine))
        assert (watch.is_stopped(), engine.lease) == (False, 30.0)
        controller.open(parse({**STUDY, "engine": {"lease": 4}}, "test"))
        assert (watch.is_stopped(), engine.lease) == (False, 4.0)
        controller.end("digits", now=True, reason="by hand")
        assert watch.is_stopped()
