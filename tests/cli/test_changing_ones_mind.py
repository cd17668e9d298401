"""Changes to an existing study, row by row of the table in docs/studyfile.md: it takes effect, or nothing changes."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import call, call_cold, lines_of_json, output
from living import begun, running, trials_of, wait_for
from recorded import DOCUMENT, recorded

from broodline.config import study as definition
from broodline.config import study_file as studyfile
from broodline.config.space import KINDS, keyword_fields
from broodline.controller.controller import Controller
from broodline.core.options import declared_options
from broodline.registry import STRATEGIES
from broodline.storage.sqlite.store import SqliteStore
from broodline.strategies.registry import strategy_class

PAGE = Path(__file__).parents[2] / "docs" / "studyfile.md"

# Tells of its surroundings, and is as good as its seed says. It waits while there is a file `wait`.
TRAINER = """\
set -eu
echo "$BROODLINE_TRIAL $BROODLINE_ATTEMPT $BROODLINE_WORKER" >> begun
while [ -e wait ]; do sleep 0.02; done
echo "$BROODLINE_TRIAL devices=$BROODLINE_DEVICES threads=$OMP_NUM_THREADS" >> told
echo 1 > "$BROODLINE_SAVE/weights"
echo "{\\"accuracy\\": $BROODLINE_SEED, \\"loss\\": 1}" >> "$BROODLINE_METRICS"
"""
STUDY = """\
name = "digits"
trial_steps = 10
population = 2
workers = 1
seed = 0
[objective]
accuracy = { goal = "maximize", weight = 1.0, mean_of_last = 1 }
[budget]
trials = 4
[space]
lr = { float = [1e-4, 1.0], log = true, init = [1e-3, 1e-1] }
gamma = { float = [0.9, 0.99], scale = "1-x" }
layers = { int = [1, 4], mutate = false }
batch = { ordered = [16, 32] }
optimizer = { choice = ["sgd", "adam"] }
momentum = { float = [0.0, 0.9], when = { optimizer = "sgd" } }
width = 64
[evolution]
mutate = 0.5
[train]
command = ["sh", "train.sh"]
grace = 5
"""
# What samplers and grids need: generations, and as many members as a grid has points.
UNTIL_OPTIONS = STUDY[STUDY.index("population") : STUDY.index("[train]")].replace("trials = 4", "trials = 6")
LINEAGES = (
    UNTIL_OPTIONS.replace("mutate = 0.5\n", "")
    .replace("population = 2", "population = 48")
    .replace("trials = 6", "trials = 6\ngenerations = 2")
)


def evolution_options() -> set[str]:
    """The options of all strategies."""
    return {option.name for name in STRATEGIES.names() for option in declared_options(strategy_class(name).Options)}


def every_key() -> set[str]:
    """Every key that a study file can have; what users name themselves is a `*`."""
    rules = {
        "objective.*": definition._GOAL,
        "budget": definition._BUDGET,
        "evolution": ("strategy", *evolution_options()),
        "checkpoints": definition._CHECKPOINTS,
        "stopping": definition._STOPPING,
        "train": {**studyfile._TRAIN, **definition.TRAIN_LIMITS},
        "evaluate": studyfile._EVALUATE,
        "engine": {**studyfile._ENGINE, **definition.ENGINE_LIMITS},
    }
    plain = {*definition._REQUIRED, *definition._OPTIONAL}
    assert plain | {name.partition(".")[0] for name in rules} | {"space"} == set(definition.KEYS), "a table is missing here"
    options = {name for kind in KINDS.values() for name in keyword_fields(kind)}
    inner = {f"{table}.{name}" for table, names in rules.items() for name in names}
    return plain | inner | {"objective.*", "space.*"} | {f"space.*.{name}" for name in (*KINDS, *options)}


def page() -> dict[str, str]:
    """The table of the page: what it says of each key."""
    section = PAGE.read_text(encoding="utf-8").partition("## Changes to an existing study")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]
    return {name: verdict for keys, verdict, _ in rows for name in re.findall("`([^`]+)`", keys)}


# What is refused

LR = "lr = { float = [1e-4, 1.0], log = true, init = [1e-3, 1e-1] }"
ACCURACY = 'accuracy = { goal = "maximize", weight = 1.0, mean_of_last = 1 }'

# The key, a piece of the study file, what takes its place, and the difference that is shown.
REFUSED: list[tuple[str, str, str, str]] = [
    ("trial_steps", "trial_steps = 10", "trial_steps = 20", "trial_steps: 10 -> 20"),
    ("population", "population = 2", "population = 3", "population: 2 -> 3"),
    ("seed", "seed = 0", "seed = 7", "seed: 0 -> 7"),
    ("objective.*", ACCURACY, ACCURACY.replace("accuracy", "loss"), "objective: "),
    ("objective.*", ACCURACY, f'{ACCURACY}\nloss = {{ goal = "minimize", weight = 1.0 }}', "objective: "),
    ("objective.*.goal", 'goal = "maximize"', 'goal = "minimize"', 'objective: {"accuracy": {"goal": "maximize"'),
    ("objective.*.weight", "weight = 1.0", "weight = 2.0", "objective: "),
    ("objective.*.mean_of_last", "mean_of_last = 1", "mean_of_last = 3", "objective: "),
    ("space.*", LR, f"{LR}\nnew = {{ float = [0, 1] }}", "[space] new: added"),
    ("space.*", "width = 64\n", "", "[space] width: removed"),
    ("space.*", LR, "lr = { int = [1, 4] }", "[space] lr: type float -> int"),
    ("space.*.float", "float = [1e-4, 1.0]", "float = [1e-4, 0.5]", "[space] lr: "),
    ("space.*.float", "float = [1e-4, 1.0]", "float = [1e-3, 2.0]", "[space] lr: "),
    ("space.*.int", "int = [1, 4]", "int = [2, 4]", "[space] layers: "),
    ("space.*.ordered", "ordered = [16, 32]", "ordered = [32, 64]", "[space] batch: values [16, 32] -> [32, 64]"),
    ("space.*.ordered", "ordered = [16, 32]", "ordered = [32, 16]", "[space] batch: values"),
    ("space.*.choice", 'choice = ["sgd", "adam"]', 'choice = ["sgd", "lion"]', "[space] optimizer: values"),
    ("space.*.log", ", log = true", "", "[space] lr: log True -> False"),
    ("space.*.scale", ', scale = "1-x"', "", "[space] gamma: scale '1-x' -> None"),
    ("space.*.init", "init = [1e-3, 1e-1]", "init = [1e-3, 1.0]", "[space] lr: init "),
    ("space.*.when", 'when = { optimizer = "sgd" }', 'when = { optimizer = "adam" }', "[space] momentum: when "),
    ("space.*.mutate", ", mutate = false", "", "[space] layers: mutate False -> True"),
    ("space.*.fixed", "width = 64", "width = 128", "[space] width: 64 -> 128"),
    ("evolution.strategy", "mutate = 0.5", 'strategy = "random"', "[evolution] strategy: 'initiator' -> 'random'"),
    ("evolution.mutate", "mutate = 0.5", "mutate = 0.6", "[evolution] mutate: 0.5 -> 0.6"),
    ("evolution.resample", "mutate = 0.5", "mutate = 0.5\nresample = 0.1", "[evolution] resample: 0.0 -> 0.1"),
    ("evolution.crossover", "mutate = 0.5", "mutate = 0.5\ncrossover = 0.1", "[evolution] crossover: 0.0 -> 0.1"),
    ("evolution.factors", "mutate = 0.5", "mutate = 0.5\nfactors = [0.5, 2]", "[evolution] factors: (0.8, 1.2) -> (0.5, 2.0)"),
    (
        "evolution.parents",
        "mutate = 0.5",
        'mutate = 0.5\nstrategy = "generational"\nparents = 1',
        "[evolution] parents: None -> 1",
    ),
    (
        "evolution.sampler",
        UNTIL_OPTIONS,
        f'{LINEAGES}strategy = "optuna"\nsampler = "qmc"\n',
        "[evolution] sampler: None -> 'qmc'",
    ),
    ("evolution.points", UNTIL_OPTIONS, f'{LINEAGES}strategy = "grid"\npoints = 2\n', "[evolution] points: None -> 2"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("spent")
    (directory / "train.sh").write_text(TRAINER)
    (directory / "study.toml").write_text(STUDY)
    output("run", "study.toml", cwd=directory)
    return directory


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Path:
    """A study file beside a study that has spent its budget of 4 trials."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study.toml"


