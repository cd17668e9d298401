"""Devices and threads of real worker processes: what a run deals out, and what a worker that joins takes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import ENVIRONMENT
from living import PATIENT, begun, running, script, wait_for, write_study

VISIBILITY = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
NOTES_FACTS = (
    'echo "{\\"worker\\": \\"$BROODLINE_WORKER\\", \\"devices\\": \\"$BROODLINE_DEVICES\\", '
    '\\"cuda\\": \\"${CUDA_VISIBLE_DEVICES-unset}\\", \\"threads\\": \\"$OMP_NUM_THREADS $OPENBLAS_NUM_THREADS\\"}" >> facts\n'
)


def facts_of(directory: Path, *, workers: int, more: str, **environ: str) -> dict[str, dict[str, str]]:
    """The facts that each worker's program got: every worker trains one trial."""
    study = write_study(
        directory, trainer=NOTES_FACTS + PATIENT, population=workers, workers=workers, budget=f"trials = {workers}", more=more
    )
    with running("run", study, cwd=directory, **environ) as run:
        wait_for(lambda: len(begun(directory)) == workers)
        (directory / "go").touch()
        assert run.end() == 0
    lines = [json.loads(line) for line in (directory / "facts").read_text().splitlines()]
    return {line.pop("worker"): line for line in lines}


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VISIBILITY, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delitem(ENVIRONMENT, name, raising=False)


@pytest.mark.usefixtures("no_variables")
def test_several_workers_share_a_device(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, workers=4, more='[engine]\ndevices = ["0", "1"]\n')
    assert {worker: line["devices"] for worker, line in facts.items()} == {"0": "0", "1": "0", "2": "1", "3": "1"}
    assert all(line["cuda"] == line["devices"] for line in facts.values())


@pytest.mark.usefixtures("no_variables")
def test_a_worker_has_several_devices(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, workers=2, more="[engine]\ndevices = [4, 5, 6, 7]\n")
    assert {worker: line["devices"] for worker, line in facts.items()} == {"0": "4,5", "1": "6,7"}
    assert all(line["cuda"] == line["devices"] for line in facts.values())


@pytest.mark.usefixtures("no_variables")
def test_numeric_libraries_have_one_thread_each_by_default(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, workers=1, more='[engine]\ndevices = "none"\n')
    assert facts == {"0": {"devices": "", "cuda": "unset", "threads": "1 1"}}


@pytest.mark.usefixtures("no_variables")
def test_variables_for_threads_that_are_set_are_left_alone(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, workers=1, more='[engine]\ndevices = "none"\nthreads = 3\n', OMP_NUM_THREADS="7")
    assert facts == {"0": {"devices": "", "cuda": "unset", "threads": "7 3"}}


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize(
    ("more", "dealt"),
    [
        ("", {"0": "5", "1": "6"}),
        ('[engine]\ndevices = ["0", "1"]\n', {"0": "5", "1": "6"}),
        ("[engine]\ndevices = [6]\n", {"0": "6", "1": "6"}),
    ],
)
def test_inherited_devices_are_dealt_out(tmp_path: Path, more: str, dealt: dict[str, str]) -> None:
    facts = facts_of(tmp_path, workers=2, more=more, CUDA_VISIBLE_DEVICES="5,6")
    assert {worker: line["devices"] for worker, line in facts.items()} == dealt
    assert {worker: line["cuda"] for worker, line in facts.items()} == dealt


@pytest.mark.usefixtures("no_variables")
def test_devices_none_leaves_the_inherited_variable_as_it_is(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, workers=1, more='[engine]\ndevices = "none"\n', CUDA_VISIBLE_DEVICES="5,6")
    assert (facts["0"]["devices"], facts["0"]["cuda"]) == ("", "5,6")


@pytest.mark.usefixtures("no_variables")
def test_a_program_gets_its_devices_in_the_variable_that_was_inherited(tmp_path: Path) -> None:
    trainer = 'echo "$ZE_AFFINITY_MASK ${CUDA_VISIBLE_DEVICES-unset}" >> masks\n' + PATIENT
    study = write_study(tmp_path, trainer=trainer, population=1, workers=1, budget="trials = 1", more="[engine]\ndevices = [1]\n")
    (tmp_path / "go").touch()
    with running("run", study, cwd=tmp_path, ZE_AFFINITY_MASK="0.0,0.1") as run:
        assert run.end() == 0
    assert (tmp_path / "masks").read_text() == "0.1 unset\n"


