"""Unusable files and directories: mistakes in study files, full and read-only disks, stores that are not broodline's."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from bad_study_files import BAD_STUDY_FILES
from commands import ENVIRONMENT, TRAINER, call
from living import PATIENT, begun, ended, running, trials_of, wait_for, write_study

from broodline.cli import main
from broodline.errors import StudyFileError
from broodline.storage.sql import schema

MIB = 1 << 20
CASES = pytest.mark.parametrize(
    ("text", "key", "said"), [case[1:] for case in BAD_STUDY_FILES], ids=[case[0] for case in BAD_STUDY_FILES]
)
PROCESSES = ("syntax", "unknown key", "range empty", "placeholder unknown")


def content(directory: Path) -> dict[str, bytes | None]:
    """The paths in a directory, with the bytes of each file."""
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


@contextmanager
def mounted(directory: Path, size: int = 64 * MIB, files: int = 1000) -> Iterator[Path]:
    """Mounts a file system at a directory, with room for a number of bytes and files."""
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={files}", "tmpfs", directory], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Remounts a file system of `mounted` read-only, which also binds root."""
    subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", directory], check=True)


def fill(directory: Path) -> Path:
    """Fills a file system to its last byte; removing the returned file makes room."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(MIB)):
            pass
    assert shutil.disk_usage(directory).free == 0
    return filler


def assert_refused(said: str, *parts: str) -> None:
    assert said.count("broodline: error: ") == 1
    assert "Traceback" not in said
    for part in parts:
        assert part in said


# Study files


@CASES
def test_a_mistake_in_a_study_file_is_reported_with_file_key_and_allowed_values_and_creates_nothing(
    text: str, key: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.toml").write_text(text)
    before = content(tmp_path)
    assert main(["run", str(tmp_path / "study.toml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert_refused(err, f"broodline: error: {tmp_path / 'study.toml'}: {StudyFileError.place(key)}", *said)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", PROCESSES)
def test_a_mistake_in_a_study_file_ends_a_process_with_status_2(name: str, tmp_path: Path) -> None:
    (text, key, said) = next(case[1:] for case in BAD_STUDY_FILES if case[0] == name)
    (tmp_path / "study.toml").write_text(text)
    before = content(tmp_path)
    done = call("run", "study.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert_refused(done.stderr, f"broodline: error: study.toml: {StudyFileError.place(key)}", *said)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "can't be read: Is a directory"),
        (lambda path: path.write_bytes(b"name = '\xff'"), "line 1: is not encoded in UTF-8"),
        (lambda path: path.write_bytes(b""), "name: is missing"),
    ],
    ids=["missing", "a directory", "not UTF-8", "empty"],
)
def test_a_path_that_is_not_a_study_file(
    make: Callable[[Path], object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "study.toml")
    before = content(tmp_path)
    assert main(["run", str(tmp_path / "study.toml")]) == 2
    assert_refused(capsys.readouterr().err, "study.toml", said)
    assert content(tmp_path) == before


# Directories that can't be written


def test_a_read_only_directory_is_refused_and_nothing_is_created(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk:
        study = write_study(disk, trainer=TRAINER)
        with read_only(disk):
            done = call("run", study)
        assert (done.returncode, done.stdout) == (2, "")
        assert_refused(done.stderr, str(disk / "broodline.db"), "can't be written", "--store")
        assert sorted(content(disk)) == ["study.toml", "train.sh"]


def test_a_study_whose_directory_has_become_read_only_is_refused_and_unharmed(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk:
        study = write_study(disk, trainer=TRAINER, budget="trials = 2")
        assert call("run", study).returncode == 0
        write_study(disk, trainer=TRAINER, budget="trials = 4")
        before = content(disk)
        with read_only(disk):
            done = call("run", study)
        assert done.returncode == 2
        assert_refused(done.stderr, str(disk / "broodline.db"), "can't be written")
        assert content(disk) == before
        assert call("run", study).returncode == 0
        assert [trial["state"] for trial in trials_of(study)] == ["completed"] * 4


def test_a_read_only_checkpoint_directory_is_refused_and_no_study_is_created(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=TRAINER)
    with mounted(tmp_path / "broodline.db.files") as disk, read_only(disk):
        done = call("run", study)
    assert (done.returncode, done.stdout) == (2, "")
    assert_refused(done.stderr, str(tmp_path / "broodline.db.files"), "can't be written")
    assert not (tmp_path / "broodline.db").exists() or main(["trials", str(study)]) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere; the tests with read-only file systems cover this")
def test_a_directory_without_write_permission_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path, trainer=TRAINER)
    tmp_path.chmod(0o555)
    status = main(["run", str(study)])
    tmp_path.chmod(0o755)
    assert status == 2
    assert_refused(capsys.readouterr().err, str(tmp_path / "broodline.db"), "can't be written")
    assert sorted(content(tmp_path)) == ["study.toml", "train.sh"]


# Reading a study on a read-only file system


READING = [("status",), ("trials", "--json"), ("best",), ("lineage",), ("schedule",), ("export",), ("gc", "--dry-run")]


def printed_by_readers(study: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The output of the commands that only read."""
    assert [main([command, str(study), *options]) for command, *options in READING] == [0] * len(READING)
    return capsys.readouterr().out.splitlines()


