"""Standard output that is closed, full, or read by nobody: no traceback, and the exit status tells how the study ended."""

from __future__ import annotations

import errno
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT, output, states_in, write_study

import broodline.cli

needs_a_full_device = pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
FAILING = "exit 3\n"
FUNCTION = """\
import broodline
def train(trial):
    (trial.save_to / "weights").write_text("1")
    return {"accuracy": 1.0}
if __name__ == "__main__":
    study = broodline.Study(name="digits", trial_steps=10, population=2, objective={"accuracy": "maximize"},
                            space={"lr": broodline.Float(1e-4, 1.0, log=True)})
    study.run(train, budget=broodline.Budget(trials=6))
"""


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line of the shell in which `broodline` is this checkout's, and `$?` is that of the first command."""
    program = shlex.join([sys.executable, "-m", "broodline"])
    script = f'broodline() {{ {program} "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that is done; its tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    write_study(folder, trials=2)
    output("run", "study.toml", cwd=folder)
    return folder


FULL = pytest.param("> /dev/full 2> /dev/full", marks=needs_a_full_device)


@pytest.mark.parametrize("redirected", [">&- 2>&-", "<&- >&-", FULL, "2>&1 | head -1; exit ${PIPESTATUS[0]}"])
def test_a_run_trains_on_without_its_output_and_succeeds(tmp_path: Path, redirected: str) -> None:
    write_study(tmp_path, trials=2)
    done = shell(f"broodline run study.toml {redirected}", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert states_in(tmp_path) == ["completed"] * 2


@pytest.mark.parametrize("redirected", [">&-", FULL, "| true; exit ${PIPESTATUS[0]}"])
def test_a_run_without_output_has_the_exit_status_of_a_study_that_failed(tmp_path: Path, redirected: str) -> None:
    write_study(tmp_path, trials=2, trainer=FAILING)
    done = shell(f"broodline run study.toml {redirected}", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert states_in(tmp_path) == ["failed"] * 2


@needs_a_full_device
@pytest.mark.parametrize("command", ["trials", "status --json", "export", "gc --dry-run"])
def test_a_command_that_only_prints_says_in_one_line_that_it_could_not(finished: Path, command: str) -> None:
    name, _, options = command.partition(" ")
    full = shell(f"broodline {name} study.toml {options} > /dev/full", finished)
    assert full.stderr == "broodline: error: standard output can't be written: No space left on device\n"
    assert full.returncode == 1
    closed = shell(f"broodline {name} study.toml {options} >&-", finished)
    assert (closed.returncode, closed.stderr) == (0, "")


@needs_a_full_device
def test_help_and_error_messages_that_do_not_fit_leave_the_exit_status_as_it_is(tmp_path: Path) -> None:
    assert shell("broodline --help > /dev/full", tmp_path).returncode == 0
    assert shell("broodline run missing.toml 2> /dev/full", tmp_path).returncode == 2
    assert shell("broodline run missing.toml 2>&-", tmp_path).returncode == 2


def test_a_closed_descriptor_is_not_given_to_the_database(tmp_path: Path) -> None:
    write_study(tmp_path, trials=2)
    assert shell("broodline run study.toml <&- >&- 2>&-", tmp_path).returncode == 0
    assert (tmp_path / "broodline.db").read_bytes().startswith(b"SQLite format 3\0")
    assert states_in(tmp_path) == ["completed"] * 2


@pytest.mark.parametrize("redirected", [">&-", "| true; exit ${PIPESTATUS[0]}"])
def test_a_study_of_a_script_trains_on_without_its_output(tmp_path: Path, redirected: str) -> None:
    (tmp_path / "script.py").write_text(FUNCTION)
    done = shell(f"{shlex.quote(sys.executable)} script.py {redirected}", tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    assert states_in(tmp_path) == ["completed"] * 6


@pytest.mark.parametrize("command", ["export", "schedule --format json"])
def test_a_document_is_written_into_a_pipe_or_a_linked_file_as_it_is(finished: Path, tmp_path: Path, command: str) -> None:
    name, _, options = command.partition(" ")
    study = shlex.quote(str(finished / "study.toml"))
    done = shell(f"mkfifo pipe; cat pipe & broodline {name} {study} {options} -o pipe; wait; test -p pipe", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"digits"' in done.stdout
    (tmp_path / "link").symlink_to(tmp_path / "document.json")
    assert shell(f"broodline {name} {study} {options} -o link", tmp_path).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert '"digits"' in (tmp_path / "document.json").read_text()


def test_an_error_of_the_system_that_names_no_file_is_not_taken_for_one_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_arguments: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(broodline.cli.status, "main", fail)
    assert broodline.cli.main(["status", "study.toml"]) == 1
    assert capsys.readouterr().err == "broodline: error: Resource temporarily unavailable\n"
