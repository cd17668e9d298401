"""`broodline gc`: what it shows, what it removes, and what it leaves alone, also beside workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from commands import call, lines_of_json, output
from living import begun, running, trials_of, wait_for, write_study
from recorded import Recorded, recorded

from broodline.core.study import Retention
from broodline.core.trial import Measurement
from broodline.storage import disk
from broodline.storage.base import Store, Transaction
from broodline.storage.checkpoints import local
from broodline.storage.location import StudyLocation
from broodline.studies.gc import GcOptions, clear
from broodline.testing import check_invariants

ALL = "[checkpoints]\nkeep_all = true\n"


def on_disk(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "broodline.db.files" / "digits" / "checkpoints").iterdir())


def named(directory: Path) -> list[str]:
    """The checkpoints that the records name."""
    return sorted(Path(trial["checkpoint"]).name for trial in trials_of(directory / "study.toml") if trial["checkpoint"])


def gc(directory: Path, *options: str) -> dict[str, Any]:
    (told,) = lines_of_json("gc", "study.toml", *options, cwd=directory)
    assert isinstance(told, dict)
    return told


def needed(told: Mapping[str, Any]) -> dict[int, list[str]]:
    return {each["trial"]: each["needed"] for each in told["checkpoints"]}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one worker and two members that is done, all of its eight checkpoints kept."""
    directory = tmp_path_factory.mktemp("all")
    (directory / "go").touch()
    output("run", write_study(directory, budget="trials = 8", more=ALL))
    return directory


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def rules(directory: Path, text: str) -> None:
    path = directory / "study.toml"
    path.write_text(path.read_text().partition("[checkpoints]")[0] + text)


def test_a_study_that_needs_all_it_has_loses_nothing(study: Path) -> None:
    before = on_disk(study)
    told = gc(study)
    assert told["freed"] == 0
    assert all("kept" in why for why in needed(told).values())
    assert on_disk(study) == named(study) == before
    assert len(before) == 8


def test_narrower_rules_are_taken_over_and_what_they_do_not_keep_goes_from_store_and_disk(study: Path) -> None:
    rules(study, "[checkpoints]\nkeep_best = 1\n")
    assert needed(gc(study, "--dry-run")) == {
        **{key: [] for key in range(4)},
        **{key: ["recent"] for key in (4, 5)},
        **{
            trial["number"]: ["recent"] + ["best"] * (trial["number"] == best(study))
            for trial in trials_of(study / "study.toml")[6:]
        },
    }
    assert len(on_disk(study)) == 8
    told = gc(study)
    assert told["freed"] > 0
    assert on_disk(study) == named(study) == [f"{number:06d}.1" for number in range(4, 8)]
    with closing(StudyLocation(url=f"sqlite:///{study / 'broodline.db'}").open()) as store:
        check_invariants(store, "digits")
    assert gc(study)["freed"] == 0


def best(directory: Path) -> int:
    (found,) = lines_of_json("best", "study.toml", cwd=directory)
    return int(found["number"])


def test_every_kth_generation_stays_where_the_rules_say_so(study: Path) -> None:
    rules(study, "[checkpoints]\nkeep_every = 2\n")
    gc(study)
    generations = {trial["number"]: trial["generation"] for trial in trials_of(study / "study.toml") if trial["checkpoint"]}
    assert set(generations.values()) == {0, 2, 3}  # the last two of each member are of generations 2 and 3


def test_a_dry_run_changes_nothing(study: Path) -> None:
    rules(study, "")
    before = output("export", "study.toml", cwd=study), on_disk(study)
    shown = output("gc", "study.toml", "--dry-run", cwd=study)
    assert "would be freed; nothing was deleted" in shown
    assert (output("export", "study.toml", cwd=study), on_disk(study)) == before


def test_by_name_the_rules_are_those_of_the_store(study: Path) -> None:
    rules(study, "")
    (told,) = lines_of_json("gc", "digits", "--store", f"sqlite:///{study / 'broodline.db'}")
    assert told["freed"] == 0
    assert len(on_disk(study)) == 8


def test_a_study_goes_on_after_it_was_cleared(study: Path) -> None:
    rules(study, "")
    gc(study)
    path = study / "study.toml"
    path.write_text(path.read_text().replace("trials = 8", "trials = 10"))
    output("run", path)
    later = trials_of(path)[8:]
    assert [trial["state"] for trial in later] == ["completed"] * 2
    assert all(trial["parent"] in (trial["initiator"], trial["opponent"]) for trial in later)


