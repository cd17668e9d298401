"""Checkpoints: whole or not there, found out when they are damaged, and nothing that would not be there when it is read."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import stat
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest

from broodline.core.retention import is_orphan
from broodline.core.trial import Trial, TrialState
from broodline.errors import CheckpointError
from broodline.storage.checkpoints.local import MANIFEST, StudyFiles, is_disk_full, size_of


@pytest.fixture
def files(tmp_path: Path) -> StudyFiles:
    files = StudyFiles(tmp_path / "study")
    files.prepare()
    return files


def trial(number: int = 12, attempt: int = 1) -> Trial:
    return Trial(number=number, member=0, generation=0, params={}, steps=1, attempt=attempt)


def saved(files: StudyFiles, of: Trial | None = None, /, **contents: str) -> str:
    """Saves and commits; names of files have `/` written as `__`."""
    of = of or trial()
    staged = files.begin(of)
    for name, text in (contents or {"weights": "12345"}).items():
        path = staged / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return files.commit(of)


# Commit


def test_what_was_saved_is_found_again_under_the_trials_number_and_attempt(files: StudyFiles) -> None:
    checkpoint = saved(files, trial(12, 3), weights="12345", optimizer__state="6")
    assert checkpoint == "checkpoints/000012.3"
    path = files.verified(checkpoint)
    assert {name: (path / name).read_text() for name in ("weights", "optimizer/state")} == {
        "weights": "12345",
        "optimizer/state": "6",
    }
    assert list(files.staging.iterdir()) == []


def test_the_manifest_tells_the_files_and_their_sizes(files: StudyFiles) -> None:
    path = files.path(saved(files, weights="12345", optimizer__state="", optimizer__deep__er="1"))
    assert json.loads((path / MANIFEST).read_text()) == {"files": {"weights": 5, "optimizer/state": 0, "optimizer/deep/er": 1}}


def test_before_the_rename_everything_is_flushed(files: StudyFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        if (name := os.readlink(f"/proc/self/fd/{descriptor}")).startswith(str(files.root)):
            events.append(name)

    def renamed(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    saved(files, weights="1", deep__er="2")
    staged = str(files.staging / "000012.1")
    before = set(events[: events.index("rename")])
    names = ("", "/weights", "/deep", "/deep/er", f"/{MANIFEST}")
    assert before == {staged + name for name in names} | {str(files.staging)}


@pytest.mark.parametrize("fails_at", ["fsync", "rename"])
def test_a_disk_that_fails_leaves_no_checkpoint(files: StudyFiles, monkeypatch: pytest.MonkeyPatch, fails_at: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, fails_at, fail)
    with pytest.raises(OSError, match="No space") as raised:
        saved(files)
    assert is_disk_full(raised.value)
    monkeypatch.undo()
    assert list(files.checkpoints.iterdir()) == []
    with pytest.raises(CheckpointError):
        files.verified("checkpoints/000012.2")


def test_a_commit_told_twice_is_one(files: StudyFiles) -> None:
    checkpoint = saved(files)
    assert files.commit(trial()) == checkpoint
    files.verified(checkpoint)


def test_a_rename_that_power_failure_took_back_is_finished(files: StudyFiles) -> None:
    checkpoint = saved(files)
    os.rename(files.path(checkpoint), files.staging / "000012.1")
    assert (files.verified(checkpoint) / "weights").read_text() == "12345"


def test_what_an_attempt_staged_before_is_not_in_the_next_ones_directory(files: StudyFiles) -> None:
    (files.begin(trial()) / "half").write_text("x")
    assert list(files.begin(trial()).iterdir()) == []
    files.discard(trial())
    assert list(files.staging.iterdir()) == []
    files.discard(trial())


def test_nothing_that_a_superseded_attempt_does_reaches_its_successor(files: StudyFiles) -> None:
    checkpoint = saved(files, trial(12, 2), weights="second")
    saved(files, trial(12, 1), weights="first")
    files.discard_attempt(trial(12, 1))
    assert (files.verified(checkpoint) / "weights").read_text() == "second"
    assert [path.name for path in files.checkpoints.iterdir()] == ["000012.2"]


def test_what_died_with_earlier_attempts_is_removed_when_the_next_begins(files: StudyFiles) -> None:
    (files.begin(trial(12, 1)) / "half").write_text("x")
    saved(files, trial(12, 2))
    kept = saved(files, trial(11, 1))
    staged = files.begin(trial(12, 3))
    assert list(files.staging.iterdir()) == [staged]
    assert list(files.checkpoints.iterdir()) == [files.path(kept)]


# What is unfit to be kept


def test_an_empty_directory_is_no_checkpoint(files: StudyFiles) -> None:
    staged = files.begin(trial())
    (staged / "empty" / "er").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no checkpoint: the program left nothing"):
        files.commit(trial())


def test_neither_is_one_that_holds_only_a_manifest(files: StudyFiles) -> None:
    (files.begin(trial()) / MANIFEST).write_text("{}")
    with pytest.raises(CheckpointError, match="left nothing"):
        files.commit(trial())


def test_a_file_with_the_manifests_name_further_down_is_the_programs_own(files: StudyFiles) -> None:
    checkpoint = saved(files, **{f"deep__{MANIFEST}": "mine"})
    assert (files.verified(checkpoint) / "deep" / MANIFEST).read_text() == "mine"


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
def test_what_would_not_be_there_when_it_is_read_is_refused(files: StudyFiles, make: Callable[[Path], object]) -> None:
    staged = files.begin(trial())
    (staged / "weights").write_text("1")
    make(staged / "unfit")
    with pytest.raises(CheckpointError, match="no checkpoint: unfit"):
        files.commit(trial())
    assert list(files.checkpoints.iterdir()) == []


def test_links_within_a_checkpoint_are_kept(files: StudyFiles) -> None:
    staged = files.begin(trial())
    (staged / "steps").mkdir()
    (staged / "steps" / "100").write_text("weights")
    (staged / "last").symlink_to("steps/100")
    (staged / "newest").symlink_to("steps", target_is_directory=True)
    (staged / "steps" / "up").symlink_to("../last")
    path = files.verified(files.commit(trial()))
    assert [(path / name).read_text() for name in ("last", "newest/100", "steps/up")] == ["weights"] * 3


def test_a_child_that_copied_its_parents_checkpoint_by_hard_links_does_not_damage_it(files: StudyFiles) -> None:
    parent = files.path(saved(files, trial(1), weights="12345"))
    staged = files.begin(trial(2))
    for file in parent.iterdir():
        os.link(file, staged / file.name)  # as `cp -al` and `rsync --link-dest` do
    (staged / "more").write_text("more")
    child = files.commit(trial(2))
    assert files.verified("checkpoints/000001.1") == parent
    assert (files.verified(child) / "weights").read_text() == "12345"


@pytest.mark.parametrize("name", ["with space", "ümläut", "new\nline", "-rf", b"\xff\xfe".decode("utf-8", "surrogateescape")])
def test_files_may_have_any_name(files: StudyFiles, name: str) -> None:
    path = files.verified(saved(files, **{name: "x"}))
    assert (path / name).read_text() == "x"


# Damage


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
    "all is gone": lambda path: path.rename(path.parent.parent / "elsewhere"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_damage_is_found_before_a_warm_start(files: StudyFiles, damage: Callable[[Path], object]) -> None:
    checkpoint = saved(files)
    damage(files.path(checkpoint))
    with pytest.raises(CheckpointError, match=r"000012\.1"):
        files.verified(checkpoint)


def test_what_can_not_be_read_for_want_of_open_files_is_not_taken_for_damaged(files: StudyFiles) -> None:
    checkpoint = saved(files)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            files.verified(checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert files.verified(checkpoint) == files.path(checkpoint)


def test_checksums_find_what_sizes_do_not(tmp_path: Path) -> None:
    for checksums in (False, True):
        files = StudyFiles(tmp_path / str(checksums), checksums=checksums)
        files.prepare()
        checkpoint = saved(files)
        (files.path(checkpoint) / "weights").write_text("54321")
        if checksums:
            with pytest.raises(CheckpointError, match="SHA-256"):
                files.verified(checkpoint)
        else:
            files.verified(checkpoint)


def test_what_was_committed_with_checksums_is_checked_without_too(tmp_path: Path) -> None:
    files = StudyFiles(tmp_path, checksums=True)
    files.prepare()
    staged = files.begin(trial())
    (staged / "weights").write_text("1" * (3 << 20))
    (staged / "last").symlink_to("weights")
    checkpoint = files.commit(trial())
    again = StudyFiles(tmp_path)
    again.verified(checkpoint)
    (again.path(checkpoint) / "weights").write_text("1" * (3 << 20) + "2")
    with pytest.raises(CheckpointError):
        again.verified(checkpoint)


# Names


@pytest.mark.parametrize("name", ["", ".", "..", "/", "/etc", "checkpoints", "checkpoints/", "checkpoints/.", "checkpoints/.."])
@pytest.mark.parametrize("ask", [StudyFiles.path, StudyFiles.verified, StudyFiles.remove], ids=["path", "verified", "remove"])
def test_a_name_that_leads_elsewhere_is_refused(files: StudyFiles, ask: Callable[[StudyFiles, str], object], name: str) -> None:
    with pytest.raises(CheckpointError, match="does not name a checkpoint"):
        ask(files, name)


@pytest.mark.parametrize(
    "name", ["checkpoints/a/b", "staging/000012.1", "checkpoints/../staging/000012.1", "../checkpoints/x", "x"]
)
def test_so_is_one_that_is_deeper_or_beside(files: StudyFiles, name: str) -> None:
    with pytest.raises(CheckpointError, match="does not name a checkpoint"):
        files.path(name)


# Removal


def test_what_is_removed_is_gone_and_to_remove_it_twice_is_no_error(files: StudyFiles) -> None:
    checkpoint = saved(files)
    other = saved(files, trial(13))
    for _ in range(2):
        files.remove(checkpoint)
    files._background.shutdown(wait=True)
    assert [path.name for path in files.checkpoints.iterdir()] == ["000013.1"]
    StudyFiles(files.root).verified(other)


def test_a_checkpoint_that_is_removed_is_no_longer_a_committed_one_before_its_first_file_goes(files: StudyFiles) -> None:
    class Dead(Executor):
        """Takes work, as a process does that dies then."""

        def submit(self, fn: Callable[..., object], /, *_: object, **__: object) -> Future[object]:  # type: ignore[override]
            return Future()

    checkpoint = saved(files)
    files._background = Dead()  # type: ignore[assignment]
    files.remove(checkpoint)
    assert list(files.checkpoints.iterdir()) == []
    (left,) = files.attempts()
    assert (left.number, left.attempt, left.checkpoint) == (12, 1, "")
    assert is_orphan(trial().evolve(state=TrialState.COMPLETED), left.attempt, left.checkpoint)
    files.remove_attempt(left)
    assert files.attempts() == []
    with pytest.raises(CheckpointError):
        files.verified(checkpoint)


def test_what_is_no_directory_of_an_attempt_is_unknown(files: StudyFiles) -> None:
    saved(files)
    files.begin(trial(13))
    (files.checkpoints / "000012.1.mine").mkdir()
    (files.staging / "notes").write_text("")
    assert [path.name for path in files.unknown()] == ["000012.1.mine", "notes"]


def test_the_size_is_that_of_all_files_below(files: StudyFiles) -> None:
    path = files.path(saved(files, weights="12345", optimizer__state="678"))
    assert size_of(path) == 8
    assert size_of(path / "weights") == 5
    assert size_of(path / "missing") == 0


def test_logs_are_found_with_the_numbers_of_their_trials(files: StudyFiles) -> None:
    for of in (trial(1), trial(1, 2), trial(12)):
        files.log(of).write_text("")
    (files.logs / "notes.log").write_text("")
    assert sorted(number for number, _ in files.logs_of_attempts()) == [1, 1, 12]


def test_leftovers_are_the_directories_of_attempts_and_nothing_else(files: StudyFiles) -> None:
    saved(files, trial(1))
    (files.staging / "000001.1").mkdir()  # as after a power failure, beside the committed one
    files.begin(trial(2, 3))
    for stranger in ("notes", "000001", "1.2.3"):
        (files.checkpoints / stranger).mkdir()
    found = [(left.number, left.attempt, left.checkpoint, left.path.parent.name) for left in files.attempts()]
    assert sorted(found) == [
        (1, 1, "", "staging"),
        (1, 1, "checkpoints/000001.1", "checkpoints"),
        (2, 3, "checkpoints/000002.3", "staging"),
    ]


def test_a_leftover_that_is_removed_is_gone(files: StudyFiles) -> None:
    saved(files)
    (only,) = files.attempts()
    files.remove_attempt(only)
    assert files.attempts() == []


def test_a_full_disk_is_recognised_however_deep_the_error_is() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = full
    outer = ValueError("training failed")
    outer.__context__ = wrapped
    assert is_disk_full(outer)
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert not is_disk_full(OSError(errno.EIO, "broken"))
    assert not is_disk_full(None)


def test_directories_are_made_once_and_belong_to_the_user(files: StudyFiles) -> None:
    files.prepare()
    assert all(stat.S_ISDIR(path.stat().st_mode) for path in (files.staging, files.checkpoints, files.logs))
    assert files.log(trial(3, 2)) == files.logs / "000003.2.log"


# What stands where a directory was


@pytest.mark.parametrize("there", [True, False], ids=["a link elsewhere", "a link to nowhere"])
def test_a_link_in_the_place_of_the_staging_directory_is_refused_and_swept(
    files: StudyFiles, tmp_path: Path, there: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if there:
        elsewhere.mkdir()
        (elsewhere / "weights").write_text("mine")
    files.begin(trial()).rmdir()
    staged = files.staging / "000012.1"
    staged.symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="no checkpoint: the program put a link in the place"):
        files.commit(trial())
    files.discard(trial())
    assert not os.path.lexists(staged)
    assert not there or os.listdir(elsewhere) == ["weights"]


def test_an_attempt_that_begins_again_finds_its_directory_empty_whatever_stood_there(files: StudyFiles) -> None:
    files.begin(trial()).rmdir()
    (files.staging / "000012.1").symlink_to("nowhere")
    assert list(files.begin(trial()).iterdir()) == []
    assert not (files.staging / "000012.1").is_symlink()


def test_the_directories_of_a_study_are_flushed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    StudyFiles(tmp_path / "files" / "study").prepare()
    assert flushed == [str(tmp_path / "files" / "study"), str(tmp_path / "files"), str(tmp_path)]


def test_a_checkpoint_that_lies_under_its_name_is_never_taken_for_what_an_attempt_saved(files: StudyFiles) -> None:
    for weights in ("of a trial that the records have forgotten", "its own"):
        (files.begin(trial()) / "weights").write_text(weights)
        committed = files.commit(trial())
    assert (files.verified(committed) / "weights").read_text() == "its own"
