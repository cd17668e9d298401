"""The local engine with real processes: a study goes to its end although runs and workers are killed, interrupted or stopped."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import TRAINER, call, lines_of_json
from living import PATIENT, Run, begun, ended, interrupted, lives, logged, running, script, trials_of, wait_for, write_study

from broodline.config.study_file import read
from broodline.controller.controller import Controller
from broodline.storage.location import default_location
from broodline.studies.engine import engine_for, job_for
from broodline.studies.trainer import trainer_of

KEPT = ("number", "member", "generation", "state", "parent", "params", "metrics", "attempt", "worker", "finished")


def completed(study: object, *options: str) -> list[dict[str, Any]]:
    """The completed trials, without the fields that later deletions change."""
    trials = [trial for trial in trials_of(study, *options) if trial["state"] == "completed"]
    return [{name: trial[name] for name in KEPT} for trial in trials]


def attempts(study: Path) -> list[tuple[str, int]]:
    return [(trial["state"], trial["attempt"]) for trial in trials_of(study)]


def programs(directory: Path) -> list[psutil.Process]:
    """The programs that have started a trial and still live."""
    found = [psutil.Process(pid) for line in logged(directory, "begun") if psutil.pid_exists(pid := int(line[2]))]
    return [process for process in found if lives(process)]


def assert_nothing_half_made(directory: Path) -> None:
    files = directory / "broodline.db.files" / "digits"
    assert os.listdir(files / "staging") == []
    recorded = {Path(trial["checkpoint"]).name for trial in trials_of(directory / "study.toml") if trial["checkpoint"]}
    assert set(os.listdir(files / "checkpoints")) == recorded


# Killed


def test_a_worker_that_is_killed_is_replaced_and_its_trial_is_given_out_again(tmp_path: Path) -> None:
    study = write_study(tmp_path, population=3, workers=2, budget="trials = 6")
    with running("run", study, cwd=tmp_path, FREE="2") as run:
        wait_for(lambda: len(begun(tmp_path)) == 4)
        first, _ = killed = run.workers
        (lost,) = [trial for trial in trials_of(study) if trial["state"] == "running" and trial["worker"] == "0"]
        (program,) = first.children()
        first.kill()
        wait_for(lambda: (lost["number"], 2) in begun(tmp_path))
        wait_for(lambda: not lives(program), "the end of the killed worker's program")
        assert len(run.workers) == 2
        assert first not in run.workers
        assert killed[1] in run.workers
        (tmp_path / "go").touch()
        assert run.end() == 0
        assert "worker 0 died (killed by signal SIGKILL); its trial is given out again" in run.said
    again = [2 if number == lost["number"] else 1 for number in range(6)]
    assert attempts(study) == [("completed", attempt) for attempt in again]
    assert sorted(ended(tmp_path)) == list(enumerate(again))
    assert_nothing_half_made(tmp_path)


def assert_taken_over(tmp_path: Path, *runs: Run) -> None:
    """The worker that trains is stopped (SIGSTOP): another takes its trial, and the late result of the first one is refused."""
    wait_for(lambda: begun(tmp_path) == [(0, 1)])
    (stopped,) = [worker for run in runs for worker in run.workers if worker.children()]
    stopped.suspend()
    wait_for(lambda: (0, 2) in begun(tmp_path), "another attempt")
    (tmp_path / "go").touch()
    wait_for(lambda: attempts(tmp_path / "study.toml") == [("completed", 2)])
    stopped.resume()
    assert [run.end() for run in runs] == [0] * len(runs)
    assert "trial 0: attempt 1 has been superseded by attempt 2" in "".join(run.said for run in runs)
    assert_nothing_half_made(tmp_path)


def test_a_worker_that_is_stopped_loses_its_trial_to_another_of_the_run(tmp_path: Path) -> None:
    study = write_study(tmp_path, workers=2, budget="trials = 1", more="[engine]\nlease = 4\n")
    with running("run", study, cwd=tmp_path) as run:
        assert_taken_over(tmp_path, run)


def test_a_worker_that_is_stopped_loses_its_trial_to_one_of_another_command(tmp_path: Path) -> None:
    study = write_study(tmp_path, budget="trials = 1", more="[engine]\nlease = 4\n")
    with closing(default_location(study).open()) as store:
        Controller(store).open(read(study).study)
    default_location(study).claimed_files("digits").prepare()
    with running("worker", study, cwd=tmp_path) as one, running("worker", study, cwd=tmp_path) as other:
        assert_taken_over(tmp_path, one, other)


POISON = """\
import broodline, os, signal

