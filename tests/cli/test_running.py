"""`run`, `worker`, `stop` and `check` with real processes: what they print, how they exit, and that nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from commands import ENVIRONMENT, TRAINER, call, lines_of_json, output, started, write_study
from living import wait_for

# Tells by a pipe that it has begun, and trains on as soon as `go` is there: tests wait on facts, not on clocks. (Of two that read
# one pipe, each can get half a line, so `go` is none.)
WAITING = 'echo "$BROODLINE_TRIAL" > began; until [ -e go ]; do sleep 0.02; done\n' + TRAINER

EVALUATOR = """\
echo "$BROODLINE_SEED $(cat "$BROODLINE_RESTORE/weights")" >> seeds
echo '{"accuracy": 7}' >> "$BROODLINE_METRICS"
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "began")
    return tmp_path


def began(directory: Path) -> int:
    """Waits until a trial is being trained, and returns its number."""
    return int((directory / "began").read_text())


def go(directory: Path) -> None:
    """Lets every trial train on."""
    (directory / "go").touch()


def states(directory: Path) -> list[str]:
    return [trial["state"] for trial in lines_of_json("trials", "study.toml", cwd=directory)]


def test_a_run_trains_until_the_budget_is_spent_and_tells_what_came_out(tmp_path: Path) -> None:
    write_study(tmp_path, trials=6)
    shown = output("run", "study.toml", cwd=tmp_path)
    assert states(tmp_path) == ["completed"] * 6
    (best,) = lines_of_json("best", "study.toml", cwd=tmp_path)
    assert "digits  done (6 trials are done)" in shown
    assert f"accuracy {best['fitness']:g}" in shown
    assert f"checkpoint  {best['checkpoint']}" in shown
    assert "broodline schedule study.toml" in shown
    assert "\x1b" not in shown


def test_with_json_a_run_prints_one_line_of_json(tmp_path: Path) -> None:
    write_study(tmp_path, trials=3)
    (end,) = lines_of_json("run", "study.toml", cwd=tmp_path)
    assert (end["state"], end["trials"], end["completed"]) == ("done", 3, 3)
    assert Path(end["best"]["checkpoint"]).is_dir()


def test_a_study_whose_budget_is_used_up_says_so_and_is_extended_by_a_larger_budget(tmp_path: Path) -> None:
    write_study(tmp_path, trials=2)
    output("run", "study.toml", cwd=tmp_path)
    again = output("run", "study.toml", cwd=tmp_path)
    assert "this run trained nothing" in again
    assert "to train longer:  raise the [budget]" in again
    write_study(tmp_path, trials=4)
    assert "this run trained nothing" not in output("run", "study.toml", cwd=tmp_path)
    assert states(tmp_path) == ["completed"] * 4


def test_a_store_elsewhere_holds_all_of_the_study(tmp_path: Path) -> None:
    folder, other = tmp_path / "study", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    write_study(folder, trials=2)
    shown = output("run", folder / "study.toml", "--store", "sqlite:///x.db", cwd=other)
    assert f"broodline schedule {folder}/study.toml --store sqlite:///x.db" in shown
    assert not list(folder.glob("broodline*"))
    assert len(lines_of_json("trials", "digits", "--store", "sqlite:///x.db", cwd=other)) == 2


def test_workers_beyond_the_population_are_warned_of(tmp_path: Path) -> None:
    write_study(tmp_path, trials=2)
    done = call("run", "study.toml", "--workers", "3", cwd=tmp_path)
    assert done.returncode == 0
    assert "broodline: warning: 3 workers for a population of 2: 1 will be idle" in done.stderr


