"""Wrong use: one clear message on standard error, exit status 2, and nothing created."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import call, call_cold, write_study

from broodline.cli import COMMANDS

ALL = [command.__name__.rpartition(".")[2].rstrip("_") for command in COMMANDS]
NAMES = [name for name in ALL if name not in ("serve", "upgrade")]  # their subject is a store, and they name no study
TRAINING = ["check", "run", "worker"]
READING = [name for name in NAMES if name not in TRAINING]
STORED = [name for name in NAMES if name != "check"]
NEEDED = {"continue": ("--steps", "10")}  # what a command can't do without


def assert_refused(*arguments: object, cwd: Path, saying: str) -> None:
    before = sorted(cwd.rglob("*"))
    done = call(*arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (2, "")
    assert saying in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(cwd.rglob("*")) == before


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_its_purpose_and_an_example(name: str, tmp_path: Path) -> None:
    done = call(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"example:\n  broodline {name} study.toml" in done.stdout
    assert "--json" in done.stdout
    assert ("--store" in done.stdout) is (name in STORED)


def test_the_help_of_all_lists_each_command(tmp_path: Path) -> None:
    shown = call_cold("--help", cwd=tmp_path).stdout
    assert [name for name in ALL if f"\n    {name} " in shown] == ALL


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        ((), "--store"),
        (("--store", "http://127.0.0.1:1"), "is a service itself"),
        (("--store", "nothing"), "names no store"),
        (("--store", "sqlite:///x.db", "--port", "99999"), "0 to 65535"),
        (("--store", "sqlite:///x.db", "--tls-cert", "x.pem"), "give both"),
        (("--store", "sqlite:///x.db", "--tls-cert", "x.pem", "--tls-key", "x.pem"), "can't be used"),
        (("--store", "sqlite:///x.db", "--host", "192.0.2.1"), "there are no tokens"),
    ],
)
def test_a_service_that_cannot_start(arguments: tuple[str, ...], saying: str, tmp_path: Path) -> None:
    assert_refused("serve", *arguments, cwd=tmp_path, saying=saying)


@pytest.mark.parametrize(
    "arguments", [(), ("fly",), ("trials",), ("trials", "x", "--last", "0"), ("lineage", "x", "--trial", "-1")]
)
def test_a_command_line_that_makes_no_sense(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert_refused(*arguments, cwd=tmp_path, saying="error:")


@pytest.mark.parametrize("name", NAMES)
def test_a_study_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    assert_refused(name, *NEEDED.get(name, ()), "missing.toml", cwd=tmp_path, saying="missing.toml: no such file")


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_in_the_study_file(name: str, tmp_path: Path) -> None:
    write_study(tmp_path, more="typo = 1\n")
    assert_refused(name, *NEEDED.get(name, ()), "study.toml", cwd=tmp_path, saying="[train] typo")


@pytest.mark.parametrize("name", STORED)
def test_a_name_without_a_store(name: str, tmp_path: Path) -> None:
    assert_refused(name, "digits", cwd=tmp_path, saying="--store URL")


@pytest.mark.parametrize("name", [*READING, "worker"])
def test_a_store_that_is_not_there_is_not_created(name: str, tmp_path: Path) -> None:
    write_study(tmp_path)
    assert_refused(name, *NEEDED.get(name, ()), "study.toml", cwd=tmp_path, saying="there is no such database")


@pytest.mark.parametrize("name", STORED)
def test_a_store_that_cannot_be_one(name: str, tmp_path: Path) -> None:
    write_study(tmp_path)
    assert_refused(
        name, *NEEDED.get(name, ()), "study.toml", "--store", "mysql://x", cwd=tmp_path, saying="'mysql://x' names no store"
    )


@pytest.mark.parametrize("name", STORED)
def test_a_file_that_is_no_database(name: str, tmp_path: Path) -> None:
    write_study(tmp_path)
    (tmp_path / "broodline.db").write_text("hello")
    assert_refused(name, *NEEDED.get(name, ()), "study.toml", cwd=tmp_path, saying="not an SQLite database")


@pytest.mark.parametrize("name", ["run", "worker"])
def test_what_runs_comes_from_a_study_file_only(name: str, tmp_path: Path) -> None:
    assert_refused(name, "digits", "--store", "sqlite:///x.db", cwd=tmp_path, saying="is not a study file")


@pytest.mark.parametrize("name", TRAINING)
def test_a_study_file_without_a_program(name: str, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().partition("[train]")[0])
    assert_refused(name, *NEEDED.get(name, ()), "study.toml", cwd=tmp_path, saying="[train]: is missing")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--times", "3"), "--times has no effect without --reevaluate K"),
        (("--count", "2", "--reevaluate", "1"), "--count has no effect next to --reevaluate K"),
    ],
)
def test_an_option_of_best_that_would_have_no_effect(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write_study(tmp_path)
    assert_refused("best", "study.toml", *options, cwd=tmp_path, saying=message)


@pytest.mark.parametrize("devices", ["", "2,", ",", "2,,3"])
def test_a_list_of_devices_with_a_gap(devices: str, tmp_path: Path) -> None:
    write_study(tmp_path)
    assert_refused("worker", "study.toml", "--devices", devices, cwd=tmp_path, saying="must be a list of devices, such as 2,3")
