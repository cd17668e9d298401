"""Programs that misbehave: a trial may fail, but no process outlives it, and committed checkpoints stay whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from commands import call
from living import begun, logged, running, script, trials_of, wait_for, write_study

from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.checkpoints.manifest import MANIFEST

MIB = 1 << 20
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descendants are found by /proc")
# The beginning of every program below. `finish` saves and measures; `hidden` starts a descendant that is hard to find.
PRELUDE = """\
import ctypes, json, os, resource, signal, subprocess, sys, time

trial, save = int(os.environ.get("BROODLINE_TRIAL", -1)), os.environ.get("BROODLINE_SAVE", "")

def note(name, *words):
    with open(name, "a") as file:
        print(*words, file=file)

def finish():
    with open(save + "/weights", "w") as file:
        file.write("1")
    with open(os.environ["BROODLINE_METRICS"], "a") as file:
        print(json.dumps({"accuracy": trial}), file=file)

def hidden(code, *arguments, twice=True, session=True, group=False, clear=True):
    # It ignores requests to end, and has started when this returns.
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
        return
    if session:
        os.setsid()
    if group:
        os.setpgid(0, 0)
    if twice and os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.set_inheritable(writer, True)
    note("hidden", os.getpid())
    started = f"import os, sys, time; os.write({writer}, b'1'); os.close({writer})"
    os.execve(sys.executable, [sys.executable, "-c", started + "\\n" + code, *arguments], {} if clear else dict(os.environ))

FOREVER = "while True: time.sleep(0.01)"
"""
PYTHON = (sys.executable, "train.py")


def study_of(directory: Path, program: str, *, budget: str = "trials = 3", more: str = "") -> Path:
    (directory / "train.py").write_text(PRELUDE + program)
    return write_study(directory, command=PYTHON, budget=budget, more=more)


def files_of(directory: Path) -> LocalCheckpointStore:
    return LocalCheckpointStore(directory / "broodline.db.files" / "digits", checksums=False)


def hidden(directory: Path) -> list[int]:
    return [int(line[0]) for line in logged(directory, "hidden")]


def lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def assert_all_completed(study: Path, trials: int = 3) -> None:
    assert [(trial["state"], trial["attempt"]) for trial in trials_of(study)] == [("completed", 1)] * trials


def assert_whole(directory: Path) -> None:
    """The disk holds the recorded checkpoints and nothing else, all of them as they were committed."""
    files = files_of(directory)
    recorded = {Path(trial["checkpoint"]).name for trial in trials_of(directory / "study.toml") if trial["checkpoint"]}
    assert set(os.listdir(files.committed)) == recorded
    for name in recorded:
        files.open(f"checkpoints/{name}")
    assert os.listdir(files.staging) == []


# Programs that do not end, or end badly


def test_a_program_that_hangs_and_ignores_sigterm_is_killed_after_its_timeout(tmp_path: Path) -> None:
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nnote('begun', trial, 1, os.getpid())\nwhile True: time.sleep(1)\n"
    study = study_of(tmp_path, program, budget="trials = 2", more="timeout = 3\n")
    text = study.read_text().replace("grace = 5", "grace = 0.2")
    study.write_text(text)
    assert call("run", study).returncode == 1
    assert [(trial["state"], trial["reason"]) for trial in trials_of(study)] == [("failed", "timed out after 3 s")] * 2
    assert not any(lives(int(line[2])) for line in logged(tmp_path, "begun"))


SEGFAULT = "ctypes.string_at(0)"
ENDS = [
    ("a fault in memory", SEGFAULT, "killed by signal SIGSEGV"),
    (
        "no memory within its limit",
        f"resource.setrlimit(resource.RLIMIT_AS, ({512 * MIB},) * 2); bytearray({1024 * MIB})",
        "exit status 1",
    ),
    ("the kernel kills it", "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass", "killed by signal SIGKILL"),
    ("it aborts", "os.abort()", "killed by signal SIGABRT"),
]


@pytest.mark.parametrize(("program", "reason"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_a_program_that_is_killed_from_outside_has_failed(program: str, reason: str, tmp_path: Path) -> None:
    study = study_of(tmp_path, f"if trial == 1:\n    {program.replace(chr(10), chr(10) + '    ')}\nfinish()\n")
    assert call("run", study).returncode == 0
    trials = trials_of(study)
    assert [(trial["state"], trial["attempt"], trial["reason"]) for trial in trials if trial["number"] == 1] == [
        ("failed", 1, reason)
    ]
    assert [trial["state"] for trial in trials].count("completed") == 2


@contextmanager
def limited(megabytes: int) -> Iterator[Path]:
    """A control group with a memory limit; a process that writes its number to the file that is yielded enters it."""
    for group, limit in ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max")):
        mine = group / f"broodline-test-{os.getpid()}"
        entry = mine / "cgroup.procs"
        try:
            mine.mkdir()
            (mine / limit).write_text(str(megabytes * MIB))
        except OSError:
            with suppress(OSError):
                mine.rmdir()
            continue
        try:
            yield entry
        finally:
            wait_for(partial(_is_empty, entry), "the end of all processes in the group")
            mine.rmdir()
        return
    pytest.skip("memory can't be limited here: no control group can be made")


def _is_empty(group: Path) -> bool:
    return not group.read_text()


def test_a_program_that_is_killed_for_memory_has_failed(tmp_path: Path) -> None:
    with limited(64) as entry:
        program = f"if trial == 1:\n    open({str(entry)!r}, 'w').write(str(os.getpid()))\n    bytearray({512 * MIB})\nfinish()\n"
        study = study_of(tmp_path, program)
        assert call("run", study).returncode == 0
    (failed,) = [trial for trial in trials_of(study) if trial["number"] == 1]
    assert (failed["state"], failed["attempt"], failed["reason"]) == ("failed", 1, "killed by signal SIGKILL")


FUNCTION = """\
import ctypes, os, sys, time, broodline

