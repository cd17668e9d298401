"""The local checkpoint store: the order of flushes and renames, the files that it refuses, and corruption that it detects."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from broodline.core.retention import is_orphan
from broodline.core.trial import Trial, TrialState
from broodline.errors import CheckpointCorrupt, CheckpointError, CheckpointMissing, CheckpointUnavailable, StoreError
from broodline.storage.checkpoints.local import LocalCheckpointStore, open_url
from broodline.storage.checkpoints.manifest import MANIFEST
from broodline.storage.disk import is_disk_full


@pytest.fixture
def store(tmp_path: Path) -> LocalCheckpointStore:
    store = LocalCheckpointStore(tmp_path / "study")
    store.prepare()
    return store


def trial(number: int = 12, attempt: int = 1) -> Trial:
    return Trial(number=number, member=0, generation=0, params={}, steps=1, attempt=attempt)


def saved(store: LocalCheckpointStore, of: Trial | None = None, /, **contents: str) -> str:
    """Saves and commits; names of files have `/` written as `__`."""
    of = of or trial()
    staged = store.begin(of)
    for name, text in (contents or {"weights": "12345"}).items():
        path = staged / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return store.commit(of)


# Commit


def test_a_committed_checkpoint_is_found_under_its_trials_number_and_attempt(store: LocalCheckpointStore) -> None:
    checkpoint = saved(store, trial(12, 3), weights="12345", optimizer__state="6")
    assert checkpoint == "checkpoints/000012.3"
    path = store.open(checkpoint)
    assert {name: (path / name).read_text() for name in ("weights", "optimizer/state")} == {
        "weights": "12345",
        "optimizer/state": "6",
    }
    assert list(store.staging.iterdir()) == []


def test_the_manifest_lists_the_files_and_their_sizes(store: LocalCheckpointStore) -> None:
    path = store.path(saved(store, weights="12345", optimizer__state="", optimizer__deep__er="1"))
    assert json.loads((path / MANIFEST).read_text()) == {"files": {"weights": 5, "optimizer/state": 0, "optimizer/deep/er": 1}}


def test_before_the_rename_everything_is_flushed(store: LocalCheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        if (name := os.readlink(f"/proc/self/fd/{descriptor}")).startswith(str(store.root)):
            events.append(name)

    def renamed(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    saved(store, weights="1", deep__er="2")
    staged = str(store.staging / "000012.1")
    before = set(events[: events.index("rename")])
    names = ("", "/weights", "/deep", "/deep/er", f"/{MANIFEST}")
    assert before == {staged + name for name in names} | {str(store.staging)}


@pytest.mark.parametrize("fails_at", ["fsync", "rename"])
def test_a_disk_that_fails_leaves_no_checkpoint(
    store: LocalCheckpointStore, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, fails_at, fail)
    with pytest.raises(OSError, match="No space") as raised:
        saved(store)
    assert is_disk_full(raised.value)
    monkeypatch.undo()
    assert list(store.committed.iterdir()) == []
    with pytest.raises(CheckpointError):
        store.open("checkpoints/000012.2")


def test_a_repeated_commit_has_one_effect(store: LocalCheckpointStore) -> None:
    checkpoint = saved(store)
    assert store.commit(trial()) == checkpoint
    store.open(checkpoint)


def test_a_rename_that_a_power_failure_undid_is_repeated(store: LocalCheckpointStore) -> None:
    checkpoint = saved(store)
    os.rename(store.path(checkpoint), store.staging / "000012.1")
    assert (store.open(checkpoint) / "weights").read_text() == "12345"


def test_files_of_an_earlier_attempt_are_not_in_the_directory_of_the_next(store: LocalCheckpointStore) -> None:
    (store.begin(trial()) / "half").write_text("x")
    assert list(store.begin(trial()).iterdir()) == []
    store.discard(trial())
    assert list(store.staging.iterdir()) == []
    store.discard(trial())


def test_a_superseded_attempt_can_not_reach_the_files_of_its_successor(store: LocalCheckpointStore) -> None:
    checkpoint = saved(store, trial(12, 2), weights="second")
    saved(store, trial(12, 1), weights="first")
    store.discard_attempt(trial(12, 1))
    assert (store.open(checkpoint) / "weights").read_text() == "second"
    assert [path.name for path in store.committed.iterdir()] == ["000012.2"]


def test_the_files_of_earlier_attempts_are_removed_when_the_next_begins(store: LocalCheckpointStore) -> None:
    (store.begin(trial(12, 1)) / "half").write_text("x")
    saved(store, trial(12, 2))
    kept = saved(store, trial(11, 1))
    staged = store.begin(trial(12, 3))
    assert list(store.staging.iterdir()) == [staged]
    assert list(store.committed.iterdir()) == [store.path(kept)]


# Files that are no checkpoint


def test_an_empty_directory_is_no_checkpoint(store: LocalCheckpointStore) -> None:
    staged = store.begin(trial())
    (staged / "empty" / "er").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no checkpoint: the program left nothing"):
        store.commit(trial())


def test_a_directory_with_only_a_manifest_is_no_checkpoint(store: LocalCheckpointStore) -> None:
    (store.begin(trial()) / MANIFEST).write_text("{}")
    with pytest.raises(CheckpointError, match="left nothing"):
        store.commit(trial())


def test_a_file_with_the_manifests_name_in_a_subdirectory_belongs_to_the_program(store: LocalCheckpointStore) -> None:
    checkpoint = saved(store, **{f"deep__{MANIFEST}": "mine"})
    assert (store.open(checkpoint) / "deep" / MANIFEST).read_text() == "mine"


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            bound.bind(f"/proc/self/fd/{here}/{path.name}")  # a socket's path may not be long
        finally:
            os.close(here)


UNFIT: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a socket": socket_at,
    "a link out of it": lambda path: path.symlink_to("/etc/hostname"),
    "a link up and out": lambda path: path.symlink_to("../../../etc"),
    "a link to another checkpoint": lambda path: path.symlink_to("../000001.1/weights"),
    "a link that finds back only before the rename": lambda path: path.symlink_to("../../staging/000012.1/weights"),
    "an absolute link into it": lambda path: path.symlink_to(path.parent / "weights"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("make", UNFIT.values(), ids=list(UNFIT))
def test_a_file_that_would_be_missing_when_it_is_read_is_refused(
    store: LocalCheckpointStore, make: Callable[[Path], object]
) -> None:
    staged = store.begin(trial())
    (staged / "weights").write_text("1")
    make(staged / "unfit")
    with pytest.raises(CheckpointError, match="no checkpoint: unfit"):
        store.commit(trial())
    assert list(store.committed.iterdir()) == []


def test_links_within_a_checkpoint_are_kept(store: LocalCheckpointStore) -> None:
    staged = store.begin(trial())
    (staged / "steps").mkdir()
    (staged / "steps" / "100").write_text("weights")
    (staged / "last").symlink_to("steps/100")
    (staged / "newest").symlink_to("steps", target_is_directory=True)
    (staged / "steps" / "up").symlink_to("../last")
    path = store.open(store.commit(trial()))
    assert [(path / name).read_text() for name in ("last", "newest/100", "steps/up")] == ["weights"] * 3


def test_a_child_that_copied_its_parents_checkpoint_by_hard_links_does_not_corrupt_it(store: LocalCheckpointStore) -> None:
    parent = store.path(saved(store, trial(1), weights="12345"))
    staged = store.begin(trial(2))
    for file in parent.iterdir():
        os.link(file, staged / file.name)  # as `cp -al` and `rsync --link-dest` do
    (staged / "more").write_text("more")
    child = store.commit(trial(2))
    assert store.open("checkpoints/000001.1") == parent
    assert (store.open(child) / "weights").read_text() == "12345"


@pytest.mark.parametrize("name", ["with space", "ümläut", "new\nline", "-rf", b"\xff\xfe".decode("utf-8", "surrogateescape")])
def test_files_may_have_any_name(store: LocalCheckpointStore, name: str) -> None:
    path = store.open(saved(store, **{name: "x"}))
    assert (path / name).read_text() == "x"


# Corrupt checkpoints


def cut_short(path: Path) -> None:
    os.truncate(path / "weights", 3)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file is gone": lambda path: (path / "weights").unlink(),
    "a file is cut short": cut_short,
    "a file has grown": lambda path: (path / "weights").write_text("123456"),
    "no manifest": lambda path: (path / MANIFEST).unlink(),
    "the manifest is empty": lambda path: (path / MANIFEST).write_text(""),
    "the manifest is cut short": lambda path: (path / MANIFEST).write_text('{"files": {"wei'),
    "the manifest is not text": lambda path: (path / MANIFEST).write_bytes(b"\xff\x00"),
    "the manifest is a list": lambda path: (path / MANIFEST).write_text("[]"),
    "the manifest has no files": lambda path: (path / MANIFEST).write_text("{}"),
    "the manifest's files are a number": lambda path: (path / MANIFEST).write_text('{"files": 3}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_corrupt_checkpoint_is_found_before_a_warm_start(store: LocalCheckpointStore, damage: Callable[[Path], object]) -> None:
    checkpoint = saved(store)
    damage(store.path(checkpoint))
    with pytest.raises(CheckpointCorrupt, match=r"000012\.1"):
        store.open(checkpoint)


def test_a_directory_that_is_gone_is_a_missing_checkpoint(store: LocalCheckpointStore) -> None:
    checkpoint = saved(store)
    store.path(checkpoint).rename(store.root / "elsewhere")
    with pytest.raises(CheckpointMissing, match=r"000012\.1: the checkpoint is missing"):
        store.open(checkpoint)


def test_a_checkpoint_that_can_not_be_read_for_want_of_open_files_is_not_corrupt(store: LocalCheckpointStore) -> None:
    checkpoint = saved(store)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(CheckpointUnavailable, match="Too many open files"):
            store.open(checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.open(checkpoint) == store.path(checkpoint)


def test_checksums_find_changes_that_keep_the_size(tmp_path: Path) -> None:
    for checksums in (False, True):
        store = LocalCheckpointStore(tmp_path / str(checksums), checksums=checksums)
        store.prepare()
        checkpoint = saved(store)
        (store.path(checkpoint) / "weights").write_text("54321")
        if checksums:
            with pytest.raises(CheckpointError, match="SHA-256"):
                store.open(checkpoint)
        else:
            store.open(checkpoint)


def test_checksums_are_checked_by_a_store_that_writes_none(tmp_path: Path) -> None:
    store = LocalCheckpointStore(tmp_path, checksums=True)
    store.prepare()
    staged = store.begin(trial())
    (staged / "weights").write_text("1" * (3 << 20))
    (staged / "last").symlink_to("weights")
    checkpoint = store.commit(trial())
    again = LocalCheckpointStore(tmp_path)
    again.open(checkpoint)
    (again.path(checkpoint) / "weights").write_text("1" * (3 << 20) + "2")
    with pytest.raises(CheckpointError):
        again.open(checkpoint)


# Names


@pytest.mark.parametrize("name", ["", ".", "..", "/", "/etc", "checkpoints", "checkpoints/", "checkpoints/.", "checkpoints/.."])
@pytest.mark.parametrize(
    "ask", [LocalCheckpointStore.path, LocalCheckpointStore.open, LocalCheckpointStore.remove], ids=["path", "verified", "remove"]
)
def test_a_name_that_leads_elsewhere_is_refused(
    store: LocalCheckpointStore, ask: Callable[[LocalCheckpointStore, str], object], name: str
) -> None:
    with pytest.raises(CheckpointError, match="does not name a checkpoint"):
        ask(store, name)


@pytest.mark.parametrize(
    "name", ["checkpoints/a/b", "staging/000012.1", "checkpoints/../staging/000012.1", "../checkpoints/x", "x"]
)
def test_a_name_outside_of_the_directory_of_checkpoints_is_refused(store: LocalCheckpointStore, name: str) -> None:
    with pytest.raises(CheckpointError, match="does not name a checkpoint"):
        store.path(name)


# Removal


def test_a_removed_checkpoint_is_gone_and_removing_it_again_is_no_error(store: LocalCheckpointStore) -> None:
    checkpoint = saved(store)
    other = saved(store, trial(13))
    for _ in range(2):
        store.remove(checkpoint)
    store._background.shutdown(wait=True)
    assert [path.name for path in store.committed.iterdir()] == ["000013.1"]
    LocalCheckpointStore(store.root).open(other)


def test_a_checkpoint_loses_its_name_before_its_first_file_is_deleted(
    store: LocalCheckpointStore,
) -> None:
    class Dead(Executor):
        """Takes work, as a process does that dies then."""

        def submit(self, fn: Callable[..., object], /, *_: object, **__: object) -> Future[object]:  # type: ignore[override]
            return Future()

    checkpoint = saved(store)
    store._background = Dead()  # type: ignore[assignment]
    store.remove(checkpoint)
    assert list(store.committed.iterdir()) == []
    (left,) = store.attempts()
    assert (left.number, left.attempt, left.checkpoint) == (12, 1, "")
    assert is_orphan(trial().evolve(state=TrialState.COMPLETED), left.attempt, left.checkpoint)
    store.remove_attempt(left)
    assert store.attempts() == []
    with pytest.raises(CheckpointError):
        store.open(checkpoint)


def test_a_file_that_is_no_directory_of_an_attempt_is_unknown(store: LocalCheckpointStore) -> None:
    saved(store)
    store.begin(trial(13))
    (store.committed / "000012.1.mine").mkdir()
    (store.staging / "notes").write_text("")
    assert [path.name for path in store.unknown()] == ["000012.1.mine", "notes"]


def test_attempts_are_the_directories_of_attempts_and_nothing_else(store: LocalCheckpointStore) -> None:
    saved(store, trial(1))
    (store.staging / "000001.1").mkdir()  # as after a power failure, beside the committed one
    store.begin(trial(2, 3))
    for stranger in ("notes", "000001", "1.2.3"):
        (store.committed / stranger).mkdir()
    found = [(left.number, left.attempt, left.checkpoint, left.path.parent.name) for left in store.attempts()]
    assert sorted(found) == [
        (1, 1, "", "staging"),
        (1, 1, "checkpoints/000001.1", "checkpoints"),
        (2, 3, "checkpoints/000002.3", "staging"),
    ]


def test_a_removed_attempt_is_gone(store: LocalCheckpointStore) -> None:
    saved(store)
    (only,) = store.attempts()
    store.remove_attempt(only)
    assert store.attempts() == []


# Links and files in the place of directories


@pytest.mark.parametrize("there", [True, False], ids=["a link elsewhere", "a link to nowhere"])
def test_a_link_in_the_place_of_the_staging_directory_is_refused_and_deleted(
    store: LocalCheckpointStore, tmp_path: Path, there: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if there:
        elsewhere.mkdir()
        (elsewhere / "weights").write_text("mine")
    store.begin(trial()).rmdir()
    staged = store.staging / "000012.1"
    staged.symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="no checkpoint: the program put a link in the place"):
        store.commit(trial())
    store.discard(trial())
    assert not os.path.lexists(staged)
    assert not there or os.listdir(elsewhere) == ["weights"]


def test_an_attempt_that_begins_again_finds_an_empty_directory_whatever_was_there(store: LocalCheckpointStore) -> None:
    store.begin(trial()).rmdir()
    (store.staging / "000012.1").symlink_to("nowhere")
    assert list(store.begin(trial()).iterdir()) == []
    assert not (store.staging / "000012.1").is_symlink()


def test_the_directories_of_a_study_are_flushed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    LocalCheckpointStore(tmp_path / "files" / "study").prepare()
    assert flushed == [str(tmp_path / "files" / "study"), str(tmp_path / "files"), str(tmp_path)]


def test_an_existing_checkpoint_is_never_taken_for_the_files_of_a_new_attempt(store: LocalCheckpointStore) -> None:
    for weights in ("of a trial that the records have forgotten", "its own"):
        (store.begin(trial()) / "weights").write_text(weights)
        committed = store.commit(trial())
    assert (store.open(committed) / "weights").read_text() == "its own"


# URLs


@pytest.mark.parametrize(
    "name", ["plain", "with space", "100%", "a?b#c", "\u00fcml\u00e4ut", b"\xff".decode("utf-8", "surrogateescape")]
)
def test_a_file_url_names_the_directory(tmp_path: Path, name: str) -> None:
    assert open_url((tmp_path / name).as_uri()).root == tmp_path / name


@pytest.mark.parametrize("url", ["file://host/path", "file://relative", "file://"])
def test_a_file_url_of_another_machine_or_without_an_absolute_path_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match=r"write file:///PATH"):
        open_url(url)


# Another disk


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with TemporaryDirectory(dir=shared) as directory:
        yield Path(directory)


def test_checkpoints_that_were_moved_to_another_disk_are_staged_there(store: LocalCheckpointStore, other_disk: Path) -> None:
    before = saved(store, trial(1))
    shutil.move(store.committed, other_disk / "checkpoints")
    store.committed.symlink_to(other_disk / "checkpoints")
    store.prepare()
    after = saved(store, trial(2))
    assert [(store.open(name) / "weights").read_text() for name in (before, after)] == ["12345"] * 2
    assert store.staging.stat().st_dev == other_disk.stat().st_dev
    assert store.unknown() == []
    store.begin(trial(3))
    assert [(each.number, each.checkpoint) for each in store.attempts() if each.number == 3] == [(3, "checkpoints/000003.1")]
    store.discard(trial(3))
    for name in (before, after):
        store.remove(name)
    store.close()
    assert store.attempts() == []


def test_a_checkpoint_whose_directory_is_read_only_is_committed_and_removed(store: LocalCheckpointStore) -> None:
    staged = store.begin(trial())
    (staged / "weights").write_text("12345")
    staged.chmod(0o555)
    checkpoint = store.commit(trial())
    assert (store.open(checkpoint) / "weights").read_text() == "12345"
    assert store.path(checkpoint).stat().st_mode & 0o700 == 0o700
    store.remove(checkpoint)
    store.close()
    assert store.attempts() == []
