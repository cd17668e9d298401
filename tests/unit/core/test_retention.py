"""Which checkpoints are still needed, and which the user wants anyway."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broodline.core.retention import Need, is_orphan, keeps_for_good, needs, unneeded
from broodline.core.study import Retention
from broodline.core.trial import Checkpoint, Trial, TrialState


def checkpoint(trial: int, member: int = 0, *, in_use: bool = False) -> Checkpoint:
    return Checkpoint(trial=trial, member=member, generation=trial, path=f"checkpoints/{trial:06d}.1", in_use=in_use)


def left_after(checkpoints: list[Checkpoint], *best: int) -> list[int]:
    gone = unneeded(checkpoints, best)
    return [each.trial for each in checkpoints if each not in gone]


def trial(**fields: Any) -> Trial:
    return Trial(**{"number": 7, "member": 0, "generation": 6, "params": {}, "steps": 10, "attempt": 2, **fields})


def test_the_last_two_of_each_member_stay() -> None:
    assert left_after([checkpoint(0), checkpoint(1, 1), checkpoint(2), checkpoint(3), checkpoint(4, 1)]) == [1, 2, 3, 4]


def test_older_means_of_a_lower_generation_in_whatever_order_they_come() -> None:
    assert left_after([checkpoint(9), checkpoint(3), checkpoint(6)]) == [9, 6]


def test_one_that_an_unfinished_trial_starts_from_stays() -> None:
    assert left_after([checkpoint(0, in_use=True), checkpoint(1), checkpoint(2), checkpoint(3)]) == [0, 2, 3]


def test_the_best_stay() -> None:
    assert left_after([checkpoint(0), checkpoint(1), checkpoint(2), checkpoint(3)], 1) == [1, 2, 3]


@given(
    members=st.lists(st.integers(0, 4), max_size=40),
    used=st.sets(st.integers(0, 39), max_size=6),
    best=st.sets(st.integers(0, 39), max_size=3),
)
def test_as_many_stay_as_are_needed_and_no_more(members: list[int], used: set[int], best: set[int]) -> None:
    checkpoints = [checkpoint(number, member, in_use=number in used) for number, member in enumerate(members)]
    left = set(left_after(checkpoints, *best))
    last = {number for number, member in enumerate(members) if members[number + 1 :].count(member) < 2}
    assert left == last | (used | best) & set(range(len(members)))


def test_what_a_checkpoint_is_needed_for_is_told_and_it_may_be_several_things() -> None:
    checkpoints = [checkpoint(0), checkpoint(1), checkpoint(2, in_use=True), checkpoint(3), checkpoint(4)]
    assert needs(checkpoints, best={2, 3}, kept={0, 4}) == {
        0: (Need.KEPT,),
        1: (),
        2: (Need.IN_USE, Need.BEST),
        3: (Need.RECENT, Need.BEST),
        4: (Need.RECENT, Need.KEPT),
    }


def test_a_study_that_is_over_needs_no_recent_ones() -> None:
    checkpoints = [checkpoint(0), checkpoint(1, in_use=True), checkpoint(2), checkpoint(3), checkpoint(4, 1)]
    needed = needs(checkpoints, best={2}, kept={4}, active=False)
    assert [number for number, why in needed.items() if why] == [1, 2, 4]


@pytest.mark.parametrize(("generation", "kept"), [(0, True), (1, False), (3, True), (4, False), (6, True)])
def test_every_kth_generation_is_kept(generation: int, kept: bool) -> None:
    assert keeps_for_good(Retention(keep_every=3), trial(generation=generation)) is kept


@pytest.mark.parametrize(("start", "kept"), [(0, False), (89, False), (90, True), (95, True), (99, True), (100, False)])
def test_the_first_at_or_after_a_step_is_kept(start: int, kept: bool) -> None:
    assert keeps_for_good(Retention(at=(100,)), trial(start=start)) is kept


def test_all_are_kept_or_none_as_the_user_says() -> None:
    assert keeps_for_good(Retention(keep_all=True), trial())
    assert not keeps_for_good(Retention(), trial())


ORPHANS: dict[str, tuple[Trial | None, int, bool]] = {
    "of a trial that is not there": (None, 1, True),
    "of the attempt that runs": (trial(state=TrialState.RUNNING), 2, False),
    "of an attempt whose lease ran out, which may still complete it": (trial(state=TrialState.PENDING), 2, False),
    "of a superseded attempt": (trial(state=TrialState.RUNNING), 1, True),
    "recorded": (trial(state=TrialState.COMPLETED, checkpoint="checkpoints/000007.2"), 2, False),
    "of an attempt before the one that completed": (
        trial(state=TrialState.COMPLETED, checkpoint="checkpoints/000007.2"),
        1,
        True,
    ),
    "swept": (trial(state=TrialState.COMPLETED), 2, True),
    "of a failed trial": (trial(state=TrialState.FAILED), 2, True),
}


@pytest.mark.parametrize(("of", "attempt", "orphan"), ORPHANS.values(), ids=list(ORPHANS))
def test_a_directory_is_an_orphan_if_nobody_will_ever_name_it(of: Trial | None, attempt: int, orphan: bool) -> None:
    assert is_orphan(of, attempt, f"checkpoints/000007.{attempt}") is orphan