def test_a_study_whose_program_fails_ends_with_its_output_and_status_1(tmp_path: Path) -> None:
    write_study(tmp_path, trainer="echo no such data >&2; exit 3\n")
    done = call("run", "study.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "broodline: error: study 'digits' failed: the first 2 trials all failed, the last one: exit status 3" in done.stderr
    assert "no such data" in done.stderr
    assert "Traceback" not in done.stderr


NO_CHILD = 'if [ -n "${BROODLINE_RESTORE:-}" ]; then echo "step $BROODLINE_TRIAL" >&2; exit 5; fi\n' + TRAINER


def test_a_study_whose_children_all_fail_ends_early_and_its_last_lines_count_the_reasons(tmp_path: Path) -> None:
    write_study(tmp_path, trials=500, trainer=NO_CHILD)
    done = call("run", "study.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert states(tmp_path) == ["completed"] * 2 + ["failed"] * 12
    assert "12 of the last 14 trials failed:\n  12 trials: exit status 5\n" in done.stdout
    problem = "nearly all of the last trials failed (12 of 14 in all), the last one: exit status 5\nstep 13"
    assert f"broodline: error: study 'digits' failed: {problem}" in done.stderr
    (status,) = lines_of_json("status", "study.toml", cwd=tmp_path)
    assert status["state"] == "failed"
    reasons = [{"reason": "exit status 5", "trials": 12}]
    assert status["failures"] == {"failed": 12, "of_the_last": 14, "reasons": reasons}


def test_a_small_study_whose_children_all_fail_has_failed_at_its_end_however_often_it_is_run(tmp_path: Path) -> None:
    write_study(tmp_path, trials=6, trainer=NO_CHILD)
    for _ in range(2):
        done = call("run", "study.toml", cwd=tmp_path)
        assert done.returncode == 1
        assert "6 trials are done, and 4 of the last 6 trials failed, the last one: exit status 5" in done.stderr
    assert states(tmp_path) == ["completed"] * 2 + ["failed"] * 4


def test_a_failed_study_is_one_line_of_json_too(tmp_path: Path) -> None:
    write_study(tmp_path, trainer="exit 3\n")
    done = call("run", "study.toml", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_gives_its_trials_back_and_goes_on_later(number: signal.Signals, waiting: Path) -> None:
    write_study(waiting, trials=2, trainer=WAITING)
    run = started("run", "study.toml", cwd=waiting)
    assert began(waiting) == 0
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, "broodline: interrupted\n")
    assert states(waiting) == ["pending"]
    write_study(waiting, trials=2)
    output("run", "study.toml", cwd=waiting)
    first, second = lines_of_json("trials", "study.toml", cwd=waiting)
    assert (first["state"], second["state"]) == ("completed", "completed")
    assert first["attempt"] > second["attempt"] == 1


def test_a_second_run_of_the_same_study_is_refused(waiting: Path) -> None:
    write_study(waiting, trials=1, trainer=WAITING)
    run = started("run", "study.toml", cwd=waiting)
    began(waiting)
    second = call("run", "study.toml", cwd=waiting)
    go(waiting)
    run.communicate(timeout=60)
    assert (second.returncode, second.stdout) == (2, "")
    assert "is running already" in second.stderr
    assert run.returncode == 0


@pytest.mark.parametrize("presses", [1, 2])
def test_the_first_ctrl_c_in_a_terminal_lets_running_trials_finish_and_the_second_gives_them_back(
    waiting: Path, presses: int
) -> None:
    write_study(waiting, trials=5, trainer=WAITING)
    controller, terminal = os.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "broodline", "run", "study.toml"],
        cwd=waiting,
        env=ENVIRONMENT,
        stdin=terminal,
        stderr=terminal,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert began(waiting) == 0
    run.send_signal(signal.SIGINT)
    wait_for(lambda: lines_of_json("status", "study.toml", cwd=waiting)[0]["state"] == "stopping")
    if presses == 2:
        run.send_signal(signal.SIGINT)
    else:
        go(waiting)
    shown, _ = run.communicate(timeout=60)
    os.close(controller)
    os.close(terminal)
    assert run.returncode == 130
    assert "interrupted: 1 running trial will finish, and no other starts; press Ctrl-C again to give them back" in shown
    assert ("gave back 1 running trial, " in shown) == (presses == 2)
    assert states(waiting) == (["completed"] if presses == 1 else ["pending"])


def test_a_worker_joins_a_running_study_under_a_name_of_its_own(waiting: Path) -> None:
    write_study(waiting, trials=2, trainer=WAITING)
    run = started("run", "study.toml", cwd=waiting)
    assert began(waiting) == 0
    worker = started("worker", "study.toml", cwd=waiting)
    assert began(waiting) == 1
    names = {trial["worker"] for trial in lines_of_json("trials", "study.toml", cwd=waiting)}
    go(waiting)
    for process in (run, worker):
        process.communicate(timeout=60)
    assert "0" in names
    assert len(names) == 2
    assert any(name.endswith(f"-{worker.pid}") for name in names)
    assert (run.returncode, worker.returncode) == (0, 0)


def test_a_worker_that_is_told_to_go_gives_its_trial_back(waiting: Path) -> None:
    write_study(waiting, trials=1, trainer=WAITING)
    run = started("run", "study.toml", cwd=waiting)
    began(waiting)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
    worker = started("worker", "study.toml", cwd=waiting)
    assert began(waiting) == 0
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=60)
    assert worker.returncode == 130
    (trial,) = lines_of_json("trials", "study.toml", cwd=waiting)
    assert trial["state"] == "pending"


