"""Python functions that use threads, pools, helpers and own classes, as plain scripts do; nothing of it outlives a study."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from living import lives, logged, script, trials_of, wait_for, write_study

TOP = """\
import concurrent.futures, enum, multiprocessing, os, pickle, signal, sys, threading, time
import broodline
"""
END = """
if __name__ == "__main__":
    study = broodline.Study(name="digits", trial_steps=10, population=2, objective={{"accuracy": "maximize"}},
                            space={{"lr": broodline.Float(1e-4, 1.0, log=True)}})
    result = study.run(train, workers=1, budget=broodline.Budget(trials={trials}))
    print("returned", len(list(result.trials)), flush=True)
"""
FOREVER = 10**6


def write(directory: Path, body: str, *, trials: int = 3) -> None:
    (directory / "study.py").write_text(TOP + body + END.format(trials=trials))


def outcomes(directory: Path) -> list[tuple[str, int, str | None]]:
    trials = trials_of("digits", "--store", f"sqlite:///{directory / 'broodline.db'}")
    return [(trial["state"], trial["attempt"], trial["reason"]) for trial in trials]


def assert_completes(directory: Path, trials: int = 3) -> str:
    with script("study.py", cwd=directory) as run:
        run.family()
        assert run.end() == 0, run.said
        assert f"returned {trials}" in run.said
        assert outcomes(directory) == [("completed", 1, None)] * trials
        assert os.listdir(directory / "broodline.db.files" / "digits" / "workers") == []
        return run.said


# The end of a worker


def test_a_thread_that_a_function_leaves_does_not_keep_run_from_returning(tmp_path: Path) -> None:
    write(
        tmp_path,
        f"""
import atexit
def train(trial):
    atexit.register(lambda: open("handled", "w").close())
    (trial.save_to / "weights").write_text(str(trial.number))
    threading.Thread(target=time.sleep, args=({FOREVER},), name="logger").start()
    return {{"accuracy": 1.0}}
""",
    )
    assert "the training function left a thread running (logger" in assert_completes(tmp_path)
    assert (tmp_path / "handled").exists()


@pytest.mark.parametrize(
    "start",
    [
        f"multiprocessing.Process(target=time.sleep, args=({FOREVER},)).start()",
        "if not os.fork():\n        os.setsid()\n        note()\n        signal.pause()",
    ],
    ids=["multiprocessing", "fork"],
)
def test_a_process_that_a_function_leaves_ends_with_its_worker(start: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        f"""
def note():
    with open("helpers", "a") as file: file.write(f"{{os.getpid()}}\\n")

def train(trial):
    (trial.save_to / "weights").write_text(str(trial.number))
    {start}
    for child in multiprocessing.active_children():
        with open("helpers", "a") as file: file.write(f"{{child.pid}}\\n")
    return {{"accuracy": 1.0}}
""",
        trials=2,
    )
    assert_completes(tmp_path, 2)
    assert logged(tmp_path, "helpers")
    assert helpers(tmp_path) == []


def helpers(directory: Path) -> list[psutil.Process]:
    """The helpers that still live."""
    found = [psutil.Process(pid) for line in logged(directory, "helpers") if psutil.pid_exists(pid := int(line[0]))]
    return [process for process in found if lives(process)]


HELPED = """
def train(trial):
    (trial.save_to / "weights").write_text(str(trial.number))
    if not os.path.exists("go"):
        if not os.fork():
            os.setsid()
            with open("helpers", "a") as file: file.write(f"{os.getpid()}\\n")
            while True: signal.pause()
        while not os.path.exists("go"): time.sleep(0.01)
    return {"accuracy": 1.0}
"""


def test_a_helper_that_outlives_its_killed_worker_is_ended_and_the_trial_is_given_out_again(tmp_path: Path) -> None:
    write(tmp_path, HELPED)
    with script("study.py", cwd=tmp_path) as run:
        wait_for(lambda: len(helpers(tmp_path)) == 1)
        (helper,) = helpers(tmp_path)
        run.workers[0].kill()
        wait_for(lambda: not lives(helper), "the end of the helper")
        (tmp_path / "go").touch()
        assert run.end() == 0, run.said
    assert outcomes(tmp_path) == [("completed", 2, None)] + [("completed", 1, None)] * 2


def test_a_helper_that_outlives_a_killed_run_is_ended_by_the_next_one(tmp_path: Path) -> None:
    write(tmp_path, HELPED)
    with script("study.py", cwd=tmp_path) as run:
        wait_for(lambda: len(helpers(tmp_path)) == 1)
        (helper,) = helpers(tmp_path)
        (worker,) = run.workers
        worker.suspend()  # it must not clean up itself
        run.popen.kill()
        run.popen.wait()
        worker.kill()
        wait_for(lambda: not lives(worker))
        assert lives(helper)
    (tmp_path / "go").touch()
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 0, run.said
    assert not lives(helper)
    assert outcomes(tmp_path) == [("completed", 2, None)] + [("completed", 1, None)] * 2
    assert os.listdir(tmp_path / "broodline.db.files" / "digits" / "workers") == []


# Own classes and functions

OWN = {
    "class": """
