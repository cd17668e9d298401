"""Training programs that fail: each leads to one clear message and leaves no partial files."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from commands import SOURCE, call
from living import script, trials_of, write_study

SAVES = 'echo 1 > "$BROODLINE_SAVE/weights"\n'
MEASURES = 'echo "{\\"accuracy\\": 1}" >> "$BROODLINE_METRICS"\n'


def writes(line: str) -> str:
    return f"{SAVES}printf '%s\\n' '{line}' >> \"$BROODLINE_METRICS\"\n"


def answers(line: str) -> str:
    return f"while read -r request; do printf '{line}\\n' > /dev/fd/$BROODLINE_REPLY; done\n"


def nests(times: int, name: str) -> str:
    program = (
        f"import os; os.chdir(os.environ['BROODLINE_SAVE']); [(os.mkdir('{name}'), os.chdir('{name}')) for _ in range({times})]"
    )
    return f'{SAVES}{MEASURES}{sys.executable} -c "{program}"\n'


PROGRAMS = [
    ("exits with 3", f"{SAVES}{MEASURES}echo no such data >&2\nexit 3\n", "exit status 3"),
    ("is killed by a signal", f"{SAVES}{MEASURES}kill -9 $$\n", "killed by signal SIGKILL"),
    ("has a fault in memory", f"{SAVES}{MEASURES}kill -SEGV $$\n", "killed by signal SIGSEGV"),
    ("measures nothing", SAVES, "no metric: sh wrote nothing to the file that BROODLINE_METRICS names"),
    ("measures something else", writes('{"loss": 1}'), "accuracy"),
    ("measures NaN as Python writes it", writes('{"accuracy": NaN}'), "is a finite number: accuracy = nan"),
    ("measures Infinity as Python writes it", writes('{"accuracy": Infinity}'), "is a finite number: accuracy = inf"),
    ("measures -Infinity as Python writes it", writes('{"accuracy": -Infinity}'), "is a finite number: accuracy = -inf"),
    ("measures a number too large for a float", writes('{"accuracy": 1e999}'), "is a finite number: accuracy = inf"),
    ("measures NaN as a string", writes('{"accuracy": "nan"}'), "is a finite number: accuracy = 'nan'"),
    ("measures null", writes('{"accuracy": null}'), "is a finite number: accuracy = None"),
    ("measures NaN next to a number", writes('{"accuracy": NaN, "loss": 1}'), "accuracy"),
    ("measures NaN in the end", MEASURES + writes('{"step": 10, "accuracy": NaN}'), "is a finite number: accuracy = nan"),
    ("measures nan as C writes it", writes('{"accuracy": nan}'), "is a finite number: accuracy = nan"),
    ("measures -nan as C writes it", writes('{"accuracy": -nan}'), "is a finite number: accuracy = nan"),
    ("measures an integer of 400 digits", writes('{"accuracy": 1%s}' % ("0" * 400)), "integer of 1329 bits, larger than every"),
    ("measures an integer of 5,000 digits", writes('{"accuracy": 1%s}' % ("0" * 5000)), "invalid JSON: '{"),
    ("measures half a surrogate pair", writes('{"accuracy": 1, "bad\\udce9": 1}'), "is not valid Unicode: 'bad\\udce9'"),
    ("measures at a step of 2**63 - 1", writes('{"accuracy": 1, "step": 9223372036854775807}'), "step must be at most 2**53"),
    ("measures at a step of 2**63", writes('{"accuracy": 1, "step": 9223372036854775808}'), "step must be at most 2**53"),
    ("replaces its file by a pipe", 'rm "$BROODLINE_METRICS"; mkfifo "$BROODLINE_METRICS"\n', "its metrics file by a FIFO"),
    ("replaces its file by zeros", 'ln -sf /dev/zero "$BROODLINE_METRICS"\n', "its metrics file by a device"),
    ("replaces its file by a directory", 'rm "$BROODLINE_METRICS"; mkdir "$BROODLINE_METRICS"\n', "file by a directory"),
    ("colours its output", MEASURES + "printf '\\033[31mred\\033[0m\\033]0;title\\007\\a'\nexit 3\n", "exit status 3"),
    ("measures in no JSON", writes("accuracy=0.5"), "invalid JSON: 'accuracy=0.5'"),
    ("measures half a line", writes('{"accuracy": 0.'), "invalid JSON: '{\"accuracy\": 0.'"),
    ("measures a list", writes("[0.5]"), "not a JSON object: '[0.5]'"),
    ("saves nothing", MEASURES, "no checkpoint: the program left nothing in the directory that it was to save in"),
    ("saves an empty directory", MEASURES + 'mkdir "$BROODLINE_SAVE/model"\n', "no checkpoint: the program left nothing"),
    ("saves a link", MEASURES + 'ln -s "$PWD/train.sh" "$BROODLINE_SAVE/weights"\n', "no checkpoint: weights is a link to"),
    ("saves a link to nothing", MEASURES + 'ln -s weights.new "$BROODLINE_SAVE/weights"\n', "left nothing but links"),
    ("nests 1,500 directories", nests(1500, "d"), "no checkpoint: its directories are nested more than 200 deep"),
    ("nests directories with long names", nests(40, "d" * 200), "bytes, more than 4,000: it ends with"),
    ("saves a pipe", MEASURES + 'mkfifo "$BROODLINE_SAVE/weights"\n', "weights is neither a file nor a directory"),
    ("removes the directory", MEASURES + 'rm -r "$BROODLINE_SAVE"\n', "no checkpoint"),
]
RESIDENTS = [
    ("dies", "read -r line\nexit 3\n", "exit status 3"),
    ("is killed", "read -r line\nkill -9 $$\n", "killed by signal SIGKILL"),
    ("ends with status 0", "read -r line\n", "ended without an answer (exit status 0)"),
    ("answers in no JSON", answers("fine"), "invalid JSON: 'fine'"),
    ("answers twice", answers("{}\\n{}"), "answered with more than one line"),
    ("answers with an error", answers('{"error": "no such data"}'), "no such data"),
    ("answers with half a surrogate pair", answers('{"error": "caf\\\\udce9"}'), "caf\\udce9"),
    ("answers with a long error", answers('{"error": "%s"}' % ("x" * 100_000)), "x... (98000 more characters)"),
    ("answers at a step of 2**63 - 1", answers('{"accuracy": 1, "step": 9223372036854775807}'), "step must be at most 2**53"),
    ("measures NaN", answers('{"accuracy": NaN}'), "is a finite number: accuracy = nan"),
    ("saves nothing", answers('{"accuracy": 1}'), "no checkpoint: the program left nothing"),
]
FUNCTIONS = [
    ("raises", "raise ValueError('no such data')", "ValueError: no such data"),
    ("exits", "sys.exit(3)", "SystemExit: 3"),
    ("raises a BaseException", "raise BaseException('odd')", "BaseException: odd"),
    ("returns a list", "save(trial); return [0.5]", "the function returned a list, [0.5]: it returns its metrics by name"),
    ("returns a number", "save(trial); return 0.5", "the function returned a float, 0.5"),
    ("returns nothing", "save(trial)", "no metric: the function neither returned any"),
    ("returns NaN", "save(trial); return {'accuracy': float('nan')}", "is a finite number: accuracy = nan"),
    ("returns an object", "save(trial); return {'accuracy': object()}", "metric 'accuracy' is a object, not a number"),
    ("raises half a surrogate pair", r"raise ValueError('caf\udce9')", r"ValueError: caf\udce9"),
    ("raises a long text", "raise ValueError('x' * 10**7)", "x... (9998012 more characters)"),
    ("raises escape sequences", r"raise ValueError('\x1b]0;title\x07\x1b[31mred\x07')", r"ValueError: red\x07"),
    ("returns an integer of 400 digits", "save(trial); return {'accuracy': 10**400}", "an integer of 1329 bits"),
    ("reports at a step of 2**63 - 1", "trial.report(step=2**63 - 1, accuracy=1)", "step must be at most 2**53"),
    ("returns half a surrogate pair", r"save(trial); return {'accuracy': 1, 'x\ud800': 1}", r"not valid Unicode: 'x\ud800'"),
    ("never saves", "return {'accuracy': 1}", "no checkpoint: the program left nothing"),
    ("leaves a link", "(trial.save_to / 'w').symlink_to(__file__); return {'accuracy': 1}", "no checkpoint: w is a link to"),
]
SCRIPT = """\
import sys, broodline

