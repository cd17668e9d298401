"""The facts about a trial that its program gets."""

from __future__ import annotations

import sys
from pathlib import Path

from assignments import assignment

from broodline.config.programs import fill
from broodline.workers.trainers.environment import (
    facts,
    for_evaluation,
    inherited,
    message,
    placeholders,
    variables,
    worker_variables,
)

PARAMS = Path("/scratch/params.json")


def test_every_variable_of_a_child_is_set(tmp_path: Path) -> None:
    child = assignment(
        tmp_path, 7, restore=Path("/parent"), devices=("2", "3"), start=20, member=5, generation=2, attempt=3, seed=11
    )
    about = {**facts(child, port=4567), "metrics": "/scratch/metrics"}
    assert variables(about, PARAMS) == {
        "BROODLINE_PARAMS": "/scratch/params.json",
        "BROODLINE_RESTORE": "/parent",
        "BROODLINE_SAVE": str(tmp_path / "save-7"),
        "BROODLINE_METRICS": "/scratch/metrics",
        "BROODLINE_STEPS": "3",
        "BROODLINE_START": "20",
        "BROODLINE_END": "23",
        "BROODLINE_TRIAL": "7",
        "BROODLINE_ATTEMPT": "3",
        "BROODLINE_MEMBER": "5",
        "BROODLINE_GENERATION": "2",
        "BROODLINE_SEED": "11",
        "BROODLINE_WORKER": "4",
        "BROODLINE_DEVICES": "2,3",
        "BROODLINE_PORT": "4567",
    }


def test_a_trial_of_generation_0_has_nothing_to_restore(tmp_path: Path) -> None:
    about = facts(assignment(tmp_path), port=1)
    assert "BROODLINE_RESTORE" not in variables(about, PARAMS)
    assert fill(["train", "--resume={restore}"], placeholders(about, {}, PARAMS)) == ["train"]


def test_without_devices_the_variable_is_empty(tmp_path: Path) -> None:
    about = variables(facts(assignment(tmp_path), port=1), PARAMS)
    assert about["BROODLINE_DEVICES"] == ""


def test_the_variables_of_an_outer_trial_are_not_inherited() -> None:
    around = {
        "BROODLINE_RESTORE": "/elsewhere",
        "BROODLINE_REPLY": "5",
        "BROODLINE_PROCESS": "x",
        "BROODLINE_TOKEN": "x",
        "BROODLINE_TOKEN_FILE": "x",
        "HOME": "/home",
        "BROODLINE_MINE": "1",
    }
    assert inherited(around) == {"HOME": "/home", "BROODLINE_MINE": "1"}


def test_params_and_facts_fill_the_arguments(tmp_path: Path) -> None:
    about = facts(assignment(tmp_path, 7, restore=Path("/parent"), start=20, seed=11), port=1)
    command = ["--lr={lr}", "{params}", "{restore}:{start}+{steps}", "{trial}.{seed}", "--to={save}"]
    assert fill(command, placeholders(about, {"lr": 0.1}, PARAMS)) == [
        "--lr=0.1",
        "/scratch/params.json",
        "/parent:20+3",
        "7.11",
        f"--to={tmp_path / 'save-7'}",
    ]


def test_the_end_and_the_interpreter_fill_arguments_unless_a_parameter_has_that_name(tmp_path: Path) -> None:
    about = facts(assignment(tmp_path, start=20), port=1)
    command = ["{python}", "--max-steps={end}"]
    assert fill(command, placeholders(about, {}, PARAMS)) == [sys.executable, "--max-steps=23"]
    assert fill(command, placeholders(about, {"end": 7, "python": "3.12"}, PARAMS)) == ["3.12", "--max-steps=7"]


def test_an_evaluation_reads_what_was_saved_and_has_nothing_to_train_or_save(tmp_path: Path) -> None:
    given = assignment(tmp_path, restore=Path("/parent"))
    about = variables(for_evaluation(facts(given, port=1), checkpoint=given.save, step=23), PARAMS)
    assert about["BROODLINE_RESTORE"] == str(given.save)
    assert (about["BROODLINE_START"], about["BROODLINE_STEPS"], about["BROODLINE_END"]) == ("23", "0", "23")
    assert "BROODLINE_SAVE" not in about


def test_a_message_has_the_names_of_the_variables_and_the_params_themselves(tmp_path: Path) -> None:
    given = assignment(tmp_path, devices=("0",))
    about = {**facts(given, port=1), "metrics": "/m"}
    names = {f"BROODLINE_{name.upper()}" for name in message(about, {"lr": 0.1})}
    assert names - {"BROODLINE_RESTORE"} == variables(about, PARAMS).keys()
    assert message(about, {"lr": 0.1})["params"] == {"lr": 0.1}
    assert message(about, {})["restore"] is None


def test_a_resident_program_gets_the_facts_that_hold_for_all_its_trials(tmp_path: Path) -> None:
    about = worker_variables(assignment(tmp_path, devices=("0",)))
    assert about == {"BROODLINE_WORKER": "4", "BROODLINE_DEVICES": "0"}