def save(trial):
    (trial.save_to / "weights").write_text(str(trial.number))

def train(trial):
    {body}
    save(trial)
    return {{"accuracy": trial.number}}

broodline.Study(name="digits", trial_steps=10, population=2, objective={{"accuracy": "maximize"}},
                space={{"lr": broodline.Float(1e-4, 1.0, log=True)}}).run(train, budget=broodline.Budget(trials=4), show=False)
"""


def states(directory: Path, body: str) -> list[tuple[str, str | None]]:
    """The states of the trials of a study whose function does something."""
    (directory / "study.py").write_text(FUNCTION.format(body=body))
    with script("study.py", cwd=directory) as run:
        assert run.end() == 0, run.said
    trials = trials_of("digits", "--store", f"sqlite:///{directory / 'broodline.db'}")
    return [(trial["state"], trial["reason"]) for trial in trials]


def test_a_function_with_a_fault_in_memory_costs_its_trial_and_not_the_study(tmp_path: Path) -> None:
    """It ends its worker too, as often as a trial may be lost."""
    told = states(tmp_path, "trial.number == 1 and ctypes.string_at(0)")
    assert told == [("completed", None), ("failed", "lost its worker 3 times"), ("completed", None), ("completed", None)]


HARMLESS = [
    ("closes its standard output", "sys.stdout.close(); sys.stderr.close()"),
    ("closes the descriptors", "os.close(1); os.close(2)"),
    ("goes elsewhere", "os.chdir(trial.save_to)"),
    ("goes where nothing will be", "import tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)"),
    ("leaves a child that holds its output", "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"),
]


@pytest.mark.parametrize("body", [case[1] for case in HARMLESS], ids=[case[0] for case in HARMLESS])
def test_a_function_may_change_its_process_harmlessly(body: str, tmp_path: Path) -> None:
    assert states(tmp_path, body) == [("completed", None)] * 4
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if process.info["cmdline"] == ["sleep", "600"] and process.info["cwd"] == str(tmp_path):
            process.kill()  # a function's own processes are left alone: it may need them later


# Descendants


HIDDEN = [
    ("in the background", "twice=False, session=False, clear=False"),
    ("in a process group of its own", "twice=False, session=False, group=True"),
    ("in a session of its own", "twice=False, clear=False"),
    ("without its environment", "twice=False"),
    ("an orphan without its environment in a session of its own", ""),
]
HELD = "file = open(sys.argv[1], 'a')\\nwhile True: file.write('x' * 100); file.flush(); time.sleep(0.001)"


@LINUX
@pytest.mark.parametrize("how", [case[1] for case in HIDDEN], ids=[case[0] for case in HIDDEN])
def test_all_descendants_have_ended_before_a_checkpoint_is_committed(how: str, tmp_path: Path) -> None:
    """They hold a file of the checkpoint open and write to it without end; a rename would not stop them."""
    held = f"hidden('''{HELD}''', save + '/log'" + (f", {how})" if how else ")")
    study = study_of(
        tmp_path, f"open(save + '/log', 'w').close()\n{held}\nwhile not os.path.getsize(save + '/log'): pass\nfinish()\n"
    )
    try:
        assert call("run", study).returncode == 0
        assert len(hidden(tmp_path)) == 3
        assert not any(map(lives, hidden(tmp_path)))
        assert_all_completed(study)
        assert_whole(tmp_path)
    finally:
        end(hidden(tmp_path))


def end(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@LINUX
@pytest.mark.parametrize("resident", [False, True], ids=["a command", "a resident program"])
def test_a_daemon_that_holds_the_output_open_does_not_hold_the_worker_up(resident: bool, tmp_path: Path) -> None:
    answer = """