def save(trial):
    (trial.save_to / "weights").write_text("1")

def train(trial):
    {body}

study = broodline.Study(name="digits", trial_steps=10, population=2, objective={{"accuracy": "maximize"}},
                        space={{"lr": broodline.Float(1e-4, 1.0, log=True)}})
try:
    study.run(train, budget=broodline.Budget(trials=6), show=False)
except broodline.BroodlineError as error:
    sys.exit(f"broodline: error: {{error}}")
"""


def each(cases: list[tuple[str, str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("program", "reason"), [case[1:] for case in cases], ids=[case[0] for case in cases])


def assert_one_message(said: str, reason: str) -> None:
    """Requires one error with the reason, and no traceback of broodline's code."""
    assert said.count("broodline: error:") == 1
    error = said.partition("broodline: error:")[2]
    assert "study 'digits' failed: the first 2 trials all failed, the last one: " in error
    assert error.count(reason) >= 1
    assert "site-packages" not in said
    assert "src/broodline/cli" not in said


def assert_failed(study: object, reason: str, directory: Path) -> None:
    """Requires that min(N, 5) = 2 trials failed for a reason and left only their records and logs."""
    trials = trials_of(study, "--store", f"sqlite:///{directory / 'broodline.db'}")
    assert [trial["state"] for trial in trials] == ["failed"] * 2
    for trial in trials:
        assert reason in trial["reason"]
        assert (trial["attempt"], trial["checkpoint"], trial["fitness"]) == (1, None, None)
    assert_no_partial_files(directory)