@pytest.mark.usefixtures("no_variables")
def test_shared_devices_are_named_in_one_line(tmp_path: Path) -> None:
    study = write_study(tmp_path, population=2, workers=2, budget="trials = 2")
    (tmp_path / "go").touch()
    with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="5") as run:
        assert run.end() == 0
        assert run.said.count("device 5 is shared: 2 workers use 1 device") == 1


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize("command", ["run", "worker"])
def test_a_device_that_is_not_visible_is_one_clear_error_and_no_study_is_created(tmp_path: Path, command: str) -> None:
    study = write_study(tmp_path, more="[engine]\ndevices = [7]\n")
    with running(command, study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="5,6") as run:
        assert run.end() == 2
        assert "broodline: error: device '7' is not one of those that are visible here: CUDA_VISIBLE_DEVICES=5,6" in run.said
        assert "Traceback" not in run.said
    assert not list(tmp_path.glob("*.db*"))


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize(("devices", "dealt"), [("6", "6"), ("1,0", "6,5"), ("none", "")])
def test_a_worker_that_joins_uses_the_devices_of_the_command_line(tmp_path: Path, devices: str, dealt: str) -> None:
    study = write_study(tmp_path, trainer=NOTES_FACTS + PATIENT, population=2, workers=1, budget="trials = 2")
    with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="5,6") as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        with running("worker", study, "--devices", devices, cwd=tmp_path, CUDA_VISIBLE_DEVICES="5,6") as worker:
            wait_for(lambda: len(begun(tmp_path)) == 2)
            (tmp_path / "go").touch()
            assert run.end() == worker.end() == 0
            shared = {"6": "device 6 is", "1,0": "devices 6, 5 are"}.get(devices)
            assert ("shared with other workers" in worker.said) is bool(shared)
            assert f"{shared or ''} shared with other workers" in worker.said or not shared
    facts = {line.pop("worker"): line for line in map(json.loads, (tmp_path / "facts").read_text().splitlines())}
    (joined,) = facts.keys() - {"0"}
    assert facts["0"]["devices"] == "5,6"
    assert facts[joined]["devices"] == dealt
    assert facts[joined]["cuda"] == (dealt or "5,6")


# Leases of devices

ALL = "0,1,2"
LEASES = "broodline.db.files/*/devices/*"


def leases(directory: Path) -> list[str]:
    """The devices that the lease files name."""
    return sorted(path.read_text() for path in directory.glob(LEASES))


def facts(directory: Path) -> list[dict[str, str]]:
    """What the programs noted, in the order in which they started."""
    path = directory / "facts"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def study_of(directory: Path, name: str, *, workers: int = 1, more: str = "") -> Path:
    """A study file of its own directory, in the store that all studies of the test share."""
    folder = directory / name
    folder.mkdir()
    study = write_study(
        folder, trainer=NOTES_FACTS + PATIENT, population=8, workers=workers, budget=f"trials = {workers}", more=more
    )
    study.write_text(study.read_text().replace('name = "digits"', f'name = "{name}"'))
    return study


@pytest.mark.usefixtures("no_variables")
def test_a_worker_that_joins_takes_as_many_free_devices_as_the_others_have(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=NOTES_FACTS + PATIENT, population=3, workers=1, budget="trials = 3")
    with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0") as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        with running("worker", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES=ALL) as first:
            wait_for(lambda: len(begun(tmp_path)) == 2)
            with running("worker", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES=ALL) as second:
                wait_for(lambda: len(begun(tmp_path)) == 3)
                (tmp_path / "go").touch()
                assert run.end() == first.end() == second.end() == 0
                assert first.said.count("this worker uses device 1, which is free; choose others by --devices") == 1
    assert [(each["devices"], each["cuda"]) for each in facts(tmp_path)] == [("0", "0"), ("1", "1"), ("2", "2")]
    assert leases(tmp_path) == []


@pytest.mark.usefixtures("no_variables")
def test_workers_that_join_at_once_take_different_devices(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=NOTES_FACTS + PATIENT, population=4, workers=1, budget="trials = 4")
    with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0") as run, ExitStack() as joined:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        workers = [joined.enter_context(running("worker", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0,1,2,3")) for _ in range(3)]
        wait_for(lambda: len(begun(tmp_path)) == 4)
        (tmp_path / "go").touch()
        assert [each.end() for each in (run, *workers)] == [0] * 4
    assert sorted(each["devices"] for each in facts(tmp_path)) == ["0", "1", "2", "3"]