hidden(FOREVER)
for line in sys.stdin:
    told = json.loads(line)
    open(told["save"] + "/weights", "w").write("1")
    os.write(int(os.environ["BROODLINE_REPLY"]), b'{"accuracy": 1}\\n')
"""
    printed = "hidden(FOREVER)\nopen(save + '/weights', 'w').write('1')\nprint(json.dumps({'accuracy': 1}), flush=True)\n"
    more = "resident = true\n" if resident else 'metrics = "stdout"\n'
    study = study_of(tmp_path, answer if resident else printed, more=more)
    try:
        assert call("run", study).returncode == 0
        assert len(hidden(tmp_path)) == (1 if resident else 3)
        assert not any(map(lives, hidden(tmp_path)))
        assert_all_completed(study)
    finally:
        end(hidden(tmp_path))


@LINUX
def test_a_process_that_writes_on_after_its_worker_was_killed_reaches_no_checkpoint(tmp_path: Path) -> None:
    """Its directory is that of its own attempt; the attempt that follows has another."""
    program = f"""
note('begun', trial, os.environ['BROODLINE_ATTEMPT'], os.getpid())
if trial == 2 and os.environ['BROODLINE_ATTEMPT'] == '1':
    hidden('''{HELD}''', save + '/weights')
    while True: time.sleep(1)
finish()
"""
    study = study_of(tmp_path, program, budget="trials = 5")
    try:
        with running("run", study, cwd=tmp_path) as run:
            wait_for(lambda: (2, 1) in begun(tmp_path) and hidden(tmp_path))
            (worker,) = run.workers
            worker.kill()
            assert run.end() == 0, run.said
        assert {trial["number"]: trial["attempt"] for trial in trials_of(study)} == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1}
        assert_whole(tmp_path)
    finally:
        end(hidden(tmp_path))  # nothing connects it to its worker any more: no parent, no session, no environment


# Files


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("os.rename(save, save + '.moved')", "no checkpoint"),
        (
            "os.rename(save, 'elsewhere'); os.symlink(os.path.abspath('elsewhere'), save)",
            "put a link in the place of the directory",
        ),
        ("os.unlink(save + '/weights'); os.rmdir(save); open(save, 'w').write('a file')", "no checkpoint"),
        ("os.unlink(save + '/weights'); os.rmdir(save); os.symlink('/no/such/place', save)", "no checkpoint"),
    ],
    ids=["moved away", "a link elsewhere", "a file", "a link to nowhere"],
)
@pytest.mark.parametrize("evaluates", [False, True], ids=["", "evaluated"])
def test_a_program_that_replaces_its_directory_has_failed_and_the_replacement_is_deleted(
    spoil: str, reason: str, evaluates: bool, tmp_path: Path
) -> None:
    more = '[evaluate]\ncommand = ["sh", "-c", "echo \'{{\\"accuracy\\": 1}}\' >> $BROODLINE_METRICS"]\n' if evaluates else ""
    study = study_of(tmp_path, f"finish()\nif trial == 1:\n    {spoil}\n", budget="trials = 4", more=more)
    assert call("run", study).returncode == 0
    assert [trial["state"] for trial in trials_of(study)] == ["completed", "failed", "completed", "completed"]
    (failed,) = [trial for trial in trials_of(study) if trial["number"] == 1]
    assert reason in failed["reason"]
    files = files_of(tmp_path)
    assert [name for name in os.listdir(files.staging) if not name.endswith(".moved")] == []
    assert all(path.is_dir() and not path.is_symlink() for path in files.committed.iterdir())
    if (tmp_path / "elsewhere").exists():
        assert os.listdir(tmp_path / "elsewhere") == ["weights"]


@pytest.mark.parametrize(("written", "more"), [("22", ""), ("2", "[checkpoints]\nchecksums = true\n")], ids=["longer", "as long"])
def test_a_program_that_writes_into_its_parents_checkpoint_is_found_out_before_another_reads_it(
    written: str, more: str, tmp_path: Path
) -> None:
    """A file that is as long as before is found by checksums only."""
    program = f"""