def assert_no_partial_files(directory: Path) -> None:
    files = directory / "broodline.db.files" / "digits"
    assert {name: os.listdir(files / name) for name in ("staging", "checkpoints", "workers")} == {
        "staging": [],
        "checkpoints": [],
        "workers": [],
    }
    assert os.listdir(directory / "scratch") == []
    with closing(sqlite3.connect(directory / "broodline.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setitem(os.environ, "TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("commands.ENVIRONMENT", os.environ | {"PYTHONPATH": str(SOURCE)})
    monkeypatch.setattr("living.ENVIRONMENT", os.environ | {"PYTHONPATH": str(SOURCE)})


def run_fails(study: Path, reason: str) -> str:
    done = call("run", study)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert_one_message(done.stderr, reason)
    assert_failed(study, reason, study.parent)
    return done.stderr


def test_a_missing_program(tmp_path: Path) -> None:
    run_fails(write_study(tmp_path, command=("no-such-program", "{lr}")), "no such program: no-such-program")


def test_a_program_that_can_not_be_executed(tmp_path: Path) -> None:
    run_fails(write_study(tmp_path, command=("./train.sh",)), "./train.sh can't be started: Permission denied")


def test_a_program_without_its_interpreter(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer="#!/no/such/interpreter\n", command=("./train.sh",))
    (tmp_path / "train.sh").chmod(0o755)
    run_fails(study, "./train.sh can't be started: the interpreter that its first line names does not exist")


@each(PROGRAMS)
def test_a_program_that(program: str, reason: str, tmp_path: Path) -> None:
    run_fails(write_study(tmp_path, trainer=program), reason)


def test_the_error_shows_the_end_of_the_programs_output_and_the_log_holds_all_of_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer='for i in $(seq 2000); do echo "line $i"; done\nexit 3\n')
    error = run_fails(study, "exit status 3")
    assert "line 2000" in error
    assert "line 1\n" not in error
    log = tmp_path / "broodline.db.files" / "digits" / "logs" / "000000.1.log"
    assert log.read_text().splitlines()[0] == "line 1"


def test_a_program_that_prints_no_metric_with_metrics_from_stdout(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=SAVES + "echo accuracy 1\n", more='metrics = "stdout"\n')
    run_fails(study, "no metric: no line that sh printed is a JSON object")


def test_a_program_that_takes_too_long(tmp_path: Path) -> None:
    run_fails(write_study(tmp_path, trainer="sleep 100\n", more="timeout = 0.2\n"), "timed out after 0.2 s")


def test_an_evaluation_that_fails(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=SAVES + MEASURES, more='[evaluate]\ncommand = ["sh", "-c", "exit 4"]\n')
    run_fails(study, "evaluation: exit status 4")


@each(RESIDENTS)
def test_a_resident_program_that(program: str, reason: str, tmp_path: Path) -> None:
    run_fails(write_study(tmp_path, trainer=program, more="resident = true\n"), reason)


@each(FUNCTIONS)
def test_a_function_that(program: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(SCRIPT.format(body=program))
    with script("study.py", cwd=tmp_path) as run:
        assert run.end() == 1
        assert_one_message(run.said, reason)
    assert_failed("digits", reason, tmp_path)


def test_one_failed_trial_does_not_affect_the_others(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=f'[ "$BROODLINE_TRIAL" != 1 ] || exit 3\n{SAVES}{MEASURES}')
    assert call("run", study).returncode == 0
    failed = [trial for trial in trials_of(study) if trial["state"] == "failed"]
    assert [(trial["number"], trial["reason"]) for trial in failed] == [(1, "exit status 3")]
    assert [trial["state"] for trial in trials_of(study)].count("completed") == 5
    assert all(trial["parent"] != 1 and trial["opponent"] != 1 for trial in trials_of(study))


def test_a_retry_keeps_the_trials_number_and_params(tmp_path: Path) -> None:
    trainer = f'echo "{{lr}}" >> seen\n[ "$BROODLINE_ATTEMPT" != 1 ] || exit 3\n{SAVES}{MEASURES}'
    study = write_study(tmp_path, trainer=trainer, budget="trials = 3", more="retries = 1\n")
    assert call("run", study).returncode == 0
    assert [(trial["state"], trial["attempt"]) for trial in trials_of(study)] == [("completed", 2)] * 3
    assert len((tmp_path / "seen").read_text().splitlines()) == 6


def test_a_failed_study_resumes_once_its_program_is_fixed(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer="exit 3\n")
    assert call("run", study).returncode == 1
    write_study(tmp_path, trainer=SAVES + MEASURES)
    assert call("run", study).returncode == 0
    assert [trial["state"] for trial in trials_of(study)] == ["failed"] * 2 + ["completed"] * 4


def test_a_program_whose_last_printed_value_is_not_finite_has_diverged(tmp_path: Path) -> None:
    prints = "".join(f"echo '{line}'\n" for line in ('{"accuracy": 0.5}', '{"accuracy": 0.9}', '{"accuracy": nan}'))
    run_fails(write_study(tmp_path, trainer=SAVES + prints, more='metrics = "stdout"\n'), "is a finite number: accuracy = nan")


READING = ("status", "trials", "best", "lineage", "export")


def test_all_that_a_trial_may_measure_can_be_read_and_exported(tmp_path: Path) -> None:
    """Also from a study of an earlier version, which took every name and every number that JSON can spell."""
    study = write_study(tmp_path, trainer=SAVES + MEASURES)
    assert call("run", study).returncode == 0
    odd = json.dumps(
        {"accuracy": 1, "half\ud800": "\udce9", "large": 10**400, "escape\x1b[31m": "\x1b]0;title\x07", "n": math.nan}
    )
    with closing(sqlite3.connect(tmp_path / "broodline.db")) as database, database:
        database.execute("UPDATE trials SET metrics = ?, reason = ?, output = ?", (odd, "\x1b[31mred", "\x1b[31mred"))
        database.execute("UPDATE measurements SET metrics = ?", (odd,))
    for command in READING:
        shown, document = call(command, study), call(command, study, "--json")
        assert (shown.returncode, document.returncode) == (0, 0), shown.stderr + document.stderr
        assert command == "export" or "\x1b" not in shown.stdout
        assert "\x1b" not in document.stdout
        for line in document.stdout.splitlines() if command != "export" else [document.stdout]:
            json.loads(line)
