"""Training by a resident program: one process for many trials, and its replacement when one goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from assignments import PYTHON, SEES_US, assignment, is_gone, script

from broodline.config.programs import Evaluate, Train
from broodline.core.trial import Measurement
from broodline.errors import Preempted, Stopped, TrialFailed
from broodline.workers.trainers.resident import ResidentTrainer

# Executes its trial's `do`, and always reports the number of its process.
LOOP = """
import os, sys
import broodline
print("loading")
for trial in broodline.trials():
    with trial:
        trial.report(step=trial.start + 1, pid=os.getpid())
        exec(trial.params.get("do", ""))
"""
# The same without broodline: it answers with its trial's `answer`.
BARE = """
import json, os, sys
reply = os.fdopen(int(os.environ["BROODLINE_REPLY"]), "w")
for line in sys.stdin:
    trial = json.loads(line)
    exec(trial["params"].get("do", ""))
    print(trial["params"].get("answer", '{"a": 1}'), file=reply, flush=True)
"""
Make = Callable[..., ResidentTrainer]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setenv("PYTHONPATH", SEES_US["PYTHONPATH"])
    made = []

    def make(text: str = LOOP, evaluate: Evaluate | None = None, **options: Any) -> ResidentTrainer:
        train = Train(command=script(tmp_path, "train.py", text), resident=True, **options)
        made.append(ResidentTrainer(train, evaluate, cwd=tmp_path))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()


def trained(trainer: ResidentTrainer, directory: Path, number: int = 0, **given: Any) -> list[Measurement]:
    params = {name: given.pop(name) for name in ("do", "answer") if name in given}
    return trainer.train(assignment(directory, number, params=params, **given))


def failure(trainer: ResidentTrainer, directory: Path, number: int = 0, **given: Any) -> TrialFailed:
    with pytest.raises(TrialFailed) as failed:
        trained(trainer, directory, number, **given)
    return failed.value


def pid_of(measurements: list[Measurement]) -> int:
    return int(measurements[-1].metrics["pid"])


def test_one_process_trains_many_trials(make: Make, tmp_path: Path) -> None:
    trainer = make()
    assert len({pid_of(trained(trainer, tmp_path, number)) for number in range(3)}) == 1


def test_the_last_report_is_the_answer_and_is_not_counted_twice(make: Make, tmp_path: Path) -> None:
    measurements = trained(make(), tmp_path, do="trial.report(step=2, a=float('nan'), b=1)")
    assert [m.step for m in measurements] == [1, 2]


def test_a_trial_has_every_fact_of_its_request(make: Make, tmp_path: Path) -> None:
    names = [
        "restore_from",
        "save_to",
        "start",
        "steps",
        "number",
        "attempt",
        "member",
        "generation",
        "seed",
        "worker",
        "devices",
    ]
    do = f"print(*(repr(getattr(trial, name)) for name in {names!r}), sep='\\n')"
    trained(make(), tmp_path, 7, do=do, restore=Path("/parent"), devices=("0", "1"), start=20, member=5, generation=2, seed=11)
    assert (tmp_path / "7.log").read_text(encoding="utf-8").splitlines() == [
        "loading",
        "PosixPath('/parent')",
        repr(tmp_path / "save-7"),
        *("20", "3", "7", "1", "5", "2", "11", "'4'", "('0', '1')"),
    ]


def test_output_is_in_the_log_of_its_trial(make: Make, tmp_path: Path) -> None:
    trainer = make()
    for number in range(3):
        trained(trainer, tmp_path, number, do=f"print('trial', {number}); print('oops', file=sys.stderr)")
    logs = [(tmp_path / f"{number}.log").read_text(encoding="utf-8").split("\n") for number in range(3)]
    assert [sorted(filter(None, log)) for log in logs] == [
        ["loading", "oops", "trial 0"],
        ["oops", "trial 1"],
        ["oops", "trial 2"],
    ]


def test_an_error_fails_the_trial_and_not_the_program(make: Make, tmp_path: Path) -> None:
    trainer = make()
    first = pid_of(trained(trainer, tmp_path, 0))
    failed = failure(trainer, tmp_path, 1, do="raise ValueError('bad lr')")
    assert failed.reason == "ValueError: bad lr"
    assert "Traceback" in failed.output
    assert "bad lr" in (tmp_path / "1.log").read_text(encoding="utf-8")
    assert pid_of(trained(trainer, tmp_path, 2)) == first


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("os.kill(os.getpid(), 11)", "killed by signal SIGSEGV"),
        ("os._exit(3)", "exit status 3"),
        ("os._exit(0)", "ended without an answer (exit status 0)"),
        ("sys.exit('no more')", "exit status 1"),
        (
            "os.closerange(3, 100); import time; time.sleep(600)",
            "closed the descriptor that BROODLINE_REPLY names without an answer",
        ),
        ("import time; time.sleep(600)", "timed out after 1 s"),
    ],
)
def test_a_program_that_dies_or_is_silent_fails_its_trial_and_is_started_again(
    make: Make, tmp_path: Path, do: str, reason: str
) -> None:
    trainer = make(timeout=None if "600" not in do else 1.0, grace=0.2)
    failed = failure(trainer, tmp_path, 0, do=f"print('pid', os.getpid(), flush=True); {do}")
    assert failed.reason == reason
    dead = int(failed.output.split("pid ")[1].split()[0])
    assert is_gone(dead)
    assert pid_of(trained(trainer, tmp_path, 1)) != dead


def test_a_program_that_cannot_start_fails_every_trial_with_its_output(make: Make, tmp_path: Path) -> None:
    trainer = make("import no_such_module")
    for number in range(2):
        failed = failure(trainer, tmp_path, number)
        assert failed.reason == "exit status 1"
        assert "No module named 'no_such_module'" in failed.output


@pytest.mark.parametrize("leaves", ["", "os._exit(3)", "import time; time.sleep(0.2)", "os.kill(os.getpid(), 11)"])
def test_a_program_that_ends_between_two_trials_is_started_again(make: Make, tmp_path: Path, leaves: str) -> None:
    trainer = make(LOOP + "    break\n" + leaves)
    assert len({pid_of(trained(trainer, tmp_path, number)) for number in range(3)}) == 3


@pytest.mark.parametrize("error", [Stopped, Preempted])
def test_a_trial_that_ends_early_takes_the_program_with_it(make: Make, tmp_path: Path, error: type[BaseException]) -> None:
    pids = []

    def end(measurement: Measurement) -> None:
        pids.append(measurement.metrics["pid"])
        raise error("enough")

    trainer = make()
    with pytest.raises(error):
        trained(trainer, tmp_path, 0, do="import time; time.sleep(600)", report=end)
    assert is_gone(pids[0])
    assert pid_of(trained(trainer, tmp_path, 1)) != pids[0]


def test_a_signal_that_interrupts_training_ends_the_program(make: Make, tmp_path: Path) -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise Preempted

    pid = tmp_path / "pid"
    tell = f"file = open({str(pid)!r}, 'w'); file.write(str(os.getpid())); file.close()"
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Preempted):
            trained(make(BARE), tmp_path, do=f"{tell}; os.kill({os.getpid()}, {signal.SIGUSR1:d}); import time; time.sleep(600)")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert is_gone(int(pid.read_text(encoding="utf-8")))


def test_closing_lets_the_program_end_by_itself(make: Make, tmp_path: Path) -> None:
    trainer = make(LOOP + f"open({str(tmp_path / 'ended')!r}, 'w').write('well')", grace=60.0)
    pid = pid_of(trained(trainer, tmp_path))
    trainer.close()
    assert is_gone(pid)
    assert (tmp_path / "ended").read_text(encoding="utf-8") == "well"


def test_closing_does_not_wait_forever(make: Make, tmp_path: Path) -> None:
    trainer = make(LOOP + "import time; time.sleep(600)", grace=0.1)
    pid = pid_of(trained(trainer, tmp_path))
    trainer.close()
    assert is_gone(pid)


def test_closing_before_the_first_trial_is_fine(make: Make) -> None:
    make().close()


def test_a_trial_whose_block_is_not_entered_has_a_clear_error(make: Make, tmp_path: Path) -> None:
    failed = failure(make("import broodline\nfor trial in broodline.trials(): pass"), tmp_path)
    assert "trial 0 was not trained" in failed.reason
    assert "with trial:" in failed.reason


def test_a_trial_that_reported_nothing_has_failed(make: Make, tmp_path: Path) -> None:
    failed = failure(make("import broodline\nfor trial in broodline.trials():\n    with trial: pass"), tmp_path)
    assert "neither answered with any nor reported any" in failed.reason


def test_a_process_that_the_program_starts_can_neither_read_its_trials_nor_answer_for_it(make: Make, tmp_path: Path) -> None:
    do = "import subprocess; print(subprocess.run(['cat'], check=True), os.environ.get('BROODLINE_REPLY'))"
    trained(make(), tmp_path, do=do)
    assert (tmp_path / "0.log").read_text(encoding="utf-8").splitlines()[-1].endswith("returncode=0) None")


def test_a_program_of_any_language_needs_only_lines_of_json(make: Make, tmp_path: Path) -> None:
    trainer = make(BARE)
    assert trained(trainer, tmp_path, 0) == [Measurement(step=3, metrics={"a": 1})]
    report = """open(trial["metrics"], "a").write('{"step": 2, "a": 5}\\n')"""
    assert trained(trainer, tmp_path, 1, do=report) == [
        Measurement(step=2, metrics={"a": 5}),
        Measurement(step=3, metrics={"a": 1}),
    ]


def test_the_request_has_the_names_of_the_variables(make: Make, tmp_path: Path) -> None:
    trained(make(BARE), tmp_path, 3, do="print(json.dumps(trial))")
    request = json.loads((tmp_path / "3.log").read_text(encoding="utf-8"))
    assert set(request) == {
        *("params", "restore", "save", "metrics", "steps", "start", "end", "trial", "attempt", "member", "generation", "seed"),
        *("worker", "devices", "port"),
    }
    assert request["trial"] == 3
    assert request["restore"] is None
    assert set(request["params"]) == {"do"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"error": "out of luck"}', "out of luck"),
        ("fine", "invalid JSON: 'fine'"),
        ("[1]", "not a JSON object: '[1]'"),
        ('{"a": NaN}', "no metric of the last measurement is a finite number: a = nan"),
        ("{}", "neither answered with any nor reported any"),
        ('{"a": 1}\n{"a": 2}', """answered with more than one line; after the first came '{"a": 2}'"""),
        ('{"step": 0, "a": 1}', "reported step 0, but this trial starts at step 0"),
    ],
)
def test_an_answer_that_is_not_a_measurement_fails_the_trial(make: Make, tmp_path: Path, answer: str, reason: str) -> None:
    trainer = make(BARE)
    failed = failure(trainer, tmp_path, 0, answer=answer, do="print('why', flush=True)")
    assert reason in failed.reason
    assert failed.output == "why"
    assert trained(trainer, tmp_path, 1) == [Measurement(step=3, metrics={"a": 1})]


def test_an_answer_without_a_request_is_ignored_and_the_program_started_again(make: Make, tmp_path: Path) -> None:
    text = """
