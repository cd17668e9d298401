"""Training by a program that is run once a trial: how it may end, and what is kept of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from assignments import assignment, is_gone, script

from broodline.config.programs import Evaluate, Train
from broodline.core.trial import Measurement
from broodline.errors import Preempted, Stopped, TrialFailed
from broodline.workers.trainers.command import CommandTrainer

NOTHING = 'sh wrote nothing to the file that BROODLINE_METRICS names (if it prints its metrics: [train] metrics = "stdout")'
SAVES = 'echo weights >"$BROODLINE_SAVE/weights"; '


def shell(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text.replace("{", "{{").replace("}", "}}"))


def trainer(directory: Path, text: str, *, evaluate: str | None = None, **options: Any) -> CommandTrainer:
    measures = None if evaluate is None else Evaluate(command=shell(evaluate), timeout=options.pop("evaluate_timeout", None))
    return CommandTrainer(Train(command=shell(text), **options), measures, cwd=directory, port=lambda: 4567)


def trained(directory: Path, text: str, **options: Any) -> list[Measurement]:
    return trainer(directory, text, **options).train(assignment(directory))


def failure(directory: Path, text: str, **options: Any) -> TrialFailed:
    with pytest.raises(TrialFailed) as failed:
        trained(directory, text, **options)
    return failed.value


def says(**metrics: Any) -> str:
    """Shell that reports metrics, whose values may be shell variables."""
    pairs = ", ".join(f'\\"{name}\\": {value}' for name, value in metrics.items())
    return f'echo "{{{pairs}}}" >>"$BROODLINE_METRICS"; '


def measured(step: int, **metrics: Any) -> Measurement:
    return Measurement(step=step, metrics=metrics)


def test_a_program_gets_its_trial_and_reports_by_its_file(tmp_path: Path) -> None:
    text = says(step=2, port="$BROODLINE_PORT") + says(trial="$BROODLINE_TRIAL", a="$(cat $BROODLINE_PARAMS | tr -dc 0-9)")
    given = assignment(tmp_path, 7, params={"x": 5})
    assert trainer(tmp_path, text).train(given) == [measured(2, port=4567), measured(3, trial=7, a=5)]


def test_a_program_runs_in_the_folder_and_all_it_prints_is_in_the_log(tmp_path: Path) -> None:
    trained(tmp_path, "pwd; echo oops >&2; " + says(a=1))
    assert (tmp_path / "0.log").read_text(encoding="utf-8").splitlines() == [str(tmp_path), "oops"]


def test_a_program_that_prints_nothing_leaves_no_log(tmp_path: Path) -> None:
    trained(tmp_path, says(a=1))
    assert not (tmp_path / "0.log").exists()


def test_params_fill_the_arguments(tmp_path: Path) -> None:
    (tmp_path / "train").write_text('#!/bin/sh\necho "$#" "$@"\n' + says(a=1), encoding="utf-8")
    (tmp_path / "train").chmod(0o755)
    command = ("./train", "--lr={lr}", "--resume={restore}", "--steps={steps}")
    CommandTrainer(Train(command=command), cwd=tmp_path).train(assignment(tmp_path, params={"lr": 0.1}))
    assert (tmp_path / "0.log").read_text(encoding="utf-8") == "2 --lr=0.1 --steps=3\n"


def test_measurements_are_reported_while_the_program_runs(tmp_path: Path) -> None:
    """The program goes on only when its first report has arrived."""
    text = says(step=1, a=1) + f'while [ ! -e "{tmp_path}/heard" ]; do sleep 0.01; done; ' + says(step=2, a=2)
    given = assignment(tmp_path, report=lambda m: (tmp_path / "heard").touch())
    assert trainer(tmp_path, text, timeout=60.0).train(given) == [measured(1, a=1), measured(2, a=2)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "killed by signal SIGKILL"),
        ("kill -SEGV $$", "killed by signal SIGSEGV"),
        ("kill -TERM $$", "killed by signal SIGTERM"),
        (says(a=1) + "exit 3", "exit status 3"),
        ("true", f"no metric: {NOTHING}"),
        (says(a="NaN"), "no metric of the last measurement is a finite number: a = nan"),
        (says(a="-Infinity"), "no metric of the last measurement is a finite number: a = -inf"),
        (says(step=0, a=1), "reported step 0, but this trial starts at step 0: steps count from the beginning of the lineage"),
    ],
)
def test_a_program_that_fails_is_distinguished_from_one_that_does_not(tmp_path: Path, text: str, reason: str) -> None:
    failed = failure(tmp_path, "echo before; " + text)
    assert failed.reason == reason
    assert failed.output == "before"


def test_a_line_that_is_no_json_is_quoted(tmp_path: Path) -> None:
    assert "'accuracy: 0.9'" in failure(tmp_path, 'echo "accuracy: 0.9" >>"$BROODLINE_METRICS"').reason


def test_a_program_that_is_not_there_fails_the_trial(tmp_path: Path) -> None:
    with pytest.raises(TrialFailed, match="no such program: no-such-program"):
        CommandTrainer(Train(command=("no-such-program",)), cwd=tmp_path).train(assignment(tmp_path))


def test_the_tail_of_the_output_is_bounded_and_always_a_text(tmp_path: Path) -> None:
    output = failure(tmp_path, r"seq 1000; printf 'caf\351\n'; exit 1").output
    assert output.splitlines() == [*map(str, range(982, 1001)), "caf�"]


def test_a_program_that_takes_too_long_has_failed_and_is_gone(tmp_path: Path) -> None:
    failed = failure(tmp_path, "echo $$; exec sleep 600", timeout=0.3)
    assert failed.reason == "timed out after 0.3 s"
    assert is_gone(int(failed.output))


def test_a_line_that_is_no_json_ends_a_program_that_still_runs(tmp_path: Path) -> None:
    failed = failure(tmp_path, 'echo $$; echo oops >>"$BROODLINE_METRICS"; exec sleep 600')
    assert "'oops'" in failed.reason
    assert is_gone(int(failed.output))


def test_a_program_that_is_stopped_may_clean_up(tmp_path: Path) -> None:
    def stop(_: Measurement) -> None:
        raise Stopped("enough")

    text = 'trap "echo cleaned up; exit" TERM; ' + says(step=1, a=1) + "while :; do sleep 0.01; done"
    with pytest.raises(Stopped):
        trainer(tmp_path, text, grace=60.0).train(assignment(tmp_path, report=stop))
    assert (tmp_path / "0.log").read_text(encoding="utf-8").endswith("cleaned up\n")


def test_a_signal_that_interrupts_training_ends_the_program(tmp_path: Path) -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise Preempted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Preempted):
            trained(tmp_path, f"echo $$; kill -USR1 {os.getpid()}; exec sleep 600")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert is_gone(int((tmp_path / "0.log").read_text(encoding="utf-8")))


def test_what_a_program_leaves_running_ends_with_it(tmp_path: Path) -> None:
    trained(tmp_path, "sleep 600 & echo $!; " + says(a=1))
    assert is_gone(int((tmp_path / "0.log").read_text(encoding="utf-8")))


def test_nothing_is_left_in_the_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    trained(tmp_path, says(a=1) + 'cp "$BROODLINE_PARAMS" "$BROODLINE_SAVE"')
    assert (tmp_path / "save-0" / "params.json").exists()
    assert list(scratch.iterdir()) == []


def test_metrics_may_be_the_json_objects_on_standard_output(tmp_path: Path) -> None:
    text = """echo '{"a": 1}'; echo '{"step": 9, "a": 2}'; echo '{"a": 3}' >&2; echo done; [ -z "${BROODLINE_METRICS:-}" ]"""
    assert trained(tmp_path, text, metrics="stdout") == [measured(3, a=1), measured(9, a=2)]
    log = (tmp_path / "0.log").read_text(encoding="utf-8").splitlines()
    assert sorted(log) == ["done", '{"a": 1}', '{"a": 3}', '{"step": 9, "a": 2}']


def test_a_program_that_prints_no_json_object_has_failed(tmp_path: Path) -> None:
    failed = failure(tmp_path, "echo accuracy 0.9", metrics="stdout")
    assert failed.reason == (
        "no metric: no line that sh printed is a JSON object "
        '(pairs, other lines, standard error: [train] metrics = "name=value", or { accuracy = "regex" })'
    )
    assert failed.output == "accuracy 0.9"


@pytest.mark.parametrize(
    ("metrics", "nothing"),
    [
        ("name=value", "no line that sh printed has a pair such as a=0.93"),
        ({"a": "accuracy ([0-9])"}, "no line that sh printed matches a pattern of [train] metrics"),
    ],
)
def test_a_program_that_prints_no_metric_in_the_notation_of_the_study_file_has_failed(
    tmp_path: Path, metrics: Any, nothing: str
) -> None:
    assert failure(tmp_path, "echo accuracy: 0.9", metrics=metrics, objective=("a",)).reason == f"no metric: {nothing}"


@pytest.mark.parametrize(
    ("metrics", "line"),
    [("name=value", "epoch 3: a={} loss=0.5"), ({"a": r"a: (\S+)", "step": r"step (\d+)"}, "step {0}, a: {0}")],
)
def test_metrics_are_read_from_both_outputs_in_the_order_in_which_they_are_printed(
    tmp_path: Path, metrics: Any, line: str
) -> None:
    text = "; ".join(f"echo '{line.format(n)}' >&{1 + n % 2}" for n in range(1, 7))
    measurements = trained(tmp_path, text, metrics=metrics, objective=("a",))
    assert [m.metrics["a"] for m in measurements] == [1, 2, 3, 4, 5, 6]
    assert len((tmp_path / "0.log").read_text(encoding="utf-8").splitlines()) == 6


@pytest.mark.parametrize("metrics", ["stdout", "name=value", {"a": "(?<=a: )[0-9]+"}])
def test_a_line_is_reported_as_it_is_printed(tmp_path: Path, metrics: Any) -> None:
    lines = {"stdout": '{"a": 1}', "name=value": "a=1"}.get(metrics if isinstance(metrics, str) else "", "a: 1")
    text = f"""echo '{lines}'; while [ ! -e "{tmp_path}/heard" ]; do sleep 0.01; done"""
    given = assignment(tmp_path, report=lambda m: (tmp_path / "heard").touch())
    assert trainer(tmp_path, text, metrics=metrics, timeout=60.0).train(given) == [measured(3, a=1)]


def test_a_printed_line_may_end_the_trial(tmp_path: Path) -> None:
    def stop(_: Measurement) -> None:
        raise Stopped("enough")

    text = 'trap "echo cleaned up; exit" TERM; echo "{\\"a\\": 1}"; while :; do sleep 0.01; done'
    with pytest.raises(Stopped):
        trainer(tmp_path, text, metrics="stdout", grace=60.0).train(assignment(tmp_path, report=stop))
    assert (tmp_path / "0.log").read_text(encoding="utf-8").endswith("cleaned up\n")


def test_of_what_is_printed_the_lines_with_a_metric_of_the_objective_count(tmp_path: Path) -> None:
    text = """echo '{"lr": 1, "step": -1}'; echo '{"step": 2, "a": 1}'; echo '{"saved": "weights", "step": "last"}'"""
    assert trained(tmp_path, text, metrics="stdout", objective=("a", "b")) == [measured(2, a=1)]
    assert trainer(tmp_path, 'echo "{\\"b\\": 1}"', metrics="stdout", objective=("a",)).train(assignment(tmp_path, 1)) == [
        measured(3, b=1)
    ]


def test_a_value_that_is_not_finite_is_the_last_one_however_it_is_spelled(tmp_path: Path) -> None:
    text = """echo '{"a": 0.5}'; echo '{"a": nan}'"""
    assert "no metric of the last measurement is a finite number: a = nan" in failure(tmp_path, text, metrics="stdout").reason


@pytest.mark.parametrize("replace", ["mkdir", "mkfifo", "ln -s /dev/zero"])
def test_a_metrics_file_that_is_replaced_fails_the_trial(tmp_path: Path, replace: str) -> None:
    text = f'rm "$BROODLINE_METRICS"; {replace} "$BROODLINE_METRICS"; exec sleep 600'
    assert "the program replaced its metrics file by a" in failure(tmp_path, text, timeout=60.0).reason


def test_output_without_end_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broodline.workers.trainers.output.LOG_BYTES", 4 << 20)
    for number, metrics in enumerate(("file", "stdout")):
        reports = says(a=1) if metrics == "file" else "echo '{\"a\": 1}'"
        one = trainer(tmp_path, "yes a line of output | head -c 20000000; " + reports, metrics=metrics)
        one.train(assignment(tmp_path, number))
        assert (tmp_path / f"{number}.log").stat().st_size <= 4 << 20


def test_much_output_is_all_kept(tmp_path: Path) -> None:
    trained(tmp_path, "seq 100000; echo '{\"a\": 1}'", metrics="stdout")
    assert (tmp_path / "0.log").read_text(encoding="utf-8").splitlines()[-2:] == ["100000", '{"a": 1}']


def test_the_evaluation_reads_the_new_checkpoint_and_its_metrics_win(tmp_path: Path) -> None:
    evaluate = 'echo evaluating; [ -z "${BROODLINE_SAVE:-}" ]; ' + says(step=1, b="$(wc -l <$BROODLINE_RESTORE/weights)")
    assert trained(tmp_path, SAVES + "echo training; " + says(step=5, a=1, b=7), evaluate=evaluate) == [
        measured(5, a=1, b=7),
        measured(5, a=1, b=1),
    ]
    assert (tmp_path / "0.log").read_text(encoding="utf-8") == "training\nevaluating\n"


def test_an_evaluation_may_measure_alone(tmp_path: Path) -> None:
    assert trained(tmp_path, SAVES, evaluate=says(a="$BROODLINE_START")) == [measured(3, a=3)]


@pytest.mark.parametrize(
    ("text", "evaluate", "reason"),
    [
        (SAVES + says(a=1), "echo why; exit 1", "evaluation: exit status 1"),
        (SAVES + says(a=1), "echo why", f"evaluation: no metric: {NOTHING}"),
        (SAVES + says(a=1), "echo why; sleep 600", "evaluation: timed out after 0.3 s"),
        (SAVES + says(a=1), "echo why; " + says(a="NaN"), "no metric of the last measurement is a finite number: a = nan"),
        ("echo why; " + says(a=1), says(a=1), "no checkpoint: the program left nothing in the directory that it was to save in"),
    ],
)
def test_a_trial_whose_evaluation_fails_has_failed(tmp_path: Path, text: str, evaluate: str, reason: str) -> None:
    failed = failure(tmp_path, text, evaluate=evaluate, evaluate_timeout=0.3)
    assert failed.reason == reason
    assert failed.output in ("why", "")


def test_a_program_that_fails_is_not_evaluated(tmp_path: Path) -> None:
    failure(tmp_path, SAVES + "exit 1", evaluate=f'touch "{tmp_path}/evaluated"')
    assert not (tmp_path / "evaluated").exists()


def test_a_short_program_does_not_wait_for_the_next_look_at_its_reports(tmp_path: Path) -> None:
    """Twenty programs that take milliseconds take less than twenty looks, which come every 0.2 seconds."""
    one = trainer(tmp_path, says(a=1))
    begun = time.monotonic()
    for number in range(20):
        one.train(assignment(tmp_path, number))
    assert time.monotonic() - begun < 20 * 0.2


def test_a_python_program_gets_along(tmp_path: Path) -> None:
    text = """
import json, os
with open(os.environ["BROODLINE_METRICS"], "a") as file:
    print(json.dumps({"step": 3, "a": json.load(open(os.environ["BROODLINE_PARAMS"]))["x"]}), file=file)
"""
    one = CommandTrainer(Train(command=script(tmp_path, "train.py", text)), cwd=tmp_path)
    assert one.train(assignment(tmp_path, params={"x": 0.5})) == [measured(3, a=0.5)]
