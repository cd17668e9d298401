"""Whether a worker that died is replaced, and how soon."""

from __future__ import annotations

from broodline.workers.engines.deaths import DeathsInARow

NONE = DeathsInARow()


def after(*deaths: tuple[bool, bool]) -> DeathsInARow:
    count = NONE
    for ready, at_work in deaths:
        count = count.and_one(ready=ready, at_work=at_work)
    return count


FALSE_START, IDLE, AT_WORK = (False, False), (True, False), (True, True)


def test_the_first_death_without_work_is_followed_at_once_and_each_further_one_after_twice_the_pause() -> None:
    assert [after(*[IDLE] * deaths).pause for deaths in (1, 2, 3, 4)] == [0.0, 0.25, 0.5, 1.0]
    assert after(*[IDLE] * 20).pause == 5.0


def test_three_false_starts_in_a_row_are_hopeless() -> None:
    assert not after(FALSE_START, FALSE_START).hopeless
    assert after(FALSE_START, FALSE_START, FALSE_START).hopeless


def test_a_worker_that_was_ready_shows_that_starting_works() -> None:
    assert not after(FALSE_START, FALSE_START, IDLE, FALSE_START).hopeless


def test_deaths_at_work_do_not_count_as_idle() -> None:
    assert after(AT_WORK, AT_WORK, AT_WORK).idle == 0


def test_a_worker_that_begins_to_train_resets_the_pause() -> None:
    assert after(IDLE, IDLE, IDLE).after_work_began().pause == NONE.pause