def test_a_study_on_a_read_only_file_system_can_be_read_but_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mounted(tmp_path / "disk") as disk:
        study = write_study(disk, trainer=TRAINER, budget="trials = 3")
        assert call("run", study).returncode == 0
        printed, before = printed_by_readers(study, capsys), content(disk)
        with read_only(disk):
            assert printed_by_readers(study, capsys) == printed
            for command in ("run", "worker", "gc"):
                assert main([command, str(study)]) == 2
                said = capsys.readouterr()
                assert said.out == ""
                assert_refused(said.err, str(disk / "broodline.db"), "can't be written")
        assert content(disk) == before


@contextmanager
def read_only_view(directory: Path, at: Path) -> Iterator[None]:
    """Mounts a directory read-only at another path."""
    at.mkdir()
    subprocess.run(["mount", "--bind", directory, at], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", at], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def test_a_running_study_can_be_read_through_a_read_only_mount(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk:
        study = write_study(disk)
        with running("run", study, cwd=tmp_path, FREE="3") as run, read_only_view(disk, tmp_path / "view"):
            wait_for(lambda: (3, 1) in begun(disk))
            seen = trials_of(tmp_path / "view" / "study.toml")
            assert [trial["state"] for trial in seen] == ["completed"] * 3 + ["running"]
            assert main(["stop", str(tmp_path / "view" / "study.toml")]) == 2
            (disk / "go").touch()
            assert run.end() == 0


def test_a_reader_includes_the_write_ahead_log_of_a_killed_run(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk:
        study = write_study(disk)
        with running("run", study, cwd=tmp_path, FREE="3") as run:
            wait_for(lambda: (3, 1) in begun(disk))
            run.kill()
        assert (disk / "broodline.db-wal").stat().st_size
        with read_only(disk):
            assert [trial["state"] for trial in trials_of(study)] == ["completed"] * 3 + ["running"]
        (disk / "broodline.db-shm").unlink()
        with read_only(disk):
            done = call("status", study)
            assert done.returncode == 2
            assert_refused(done.stderr, str(disk / "broodline.db"), "broodline.db-wal", "copy both")


# Reads as root first, which loads all modules, and then as another user, who may not have permission to run Python.
AS_ANOTHER_USER = """
import os, sys
from broodline.cli import main
from broodline.errors import StudyFileError
assert main(sys.argv[1:]) == 0
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


def test_another_users_study_can_be_read() -> None:
    if os.geteuid():
        pytest.skip("only root can become another user")
    with TemporaryDirectory() as directory:  # other users have no permission for the directories of pytest
        study, store = write_study(Path(directory), trainer=TRAINER, budget="trials = 3"), Path(directory) / "broodline.db"
        assert call("run", study).returncode == 0
        subprocess.run(["chmod", "-R", "a+rX,go-w", directory], check=True)
        command = [sys.executable, "-c", AS_ANOTHER_USER, "trials", str(study), "--json"]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines[:3] == lines[3:] == trials_of(study)
        store.chmod(0o600)
        closed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        assert closed.returncode == 2
        assert_refused(closed.stderr, f"{store}: can't be read: permission denied")


def test_a_store_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=TRAINER)
    before = content(tmp_path)
    done = call("run", study, "--store", f"sqlite:///{tmp_path}/nowhere/x.db")
    assert done.returncode == 2
    assert_refused(done.stderr, f"there is no directory {tmp_path}/nowhere")
    assert content(tmp_path) == before


# Full disks


LARGE = PATIENT.replace("weights=0\n", 'weights=0\nhead -c 300000 /dev/zero > "$BROODLINE_SAVE/large"\n')


def test_on_a_full_disk_a_study_logs_a_pause_and_resumes_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk:
        study = write_study(disk, trainer=LARGE, budget="trials = 6")
        with running("run", study, cwd=tmp_path, FREE="3") as run:
            wait_for(lambda: (3, 1) in begun(disk))
            filler = fill(disk)
            (disk / "go").symlink_to("study.toml")  # a link needs no space
            wait_for(lambda: "the disk is full; trial 3 is trained again when there is room" in run.said)
            states = [trial["state"] for trial in trials_of(study)]
            assert run.popen.poll() is None
            filler.unlink()
            assert run.end() == 0
            assert "trying trial 3 again" in run.said
        assert states == ["completed"] * 3 + ["running"]
        assert [(trial["state"], trial["attempt"]) for trial in trials_of(study)] == [("completed", 1)] * 6
        assert ended(disk) == [(number, 1) for number in range(6)]
        assert os.listdir(disk / "broodline.db.files" / "digits" / "staging") == []


def test_a_store_on_a_full_disk_loses_no_trained_trial(tmp_path: Path) -> None:
    """The checkpoints are on another disk, so trained trials wait until the store accepts them."""
    with mounted(tmp_path / "disk") as disk, mounted(disk / "broodline.db.files"):
        study = write_study(disk, budget="trials = 6")
        (tmp_path / "logs").mkdir()
        with running("run", study, cwd=tmp_path, FREE="3") as run:
            wait_for(lambda: (3, 1) in begun(disk))
            filler = fill(disk)
            (disk / "go").symlink_to("study.toml")
            wait_for(lambda: "the store does not answer" in run.said)
            assert run.popen.poll() is None
            filler.unlink()
            assert run.end() == 0
            assert "the store answers again" in run.said
        assert [(trial["state"], trial["attempt"]) for trial in trials_of(study)] == [("completed", 1)] * 6


def test_a_study_that_can_not_start_on_a_full_disk_reports_it(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk:
        study = write_study(disk, trainer=TRAINER)
        fill(disk)
        done = call("run", study)
        assert done.returncode in (1, 2)
        assert_refused(done.stderr, "full")
        (disk / "filler").unlink()
        assert call("run", study).returncode == 0


def test_a_worker_that_can_not_create_its_lock_file_on_a_full_disk_waits_for_room(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=TRAINER, budget="trials = 2")
    with mounted(tmp_path / "broodline.db.files", files=100) as disk:
        assert call("run", study).returncode == 0
        write_study(tmp_path, trainer=TRAINER, budget="trials = 4")
        fillers = take_all_files(disk)
        with running("run", study, cwd=tmp_path) as run:
            wait_for(lambda: "the disk is full; work begins when there is room" in run.said)
            assert run.popen.poll() is None
            for filler in fillers:
                filler.unlink()
            assert run.end() == 0, run.said
            assert "died" not in run.said
    assert [(trial["state"], trial["attempt"]) for trial in trials_of(study)] == [("completed", 1)] * 4


def take_all_files(directory: Path) -> list[Path]:
    """Creates files until a file system has no inode left; returns them."""
    made = []
    with suppress(OSError):
        for number in range(100_000):
            (directory / f"filler-{number}").touch()
            made.append(directory / f"filler-{number}")
    with pytest.raises(OSError, match="No space left"):
        (directory / "one more").touch()
    return made


# Stores that are in use, newer, or not broodline's


def test_a_second_run_is_refused_and_the_first_is_unharmed(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    with running("run", study, cwd=tmp_path, FREE="2") as first:
        wait_for(lambda: (2, 1) in begun(tmp_path))
        second = call("run", study)
        assert (second.returncode, second.stdout) == (2, "")
        assert_refused(second.stderr, f"study 'digits' is running already (process {first.popen.pid})", "broodline worker")
        (tmp_path / "go").touch()
        assert first.end() == 0
    assert begun(tmp_path) == ended(tmp_path) == [(number, 1) for number in range(6)]
    assert [(trial["state"], trial["worker"]) for trial in trials_of(study)] == [("completed", "0")] * 6


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished")
    assert call("run", write_study(directory, trainer=TRAINER, budget="trials = 3")).returncode == 0
    return directory


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """The study file of a finished study that the test may corrupt."""
    shutil.copytree(finished, tmp_path / "study")
    return tmp_path / "study" / "study.toml"


@pytest.mark.parametrize("command", ["run", "worker", "status", "trials", "best", "stop", "export"])
def test_a_store_of_a_newer_schema_is_refused_by_every_command_and_unchanged(
    command: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(study.parent / "broodline.db")) as database, database:
        database.execute(f"UPDATE {schema.version.name} SET version = {schema.VERSION + 1}")
    before = content(study.parent)
    assert main([command, str(study)]) == 2
    said = capsys.readouterr().err
    assert_refused(said, f"newer broodline (schema {schema.VERSION + 1}; this one knows {schema.VERSION})", "upgrade", "--store")
    assert content(study.parent) == before


def a_text_file(path: Path) -> None:
    path.write_text("hello")


def a_directory(path: Path) -> None:
    path.mkdir()


def a_corrupt_database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"torn" * 2000)


def a_database_of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE trials (trial_id INTEGER)")


@pytest.mark.parametrize("command", ["run", "status"])
@pytest.mark.parametrize("make", [a_text_file, a_directory, a_corrupt_database, a_database_of_another_program])
def test_a_store_that_is_not_broodlines_is_refused_and_unchanged(
    make: Callable[[Path], None], command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, trainer=TRAINER)
    make(tmp_path / "broodline.db")
    before = content(tmp_path)
    assert main([command, str(study)]) == 2
    assert_refused(capsys.readouterr().err, str(tmp_path / "broodline.db"), "database")
    assert content(tmp_path) == before