class Model:
    accuracy = 0.0
def train(trial):
    model = pickle.loads((trial.restore_from / "model").read_bytes()) if trial.restore_from else Model()
    model.accuracy += 1
    (trial.save_to / "model").write_bytes(pickle.dumps(model))
    return {"accuracy": model.accuracy}
""",
    "instance": """
class Phase(enum.Enum):
    WARM = 1
class Model:
    phase = Phase.WARM
    accuracy = 1.0
MODEL = Model()
def train(trial):
    (trial.save_to / "model").write_bytes(pickle.dumps((MODEL, MODEL.phase, trial.number)))
    return {"accuracy": pickle.loads((trial.save_to / "model").read_bytes())[0].accuracy}
""",
    "pool": """
def square(x): return x * x
def train(trial):
    with multiprocessing.Pool(2) as pool: total = sum(pool.map(square, range(4)))
    (trial.save_to / "model").write_text(str(trial.number))
    return {"accuracy": total}
""",
    "spawn": """
def square(x): return x * x
def train(trial):
    with multiprocessing.get_context("spawn").Pool(1) as pool: total = sum(pool.map(square, range(4)))
    (trial.save_to / "model").write_text(str(trial.number))
    return {"accuracy": total}
""",
    "executor": """
def square(x): return x * x
def with_function(function):
    def train(trial):
        with concurrent.futures.ProcessPoolExecutor(2) as pool: total = sum(pool.map(function, range(4)))
        (trial.save_to / "model").write_text(str(trial.number))
        return {"accuracy": total}
    return train
train = with_function(square)
""",
}


@pytest.mark.parametrize("name", OWN)
def test_classes_and_functions_of_a_script_work_in_a_worker_as_in_the_script(name: str, tmp_path: Path) -> None:
    write(tmp_path, OWN[name])
    assert_completes(tmp_path)


def test_a_script_without_a_guard_and_one_from_standard_input_run_too(tmp_path: Path) -> None:
    body = OWN["class"] + END.format(trials=3).replace('if __name__ == "__main__":', "if True:")
    with script("-c", TOP + body, cwd=tmp_path) as run:
        assert run.end() == 0, run.said
        assert "returned 3" in run.said
    assert outcomes(tmp_path) == [("completed", 1, None)] * 3


# A parent that ignores SIGCHLD

IGNORING = """\
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_function_whose_script_ignores_sigchld_is_trained_again_when_its_worker_is_killed(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def train(trial):
    (trial.save_to / "weights").write_text(str(trial.number))
    if (trial.number, trial.attempt) == (1, 1): os.kill(os.getpid(), signal.SIGKILL)
    return {"accuracy": 1.0}
import atexit
atexit.register(lambda: print("still ignored", signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN))
""",
    )
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 0, run.said
        assert "still ignored True" in run.said
        assert "killed by signal SIGKILL" in run.said
    assert outcomes(tmp_path) == [("completed", 1, None), ("completed", 2, None), ("completed", 1, None)]


def test_a_worker_whose_exit_status_is_collected_by_the_users_handler_is_replaced(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
def collect(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
if __name__ == "__main__": signal.signal(signal.SIGCHLD, collect)
def train(trial):
    (trial.save_to / "weights").write_text(str(trial.number))
    if (trial.number, trial.attempt) == (1, 1): os.kill(os.getpid(), signal.SIGKILL)
    return {"accuracy": 1.0}
""",
    )
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 0, run.said
    assert outcomes(tmp_path) == [("completed", 1, None), ("completed", 2, None), ("completed", 1, None)]


@pytest.mark.parametrize(("last", "reason"), [("exit 3", "exit status 3"), ("kill -SEGV $$", "killed by signal SIGSEGV")])
def test_a_program_that_fails_below_a_parent_that_ignores_sigchld_has_failed(last: str, reason: str, tmp_path: Path) -> None:
    trainer = f'echo 1 > "$BROODLINE_SAVE/w"\necho \'{{"accuracy": 1}}\' >> "$BROODLINE_METRICS"\n{last}\n'
    study = write_study(tmp_path, trainer=trainer)
    with script("-c", IGNORING, "-m", "broodline", "run", str(study), cwd=tmp_path) as run:
        assert run.end() == 1
    assert {(trial["state"], trial["reason"]) for trial in trials_of(study)} == {("failed", reason)}