def test_a_worker_that_joins_renews_by_the_lease_of_the_store_whatever_its_study_file_says(waiting: Path) -> None:
    write_study(waiting, trials=2, trainer=WAITING, more='[engine]\nlease = "4s"\n')
    run = started("run", "study.toml", cwd=waiting)
    assert began(waiting) == 0
    write_study(waiting, trials=2, trainer=WAITING, more='[engine]\nlease = "1h"\n')
    worker = started("worker", "study.toml", cwd=waiting)
    assert began(waiting) == 1

    def lease() -> float:
        with closing(sqlite3.connect(waiting / "broodline.db")) as database:
            return float(database.execute("SELECT lease_until FROM trials WHERE number = 1").fetchone()[0])

    first = lease()
    wait_for(lambda: lease() > first + 4, "a lease that was renewed again and again")
    go(waiting)
    for process in (run, worker):
        process.communicate(timeout=60)
    (_, joined) = lines_of_json("trials", "study.toml", cwd=waiting)
    assert joined["attempt"] == 1


def test_a_worker_of_another_definition_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path, trials=1)
    output("run", "study.toml", cwd=tmp_path)
    path.write_text(path.read_text().replace("trial_steps = 10", "trial_steps = 20"))
    done = call("worker", "study.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "trial_steps: 10 -> 20" in done.stderr


def test_a_stopped_study_finishes_what_runs_and_goes_on_with_the_next_run(waiting: Path) -> None:
    write_study(waiting, trials=3, trainer=WAITING)
    run = started("run", "study.toml", cwd=waiting)
    began(waiting)
    (told,) = lines_of_json("stop", "study.toml", cwd=waiting)
    assert told["state"] == "stopping"
    go(waiting)
    shown, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "digits  stopped (stopped by `broodline stop`)" in shown
    assert states(waiting) == ["completed"]
    write_study(waiting, trials=3)
    output("run", "study.toml", cwd=waiting)
    assert states(waiting) == ["completed"] * 3


def test_stopping_now_calls_running_trials_back(waiting: Path) -> None:
    write_study(waiting, trials=3, trainer=WAITING)
    run = started("run", "study.toml", cwd=waiting)
    began(waiting)
    output("stop", "study.toml", "--now", cwd=waiting)
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert states(waiting) == ["pending"]


def test_stopping_a_study_that_is_done_changes_nothing(tmp_path: Path) -> None:
    write_study(tmp_path, trials=2)
    output("run", "study.toml", cwd=tmp_path)
    for options in ((), ("--now",)):
        shown = output("stop", "study.toml", *options, cwd=tmp_path)
        assert "study 'digits' is done: 2 trials are done\n" in shown
        assert "to resume, after raising its [budget]:  broodline run" in shown


def test_stopping_a_study_that_failed_does_not_hide_why(tmp_path: Path) -> None:
    write_study(tmp_path, trainer="exit 3\n")
    call("run", "study.toml", cwd=tmp_path)
    (told,) = lines_of_json("stop", "study.toml", cwd=tmp_path)
    assert told["state"] == "failed"
    assert "exit status 3" in told["reason"]


def test_reevaluating_runs_the_evaluation_again_with_fresh_seeds(tmp_path: Path) -> None:
    (tmp_path / "evaluate.sh").write_text(EVALUATOR)
    write_study(tmp_path, trials=1, more='[evaluate]\ncommand = ["sh", "evaluate.sh"]\n')
    output("run", "study.toml", cwd=tmp_path)
    (best,) = lines_of_json("best", "study.toml", "--reevaluate", 1, "--times", 3, cwd=tmp_path)
    assert best["reevaluated"] == {"times": 3, "mean": 7.0, "spread": 0.0}
    seeds, weights = zip(*(line.split() for line in (tmp_path / "seeds").read_text().splitlines()), strict=True)
    assert len(set(seeds)) == 4
    assert set(weights) == {"10"}


def test_reevaluating_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path, trials=1)
    output("run", "study.toml", cwd=tmp_path)
    done = call("best", "study.toml", "--reevaluate", 1, cwd=tmp_path)
    assert done.returncode == 2
    assert "[evaluate]: is missing" in done.stderr


def test_check_tells_what_it_finds_and_creates_no_study(tmp_path: Path) -> None:
    write_study(tmp_path)
    before = sorted(tmp_path.iterdir())
    done = call("check", "study.toml", "--json", cwd=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {finding["verdict"] for finding in found} >= {"good", "bad"}
    assert any("lr has no effect" in finding["text"] for finding in found)
    assert done.returncode == 1
    assert sorted(tmp_path.iterdir()) == before
