"""`broodline compare`: several studies, as a table, as JSON, and as a real figure."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from commands import ENVIRONMENT, call, lines_of_json, output, write_study
from recorded import Recorded, recorded, recorded_at

from broodline.config.study import study_from
from broodline.controller.controller import Controller
from broodline.core.lineage import lineage_of
from broodline.storage.base import Store
from broodline.storage.location import StudyLocation, open_store
from broodline.studies.replay import replay_of

SPACE = {
    "lr": {"float": [1e-4, 1.0], "log": True},
    "gamma": {"float": [0.9, 0.999], "scale": "1-x"},
    "batch_size": {"ordered": [16, 32, 64, 256]},
    "optimizer": {"choice": ["sgd", "adam", None, True]},
    "momentum": {"float": [0.0, 1.0], "when": {"optimizer": "sgd"}},
    "width": 64,
}
RUNS = {"wide-0": (0.5, 0.6, 0.9), "wide-1": (0.4, 0.7, 0.8, 0.85), "deep": (0.3, 0.2)}


def recorded_replay(store: Store, source: str, fixed: Mapping[str, object]) -> Recorded:
    with store.snapshot(source) as records:
        study, lineage = study_from(records.definition()), lineage_of(0, records.trial)
    again = replay_of(study, lineage, name=f"{source}-again", fixed=fixed)
    Controller(store).open(again)
    found = Recorded(store, name=again.name)
    found.ask()
    return found


@pytest.fixture
def location(tmp_path: Path) -> StudyLocation:
    found = StudyLocation(url=f"sqlite:///{tmp_path / 'all.db'}")
    with closing(open_store(found.url)) as store:
        for name, accuracies in RUNS.items():
            study = recorded(store, name=name, population=2, space=SPACE)
            for accuracy in accuracies:
                study.complete({"accuracy": accuracy})
    return found


def test_studies_are_compared_at_an_equal_resource_and_step(location: StudyLocation) -> None:
    (told,) = lines_of_json("compare", *RUNS, "--store", location.url)
    assert (told["metric"], told["goal"], told["equal_resource"], told["equal_step"]) == ("accuracy", "maximize", 20, 10)
    studies = {each["study"]: each for each in told["studies"]}
    assert {name: (each["trials"], each["resource"]) for name, each in studies.items()} == {
        name: (len(accuracies), 10 * len(accuracies)) for name, accuracies in RUNS.items()
    }
    assert {name: each["best"]["value"] for name, each in studies.items()} == {name: max(run) for name, run in RUNS.items()}
    assert {name: each["at_equal_resource"] for name, each in studies.items()} == {"wide-0": 0.6, "wide-1": 0.7, "deep": 0.3}
    assert studies["wide-1"]["by_resource"] == [[10, 0.4], [20, 0.7], [30, 0.8], [40, 0.85]]
    assert studies["deep"]["schedule"]["segments"][0]["start"] == 0


def test_the_table_has_a_row_a_study_or_a_group_of_repeats(location: StudyLocation) -> None:
    assert all(name in output("compare", *RUNS, "--store", location.url) for name in RUNS)
    shown = output("compare", *RUNS, "--store", location.url, "--group")
    assert "wide (2 repeats)" in shown
    assert "0.875 (0.85 to 0.9)" in shown
    assert "wide-0" not in shown


@pytest.mark.parametrize(
    ("evolution", "method"),
    [
        ({"strategy": "random"}, "random search"),
        ({"strategy": "grid", "points": 2}, "grid"),
        ({"strategy": "optuna", "sampler": "random"}, "optuna random"),
        ({"strategy": "optuna"}, "optuna tpe"),
    ],
)
def test_the_table_tells_how_each_study_searched(evolution: dict[str, object], method: str, location: StudyLocation) -> None:
    with closing(open_store(location.url)) as store:
        recorded(store, name="other", evolution=evolution, budget={"generations": 1}, population=2).complete({"accuracy": 0.5})
    assert method in output("compare", "deep", "other", "--store", location.url)


def test_labels_name_studies_and_make_repeats(location: StudyLocation) -> None:
    shown = output("compare", "a study=wide-0", "others=wide-1", "others=deep", "--store", location.url)
    assert "a study" in shown
    assert "others (2 repeats)" in shown


def test_studies_may_live_in_several_stores(location: StudyLocation, tmp_path: Path) -> None:
    space = {"lr": {"float": [1e-4, 1.0], "log": True}}
    for directory in (tmp_path / "mine", tmp_path / "yours"):
        directory.mkdir()
        write_study(directory)
        recorded_at(directory, [0.1], population=2, workers=1, space=space, budget={"trials": 6})
    (told,) = lines_of_json("compare", "mine/study.toml", f"{location.url}#deep", "yours/study.toml", cwd=tmp_path)
    assert [each["label"] for each in told["studies"]] == ["mine/study.toml", "deep", "yours/study.toml"]


@pytest.mark.parametrize(("ending", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_figure_is_drawn_as_its_name_ends(ending: str, magic: bytes, location: StudyLocation, tmp_path: Path) -> None:
    file = tmp_path / f"compare.{ending}"
    (told,) = lines_of_json("compare", *RUNS, "--store", location.url, "--group", "-o", file)
    assert told["figure"] == str(file)
    assert file.read_bytes().startswith(magic)


def test_a_figure_shows_every_label_and_param_and_is_the_same_each_time(location: StudyLocation, tmp_path: Path) -> None:
    drawn = []
    for name in ("one.svg", "two.svg"):
        assert str(tmp_path / name) in output("compare", *RUNS, "--store", location.url, "--group", "-o", tmp_path / name)
        drawn.append((tmp_path / name).read_text())
    assert drawn[0] == drawn[1]
    shown = ["wide (median of 2)", "deep", "Best accuracy so far, by resource", "Best accuracy so far, by step"]
    for text in [*shown, *(f"{name}, of the best lineage" for name in ("lr", "gamma", "batch_size", "optimizer"))]:
        assert text in drawn[0], text
    assert "width, of" not in drawn[0]


def test_a_figure_has_room_for_params_that_a_replay_fixed_outside_of_their_ranges(
    location: StudyLocation, tmp_path: Path
) -> None:
    fixed = {"lr": -0.5, "gamma": 1.0, "batch_size": -3, "optimizer": "new"}
    with closing(open_store(location.url)) as store:
        recorded_replay(store, "deep", fixed).complete({"accuracy": 0.3})
    drawn = tmp_path / "figure.svg"
    output("compare", "deep", "deep-again", "--store", location.url, "-o", drawn)
    ticks = {text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawn.read_text())}
    assert "new" in ticks
    assert any(tick.startswith("\N{MINUS SIGN}") for tick in ticks), "an axis that holds what is below zero"


def refused(*arguments: object) -> str:
    done = call("compare", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_what_can_not_be_compared_or_drawn_is_told(location: StudyLocation, tmp_path: Path) -> None:
    with closing(open_store(location.url)) as store:
        recorded(store, name="other", objective={"loss": "minimize"}).complete({"loss": 1.0})
        recorded(store, name="empty")
    assert "only studies of one objective can be compared" in refused("deep", "other", "--store", location.url)
    assert "study 'empty': no trial has completed yet" in refused("deep", "empty", "--store", location.url)
    assert "must end in .svg, .png, .pdf" in refused("deep", "--store", location.url, "-o", tmp_path / "figure.gif")
    assert "study 'deep' is given 2 times" in refused("deep", f"{location.url}#deep", "--store", location.url)
    assert "can't be written" in refused("deep", "--store", location.url, "-o", tmp_path / "missing" / "figure.svg")


def test_without_matplotlib_only_the_figure_is_missing(location: StudyLocation, tmp_path: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from broodline.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "compare", "deep", "--store", location.url, "--json"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["metric"] == "accuracy"
    done = subprocess.run([*command, "-o", str(tmp_path / "x.svg")], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "drawing a figure needs matplotlib: pip install 'broodline[plot]'" in done.stderr