def test_what_crashes_left_goes_and_what_is_not_from_broodline_stays(study: Path) -> None:
    files = study / "broodline.db.files" / "digits"
    for orphan in ("staging/000099.1", "staging/000003.1.removed", "checkpoints/000003.7"):
        (files / orphan).mkdir()
        (files / orphan / "weights").write_bytes(bytes(1000))
    (files / "checkpoints" / "mine").mkdir()
    told = gc(study)
    piles = {pile["kind"]: pile for pile in told["others"]}
    assert piles["left by crashes and superseded attempts"] == {
        "kind": "left by crashes and superseded attempts",
        "count": 3,
        "bytes": 3000,
        "removed": True,
    }
    assert piles["not from broodline"]["count"] == 1
    assert told["freed"] == 3000
    assert os.listdir(files / "staging") == []
    assert on_disk(study) == [*named(study), "mine"]


def test_directories_that_can_not_be_deleted_are_reported_and_do_not_count_as_freed(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = StudyLocation(url=f"sqlite:///{study / 'broodline.db'}")
    files = location.files_of("digits")
    orphans = [files.root / "staging" / name for name in ("000001.3", "000001.4")]
    for orphan in orphans:
        orphan.mkdir()
        (orphan / "weights").write_bytes(bytes(1000))
    delete = disk.delete
    monkeypatch.setattr(local, "delete", lambda path: path != orphans[0] and delete(path))
    with closing(location.open()) as store:
        usage = clear(store, "digits", files, GcOptions())
    assert usage.stuck == (orphans[0],)
    assert usage.freed == 1000


def test_a_checkpoint_that_is_missing_is_told_of(study: Path) -> None:
    shutil.rmtree(study / "broodline.db.files" / "digits" / "checkpoints" / "000003.1")
    told = gc(study)
    assert [each["trial"] for each in told["checkpoints"] if each["bytes"] is None] == [3]
    assert re.search(r"checkpoints, missing on the disk +1 ", output("gc", "study.toml", cwd=study))


def test_logs_go_when_asked_and_those_of_failed_trials_stay(tmp_path: Path) -> None:
    trainer = (
        'echo "trial $BROODLINE_TRIAL"\nif [ "$BROODLINE_TRIAL" = 2 ]; then exit 3; fi\necho 1 > "$BROODLINE_SAVE/weights"\n'
    )
    trainer += 'echo \'{"accuracy": 1}\' >> "$BROODLINE_METRICS"\n'
    output("run", write_study(tmp_path, trainer=trainer, budget="trials = 4"))
    logs = tmp_path / "broodline.db.files" / "digits" / "logs"
    gc(tmp_path)
    assert len(os.listdir(logs)) == 4
    gc(tmp_path, "--logs")
    assert os.listdir(logs) == ["000002.1.log"]


# A study that is over


def test_a_study_that_is_over_shrinks_to_its_best(study: Path) -> None:
    rules(study, "")
    fittest = sorted(trials_of(study / "study.toml"), key=lambda trial: (-trial["fitness"], trial["number"]))[:2]
    shown = output("gc", "study.toml", "--keep-best", "2", cwd=study)
    assert "if the study is resumed" in shown
    assert on_disk(study) == named(study) == sorted(Path(trial["checkpoint"]).name for trial in fittest)


def test_what_is_kept_for_good_stays_also_when_the_study_is_over(study: Path) -> None:
    gc(study, "--keep-best", "1")
    assert len(on_disk(study)) == 8


@pytest.mark.parametrize("interrupted", [False, True], ids=["runs", "was interrupted"])
def test_a_study_that_may_go_on_is_not_shrunk(interrupted: bool, tmp_path: Path) -> None:
    write_study(tmp_path, budget="trials = 6")
    with running("run", "study.toml", cwd=tmp_path, FREE="4") as run:
        wait_for(lambda: (4, 1) in begun(tmp_path))
        if interrupted:
            run.family()
            run.popen.send_signal(signal.SIGTERM)
            assert run.end() == 130
        before = on_disk(tmp_path)
        done = call("gc", "study.toml", "--keep-best", "1", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "end it with `broodline stop`" in done.stderr
        assert on_disk(tmp_path) == named(tmp_path) == before


# Beside workers


def test_beside_a_running_study_only_what_nothing_needs_goes_and_the_study_takes_the_new_rules_over(tmp_path: Path) -> None:
    path = write_study(tmp_path, budget="trials = 10", more=ALL)
    with running("run", path, cwd=tmp_path, FREE="6") as run:
        wait_for(lambda: (6, 1) in begun(tmp_path))
        staged = tmp_path / "broodline.db.files" / "digits" / "staging" / "000006.1"
        rules(tmp_path, "")
        told = needed(gc(tmp_path))
        assert staged.is_dir()
        parent = trials_of(path)[6]["parent"]
        assert "in use" in told[parent]
        assert on_disk(tmp_path) == named(tmp_path)
        assert len(on_disk(tmp_path)) < 6
        (tmp_path / "go").touch()
        assert run.end() == 0
    trials = trials_of(path)
    assert [(trial["state"], trial["attempt"]) for trial in trials] == [("completed", 1)] * 10
    assert len(on_disk(tmp_path)) <= 2 * 2 + 1


def test_however_often_it_is_told_beside_workers_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    path = write_study(tmp_path, population=3, workers=3, budget="trials = 30", more=ALL)
    times, location = 0, StudyLocation(url=f"sqlite:///{tmp_path / 'broodline.db'}")
    files = location.files_of("digits")
    with running("run", path, cwd=tmp_path) as run, closing(location.open()) as store:
        wait_for(lambda: begun(tmp_path))
        while run.popen.poll() is None:
            clear(store, "digits", files, GcOptions(retention=Retention()))
            times += 1
            time.sleep(0.05)  # others must get at the store, too
        assert run.end() == 0, run.said
        records = json.loads(output("export", path))["trials"]
        assert [(trial["state"], trial["attempt"], trial["damaged"]) for trial in records] == [("completed", 1, None)] * 30
        clear(store, "digits", files, GcOptions())
        check_invariants(store, "digits")
    assert times > 1
    wait_for(lambda: on_disk(tmp_path) == named(tmp_path))


def test_a_study_file_of_another_study_is_refused_and_nothing_is_removed(study: Path) -> None:
    rules(study, "")
    path = study / "study.toml"
    path.write_text(path.read_text().replace("trial_steps = 10", "trial_steps = 20"))
    done = call("gc", "study.toml", cwd=study)
    assert done.returncode == 2
    assert "trial_steps: 10 -> 20" in done.stderr
    assert len(on_disk(study)) == 8


@pytest.fixture
def played(tmp_path: Path) -> Recorded:
    return recorded(
        StudyLocation(url=f"sqlite:///{tmp_path / 'broodline.db'}").open(), population=2, checkpoints={"keep_all": True}
    )


def test_a_trial_that_begins_while_the_study_is_looked_through_keeps_its_parent(played: Recorded, tmp_path: Path) -> None:
    """What was seen first is judged again in the transaction: what began meanwhile counts."""
    files = StudyLocation(url=f"sqlite:///{tmp_path / 'broodline.db'}").claimed_files("digits")
    files.prepare()
    for accuracy in (0.9, 0.1, 0.2, 0.3, 0.4, 0.5):
        trial = played.held("0")
        (files.checkpoints.begin(trial) / "weights").write_text("1")
        files.checkpoints.commit(trial)
        played.complete({"accuracy": accuracy})

    class Busy:
        """The store, in which a trial completes and the next begins as soon as somebody has looked."""

        @contextmanager
        def snapshot(self, study: str) -> Iterator[Transaction]:
            with played.store.snapshot(study) as records:
                yield records
            played.complete({"accuracy": 0.6})

        def __getattr__(self, name: str) -> Any:
            return getattr(played.store, name)

    held = played.held("0")
    stock = clear(cast(Store, Busy()), "digits", files, GcOptions(retention=Retention()))
    began = played.held("0")
    assert began.number == held.number + 1
    with played.store.snapshot("digits") as records:
        parent = records.trial(began.parent or 0)
        assert parent is not None
        assert parent.checkpoint is not None
        assert {trial.number for trial in records.trials() if trial.checkpoint} >= {t.trial for t in stock.held if t.needs}
    check_invariants(played.store, "digits")
    played.store.close()


def test_rules_that_keep_more_keep_what_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    path = write_study(tmp_path, budget="trials = 8")
    output("run", path)
    there = on_disk(tmp_path)
    path.write_text(path.read_text().replace("trials = 8", "trials = 14") + ALL)
    output("run", path)
    assert set(on_disk(tmp_path)) == {*there, *(f"{number:06d}.1" for number in range(8, 14))}


def test_measurements_are_not_touched(played: Recorded, tmp_path: Path) -> None:
    trial = played.held("0")
    played.controller.report("digits", trial.number, trial.attempt, [Measurement(step=1, metrics={"accuracy": 0.5})], 1)
    files = StudyLocation(url=f"sqlite:///{tmp_path / 'broodline.db'}").claimed_files("digits")
    clear(played.store, "digits", files, GcOptions())
    with played.store.snapshot("digits") as records:
        assert json.dumps([m.step for m in records.measurements(trial.number)]) == "[1]"
    played.store.close()