restore = os.environ.get('BROODLINE_RESTORE')
note('read', trial, restore and open(restore + '/weights').read())
if trial == 2:
    open(restore + '/weights', 'w').write('{written}')
    note('spoilt', restore)
finish()
"""
    study = study_of(tmp_path, program, budget="trials = 8", more=more)
    assert call("run", study).returncode == 0
    assert [trial["state"] for trial in trials_of(study)] == ["completed"] * 8
    assert [words[0] for words in logged(tmp_path, "spoilt")]
    assert {words[1] for words in logged(tmp_path, "read")} <= {"1", "None"}


@pytest.mark.parametrize("mode", ["log", "stdout", "resident"])
def test_endless_output_fills_the_log_and_not_the_memory(mode: str, tmp_path: Path) -> None:
    flood = f"for _ in range({128}): os.write(1, b'x' * {MIB})\n"
    resident = f"""
for line in sys.stdin:
    told = json.loads(line)
    {flood.strip()}
    open(told["save"] + "/weights", "w").write("1")
    os.write(int(os.environ["BROODLINE_REPLY"]), b'{{"accuracy": 1}}\\n')
"""
    printed = flood + "open(save + '/weights', 'w').write('1')\nprint('', json.dumps({'accuracy': 1}), sep='\\n')\n"
    program = {"log": flood + "finish()\n", "stdout": printed, "resident": resident}[mode]
    more = {"log": "", "stdout": 'metrics = "stdout"\n', "resident": "resident = true\n"}[mode]
    study = study_of(tmp_path, program, budget="trials = 1", more=more)
    watched = (
        "import resource, subprocess, sys; status = subprocess.call([sys.executable, '-m', 'broodline', 'run', sys.argv[1]]); "
        "print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", watched, str(study)], capture_output=True, text=True, check=True)
    status, peak = map(int, done.stdout.splitlines()[-1].split())
    assert status == 0, done.stdout + done.stderr
    assert_all_completed(study, 1)
    assert (files_of(tmp_path).root / "logs" / "000000.1.log").stat().st_size <= 64 * MIB, "the log has no bound"
    assert peak * 1024 < 128 * MIB, "it was held in memory"


def test_a_resident_program_that_answers_without_end_has_failed(tmp_path: Path) -> None:
    program = "sys.stdin.readline()\nwhile True: os.write(int(os.environ['BROODLINE_REPLY']), b'x' * 65536)\n"
    study = study_of(tmp_path, program, budget="trials = 2", more="resident = true\n")
    assert call("run", study).returncode == 1
    assert [trial["reason"] for trial in trials_of(study)] == ["answered with more than 16 MiB"] * 2


@pytest.mark.parametrize("mode", ["log", "stdout", "resident"])
def test_a_program_may_close_its_standard_output(mode: str, tmp_path: Path) -> None:
    resident = """
sys.stdout.close(); os.close(1); os.close(2)
for line in sys.stdin:
    told = json.loads(line)
    open(told["save"] + "/weights", "w").write("1")
    os.write(int(os.environ["BROODLINE_REPLY"]), b'{"accuracy": 1}\\n')
"""
    printed = (
        "open(save + '/weights', 'w').write('1')\nprint(json.dumps({'accuracy': 1}), flush=True)\nos.close(1)\ntime.sleep(0.5)\n"
    )
    program = {"log": "sys.stdout.close(); os.close(1)\nfinish()\n", "stdout": printed, "resident": resident}[mode]
    more = {"log": "", "stdout": 'metrics = "stdout"\n', "resident": "resident = true\n"}[mode]
    study = study_of(tmp_path, program, more=more)
    assert call("run", study).returncode == 0
    assert_all_completed(study)
    assert_whole(tmp_path)
    manifest = json.loads((next(files_of(tmp_path).committed.iterdir()) / MANIFEST).read_text())
    assert manifest["files"] == {"weights": 1}
