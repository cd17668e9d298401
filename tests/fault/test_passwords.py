"""A password in the URL of a store appears in no output, no log and no argument of a process that broodline starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
from commands import ENVIRONMENT
from living import begun, wait_for, write_study
from postgres import Server

PASSWORD = "never-shown"
LOOP = """
import os, time, broodline
for trial in broodline.trials(os.environ["STORE"], "digits"):
    with trial:
        while not os.path.exists("done"):
            time.sleep(0.02)
        (trial.save_to / "weights").write_text("1")
        trial.report(step=trial.start + trial.steps, accuracy=1.0)
"""


def test_a_password_is_shown_nowhere(postgres: Server, tmp_path: Path) -> None:
    url = postgres.new_schema().replace("postgres@", f"postgres:{PASSWORD}@")
    study = write_study(tmp_path, budget="trials = 3", more="[engine]\nlease = 30\n")
    (tmp_path / "loop.py").write_text(LOOP)
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": tmp_path}
    run = [sys.executable, "-m", "broodline", "run", str(study), "--store", url]
    with subprocess.Popen(run, env=ENVIRONMENT, **pipe) as running:  # type: ignore[call-overload]
        wait_for(lambda: begun(tmp_path), "a trial of the run")
        loop = [sys.executable, "loop.py"]
        with subprocess.Popen(loop, env=ENVIRONMENT | {"STORE": url}, **pipe) as looping:  # type: ignore[call-overload]
            held = f"SELECT 1 FROM {url.rpartition('%3D')[2]}.trials WHERE worker LIKE '%-{looping.pid}'"
            wait_for(lambda: postgres.execute(held), "a trial of the loop")
            started = [child for each in (running, looping) for child in psutil.Process(each.pid).children(recursive=True)]
            arguments = [" ".join(child.cmdline()) for child in started]
            for name in ("go", "done"):
                (tmp_path / name).touch()
            printed = running.communicate(timeout=100)[0] + looping.communicate(timeout=100)[0]
    assert (running.returncode, looping.returncode) == (0, 0), printed
    assert any("heartbeat" in each for each in arguments)
    assert any("worker_process" in each for each in arguments)
    assert f"postgresql://postgres@127.0.0.1:{postgres.port}/" in printed
    logs = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert [each for each in (*arguments, printed, *logs) if PASSWORD in each] == []
    assert os.environ.get("STORE") is None