def edit(study: Path, old: str, new: str) -> None:
    text = study.read_text()
    assert text.count(old) >= 1
    study.write_text(text.replace(old, new, 1))


def records(study: Path) -> list[str]:
    """All that the store holds of its studies, statement by statement; the study is a copy, which gets an identity of its own."""
    with closing(sqlite3.connect(study.parent / "broodline.db")) as database:
        return [line for line in database.iterdump() if not line.startswith('INSERT INTO "identity"')]


@pytest.mark.parametrize(("key", "old", "new", "difference"), REFUSED, ids=[f"{case[0]}-{case[2][:40]}" for case in REFUSED])
def test_what_may_not_change_is_refused_with_the_difference_and_nothing_is_changed(
    key: str, old: str, new: str, difference: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from broodline.cli import main

    before = records(study)
    edit(study, "trials = 4", "trials = 6")  # which alone would be taken over
    edit(study, old, new)
    for command in ("run", "worker", "gc"):
        assert main([command, str(study)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("broodline: error: study 'digits'") == 1
        assert difference in err
        assert records(study) == before
    assert page()[key] in ("no", "may grow")


def test_refused_as_a_process_too(study: Path) -> None:
    before = records(study)
    edit(study, "seed = 0", "seed = 7")
    done = call_cold("run", "study.toml", cwd=study.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert "seed: 0 -> 7" in done.stderr
    assert records(study) == before


def test_several_differences_are_all_shown(study: Path) -> None:
    edit(study, "seed = 0", "seed = 7")
    edit(study, "trial_steps = 10", "trial_steps = 20")
    err = call("run", study).stderr
    assert "trial_steps: 10 -> 20" in err
    assert "seed: 0 -> 7" in err


# What is taken over

SCRIPTS = {
    "stdout.sh": """echo 1 > "$BROODLINE_SAVE/weights"; echo '{"accuracy": 7}'\n""",
    "other.sh": """echo 1 > "$BROODLINE_SAVE/weights"; echo '{"accuracy": 9}' >> "$BROODLINE_METRICS"\n""",
    "sleeps.sh": "exec sleep 60\n",
    "fails.sh": "exit 3\n",
    "evaluate.sh": """echo '{"extra": 3}' >> "$BROODLINE_METRICS"\n""",
    "stay.py": """
import broodline
for trial in broodline.trials():
    with trial:
        (trial.save_to / "weights").write_text("1")
        trial.report(accuracy=8)
""",
}
RULE = 'rule = "median"\n'
TRAIN = 'command = ["sh", "train.sh"]'

Trials = list[dict[str, Any]]


def added(table: str, text: str) -> tuple[str, str]:
    """What to replace in the study file, and by what, to add lines to a table."""
    end = "grace = 5\n"
    return end, end + ("" if table == "train" else f"[{table}]\n") + text + "\n"


def told(directory: Path, trials: Trials, text: str) -> bool:
    """Whether the trainer of each trial told of it."""
    lines = [line.split() for line in (directory / "told").read_text().splitlines()]
    return all(text in next(words for words in lines if words[0] == str(trial["number"])) for trial in trials)


def stay(directory: Path, chosen: Callable[[dict[str, Any]], bool]) -> bool:
    """Whether the checkpoints of the chosen trials are there, and those of others only where they are recent or the best."""
    trials = trials_of(directory / "study.toml")
    there = {path.name for path in (directory / "broodline.db.files/digits/checkpoints").iterdir()}
    named = {Path(trial["checkpoint"]).name: trial["number"] for trial in trials if trial["checkpoint"]}
    recent = {trial["number"] for trial in trials if trial["generation"] > 0} | {best(trials)}
    wanted = {trial["number"] for trial in trials if chosen(trial)}
    return set(named) == there and wanted <= set(named.values()) <= wanted | recent


def best(trials: Trials) -> int:
    number: int = max(trials, key=lambda trial: (trial["fitness"], -trial["number"]))["number"]
    return number


def in_store(directory: Path, table: str, key: str) -> Any:
    """A value of the definition in the store."""
    return json.loads(output("export", directory / "study.toml"))["study"].get(table, {}).get(key)


def took_too_long(trial: dict[str, Any]) -> bool:
    return trial["state"] == "failed" and "0.2" in trial["reason"]


def has_checksums(trial: dict[str, Any]) -> bool:
    return "sha256" in json.loads((Path(trial["checkpoint"]) / ".broodline.json").read_text())


# The key, a piece of the study file, what takes its place, and what is seen of it once two more trials are trained.
PERMITTED: list[tuple[str, str, str, Callable[[Path, Trials], bool]]] = [
    ("train.command", TRAIN, 'command = ["sh", "other.sh"]', lambda _, new: scores(new) == [9, 9]),
    ("train.metrics", TRAIN, 'command = ["sh", "stdout.sh"]\nmetrics = "stdout"', lambda _, new: scores(new) == [7, 7]),
    ("train.resident", TRAIN, 'command = ["PYTHON", "stay.py"]\nresident = true', lambda _, new: scores(new) == [8, 8]),
    ("train.timeout", TRAIN, 'command = ["sh", "sleeps.sh"]\ntimeout = 0.2', lambda _, new: all(map(took_too_long, new))),
    ("train.grace", "grace = 5", "grace = 6", lambda _, new: all(t["state"] == "completed" for t in new)),
    ("train.retries", TRAIN, 'command = ["sh", "fails.sh"]\nretries = 2', lambda _, new: [t["attempt"] for t in new] == [3, 3]),
    ("train.max_failures", *added("train", "max_failures = 9"), lambda at, _: in_store(at, "train", "max_failures") == 9),
    (
        "evaluate.command",
        *added("evaluate", 'command = ["sh", "evaluate.sh"]'),
        lambda _, new: [t["metrics"].get("extra") for t in new] == [3, 3],
    ),
    (
        "evaluate.timeout",
        *added("evaluate", 'command = ["sh", "sleeps.sh"]\ntimeout = 0.2'),
        lambda _, new: all(map(took_too_long, new)),
    ),
    ("engine.kind", *added("engine", 'kind = "local"'), lambda _, new: all(t["state"] == "completed" for t in new)),
    ("engine.devices", *added("engine", 'devices = ["3"]'), lambda at, new: told(at, new, "devices=3")),
    ("engine.threads", *added("engine", "threads = 2"), lambda at, new: told(at, new, "threads=2")),
    ("engine.lease", *added("engine", "lease = 60"), lambda at, _: in_store(at, "engine", "lease") == 60),
    ("engine.max_lost", *added("engine", "max_lost = 5"), lambda at, _: in_store(at, "engine", "max_lost") == 5),
    ("stopping.rule", *added("stopping", 'rule = "median"'), lambda at, _: in_store(at, "stopping", "rule") == "median"),
    ("stopping.margin", *added("stopping", f"{RULE}margin = 0.5"), lambda at, _: in_store(at, "stopping", "margin") == 0.5),
    ("stopping.burn_in", *added("stopping", f"{RULE}burn_in = 7"), lambda at, _: in_store(at, "stopping", "burn_in") == 7),
    (
        "stopping.min_trials",
        *added("stopping", f"{RULE}min_trials = 9"),
        lambda at, _: in_store(at, "stopping", "min_trials") == 9,
    ),
    ("checkpoints.keep_best", *added("checkpoints", "keep_best = 6"), lambda at, _: stay(at, lambda t: True)),
    ("checkpoints.keep_all", *added("checkpoints", "keep_all = true"), lambda at, _: stay(at, lambda t: True)),
    (
        "checkpoints.keep_every",
        *added("checkpoints", "keep_every = 2"),
        lambda at, _: stay(at, lambda t: t["generation"] % 2 == 0),
    ),
    ("checkpoints.at", *added("checkpoints", "at = [5]"), lambda at, _: stay(at, lambda t: t["start"] < 5)),
    ("checkpoints.checksums", *added("checkpoints", "checksums = true"), lambda _, new: all(map(has_checksums, new))),
]
# The grace of a program that ends is not used; test_engine_choice.py installs a second engine, which test runs do not have.
UNSEEN = ("train.grace", "engine.kind")


def scores(trials: Trials) -> list[float]:
    return [trial["metrics"]["accuracy"] for trial in trials]


@pytest.fixture(scope="module")
def unchanged(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study, gone on with without any change but in its budget."""
    directory = tmp_path_factory.mktemp("control")
    shutil.copytree(template, directory, dirs_exist_ok=True)
    edit(directory / "study.toml", "trials = 4", "trials = 6")
    output("run", directory / "study.toml")
    return directory


@pytest.mark.parametrize(("key", "old", "new", "seen"), PERMITTED, ids=[case[0] for case in PERMITTED])
def test_what_may_change_is_taken_over_and_takes_effect(
    key: str, old: str, new: str, seen: Callable[[Path, Trials], bool], study: Path, unchanged: Path
) -> None:
    assert key in UNSEEN or not seen(unchanged, trials_of(unchanged / "study.toml")[4:])
    for name, text in SCRIPTS.items():
        (study.parent / name).write_text(text)
    before = trials_of(study)
    edit(study, "trials = 4", "trials = 6")
    edit(study, old, new.replace("PYTHON", sys.executable))
    output("run", study)
    after = trials_of(study)
    assert [trial["number"] for trial in after] == list(range(6))
    assert [{**trial, "checkpoint": None} for trial in after[:4]] == [{**trial, "checkpoint": None} for trial in before]
    assert seen(study.parent, after[4:])
    assert page()[key] == "yes"


# The budget: what the first run had, what it trained; what the second has, and how many trials there are then.
BUDGETS = [
    ("trials", "trials = 4", 4, "trials = 7", 7),
    ("generations", "generations = 2", 4, "generations = 3", 6),
    ("total_steps", "total_steps = 50", 5, "total_steps = 80", 8),
    ("target", "target = 1\ntrials = 4", 1, "target = 1e12\ntrials = 4", 4),
    ("time", "time = 0.001\ntrials = 4", 1, 'time = "1h"\ntrials = 4', 4),
]


@pytest.mark.parametrize(("key", "first", "spent", "second", "total"), BUDGETS, ids=[case[0] for case in BUDGETS])
def test_a_larger_budget_trains_on_and_a_smaller_one_ends(
    key: str, first: str, spent: int, second: str, total: int, tmp_path: Path
) -> None:
    study = tmp_path / "study.toml"
    (tmp_path / "train.sh").write_text(TRAINER)
    study.write_text(STUDY.replace("trials = 4", first))
    output("run", study)
    before = trials_of(study)
    assert len(before) == spent
    edit(study, first, second)
    output("run", study)
    assert len(trials_of(study)) == total
    edit(study, second, first)
    (ended,) = lines_of_json("run", study)
    assert (ended["state"], ended["trials"]) == ("done", total)
    assert page()[f"budget.{key}"] == "yes"


GROWN = [
    ("space.*.float", {"x": {"float": [0.4, 0.6]}}, {"x": {"float": [0.0, 1.0]}}, lambda x: not 0.4 <= x <= 0.6),
    ("space.*.int", {"x": {"int": [4, 6]}}, {"x": {"int": [1, 9]}}, lambda x: x not in (4, 5, 6)),
    ("space.*.ordered", {"x": {"ordered": [2, 3]}}, {"x": {"ordered": [1, 2, 3, 4]}}, lambda x: x in (1, 4)),
    ("space.*.choice", {"x": {"choice": ["a", "b"]}}, {"x": {"choice": ["b", "c", "a"]}}, lambda x: x == "c"),
]


@pytest.mark.parametrize(("key", "narrow", "wide", "outside"), GROWN, ids=[case[0] for case in GROWN])
def test_children_mutate_in_a_range_that_grew(
    key: str, narrow: dict[str, Any], wide: dict[str, Any], outside: Callable[[Any], bool]
) -> None:
    with closing(SqliteStore(None)) as store:
        study = recorded(store, space=narrow, population=2)
        for _ in range(20):
            study.complete({"accuracy": 1})
        before = values(store)
        Controller(store).open(definition.parse({**DOCUMENT, "space": wide, "population": 2}, "test"))
        for _ in range(80):
            study.complete({"accuracy": 1})
        after = values(store)
        assert after[: len(before)] == before
        assert not any(map(outside, before))
        assert any(map(outside, after))
    assert page()[key] == "may grow"


def values(store: SqliteStore) -> list[Any]:
    with store.snapshot("digits") as records:
        return [trial.params["x"] for trial in records.trials()]


def test_another_name_is_another_study_and_the_first_stays_as_it_is(study: Path) -> None:
    before = trials_of(study)
    edit(study, 'name = "digits"', 'name = "letters"')
    output("run", study)
    assert len(trials_of(study)) == 4
    edit(study, 'name = "letters"', 'name = "digits"')
    assert trials_of(study) == before
    assert page()["name"] == "another study"


def test_a_study_goes_on_with_more_workers(study: Path) -> None:
    wait = study.parent / "wait"
    wait.touch()
    edit(study, "trials = 4", "trials = 6")
    edit(study, "workers = 1", "workers = 2")
    with running("run", study, cwd=study.parent) as run:
        wait_for(lambda: {(4, 1), (5, 1)} <= set(begun(study.parent)))
        wait.unlink()
        assert run.end() == 0
    assert {trial["worker"] for trial in trials_of(study)[4:]} == {"0", "1"}
    assert page()["workers"] == "yes"


# While it runs


def test_a_running_study_takes_more_workers_and_no_other_file(study: Path) -> None:
    directory = study.parent
    wait = directory / "wait"
    wait.touch()
    edit(study, "trials = 4", "trials = 6")
    with running("run", study, cwd=directory) as run:
        wait_for(lambda: (4, 1) in begun(directory))
        defined = json.loads(output("export", study))["study"]

        edit(study, "trials = 6", "trials = 9")
        second = call("run", study)
        assert second.returncode == 2
        assert "is running already" in second.stderr

        edit(study, "seed = 0", "seed = 7")
        refused = call("worker", study)
        assert refused.returncode == 2
        assert "seed: 0 -> 7" in refused.stderr

        edit(study, "seed = 7", "seed = 0")
        edit(study, TRAIN, 'command = ["sh", "-c", "echo mine >> mine; exec sh train.sh"]')
        with running("worker", study, cwd=directory) as worker:
            wait_for(lambda: (5, 1) in begun(directory))
            assert json.loads(output("export", study))["study"] == defined
            wait.unlink()
            assert (run.end(), worker.end()) == (0, 0)
    # The worker ran the program of its own file, and spent the budget of the store.
    assert (directory / "mine").read_text() == "mine\n"
    trials = trials_of(study)
    assert [trial["state"] for trial in trials] == ["completed"] * 6
    assert trials[4]["worker"] == "0"
    assert trials[5]["worker"] != "0"


def test_every_key_of_a_study_file_has_its_row_in_the_table_and_is_tested() -> None:
    tested = [case[0] for case in (*REFUSED, *PERMITTED, *GROWN)]
    tested += [f"budget.{case[0]}" for case in BUDGETS] + ["name", "workers"]
    assert set(page()) == every_key()
    assert set(tested) == every_key()
