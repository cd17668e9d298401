"""Study files: what they may say, and that every mistake is one message with file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_study_files import BAD_STUDY_FILES, study_file

from broodline.config.programs import EngineOptions, Evaluate, Train
from broodline.config.study_file import StudyFile, read
from broodline.core.parameters import Fixed, Float, Int
from broodline.core.study import Budget, Evolution, Limits, Retention
from broodline.errors import StudyFileError, UsageError

FULL = """
name = "digits"
trial_steps = 200
population = 20
workers = 5
seed = 7

[objective]
accuracy = { goal = "maximize", weight = 0.5, mean_of_last = 3 }
loss = { goal = "minimize", weight = 2 }

[budget]
time = "1h 30m"
trials = 400
generations = 9
total_steps = 100000

[space]
lr = { float = [1e-5, 1.0], log = true, init = [1e-4, 1e-3] }
layers = { int = [1, 8], mutate = false }
width = 64

[evolution]
strategy = "generational"
mutate = 0.5
resample = 0.25
factors = [0.5, 2]
parents = 5

[train]
command = ["python", "train.py", "--lr={lr}", "{{}}", "${HOME}"]
metrics = "stdout"
timeout = "2m"
grace = 3
retries = 2
max_failures = 7

[evaluate]
command = ["python", "evaluate.py", "{restore}"]
timeout = 60

[checkpoints]
keep_best = 3
keep_every = 10
keep_all = false
at = [1000, 2000]
checksums = true

[engine]
devices = ["0", 1]
threads = 2
max_lost = 5
lease = "45s"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def good(folder: Path, **parts: str) -> StudyFile:
    return read(written(folder, study_file(**parts)))


def test_everything_that_a_study_file_can_say_is_read(tmp_path: Path) -> None:
    file = read(written(tmp_path, FULL))
    study = file.study
    assert (study.name, study.trial_steps, study.population, study.workers, study.seed) == ("digits", 200, 20, 5, 7)
    assert [(g.metric, g.goal, g.weight, g.mean_of_last) for g in study.objective.goals] == [
        ("accuracy", "maximize", 0.5, 3),
        ("loss", "minimize", 2.0, 1),
    ]
    assert study.budget == Budget(time=5400, trials=400, generations=9, total_steps=100000)
    assert study.space.params == {
        "lr": Float(1e-5, 1.0, log=True, init=(1e-4, 1e-3)),
        "layers": Int(1, 8, mutate=False),
        "width": Fixed(64),
    }
    assert study.evolution == Evolution(strategy="generational", mutate=0.5, resample=0.25, factors=(0.5, 2), parents=5)
    assert study.limits == Limits(retries=2, max_failures=7, max_lost=5, lease=45)
    assert study.checkpoints == Retention(keep_best=3, keep_every=10, at=(1000, 2000), checksums=True)
    assert file.train == Train(
        command=("python", "train.py", "--lr={lr}", "{{}}", "${HOME}"),
        metrics="stdout",
        objective=("accuracy", "loss"),
        timeout=120,
        grace=3,
    )
    assert file.evaluate == Evaluate(command=("python", "evaluate.py", "{restore}"), timeout=60)
    assert file.engine == EngineOptions(devices=("0", "1"), threads=2)


def test_what_a_study_file_leaves_out_has_the_defaults(tmp_path: Path) -> None:
    file = good(tmp_path, workers="", budget="", evolution="", train="", checkpoints="", engine="")
    assert (file.study.workers, file.study.seed) == (1, 0)
    assert file.study.budget == Budget()
    assert file.study.evolution == Evolution(strategy="initiator", mutate=1 / 3, resample=0.0, factors=(0.8, 1.2), crossover=0.0)
    assert file.study.limits == Limits()
    assert file.study.checkpoints == Retention()
    assert (file.train, file.evaluate, file.engine) == (None, None, EngineOptions())
    assert file.engine.devices is None


def test_metrics_may_be_patterns_and_a_command_may_name_the_end_and_the_interpreter(tmp_path: Path) -> None:
    metrics = "metrics = { accuracy = 'acc: (.+)', step = 'step [0-9]+' }"
    file = good(tmp_path, train=f"[train]\n{metrics}\ncommand = ['{{python}}', '--steps', '{{end}}', '--resume={{restore}}']")
    assert file.train is not None
    assert file.train.metrics == {"accuracy": "acc: (.+)", "step": "step [0-9]+"}
    assert good(tmp_path, train="[train]\nresident = true\ncommand = ['{python}', 'train.py']").train is not None


def test_an_option_apart_from_its_value_is_fine_where_the_value_is_always_there(tmp_path: Path) -> None:
    good(tmp_path, train="[train]\ncommand = ['a', '--lr', '{lr}', '--save', '{save}', '--', '{restore}']")
    written(tmp_path, study_file() + "[evaluate]\ncommand = ['a', '--restore', '{restore}']\n")
    read(tmp_path / "study.toml")


def test_programs_run_in_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, study_file())
    monkeypatch.chdir(tmp_path)
    assert read(Path("study.toml")).folder == tmp_path


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(study_file(), encoding="utf-8-sig")
    assert read(path).study.name == "digits"


@pytest.mark.parametrize(
    ("text", "key", "fragments"), [bad[1:] for bad in BAD_STUDY_FILES], ids=[bad[0] for bad in BAD_STUDY_FILES]
)
def test_a_mistake_is_told_with_file_key_and_what_is_allowed(tmp_path: Path, text: str, key: str, fragments: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(StudyFileError) as raised:
        read(path)
    assert raised.value.key == key
    table, dot, name = key.partition(".")
    assert str(raised.value).startswith(f"{path}: [{table}] {name}: " if dot else f"{path}: {key}: ")
    assert [fragment for fragment in fragments if fragment not in raised.value.problem] == []
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"population": "population = 'x'"}, 'population: must be an integer, at least 1, got "x" (a string)'),
        ({"space": "[space]\nlr = { float = [0, 1], log = 3 }"}, "[space] lr.log: must be true or false, got 3"),
        ({"space": "[space]\nlr = {}"}, "[space] lr: has no type"),
    ],
)
def test_a_key_in_a_table_is_shown_with_the_heading_of_its_table(tmp_path: Path, part: dict[str, str], message: str) -> None:
    path = written(tmp_path, study_file(**part))
    with pytest.raises(StudyFileError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: {message}")


def test_every_mistake_is_one_of_usage() -> None:
    assert issubclass(StudyFileError, UsageError)
    assert len({bad[0] for bad in BAD_STUDY_FILES}) == len(BAD_STUDY_FILES)


def test_a_file_that_does_not_exist_is_named_with_those_next_to_it(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match=r"study\.toml: no such file$"):
        read(tmp_path / "study.toml")
    (tmp_path / "digits.toml").touch()
    with pytest.raises(StudyFileError, match=r"study\.toml: no such file\nhelp: the same directory has digits\.toml$"):
        read(tmp_path / "study.toml")


def test_a_folder_is_no_study_file(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="can't be read: Is a directory"):
        read(tmp_path)


def test_a_file_of_other_bytes_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b'name = "digits"\n# caf\xe9\n')
    with pytest.raises(StudyFileError, match="line 2: is not encoded in UTF-8"):
        read(path)
