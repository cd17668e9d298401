"""The contract of stores: the promises of `storage.base.Store` and `storage.base.Transaction`, as tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from random import Random
from time import monotonic

import pytest

from broodline.core.population import Progress, StudyState
from broodline.core.trial import Measurement, PeerScore, Score, Trial, TrialState
from broodline.errors import StudyNotFound
from broodline.storage.base import FilesRecord, Leases, Store
from broodline.testing.playing import FakeClock
from broodline.testing.rows import EVERY_FIELD, any_row, check_answers, completed, row


class StoreContract(ABC):
    """Subclass it as `TestMyStore` and open the store. Every test gets a new, empty one."""

    @abstractmethod
    def open_store(self, clock: FakeClock) -> Store:
        """Returns a new, empty store that reads this clock."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> Iterator[Store]:
        with closing(self.open_store(clock)) as store:
            store.create("s", "{}")
            yield store

    def fill(self, store: Store, *trials: Trial, study: str = "s") -> None:
        """Adds rows."""
        with store.transaction(study) as transaction:
            for trial in trials:
                transaction.insert(trial)

    def test_a_study_is_created_once(self, store: Store) -> None:
        assert store.create("other", '{"a": 1}')
        assert not store.create("other", '{"a": 2}')
        assert store.studies() == ("s", "other")
        with store.snapshot("other") as records:
            assert records.definition() == '{"a": 1}'
            assert records.progress() == Progress()

    def test_a_missing_study_is_refused_with_its_name_and_the_names_of_the_others(self, store: Store) -> None:
        with pytest.raises(StudyNotFound, match=r"'gone'.*s"), store.transaction("gone"):
            pass
        with pytest.raises(StudyNotFound, match="'gone'"), store.snapshot("gone"):
            pass

    def test_a_deleted_study_leaves_nothing_and_the_others_stay(self, store: Store) -> None:
        store.create("other", "{}")
        for study in ("s", "other"):
            self.fill(store, row(0), study=study)
            with store.transaction(study) as records:
                records.add_measurements(0, 1, [Measurement(step=1, metrics={"score": 1.0})])
        store.delete("s")
        assert store.studies() == ("other",)
        store.create("s", "{}")
        for study, count in (("s", 0), ("other", 1)):
            with store.snapshot(study) as records:
                assert len(list(records.trials())) == len(records.measurements(0, 1)) == count
        with pytest.raises(StudyNotFound, match="'gone'"):
            store.delete("gone")

    def test_the_record_of_a_directory_is_replaced_only_by_a_process_that_knows_the_last_one(self, store: Store) -> None:
        """A record can be older than its study, and stays when the study is deleted: the files are deleted after the records."""
        made, placed = FilesRecord(id="a"), FilesRecord(id="a", place="host:/files/s")
        for study in ("s", "not yet a study"):
            assert store.files_record(study) is None
            assert not store.replace_files_record(study, made, placed)
            assert store.replace_files_record(study, None, made)
            assert not store.replace_files_record(study, None, FilesRecord(id="b"))
            assert store.files_record(study) == made
            assert not store.replace_files_record(study, FilesRecord(id="b"), placed)
            assert not store.replace_files_record(study, placed, made)
            assert store.replace_files_record(study, made, placed)
            assert store.files_record(study) == placed
        store.delete("s")
        assert store.files_record("s") == placed
        assert store.replace_files_record("s", placed, None)
        assert (store.files_record("s"), store.files_record("not yet a study")) == (None, placed)

    @pytest.mark.parametrize("kept", [False, True])
    def test_a_study_has_checkpoints_as_soon_as_a_trial_names_one(self, store: Store, kept: bool) -> None:
        store.create("other", "{}")
        self.fill(store, completed(0), study="other")
        self.fill(store, row(0), completed(1, checkpoint=None))
        with store.snapshot("s") as records:
            assert not records.has_checkpoints()
        self.fill(store, completed(2, kept=kept))
        with store.snapshot("s") as records:
            assert records.has_checkpoints()

    def test_a_trial_comes_back_as_it_was(self, store: Store) -> None:
        self.fill(store, EVERY_FIELD, row(1))
        with store.snapshot("s") as records:
            assert records.trial(0) == EVERY_FIELD
            assert records.trial(1) == row(1)
            assert records.trial(2) is None

    @pytest.mark.parametrize("name", [name for name in Trial.__slots__ if name not in ("number", "member", "generation")])
    def test_any_field_of_a_trial_can_be_changed_and_others_stay(self, store: Store, name: str) -> None:
        self.fill(store, row(0, member=3, generation=7))
        changed = row(0, member=3, generation=7, **{name: getattr(EVERY_FIELD, name)})
        for version in (changed, row(0, member=3, generation=7)):
            with store.transaction("s") as transaction:
                transaction.update(version)
                assert transaction.trial(0) == version
            with store.snapshot("s") as records:
                assert list(records.trials()) == [version]

    def test_the_progress_of_a_study_is_read_as_it_was_saved(self, store: Store) -> None:
        spent = Progress(
            state=StudyState.FAILED,
            reason="why",
            trials=5,
            finished=4,
            completed=3,
            failures=2,
            steps=2**40,
            elapsed=1.25,
            touched=1e9 + 1e-6,
        )
        with store.transaction("s") as transaction:
            transaction.save_progress(spent)
            transaction.redefine('{"new": 1}')
            assert (transaction.progress(), transaction.definition()) == (spent, '{"new": 1}')
        with store.snapshot("s") as records:
            assert (records.progress(), records.definition()) == (spent, '{"new": 1}')

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_a_transaction_that_an_error_leaves_has_changed_nothing(self, store: Store, error: type[BaseException]) -> None:
        self.fill(store, row(0), completed(1))
        with pytest.raises(error), store.transaction("s") as transaction:
            transaction.insert(row(2))
            transaction.update(row(0, state=TrialState.RUNNING))
            transaction.forget_checkpoint(1)
            transaction.add_measurements(0, 1, [Measurement(step=1, metrics={})])
            transaction.save_progress(Progress(trials=9))
            transaction.redefine("changed")
            raise error
        with store.snapshot("s") as records:
            assert list(records.trials()) == [row(0), completed(1)]
            assert records.measurements(0) == ()
            assert (records.progress(), records.definition()) == (Progress(), "{}")

    @pytest.mark.parametrize("twice", [row(0, member=5, generation=5), row(7, member=0, generation=0)], ids=["number", "place"])
    def test_a_number_and_a_place_in_a_generation_are_taken_once(self, store: Store, twice: Trial) -> None:
        self.fill(store, row(0))
        with pytest.raises(Exception, match=r"(?i)unique"):
            self.fill(store, row(1), twice)
        with store.snapshot("s") as records:
            assert list(records.trials()) == [row(0)]

    def test_the_clock_stands_still_during_a_transaction(self, store: Store, clock: FakeClock) -> None:
        with store.transaction("s") as transaction:
            before = transaction.now
            clock.advance(5)
            assert transaction.now == before
        with store.transaction("s") as transaction:
            assert transaction.now == before + 5

    def test_studies_in_one_store_do_not_see_each_other(self, store: Store) -> None:
        store.create("other", "{}")
        self.fill(
            store, completed(0, 5.0, worker="a"), row(1, state=TrialState.RUNNING, worker="a", session="b", lease_until=1.0)
        )
        self.fill(store, row(0), study="other")
        with store.snapshot("other") as records:
            assert list(records.trials()) == [row(0)]
            assert (records.best(5), records.checkpoints(), records.leases("a", 9.0)) == ((), (), Leases())
            assert (records.running_in(["b"]), records.any_running()) == ((), False)

    def test_trials_are_read_in_order_and_in_parts(self, store: Store) -> None:
        self.fill(store, *(row(number) for number in reversed(range(1200))))
        with store.snapshot("s") as records:
            assert [trial.number for trial in records.trials()] == list(range(1200))
            assert [trial.number for trial in records.trials(after=9, limit=3)] == [10, 11, 12]
            assert [trial.number for trial in records.trials(after=1198)] == [1199]

    def test_a_lease_runs_out_after_its_last_moment(self, store: Store) -> None:
        self.fill(store, row(0, state=TrialState.RUNNING, worker="a", session="b", lease_until=10.0))
        with store.snapshot("s") as records:
            assert records.leases("b", 10.0) == Leases()
            assert [trial.number for trial in records.leases("b", 10.000001).expired] == [0]

    def test_the_first_pending_trial_is_that_of_the_moment(self, store: Store) -> None:
        lost = row(0, state=TrialState.RUNNING, worker="a", session="b", lease_until=10.0)
        self.fill(store, lost, row(1), row(2))
        with store.transaction("s") as transaction:
            assert transaction.leases("a", 11.0) == Leases(held=lost, expired=(lost,))
            assert transaction.first_pending() == row(1)
            transaction.update(row(0))
            assert transaction.first_pending() == row(0)
            for number in (0, 1, 2):
                transaction.update(row(number, state=TrialState.RUNNING))
            assert transaction.first_pending() is None
            transaction.insert(row(3))
            assert transaction.first_pending() == row(3)

    def test_measurements_are_those_of_the_last_attempt_in_the_order_in_which_they_came(self, store: Store) -> None:
        first, second, third = (Measurement(step=step, metrics={"score": 0.1, "x": [1]}) for step in (5, 3, 4))
        self.fill(store, row(0), row(1))
        with store.transaction("s") as transaction:
            transaction.add_measurements(0, 1, [first])
            transaction.add_measurements(0, 2, [second])
            transaction.add_measurements(0, 2, [])
            transaction.add_measurements(1, 1, [first])
        with store.transaction("s") as transaction:
            transaction.add_measurements(0, 2, [third, first])
            assert transaction.measurements(0) == (second, third, first)
            assert transaction.measurements(1) == (first,)
            assert transaction.measurements(2) == ()

    def test_a_measurement_may_hold_what_is_not_a_number(self, store: Store) -> None:
        self.fill(store, row(0))
        with store.transaction("s") as transaction:
            transaction.add_measurements(0, 1, [Measurement(step=1, metrics={"score": float("nan"), "high": float("inf")})])
        with store.snapshot("s") as records:
            assert str(records.measurements(0)[0].metrics) == "{'score': nan, 'high': inf}"

    def test_a_score_of_a_trial_at_a_step_is_its_last_one_up_to_there(self, store: Store) -> None:
        """Of the last attempt, and of a step that was reported twice, the last report; minus infinity is a score."""
        self.fill(store, row(0, attempt=2), row(1, attempt=1), row(2, attempt=1))
        with store.transaction("s") as transaction:
            transaction.add_scores(0, 1, [Score(step=4, value=9.0)])
            transaction.add_scores(0, 2, [Score(step=step, value=step / 10) for step in (2, 5, 8)])
            transaction.add_scores(0, 2, [Score(step=5, value=-float("inf"))])
            transaction.add_scores(1, 1, [Score(step=7, value=1.0)])
            transaction.add_scores(2, 1, [])
        with store.snapshot("s") as records:
            stood = {step: [(peer.score, peer.measured) for peer in records.peer_scores(step, 9)] for step in (1, 5, 6, 7, 9)}
        worst = -float("inf")
        assert stood == {
            1: [(None, None), (None, 7), (None, 8)],
            5: [(None, None), (None, 7), (worst, 8)],
            6: [(None, None), (None, 7), (worst, 8)],
            7: [(None, None), (1.0, 7), (worst, 8)],
            9: [(None, None), (1.0, 7), (0.8, 8)],
        }

    def test_peers_are_the_trials_that_start_last_before_a_step(self, store: Store) -> None:
        starts = [0, 0, 0, 10, 10, 20, 30]
        self.fill(store, *(row(number, start=start, state=TrialState.STOPPED) for number, start in enumerate(starts)))
        store.create("other", "{}")
        self.fill(store, row(7), study="other")
        with store.snapshot("s") as records:
            assert [peer.trial for peer in records.peer_scores(11, 4)] == [4, 3, 2, 1]
            assert [peer.trial for peer in records.peer_scores(10, 9)] == [2, 1, 0]
            assert records.peer_scores(21, 1) == (PeerScore(trial=5, state=TrialState.STOPPED, score=None, measured=None),)
            assert records.peer_scores(0, 9) == ()

    def test_the_own_last_trial_initiates_before_lower_numbers_but_not_before_lower_generations(self, store: Store) -> None:
        def ended(number: int, worker: str, when: float, generation: int = 0) -> Trial:
            return completed(number, worker=worker, finished=when, generation=generation)

        self.fill(store, ended(0, "a", 1.0), ended(1, "b", 4.0), ended(2, "b", 3.0), ended(3, "c", 9.0, generation=1))
        with store.snapshot("s") as records:
            asked = [records.first_initiator(worker) for worker in ("a", "b", "c", "d")]
            assert [trial.number for trial in asked if trial] == [0, 1, 0, 0]

    @pytest.mark.parametrize("seed", range(6))
    def test_every_query_returns_what_a_scan_of_all_rows_would_return(self, store: Store, seed: int) -> None:
        rng = Random(seed)
        trials = [any_row(number, rng) for number in range(60)]
        self.fill(store, *trials)
        for _ in range(3):
            with store.transaction("s") as transaction:
                check_answers(transaction, trials)  # the updates that follow make cached answers stale
                for number in rng.sample(range(60), 10):
                    trials[number] = any_row(number, rng)
                    transaction.update(trials[number])
                deleted = rng.choice([trial for trial in trials if trial.checkpoint])
                transaction.forget_checkpoint(deleted.number)
                trials[deleted.number] = deleted.evolve(checkpoint=None)
                check_answers(transaction, trials)
            with store.snapshot("s") as records:
                check_answers(records, trials)


class SharedStoreContract(StoreContract):
    """For a store that several processes open at once."""

    @abstractmethod
    def open_again(self, clock: FakeClock) -> Store:
        """Opens the store of this test once more."""

    def test_committed_rows_are_visible_to_others_and_uncommitted_ones_are_not(self, store: Store, clock: FakeClock) -> None:
        with closing(self.open_again(clock)) as other:
            with store.transaction("s") as transaction:
                transaction.redefine("new")
                with other.snapshot("s") as during:
                    assert during.definition() == "{}"
            with other.snapshot("s") as after:
                assert after.definition() == "new"

    def test_a_snapshot_stays_as_it_was_at_its_first_read(self, store: Store, clock: FakeClock) -> None:
        with closing(self.open_again(clock)) as other, other.snapshot("s") as before:
            with store.transaction("s") as transaction:
                transaction.redefine("new")
            assert before.definition() == "{}"

    def test_a_commit_of_another_ends_the_wait(self, store: Store, clock: FakeClock) -> None:
        with store.transaction("s"):
            pass
        with closing(self.open_again(clock)) as other, other.transaction("s") as transaction:
            transaction.redefine("new")
        begun = monotonic()
        store.wait_for_change(60)
        assert monotonic() - begun < 30
