"""The commands that read a study: they take a study file, or a name and a store, and change nothing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from commands import ENVIRONMENT, call, lines_of_json, output, write_study
from recorded import DOCUMENT, Recorded, recorded_at

from broodline import load_schedule
from broodline.cli import main
from broodline.core.trial import Measurement
from broodline.storage.location import StudyLocation

ACCURACIES = (0.5, 0.8, 0.6, 0.9, 0.7, 0.7)
BEST = 3
READING = ("status", "trials", "best", "lineage", "schedule", "export")
SPACE = {"lr": {"float": [1e-4, 1.0], "log": True}}


@pytest.fixture
def location(tmp_path: Path) -> StudyLocation:
    write_study(tmp_path)
    return recorded_at(tmp_path, ACCURACIES, population=2, workers=1, space=SPACE, budget={"trials": 7})


@pytest.mark.parametrize("command", READING)
def test_a_study_is_named_by_its_file_or_by_name_and_store(command: str, location: StudyLocation, tmp_path: Path) -> None:
    by_file = output(command, "study.toml", cwd=tmp_path)
    by_name = output(command, "digits", "--store", location.url)
    assert len(by_file.splitlines()) == len(by_name.splitlines()) > 0


def test_a_relative_store_is_relative_to_where_the_command_runs(location: StudyLocation, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    output("status", "digits", "--store", "sqlite:///../broodline.db", cwd=tmp_path / "elsewhere")


def test_trials_are_one_line_of_json_each_in_order_of_number(location: StudyLocation) -> None:
    trials = lines_of_json("trials", "digits", "--store", location.url)
    assert [trial["number"] for trial in trials] == list(range(7))
    assert [trial["fitness"] for trial in trials] == [*ACCURACIES, None]
    assert [trial["state"] for trial in trials] == ["completed"] * 6 + ["running"]


def test_trials_can_be_chosen_by_state_and_from_the_end(location: StudyLocation) -> None:
    def numbers(*options: str) -> list[int]:
        return [trial["number"] for trial in lines_of_json("trials", "digits", "--store", location.url, *options)]

    assert numbers("--state", "running") == [6]
    assert numbers("--last", "2") == [5, 6]
    assert numbers("--last", "100") == list(range(7))
    assert numbers("--last", "3", "--state", "completed") == [4, 5]


def test_the_best_is_the_fittest_with_its_params_and_the_path_of_its_checkpoint(location: StudyLocation) -> None:
    (best,) = lines_of_json("best", "digits", "--store", location.url)
    assert (best["number"], best["fitness"], best["metrics"]) == (BEST, 0.9, {"accuracy": 0.9})
    assert best["checkpoint"] == str(location.files_of("digits").root / "checkpoints" / "000003.1")
    shown = output("best", "digits", "--store", location.url)
    assert best["checkpoint"] in shown
    assert "accuracy 0.9" in shown


def test_the_best_few_come_fittest_first_and_of_equal_ones_the_latest(location: StudyLocation) -> None:
    assert [trial["number"] for trial in lines_of_json("best", "digits", "--store", location.url, "--count", 3)] == [3, 1, 5]


def test_the_best_of_a_pareto_study_is_its_front(tmp_path: Path) -> None:
    location = recorded_pareto(tmp_path)
    assert [trial["fitness"] for trial in lines_of_json("best", "digits", "--store", location.url)] == [[3.0, -3.0], [1.0, -1.0]]
    assert len(lines_of_json("best", "digits", "--store", location.url, "--count", 1)) == 1


def recorded_pareto(directory: Path) -> StudyLocation:
    from recorded import recorded

    location = StudyLocation(url=f"sqlite:///{directory / 'broodline.db'}")
    with closing(location.open()) as store:
        study = recorded(store, objective={"gain": "maximize", "cost": "minimize"})
        for gain, cost in ((1.0, 1.0), (1.0, 2.0), (3.0, 3.0)):
            study.complete({"gain": gain, "cost": cost})
    return location


def test_a_lineage_is_the_trial_first_and_each_ones_parent_next(location: StudyLocation) -> None:
    lineage = lines_of_json("lineage", "digits", "--store", location.url)
    assert lineage[0]["number"] == BEST
    assert [trial["parent"] for trial in lineage] == [*(trial["number"] for trial in lineage[1:]), None]


def test_a_lineage_of_any_trial_can_be_asked_for(location: StudyLocation) -> None:
    assert lines_of_json("lineage", "digits", "--store", location.url, "--trial", 6)[0]["number"] == 6


def test_a_schedule_is_the_params_of_the_lineage_by_step(location: StudyLocation) -> None:
    lineage = lines_of_json("lineage", "digits", "--store", location.url, "--trial", 5)
    (schedule,) = lines_of_json("schedule", "digits", "--store", location.url, "--trial", 5)
    assert (schedule["study"], schedule["trial"], schedule["end"]) == ("digits", 5, lineage[0]["start"] + 10)
    params = {trial["start"]: trial["params"] for trial in lineage}
    segments = {segment["start"]: segment["params"] for segment in schedule["segments"]}
    assert segments.items() <= params.items()
    assert list(segments) == sorted(segments)
    assert 0 in segments


@pytest.mark.parametrize("notation", ["json", "toml", "csv"])
def test_a_schedule_is_written_as_json_toml_or_csv_and_read_back(notation: str, location: StudyLocation, tmp_path: Path) -> None:
    file = tmp_path / f"learned.{notation}"
    (told,) = lines_of_json("schedule", "digits", "--store", location.url, "-o", file)
    assert told == {"file": str(file), "study": "digits", "trial": BEST}
    (shown,) = lines_of_json("schedule", "digits", "--store", location.url)
    assert load_schedule(file).document() == {name: shown[name] for name in ("end", "segments")}
    assert output("schedule", "digits", "--store", location.url, "--format", notation) == file.read_text()


def test_a_schedules_format_can_be_told_where_the_name_does_not(location: StudyLocation, tmp_path: Path) -> None:
    output("schedule", "digits", "--store", location.url, "--format", "csv", "-o", tmp_path / "learned.txt")
    assert (tmp_path / "learned.txt").read_text().startswith("start,steps,lr\n0,10,")
    done = call("schedule", "digits", "--store", location.url, "-o", tmp_path / "learned.dat")
    assert done.returncode == 2
    assert "learned.dat: the file name must end in .json, .toml, .csv" in done.stderr


def test_status_tells_what_is_spent_running_and_best(location: StudyLocation) -> None:
    (status,) = lines_of_json("status", "digits", "--store", location.url)
    assert status["state"] == "running"
    assert status["budget"]["trials"] == {"spent": 7, "limit": 7, "fraction": 1.0}
    assert [each["number"] for each in status["running"]] == [6]
    assert status["best"]["number"] == BEST
    shown = output("status", "digits", "--store", location.url)
    assert "7 of 7" in shown
    assert "6 trials completed, 1 running" in shown


def test_an_export_is_one_document_with_everything(location: StudyLocation) -> None:
    document = json.loads(output("export", "digits", "--store", location.url))
    assert document["study"]["name"] == DOCUMENT["name"]
    assert document["progress"]["trials"] == 7
    assert [trial["number"] for trial in document["trials"]] == list(range(7))
    assert document["trials"][BEST]["measurements"] == [{"step": document["trials"][BEST]["start"] + 10, "accuracy": 0.9}]


def test_an_export_of_a_study_without_trials_is_whole_too(tmp_path: Path) -> None:
    location = recorded_at(tmp_path)
    assert json.loads(output("export", "digits", "--store", location.url))["trials"] == []


def test_an_export_to_a_file_replaces_it_whole(location: StudyLocation, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    file.write_text("old")
    (told,) = lines_of_json("export", "digits", "--store", location.url, "-o", file)
    assert told == {"file": str(file)}
    assert len(json.loads(file.read_text())["trials"]) == 7
    assert list(tmp_path.glob("*.partial")) == []


def test_an_export_that_cannot_be_written_is_told(location: StudyLocation, tmp_path: Path) -> None:
    done = call("export", "digits", "--store", location.url, "-o", tmp_path / "missing" / "out.json")
    assert done.returncode == 2
    assert "out.json: can't be written" in done.stderr
    for directory in (tmp_path, "."):
        done = call("export", "digits", "--store", location.url, "-o", directory)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{directory}: is a directory" in done.stderr


@pytest.mark.parametrize("command", ["best", "lineage", "schedule"])
def test_without_a_completed_trial_there_is_no_best(command: str, tmp_path: Path) -> None:
    location = recorded_at(tmp_path)
    done = call(command, "digits", "--store", location.url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no trial has completed yet" in done.stderr


@pytest.mark.parametrize("command", ["lineage", "schedule"])
def test_a_trial_that_is_not_there_is_told(command: str, location: StudyLocation) -> None:
    done = call(command, "digits", "--store", location.url, "--trial", 99)
    assert done.returncode == 2
    assert done.stderr == "broodline: error: the study has no trial 99; `broodline trials` lists its trials\n"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    location = recorded_at(tmp_path, [0.5] * 400)
    command = [sys.executable, "-m", "broodline", "export", "digits", "--store", location.url]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


ODD = {"accuracy": 0.5, "loss": math.nan, "norms": {"first": math.inf, "others": [1.0, -math.inf, {"last": math.nan}]}}


@pytest.mark.parametrize(
    "command",
    ["status", "trials", "best", "lineage", "schedule", "export", "gc", "run", "stop", "export to a file"],
)
def test_what_is_printed_as_json_is_json_whatever_a_program_measured(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, trials=3)
    location = recorded_at(tmp_path, population=2, workers=1, space=SPACE, budget={"trials": 3})
    location.claimed_files("digits").prepare()
    with closing(location.open()) as store:
        study = Recorded(store)
        for _ in range(2):
            trial = study.held("0")
            measured = [Measurement(step=trial.start + 1, metrics=ODD)]
            study.controller.report("digits", trial.number, trial.attempt, measured, 1)
            study.complete(ODD)
        study.fail("no metric", reported=[Measurement(step=30, metrics={"accuracy": math.nan, "nested": [math.inf]})])
    to_file = command.partition(" to ")[2] != ""
    assert main([command.partition(" ")[0], str(path), "--json", *(["-o", str(tmp_path / "out")] if to_file else [])]) == 0
    printed = (tmp_path / "out").read_text() if to_file else capsys.readouterr().out
    documents = [printed] if command.startswith("export") else printed.splitlines()
    read = [json.loads(document, parse_constant=refused) for document in documents]
    assert read
    if command in ("trials", "best", "lineage"):
        assert read[0]["metrics"] == {
            "accuracy": 0.5,
            "loss": None,
            "norms": {"first": None, "others": [1.0, None, {"last": None}]},
        }


def refused(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
