"""The contract of checkpoint stores: the promises of `storage.checkpoints.base.CheckpointStore`, as tests.

A crash is played by a real process that dies in the middle of a commit. The test kills it at its first operation on the file
system, at its second, and so on, and looks each time at the files that it left.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from broodline.errors import CheckpointCorrupt, CheckpointError, CheckpointMissing
from broodline.storage.checkpoints.base import CheckpointStore, checkpoint_of
from broodline.testing.crashed_commits import attempt, content_of, crashed_everywhere, save, write


class CheckpointStoreContract(ABC):
    """Subclass it as `TestMyCheckpoints` at the top of a test module, and implement `open_store`.

    It is called in other processes too. So it is a static method that opens the same store for the same directory.
    """

    @staticmethod
    @abstractmethod
    def open_store(directory: Path) -> CheckpointStore:
        """Opens the store that keeps all its files in this directory."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> CheckpointStore:
        store = self.open_store(tmp_path / "study")
        store.prepare()
        return store

    # Commit

    def test_an_attempt_gets_an_empty_local_directory(self, store: CheckpointStore) -> None:
        directory = store.begin(attempt())
        assert directory.is_dir()
        assert list(directory.iterdir()) == []

    def test_a_committed_checkpoint_is_found_under_the_name_of_its_attempt(self, store: CheckpointStore) -> None:
        assert save(store, attempt(12, 3)) == checkpoint_of(attempt(12, 3))
        assert content_of(store.open(checkpoint_of(attempt(12, 3)))) == {"weights"}

    def test_another_process_finds_a_committed_checkpoint(self, store: CheckpointStore, tmp_path: Path) -> None:
        checkpoint = save(store, attempt())
        store.close()
        assert content_of(self.open_store(tmp_path / "study").open(checkpoint)) == {"weights"}

    def test_a_commit_that_is_repeated_is_one_commit(self, store: CheckpointStore) -> None:
        checkpoint = save(store, attempt())
        assert store.commit(attempt()) == checkpoint
        assert content_of(store.open(checkpoint)) == {"weights"}

    def test_an_attempt_that_saved_nothing_has_no_checkpoint(self, store: CheckpointStore) -> None:
        (store.begin(attempt()) / "empty").mkdir()
        with pytest.raises(CheckpointError, match="no checkpoint"):
            store.commit(attempt())

    def test_a_checkpoint_counts_only_after_its_commit(self, store: CheckpointStore) -> None:
        write(store.begin(attempt()), "weights")
        with pytest.raises(CheckpointMissing):
            store.open(checkpoint_of(attempt()))

    def test_a_reader_never_sees_a_part_of_a_checkpoint(self, store: CheckpointStore) -> None:
        trials = [attempt(number) for number in range(20)]
        seen: set[int | None] = set()
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                seen.update(store.size(checkpoint_of(trial)) for trial in trials)

        reader = threading.Thread(target=look)
        reader.start()
        try:
            checkpoints = [save(store, trial) for trial in trials]
        finally:
            over.set()
            reader.join()
        assert seen <= {None, *map(store.size, checkpoints)}
        assert all(content_of(store.open(checkpoint)) == {"weights"} for checkpoint in checkpoints)

    # Crashes

    def test_a_crash_at_any_operation_leaves_a_whole_checkpoint_or_none(self, tmp_path: Path) -> None:
        """The next attempt then works as if the crash had not been."""
        places = crashed_everywhere(self.open_store, tmp_path)
        assert len(places) > 5
        for place in places:
            store = self.open_store(place)
            assert content_of(store.open(checkpoint_of(attempt(1)))) == {"parent"}
            assert _is_whole_or_refused(store, checkpoint_of(attempt())), place
            assert content_of(store.open(save(store, attempt(12, 2), "again"))) == {"again"}
            left = {(each.number, each.attempt) for each in store.attempts()}
            assert left == {(1, 1), (12, 2)}

    # Attempts

    def test_a_discarded_attempt_leaves_nothing(self, store: CheckpointStore) -> None:
        write(store.begin(attempt()), "weights")
        for _ in range(2):
            store.discard(attempt())
        assert list(store.attempts()) == []

    def test_a_discarded_attempt_that_was_committed_keeps_its_checkpoint_unless_it_was_superseded(
        self, store: CheckpointStore
    ) -> None:
        checkpoint = save(store, attempt())
        store.discard(attempt())
        assert content_of(store.open(checkpoint)) == {"weights"}
        store.discard_attempt(attempt())
        assert list(store.attempts()) == []
        with pytest.raises(CheckpointMissing):
            store.open(checkpoint)

    def test_a_superseded_attempt_can_not_reach_its_successors_checkpoint(self, store: CheckpointStore) -> None:
        late = store.begin(attempt(12, 1))
        successor = save(store, attempt(12, 2), "second")
        assert not late.exists() or list(late.iterdir()) == []
        save(store, attempt(12, 1), "first")
        store.discard_attempt(attempt(12, 1))
        assert content_of(store.open(successor)) == {"second"}

    def test_the_next_attempt_deletes_the_directories_of_earlier_ones_and_no_others(self, store: CheckpointStore) -> None:
        write(store.begin(attempt(12, 1)), "half")
        save(store, attempt(12, 2))
        other = save(store, attempt(11, 1))
        store.begin(attempt(12, 3))
        assert {(each.number, each.attempt) for each in store.attempts()} == {(11, 1), (12, 3)}
        assert content_of(store.open(other)) == {"weights"}

    def test_an_attempt_can_begin_again(self, store: CheckpointStore) -> None:
        write(store.begin(attempt()), "half")
        assert list(store.begin(attempt()).iterdir()) == []
        save(store, attempt(), "forgotten")
        assert list(store.begin(attempt()).iterdir()) == []

    def test_attempts_are_listed_with_the_names_of_their_checkpoints(self, store: CheckpointStore) -> None:
        save(store, attempt(1))
        store.begin(attempt(2, 3))
        found = {(each.number, each.attempt, each.checkpoint) for each in store.attempts()}
        assert found == {(1, 1, checkpoint_of(attempt(1))), (2, 3, checkpoint_of(attempt(2, 3)))}
        for each in store.attempts():
            store.remove_attempt(each)
        assert list(store.attempts()) == []

    # Reading

    def test_a_missing_checkpoint_and_a_corrupt_one_are_different_errors(self, store: CheckpointStore) -> None:
        checkpoint = save(store, attempt())
        (store.path(checkpoint) / "optimizer").write_text("short")
        with pytest.raises(CheckpointCorrupt):
            store.open(checkpoint)
        with pytest.raises(CheckpointMissing):
            store.open(checkpoint_of(attempt(99)))

    @pytest.mark.parametrize("name", ["", ".", "..", "/etc", "x", "checkpoints", "checkpoints/..", "checkpoints/a/b", "../x"])
    def test_a_name_that_is_not_that_of_a_checkpoint_is_refused(self, store: CheckpointStore, name: str) -> None:
        for call in (store.path, store.open, store.remove, store.size):
            with pytest.raises(CheckpointError, match="does not name a checkpoint"):
                call(name)

    # Space

    def test_a_removed_checkpoint_is_gone_and_removing_it_again_is_no_error(self, store: CheckpointStore) -> None:
        checkpoint, other = save(store, attempt()), save(store, attempt(13))
        for _ in range(2):
            store.remove(checkpoint)
        with pytest.raises(CheckpointMissing):
            store.open(checkpoint)
        store.close()
        assert [each.number for each in store.attempts()] == [13]
        assert content_of(store.open(other)) == {"weights"}

    def test_the_size_is_that_of_the_files(self, store: CheckpointStore) -> None:
        checkpoint = save(store, attempt(), "x" * 1000)
        size = store.size(checkpoint)
        assert size is not None
        assert 2000 <= size < 4000
        assert store.size(checkpoint_of(attempt(99))) is None

    def test_free_space_is_known(self, store: CheckpointStore) -> None:
        assert store.free_space() > 0


class ChecksummedCheckpointsContract(ABC):
    """For a store that can write checksums: it then detects changes that keep the size of a file."""

    @staticmethod
    @abstractmethod
    def open_checksummed(directory: Path) -> CheckpointStore:
        """Opens the store in this directory; it writes checksums."""

    def test_a_changed_byte_is_detected(self, tmp_path: Path) -> None:
        store = self.open_checksummed(tmp_path)
        store.prepare()
        checkpoint = save(store, attempt())
        assert content_of(store.open(checkpoint)) == {"weights"}
        (store.path(checkpoint) / "optimizer").write_text("weightz")
        with pytest.raises(CheckpointCorrupt, match="SHA-256"):
            store.open(checkpoint)


def _is_whole_or_refused(store: CheckpointStore, checkpoint: str) -> bool:
    try:
        return len(content_of(store.open(checkpoint))) == 1
    except CheckpointError:
        return True
