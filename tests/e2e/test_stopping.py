"""Poor trials are stopped early, by every kind of trainer: real processes, which a stop really ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from living import begun, lives, logged, running, script, trials_of, wait_for, write_study

# The later a trial, the lower its score. From number 2 on they train until they are stopped.
SHELL = """\
set -eu
echo "$BROODLINE_TRIAL $BROODLINE_ATTEMPT $$" >> begun
report() { echo "{\\"step\\": $1, \\"accuracy\\": -$BROODLINE_TRIAL}" >> "$BROODLINE_METRICS"; }
report 5
while [ "$BROODLINE_TRIAL" -ge 2 ]; do report 6; sleep 0.05; done
echo 1 > "$BROODLINE_SAVE/weights"
report 10
"""
PYTHON = """\
import broodline, sys, time

def train(trial):
    trial.report(step=5, accuracy=-trial.number)
    while trial.number >= 2:
        trial.report(step=6, accuracy=-trial.number)
        time.sleep(0.05)
    (trial.save_to / "weights").write_text("1")
    trial.report(step=10, accuracy=-trial.number)
"""
LOOP = """
for trial in broodline.trials(*sys.argv[1:]):
    with trial:
        train(trial)
"""
STUDY = """
broodline.Study(name="digits", trial_steps=10, population=4, objective={"accuracy": "maximize"},
                space={"lr": broodline.Float(1e-4, 1.0, log=True)}, stopping=broodline.Stopping(min_trials=2),
                ).run(train, workers=1, budget=broodline.Budget(trials=4))
"""
RULE = '\n[stopping]\nrule = "median"\nmin_trials = 2\n'


def write(directory: Path, trainer: str, more: str = "", **options: Any) -> Path:
    return write_study(directory, trainer=trainer, population=4, budget="trials = 4", more=more + RULE, **options)


def by_commands(directory: Path) -> Any:
    return running("run", write(directory, SHELL), cwd=directory)


def by_commands_that_ignore_sigterm(directory: Path) -> Any:
    deaf = write(directory, "trap '' TERM\n" + SHELL)
    deaf.write_text(deaf.read_text().replace("grace = 5", "grace = 0.2"))
    return running("run", deaf, cwd=directory)


def by_commands_that_print_objects(directory: Path) -> Any:
    return running("run", write(directory, SHELL.replace(' >> "$BROODLINE_METRICS"', ""), 'metrics = "stdout"\n'), cwd=directory)


def by_commands_that_print_pairs(directory: Path) -> Any:
    return running(
        "run", write(directory, printing("step=$1 accuracy=-$BROODLINE_TRIAL"), 'metrics = "name=value"\n'), cwd=directory
    )


def by_commands_whose_output_patterns_match(directory: Path) -> Any:
    patterns = "metrics = { step = 'step ([0-9]+)', accuracy = 'accuracy: ([-0-9.]+)' }\n"
    return running("run", write(directory, printing("step $1, accuracy: -$BROODLINE_TRIAL"), patterns), cwd=directory)


def printing(line: str) -> str:
    """The program, with reports that are lines on its standard error."""
    return "\n".join(f'report() {{ echo "{line}" >&2; }}' if each.startswith("report()") else each for each in SHELL.splitlines())


def by_resident_programs(directory: Path) -> Any:
    (directory / "stay.py").write_text(PYTHON + LOOP)
    study = write(directory, "", "resident = true\n", command=(sys.executable, "stay.py"))
    return running("run", study, cwd=directory)


def by_a_function(directory: Path) -> Any:
    (directory / "study.py").write_text(PYTHON + STUDY)
    return script("study.py", cwd=directory)


def by_an_own_loop(directory: Path) -> Any:
    from broodline.config.study_file import read
    from broodline.controller.controller import Controller
    from broodline.storage.location import default_location

    path = write(directory, SHELL)
    store = default_location(path).open()
    Controller(store).open(read(path).study)
    store.close()
    (directory / "loop.py").write_text(PYTHON + LOOP)
    return script("loop.py", default_location(path).url, "digits", cwd=directory)


@pytest.mark.parametrize(
    "train",
    [
        by_commands,
        by_commands_that_ignore_sigterm,
        by_commands_that_print_objects,
        by_commands_that_print_pairs,
        by_commands_whose_output_patterns_match,
        by_resident_programs,
        by_a_function,
        by_an_own_loop,
    ],
)
def test_poor_trials_are_stopped_early_and_fewer_steps_are_trained(tmp_path: Path, train: Callable[[Path], Any]) -> None:
    with train(tmp_path) as run:
        assert run.end() == 0, run.said
    trials = trials_of("digits", "--store", f"sqlite:///{tmp_path / 'broodline.db'}")
    assert [trial["state"] for trial in trials] == ["completed", "completed", "stopped", "stopped"]
    assert [trial["attempt"] for trial in trials] == [1] * 4
    assert sum(trial["steps"] for trial in trials) == 10 + 10 + 6 + 6
    assert [trial["reason"] for trial in trials[2:]] == [
        "at step 6 its fitness, -2, is below -0.5, the median of 2 others",
        "at step 6 its fitness, -3, is below -1, the median of 3 others",
    ]
    assert [trial["checkpoint"] for trial in trials[2:]] == [None, None]


def test_the_program_of_a_stopped_trial_has_ended_before_the_next_one_begins(tmp_path: Path) -> None:
    with running("run", write(tmp_path, SHELL), cwd=tmp_path) as run:
        wait_for(lambda: (3, 1) in begun(tmp_path))
        third = logged(tmp_path, "begun")[2][2]
        assert not Path(f"/proc/{third}").exists()
        assert run.end() == 0, run.said
    assert not any(map(lives, run.left_behind()))