@pytest.mark.usefixtures("no_variables")
def test_the_device_of_a_killed_worker_is_free_at_once(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=NOTES_FACTS + PATIENT, population=4, workers=1, budget="trials = 4")
    with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0") as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        with running("worker", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0,1") as killed:
            wait_for(lambda: len(begun(tmp_path)) == 2)
            assert leases(tmp_path) == ["0", "1"]
            killed.popen.kill()
            killed.end()
        before = len(begun(tmp_path))
        with running("worker", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0,1") as worker:
            wait_for(lambda: len(begun(tmp_path)) > before)
            (tmp_path / "go").touch()
            assert run.end() == worker.end() == 0
            assert "this worker uses device 1, which is free" in worker.said
    (device,) = {each["devices"] for each in facts(tmp_path) if each["worker"].endswith(f"-{worker.popen.pid}")}
    assert device == "1"
    assert leases(tmp_path) == []


@pytest.mark.usefixtures("no_variables")
def test_a_worker_of_a_run_that_is_killed_keeps_its_device(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=NOTES_FACTS + PATIENT, population=2, workers=2, budget="trials = 2")
    with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0,1") as run:
        wait_for(lambda: len(begun(tmp_path)) == 2)
        first = next(worker for worker in run.workers)
        first.kill()
        wait_for(lambda: len(begun(tmp_path)) == 3)
        assert leases(tmp_path) == ["0", "1"]
        (tmp_path / "go").touch()
        assert run.end() == 0
    devices = {(each["worker"], each["devices"]) for each in facts(tmp_path)}
    assert devices == {("0", "0"), ("1", "1")}


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize(
    ("visible", "dealt", "note"),
    [
        ("0,1,2", ["1", "2"], "device 0 is in use by other workers, so this run uses devices 1, 2"),
        ("0,1", ["1", "1"], "so this run uses device 1; device 1 is shared: 2 workers use 1 device"),
        ("0", ["0", "0"], "device 0 is shared with other workers: no device is free; device 0 is shared: 2 workers use 1 device"),
    ],
)
def test_a_run_of_another_study_takes_free_devices_first(tmp_path: Path, visible: str, dealt: list[str], note: str) -> None:
    store = f"sqlite:///{tmp_path}/broodline.db"
    one, other = study_of(tmp_path, "one"), study_of(tmp_path, "other", workers=2)
    with running("run", one, "--store", store, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0") as first:
        wait_for(lambda: begun(one.parent))
        with running("run", other, "--store", store, cwd=tmp_path, CUDA_VISIBLE_DEVICES=visible) as second:
            wait_for(lambda: len(begun(other.parent)) == 2)
            (other.parent / "go").touch()
            assert second.end() == 0
            assert second.said.count(note) == 1
        (one.parent / "go").touch()
        assert first.end() == 0
    assert sorted(each["devices"] for each in facts(other.parent)) == dealt


@pytest.mark.usefixtures("no_variables")
def test_a_run_that_is_killed_and_resumed_has_its_devices_again(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=NOTES_FACTS + PATIENT, population=2, workers=2, budget="trials = 2")
    with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0,1") as run:
        wait_for(lambda: len(begun(tmp_path)) == 2)
        run.popen.kill()  # alone: its workers need a moment to notice
        run.end()
        before = len(begun(tmp_path))
        with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0,1") as again:
            wait_for(lambda: len(begun(tmp_path)) >= before + 2)
            (tmp_path / "go").touch()
            assert again.end() == 0
            assert "shared" not in again.said
            assert "in use" not in again.said
    assert {each["devices"] for each in facts(tmp_path)[before:]} == {"0", "1"}


@pytest.mark.usefixtures("no_variables")
def test_a_loop_of_its_own_holds_the_devices_that_a_variable_gives_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, trainer=NOTES_FACTS + PATIENT, population=3, workers=1, budget="trials = 3")
    (tmp_path / "loop.py").write_text(LOOP)
    with running("run", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES="0") as run:
        wait_for(lambda: len(begun(tmp_path)) == 1)
        with script("loop.py", cwd=tmp_path, CUDA_VISIBLE_DEVICES="1") as loop:
            wait_for(lambda: (tmp_path / "looped").exists())
            with running("worker", study, cwd=tmp_path, CUDA_VISIBLE_DEVICES=ALL) as worker:
                wait_for(lambda: len(begun(tmp_path)) == 2)
                (tmp_path / "go").touch()
                assert run.end() == loop.end() == worker.end() == 0
    assert [each["devices"] for each in facts(tmp_path)] == ["0", "2"]


LOOP = """\
import broodline, os, time

for trial in broodline.trials("sqlite:///broodline.db", "digits"):
    with trial:
        open("looped", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.02)
        (trial.save_to / "weights").write_text("1")
        trial.report(accuracy=1.0)
"""