def train(trial):
    if trial.number == 2 or (trial.number == 1 and trial.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    (trial.save_to / "weights").write_text("1")
    return {"accuracy": trial.number}

broodline.Study(name="digits", trial_steps=10, population=3, objective={"accuracy": "maximize"},
                space={"lr": broodline.Float(1e-4, 1.0, log=True)}).run(train, workers=2, budget=broodline.Budget(trials=8))
"""


def test_a_trial_that_kills_every_worker_has_failed_and_the_study_continues(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(POISON)
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 0, run.said
    trials = trials_of("digits", "--store", f"sqlite:///{tmp_path / 'broodline.db'}")
    outcomes = {trial["number"]: (trial["state"], trial["attempt"], trial["reason"]) for trial in trials}
    assert outcomes[1] == ("completed", 2, None)
    assert outcomes[2] == ("failed", 3, "lost its worker 3 times")
    assert [outcomes[number][0] for number in (0, 3, 4, 5, 6, 7)] == ["completed"] * 6


def test_workers_that_die_again_and_again_with_nothing_done_are_replaced_ever_more_slowly(tmp_path: Path) -> None:
    study = write_study(tmp_path, workers=2, budget="trials = 1")
    locks = tmp_path / "broodline.db.files" / "digits" / "workers"
    with running("run", study, cwd=tmp_path) as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        for kills, pause in enumerate(
            ("", "that is 2 in a row: the next starts in 0.25 s", "3 in a row: the next starts in 0.5 s")
        ):
            wait_for(lambda before=kills: len(os.listdir(locks)) == 2 + before, "another worker")  # type: ignore[misc]
            (idle,) = [worker for worker in run.workers if not worker.children()]
            idle.kill()
            wait_for(lambda before=kills: run.said.count("before it had trained anything") == before + 1)  # type: ignore[misc]
            assert pause in run.said
        (tmp_path / "go").touch()
        assert run.end() == 0
    assert attempts(study) == [("completed", 1)]


def test_workers_whose_run_was_killed_leave_and_the_next_run_resumes(tmp_path: Path) -> None:
    study = write_study(tmp_path, workers=2, budget="trials = 8")
    with running("run", study, cwd=tmp_path, FREE="3") as run:
        wait_for(lambda: len(begun(tmp_path)) >= 5)
        run.family()
        run.popen.kill()
        wait_for(lambda: not run.left_behind(), "the end of all that the run had started")
    assert programs(tmp_path) == []
    assert_resumes(study, completed(study))


def test_a_run_that_is_killed_with_all_its_workers_loses_no_completed_trial_and_trains_none_again(tmp_path: Path) -> None:
    study = write_study(tmp_path, workers=2, budget="trials = 8")
    with running("run", study, cwd=tmp_path, FREE="3") as run:
        wait_for(lambda: len(begun(tmp_path)) >= 5)
        run.kill()
    assert_resumes(study, completed(study))


def assert_resumes(study: Path, before: list[dict[str, Any]]) -> None:
    """The same command completes the study; what was completed before stays as it was."""
    assert len(before) >= 3
    (study.parent / "go").touch()
    assert call("run", study).returncode == 0
    after = completed(study)
    assert len(after) == 8
    assert after[: len(before)] == before
    assert [number for number, _ in sorted(ended(study.parent))] == list(range(8))
    assert_nothing_half_made(study.parent)


# Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_gives_its_trials_back_leaves_no_process_and_resumes_later(
    number: signal.Signals, tmp_path: Path
) -> None:
    study = write_study(tmp_path, workers=2, budget="trials = 8")
    with running("run", study, cwd=tmp_path, FREE="3") as run:
        wait_for(lambda: len(begun(tmp_path)) >= 5)
        assert interrupted(run, number) == 130
        assert run.left_behind() == []
        assert "broodline: interrupted" in run.said
        assert "Traceback" not in run.said
    before = completed(study)
    assert attempts(study) == [("completed", 1)] * 3 + [("pending", 1)] * 2
    assert_nothing_half_made(tmp_path)
    assert_resumes(study, before)
    assert attempts(study) == [("completed", 1)] * 3 + [("completed", 2)] * 2 + [("completed", 1)] * 3


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer="trap '' TERM\n" + PATIENT)
    study.write_text(study.read_text().replace("grace = 5", "grace = 0.2"))
    with running("run", study, cwd=tmp_path) as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        assert interrupted(run, signal.SIGTERM) == 130
        assert run.left_behind() == []
    assert attempts(study) == [("pending", 1)]


def test_a_worker_that_died_just_before_a_stop_leaves_no_program_and_its_trial_is_pending(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    file, location = read(study), default_location(study)
    with closing(location.open()) as store:
        Controller(store).open(file.study)
        location.claimed_files(file.study.name).prepare()
        job = job_for(file.study, location, trainer_of(file))
        engine = engine_for(file.study, job, cwd=tmp_path, client=Controller(store), options=file.engine)
        engine.start(1)
        wait_for(lambda: programs(tmp_path))
        (program,) = programs(tmp_path)
        worker = program.parent()
        assert worker is not None
        worker.kill()
        engine.stop(grace=60)
        survived = lives(program)
        if survived:
            program.kill()
    assert not survived
    assert attempts(study) == [("pending", 1)]


# Workers that can't start


def test_a_function_that_can_not_be_imported_in_a_worker_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text(
        'import os\nif "IN_WORKER" in os.environ:\n    raise ImportError("no such driver")\ndef train(trial): pass\n'
    )
    (tmp_path / "study.py").write_text(
        "import os, sys, broodline, training\n"
        'os.environ["IN_WORKER"] = "1"\n'
        'study = broodline.Study(name="digits", trial_steps=10, population=4, objective={"accuracy": "maximize"},\n'
        '                        space={"lr": broodline.Float(1e-4, 1.0)})\n'
        "try:\n    study.run(training.train, workers=3)\n"
        "except broodline.BroodlineError as error:\n    sys.exit(f'error: {error}')\n"
    )
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 1
        assert run.said.count("error: workers can't work") == 1
        assert run.said.count("ImportError: no such driver") == 1
        assert run.left_behind() == []
    assert trials_of("digits", "--store", f"sqlite:///{tmp_path / 'broodline.db'}") == []


def test_a_function_that_can_not_be_sent_to_a_worker_is_one_clear_error_and_no_study_is_created(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(
        "import sys, threading, broodline\nlock = threading.Lock()\n"
        "def train(trial):\n    with lock: pass\n"
        'study = broodline.Study(name="digits", trial_steps=10, population=4, objective={"accuracy": "maximize"},\n'
        '                        space={"lr": broodline.Float(1e-4, 1.0)})\n'
        "try:\n    study.run(train, workers=3)\n"
        "except broodline.BroodlineError as error:\n    sys.exit(f'error: {error}')\n"
    )
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 1
        assert "error: the function can't be sent to worker processes: cannot pickle '_thread.lock' object" in run.said
        assert "Traceback" not in run.said
    assert os.listdir(tmp_path) == ["study.py"]


def test_a_missing_train_command_is_one_clear_error_however_many_workers(tmp_path: Path) -> None:
    study = write_study(tmp_path, command=("no-such-program",), population=6, workers=3, budget="trials = 100")
    done = call("run", study)
    assert done.returncode == 1
    assert done.stderr.count("broodline: error:") == done.stderr.count("no such program: no-such-program") == 1
    assert len(trials_of(study)) < 10


# Joined and stopped


def test_a_worker_joins_a_running_study_and_its_trials_carry_its_name(tmp_path: Path) -> None:
    study = write_study(tmp_path, population=3, budget="trials = 8")
    with running("run", study, cwd=tmp_path) as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        with running("worker", study, cwd=tmp_path, FREE="100") as worker:
            wait_for(lambda: len(ended(tmp_path)) == 7)  # all but the one that the run holds
            (tmp_path / "go").touch()
            assert worker.end() == 0
        assert run.end() == 0
    names = [trial["worker"] for trial in trials_of(study)]
    assert names[0] == "0"
    assert len(set(names[1:])) == 1
    assert names[1].endswith(f"-{worker.popen.pid}")
    assert attempts(study) == [("completed", 1)] * 8


def test_a_worker_that_joined_renews_in_time_when_the_lease_is_shortened(tmp_path: Path) -> None:
    study = write_study(tmp_path, population=3, budget="trials = 2", more="[engine]\nlease = 60\n")
    with ExitStack() as started:
        run = started.enter_context(running("run", study, cwd=tmp_path))
        wait_for(lambda: len(begun(tmp_path)) == 1)
        worker = started.enter_context(running("worker", study, cwd=tmp_path))
        wait_for(lambda: len(begun(tmp_path)) == 2)
        assert interrupted(run, signal.SIGTERM) == 130
        (joined,) = [trial["number"] for trial in trials_of(study) if trial["worker"] != "0"]
        study.write_text(study.read_text().replace("lease = 60", "lease = 3"))
        with running("run", study, cwd=tmp_path) as again, closing(default_location(study).open()) as store:
            leases: set[float | None] = set()

            def renewed() -> bool:
                with store.snapshot("digits") as records:
                    trial = records.trial(joined)
                assert trial is not None
                assert trial.attempt == 1, again.said
                leases.add(trial.lease_until)
                return len(leases) > 4

            wait_for(lambda: len(begun(tmp_path)) == 3)  # the run asks, so that it would get a trial whose lease is over
            wait_for(renewed)
            (tmp_path / "go").touch()
            assert again.end() == worker.end() == 0
    assert dict(enumerate(attempts(study)))[joined] == ("completed", 1)


def test_a_gentle_stop_lets_running_trials_finish_and_starts_no_other(tmp_path: Path) -> None:
    study = write_study(tmp_path, population=3, workers=2, budget="trials = 8")
    with running("run", study, cwd=tmp_path, FREE="3") as run:
        wait_for(lambda: len(begun(tmp_path)) == 5)
        (overview,) = lines_of_json("stop", study)
        assert overview["state"] == "stopping"
        assert run.popen.poll() is None
        (tmp_path / "go").touch()
        assert run.end() == 0
    assert attempts(study) == [("completed", 1)] * 5
    assert_resumes(study, completed(study))


def test_stopping_now_calls_trials_back_whose_programs_report_nothing(tmp_path: Path) -> None:
    study = write_study(tmp_path, population=3, workers=2, budget="trials = 8")
    with running("run", study, cwd=tmp_path, FREE="3") as run:
        wait_for(lambda: len(begun(tmp_path)) == 5)
        run.family()
        assert call("stop", study, "--now").returncode == 0
        assert run.end() == 0
        assert run.left_behind() == []
    assert attempts(study) == [("completed", 1)] * 3 + [("pending", 1)] * 2
    assert_nothing_half_made(tmp_path)
    assert_resumes(study, completed(study))


# Budgets


@pytest.mark.parametrize(
    ("budget", "larger", "first", "then"),
    [
        ("trials = 5", "trials = 7", 5, 7),
        ("generations = 2", "generations = 3", 4, 6),
        ("total_steps = 45", "total_steps = 70", 5, 7),
        ("target = 20", "target = 30", 3, 5),
        ("trials = 5", "generations = 4", 5, 8),
    ],
)
def test_a_used_up_budget_ends_a_run_and_a_larger_one_resumes_it(
    budget: str, larger: str, first: int, then: int, tmp_path: Path
) -> None:
    """One worker, population 2, 10 steps a trial, and the accuracy is the number of steps trained."""
    study = write_study(tmp_path, trainer=TRAINER, budget=budget)
    assert call("run", study).returncode == 0
    before = completed(study)
    assert len(before) == len(trials_of(study)) == first
    write_study(tmp_path, trainer=TRAINER, budget=larger)
    assert call("run", study).returncode == 0
    after = completed(study)
    assert len(after) == len(trials_of(study)) == then
    assert after[:first] == before


def test_a_budget_is_exceeded_by_no_more_than_the_running_trials(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=TRAINER, population=3, workers=3, budget="target = 40")
    assert call("run", study).returncode == 0
    trials = trials_of(study)
    assert max(trial["fitness"] for trial in trials) >= 40
    reached = min(trial["finished"] for trial in trials if trial["fitness"] >= 40)
    assert sum(trial["created"] < reached < trial["finished"] for trial in trials) <= 2
    assert all(trial["created"] <= reached for trial in trials)


def test_time_counts_while_the_study_is_active_and_more_of_it_resumes_the_study(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=TRAINER, budget="time = 0.5")
    (end,) = lines_of_json("run", study)
    assert (end["state"], end["pending"]) == ("done", [])
    assert 0.5 <= end["elapsed"] < 10
    before = completed(study)
    assert before
    write_study(tmp_path, trainer=TRAINER, budget=f"time = {end['elapsed'] + 600}\ntrials = {len(before) + 2}")
    (later,) = lines_of_json("run", study)
    assert later["completed"] == len(before) + 2
    assert completed(study)[: len(before)] == before


# Python


SCRIPT = """\
import broodline

SCALE = 3

class Weights:
    def __init__(self, value):
        self.value = value

def train(trial):
    before = int((trial.restore_from / "weights").read_text()) if trial.restore_from else 0
    weights = Weights(before + SCALE * trial.steps)
    (trial.save_to / "weights").write_text(str(weights.value))
    return {"accuracy": weights.value}

print("imported")
study = broodline.Study(name="digits", trial_steps=10, population=3, objective={"accuracy": "maximize"},
                        space={"lr": broodline.Float(1e-4, 1.0, log=True)})
result = study.run(train, workers=2, budget=broodline.Budget(trials=9), show=False)
print("best", result.best.metrics["accuracy"], (result.best.checkpoint / "weights").read_text())
"""


def test_a_script_without_a_main_guard_trains_by_its_own_function(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(SCRIPT)
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 0, run.said
        said = run.said
    trials = trials_of("digits", "--store", f"sqlite:///{tmp_path / 'broodline.db'}")
    assert [trial["state"] for trial in trials] == ["completed"] * 9
    assert all(trial["metrics"]["accuracy"] == 3 * (trial["start"] + trial["steps"]) for trial in trials)
    best = max(trial["metrics"]["accuracy"] for trial in trials)
    assert said.splitlines() == ["imported", f"best {best} {best}"]


def test_a_script_is_interrupted_like_a_run_and_resumes(tmp_path: Path) -> None:
    hold = 'import pathlib, time\n    pathlib.Path(f"begun-{trial.number}").touch()\n    '
    hold += 'while trial.number > 3 and not pathlib.Path("go").exists():\n        time.sleep(0.01)\n    before ='
    (tmp_path / "study.py").write_text(SCRIPT.replace("before =", hold, 1))
    store = f"sqlite:///{tmp_path / 'broodline.db'}"
    with script("study.py", cwd=tmp_path) as run:
        wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 6)
        assert interrupted(run, signal.SIGINT) != 0
        assert run.left_behind() == []
    before = completed("digits", "--store", store)
    assert len(before) == 4
    (tmp_path / "go").touch()
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 0, run.said
    after = completed("digits", "--store", store)
    assert len(after) == 9
    assert after[:4] == before


LOOP = """\
import broodline, sys

for trial in broodline.trials(sys.argv[1], "digits", worker="slurm-7"):
    with trial:
        before = int((trial.restore_from / "weights").read_text()) if trial.restore_from else 0
        (trial.save_to / "weights").write_text(str(before + trial.steps))
        trial.report(accuracy=before + trial.steps)
"""


def test_a_loop_over_trials_is_a_worker_of_its_own(tmp_path: Path) -> None:
    study = write_study(tmp_path, population=3, budget="trials = 7")
    (tmp_path / "loop.py").write_text(LOOP)
    with running("run", study, cwd=tmp_path) as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        with script("loop.py", f"sqlite:///{tmp_path / 'broodline.db'}", cwd=tmp_path) as loop:
            wait_for(lambda: sum(trial["state"] == "completed" for trial in trials_of(study)) == 6)
            (tmp_path / "go").touch()
            assert loop.end() == 0, loop.said
        assert run.end() == 0
    trials = trials_of(study)
    assert [trial["worker"] for trial in trials] == ["0"] + ["slurm-7"] * 6
    assert all(trial["metrics"]["accuracy"] == trial["start"] + trial["steps"] for trial in trials)
    assert_nothing_half_made(tmp_path)


def test_a_loop_over_trials_that_is_interrupted_gives_its_trial_back(tmp_path: Path) -> None:
    study = write_study(tmp_path, budget="trials = 3")
    holding = LOOP.replace("before =", 'open("held", "w").close(); signal.pause(); before =', 1)
    (tmp_path / "loop.py").write_text(f"import signal\n{holding}")
    with running("run", study, cwd=tmp_path) as run:
        wait_for(lambda: begun(tmp_path) == [(0, 1)])
        with script("loop.py", f"sqlite:///{tmp_path / 'broodline.db'}", cwd=tmp_path) as loop:
            wait_for((tmp_path / "held").exists)
            assert interrupted(loop, signal.SIGINT) != 0
        assert attempts(study) == [("running", 1), ("pending", 1)]
        (tmp_path / "go").touch()
        assert run.end() == 0
    assert attempts(study) == [("completed", 1), ("completed", 2), ("completed", 1)]


# Check


LEARNS = """\
set -eu
weights=0 rate={lr}
if [ -n "${BROODLINE_RESTORE:-}" ]; then . "$BROODLINE_RESTORE/state"; fi
CHANGED
weights=$((weights + rate * BROODLINE_STEPS))
printf 'weights=%s rate=%s\\n' "$weights" "$rate" > "$BROODLINE_SAVE/state"
echo "{\\"accuracy\\": $weights}" >> "$BROODLINE_METRICS"
"""


def findings(directory: Path, trainer: str) -> tuple[int, list[dict[str, str]]]:
    study = write_study(directory, trainer=trainer, command=("sh", "train.sh", "{lr}"))
    study.write_text(study.read_text().replace("{ float = [1e-4, 1.0], log = true }", "{ int = [1, 50] }"))
    before = sorted(path.name for path in directory.iterdir())
    done = call("check", study, "--json")
    assert sorted(path.name for path in directory.iterdir()) == before
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def bad(found: list[dict[str, str]]) -> list[str]:
    return [finding["text"] for finding in found if finding["verdict"] == "bad"]


def learning(changed: str) -> str:
    return LEARNS.replace("{lr}", "$1").replace("CHANGED", changed)


def test_check_passes_a_good_program(tmp_path: Path) -> None:
    status, found = findings(tmp_path, learning("rate=$1"))
    assert (status, bad(found)) == (0, [])
    good = " | ".join(finding["text"] for finding in found if finding["verdict"] == "good")
    for part in ("trains without a checkpoint", "resumes its checkpoint", "the metric is the same", "lr takes effect"):
        assert part in good


def test_check_finds_a_checkpoint_that_was_never_read(tmp_path: Path) -> None:
    status, found = findings(tmp_path, learning("rate=$1").replace('. "$BROODLINE_RESTORE/state"', "true"))
    if any("does not record reads" in finding["text"] for finding in found):
        pytest.skip("this file system does not record reads")
    assert status == 1
    assert any("it never read the checkpoint" in text for text in bad(found))


def test_check_finds_a_metric_that_jumps_after_a_restore(tmp_path: Path) -> None:
    status, found = findings(tmp_path, learning("rate=$1 weights=$((weights / 2))"))
    assert status == 1
    assert any("the metric changes at a restore without training" in text for text in bad(found))


def test_check_finds_params_that_do_not_survive_a_restore(tmp_path: Path) -> None:
    status, found = findings(tmp_path, learning("true"))
    assert status == 1
    (text,) = bad(found)
    assert "lr has no effect after a restore" in text
    assert "restore the old ones" in text


def test_check_shows_the_output_of_a_program_that_fails(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer="echo no such data >&2\nexit 3\n")
    done = call("check", study)
    assert done.returncode == 1
    assert "bad  the program failed: exit status 3" in done.stdout
    assert "no such data" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
