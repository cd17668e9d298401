"""Lineages and schedules: pure functions of trials and their parents."""

from __future__ import annotations

import json
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broodline.core.lineage import lineage_of
from broodline.core.schedule import Schedule, Segment, schedule_of
from broodline.core.trial import Trial
from broodline.errors import UsageError

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
    with pytest.raises(ValueError, match="the step must be at least 0"):
        schedule_of_family({"lr": 1.0})(-1)


@pytest.mark.parametrize("starts", [(), (1,), (0, 0), (0, 20, 10), (0, 50)])
def test_segments_begin_at_zero_and_follow_each_other(starts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a schedule must start at step 0"):
        Schedule(segments=tuple(Segment(start=start, params={}) for start in starts), end=40)


def test_a_schedule_as_a_document_and_as_a_text() -> None:
    schedule = schedule_of_family({"lr": 1.0}, {"lr": 0.8})
    assert json.loads(json.dumps(schedule.document())) == {
        "end": 20,
        "segments": [{"start": 0, "params": {"lr": 1.0}}, {"start": 10, "params": {"lr": 0.8}}],
    }
    assert str(schedule) == "steps 0 to 10: lr = 1.0\nsteps 10 to 20: lr = 0.8"


STEPPED = Schedule(segments=tuple(Segment(start=start, params={"lr": float(start)}) for start in (0, 30, 40, 100)), end=130)


@given(count=st.integers(0, 100), start=st.integers(0, 150), scale=st.integers(1, 60) | st.fractions("1/60", 60))
def test_a_shifted_and_rescaled_schedule_gives_each_count_the_params_of_its_step(count: int, start: int, scale: Fraction) -> None:
    schedule = STEPPED.shift(start).rescale(scale)
    assert schedule(count) == STEPPED(floor(start + count * scale))
    assert schedule.segments[0].start == 0


@given(parts=st.integers(1, 3000), step=st.integers(0, 130))
def test_a_scale_that_a_float_can_not_hold_is_still_exact(parts: int, step: int) -> None:
    schedule = STEPPED.rescale(1 / parts)
    assert schedule(step * parts) == STEPPED(step)
    assert step == 0 or schedule(step * parts - 1) == STEPPED(step - 1)
    assert schedule.end == STEPPED.end * parts


@pytest.mark.parametrize("steps", [0.0, -1.0, 1e-12])
def test_a_schedule_is_rescaled_by_a_number_above_zero(steps: float) -> None:
    with pytest.raises(UsageError, match="steps must be above 0"):
        STEPPED.rescale(steps)


def test_a_schedule_is_shifted_forwards_only() -> None:
    with pytest.raises(UsageError, match="start must be at least 0, got -1"):
        STEPPED.shift(-1)


def test_segments_that_become_adjacent_and_are_equal_are_one() -> None:
    lrs = {0: 0.1, 900: 0.2, 950: 0.1}
    segments = tuple(Segment(start=start, params={"lr": lr}) for start, lr in lrs.items())
    assert str(Schedule(segments=segments, end=2000).rescale(1000)) == "steps 0 to 2: lr = 0.1"


def test_the_former_name_of_shift_and_rescale_still_works_and_says_so() -> None:
    with pytest.warns(DeprecationWarning, match="shift and rescale"):
        assert STEPPED.recounted(start=30, scale=10) == STEPPED.shift(30).rescale(10)


def test_one_numeric_param_alone() -> None:
    assert schedule_of_family({"lr": 1, "opt": "a"}, {"lr": 0.5, "opt": "a"}).numbers("lr") == ((0, 10), (1.0, 0.5))


@pytest.mark.parametrize(
    ("name", "saying"),
    [
        ("momentum", "no param 'momentum' from step 10 on; it has: opt"),
        ("opt", "'opt' must be a number, got 'sgd' from step 0 on"),
        ("x", "no param 'x'"),
    ],
)
def test_a_param_that_is_not_always_a_number_is_told(name: str, saying: str) -> None:
    schedule = schedule_of_family({"opt": "sgd", "momentum": 0.9}, {"opt": "adam"})
    with pytest.raises(UsageError, match=saying):
        schedule.numbers(name)
