"""Lineages and schedules: pure functions of trials and their parents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broodline.errors import UsageError
from broodline.lineage import lineage_of
from broodline.model import Trial
from broodline.schedule import Schedule, Segment, schedule_of

STEPS = 10


def family(*params: dict[str, Any]) -> dict[int, Trial]:
    """Trials 0, 1, 2, ... with these params, each the parent of the next."""
    trials = {}
    for number, each in enumerate(params):
        parent = number - 1 if number else None
        trials[number] = Trial(
            number=number, member=0, generation=number, params=each, parent=parent, start=number * STEPS, steps=STEPS
        )
    return trials


def schedule_of_family(*params: dict[str, Any]) -> Schedule:
    trials = family(*params)
    return schedule_of(lineage_of(len(params) - 1, trials.get))


def test_a_lineage_goes_from_the_trial_back_to_the_one_that_started_from_nothing() -> None:
    trials = family({}, {}, {}, {})
    assert [trial.number for trial in lineage_of(2, trials.get)] == [2, 1, 0]


def test_a_lineage_follows_parents_not_members_or_initiators() -> None:
    trials = family({}, {}, {})
    trials[2] = trials[2].evolve(parent=0, initiator=1)
    assert [trial.number for trial in lineage_of(2, trials.get)] == [2, 0]


def test_a_trial_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="no trial 7"):
        lineage_of(7, family({}).get)


def test_a_schedule_begins_a_segment_where_the_params_change() -> None:
    schedule = schedule_of_family({"lr": 1.0}, {"lr": 0.8}, {"lr": 0.8}, {"lr": 0.64})
    assert [(segment.start, segment.params) for segment in schedule.segments] == [
        (0, {"lr": 1.0}),
        (10, {"lr": 0.8}),
        (30, {"lr": 0.64}),
    ]
    assert schedule.end == 40


def test_a_schedule_keeps_the_steps_at_which_trials_really_began() -> None:
    trials = family({"lr": 1.0}, {"lr": 0.5})
    trials[0] = trials[0].evolve(steps=13)
    trials[1] = trials[1].evolve(start=13, steps=12)
    schedule = schedule_of(lineage_of(1, trials.get))
    assert [segment.start for segment in schedule.segments] == [0, 13]
    assert (schedule(12)["lr"], schedule(13)["lr"], schedule.end) == (1.0, 0.5, 25)


def test_a_parameter_that_comes_to_exist_begins_a_segment() -> None:
    schedule = schedule_of_family({"opt": "adam"}, {"opt": "sgd", "momentum": 0.9})
    assert [dict(segment.params) for segment in schedule.segments] == [{"opt": "adam"}, {"opt": "sgd", "momentum": 0.9}]


@given(values=st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1, max_size=8), step=st.integers(0, 100))
def test_a_schedule_gives_each_step_the_params_it_was_trained_with(values: list[float], step: int) -> None:
    schedule = schedule_of_family(*({"lr": value} for value in values))
    assert schedule(step)["lr"] == values[min(step // STEPS, len(values) - 1)]
    assert all(one.params != other.params for one, other in zip(schedule.segments, schedule.segments[1:], strict=False))


def test_a_schedule_has_no_negative_steps() -> None:
    with pytest.raises(ValueError, match="begins at step 0"):
        schedule_of_family({"lr": 1.0})(-1)


@pytest.mark.parametrize("starts", [(), (1,), (0, 0), (0, 20, 10), (0, 50)])
def test_segments_begin_at_zero_and_follow_each_other(starts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a schedule begins at step 0"):
        Schedule(segments=tuple(Segment(start=start, params={}) for start in starts), end=40)


def test_a_schedule_as_a_document_and_as_a_text() -> None:
    schedule = schedule_of_family({"lr": 1.0}, {"lr": 0.8})
    assert json.loads(json.dumps(schedule.document())) == {
        "end": 20,
        "segments": [{"from": 0, "params": {"lr": 1.0}}, {"from": 10, "params": {"lr": 0.8}}],
    }
    assert str(schedule) == "steps 0 to 10: lr = 1.0\nsteps 10 to 20: lr = 0.8"