import json, os, pathlib, sys, time
reply = os.fdopen(int(os.environ["BROODLINE_REPLY"]), "w")
for line in sys.stdin:
    print(json.dumps({"pid": os.getpid()}), file=reply, flush=True)
    while not pathlib.Path("over").exists():
        time.sleep(0.001)
    print(json.dumps({"pid": -1}), file=reply, flush=True)
    pathlib.Path("spoken").touch()
"""
    trainer = make(text, grace=0.1)
    first = pid_of(trained(trainer, tmp_path, 0))
    (tmp_path / "over").touch()
    while not (tmp_path / "spoken").exists():
        assert not is_gone(first)
    (tmp_path / "over").unlink()
    assert pid_of(trained(trainer, tmp_path, 1)) not in (first, -1)


def test_an_error_that_is_a_number_is_a_metric(make: Make, tmp_path: Path) -> None:
    assert trained(make(BARE), tmp_path, answer='{"error": 0.07}') == [Measurement(step=3, metrics={"error": 0.07})]


def test_much_output_does_not_hold_the_program_up(make: Make, tmp_path: Path) -> None:
    trained(make(BARE), tmp_path, do="print('x' * 1_000_000, flush=True)")
    assert (tmp_path / "0.log").stat().st_size == 1_000_001


def test_large_params_arrive_whole(make: Make, tmp_path: Path) -> None:
    do = "#" + "x" * 300_000
    assert trained(make(BARE), tmp_path, do=do) == [Measurement(step=3, metrics={"a": 1})]


def test_the_new_checkpoint_is_evaluated(make: Make, tmp_path: Path) -> None:
    save = """open(trial["save"] + "/weights", "w").write("7")"""
    measure = """echo '{{"b": '$(cat $BROODLINE_RESTORE/weights)'}}' >>$BROODLINE_METRICS"""
    trainer = make(BARE, Evaluate(command=("sh", "-c", measure)))
    assert trained(trainer, tmp_path, do=save)[-1] == Measurement(step=3, metrics={"a": 1, "b": 7})


def test_importing_the_programs_side_loads_no_database() -> None:
    code = "import sys, broodline.workers.resident_client; print(*sys.modules)"
    done = subprocess.run([PYTHON, "-c", code], env=SEES_US, check=True, stdout=subprocess.PIPE, text=True)
    assert not {"sqlalchemy", "rich", "subprocess", "asyncio"} & set(done.stdout.split())


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_shell_answers_as_on_the_page_also_on_a_descriptor_of_two_digits(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    page = (Path(__file__).parents[3] / "docs" / "programs.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```sh\n(#!/bin/sh\nwhile .*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "train.sh").write_text(text)
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    try:
        trainer = ResidentTrainer(Train(command=(shell, "train.sh"), resident=True), None, cwd=tmp_path)
        with closing(trainer):
            for number in range(2):
                assert [dict(m.metrics) for m in trained(trainer, tmp_path, number)] == [{"score": 1}]
    finally:
        for descriptor in held:
            os.close(descriptor)
