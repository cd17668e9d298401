"""The disk usage of a running study at every moment, with real workers, one of them four times slower."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from commands import output
from directory_watch import watching
from living import running, trials_of, wait_for, write_study

from broodline.storage.base import Store
from broodline.storage.location import default_location
from broodline.testing import check_invariants

POPULATION, WORKERS, TRIALS = 8, 4, 200
FAST, SLOW = 0.04, 0.16  # seconds per trial

# Who trains how long does not depend on the machine. The score follows from the seed alone, so the best is an old one most of the
# time, and is displaced now and then.
TRAINER = """\
set -eu
if [ "$BROODLINE_WORKER" = 0 ]; then sleep {slow}; else sleep {fast}; fi
if [ -n "${BROODLINE_RESTORE:-}" ]; then test "$(stat -c %s "$BROODLINE_RESTORE/weights")" = "$(stat -c %s blob)"; fi
cp blob "$BROODLINE_SAVE/weights"
echo "{\\"accuracy\\": $BROODLINE_SEED}" >> "$BROODLINE_METRICS"
"""

# 2 for each member, the parents of what is running (a worker trains one trial at a time), and the best.
BOUND = 2 * POPULATION + WORKERS + 1
# A worker commits first and is heard then: until what its trial made useless is gone, there is one more.
HANDED_IN = WORKERS


def study_of(directory: Path, *, size: int, trials: int = TRIALS, more: str = "") -> Path:
    with (directory / "blob").open("wb") as file, open("/dev/urandom", "rb") as random:
        for _ in range(size // 50_000):
            file.write(random.read(50_000))
    trainer = TRAINER.replace("{slow}", str(SLOW)).replace("{fast}", str(FAST))
    return write_study(directory, trainer=trainer, population=POPULATION, workers=WORKERS, budget=f"trials = {trials}", more=more)


def seconds_of(trial: dict[str, Any]) -> float:
    begun, ended = (datetime.fromisoformat(trial[name]) for name in ("started", "finished"))
    return (ended - begun).total_seconds()


def check_records(store: Store) -> int:
    """The number of checkpoints in the records of a running study at one moment."""
    with store.snapshot("digits") as records:
        named = [checkpoint.trial for checkpoint in records.checkpoints()]
        parents = {trial.parent for trial in records.unfinished()} - {None}
    assert len(named) <= 2 * POPULATION + len(parents) + 1, (named, parents)
    return len(named)


def prepare_files(path: Path) -> None:
    """Creates the database and its directory, so that the directory can be watched before the run begins."""
    location = default_location(path)
    with closing(location.open()):
        location.claimed_files("digits").prepare()


@pytest.mark.parametrize(
    "size", [50_000, pytest.param(50_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3000)])], ids=["50 kB", "50 MB"]
)
def test_the_disk_never_holds_more_than_two_checkpoints_per_member_the_parents_in_use_and_the_best(
    size: int, tmp_path: Path
) -> None:
    path = study_of(tmp_path, size=size)
    checkpoints = tmp_path / "broodline.db.files" / "digits" / "checkpoints"
    prepare_files(path)
    with (
        closing(default_location(path).open()) as store,
        watching(checkpoints) as watch,
        running("run", path, cwd=tmp_path) as run,
    ):
        wait_for(lambda: "digits" in store.studies())
        named = [0]
        while run.popen.poll() is None:
            named.append(check_records(store))
            time.sleep(0.02)
        assert run.end() == 0, run.said
    print(f"at most {watch.most} checkpoints on the disk, {max(named)} in the records; bound {BOUND}")
    assert sorted(watch.came) == [f"{number:06d}.1" for number in range(TRIALS)]
    assert 2 * POPULATION <= watch.most <= BOUND + HANDED_IN
    assert sorted([*watch.went, *(found.name for found in checkpoints.iterdir())]) == sorted(watch.came)
    trials = trials_of(path)
    assert min(seconds_of(trial) for trial in trials if trial["worker"] == "0") >= SLOW
    recorded = {Path(trial["checkpoint"]).name for trial in trials if trial["checkpoint"]}
    assert {found.name for found in checkpoints.iterdir()} == recorded
    assert len(recorded) <= 2 * POPULATION + 1
    with closing(default_location(path).open()) as store:
        check_invariants(store, "digits")


def test_the_directory_watch_notices_a_study_that_holds_more(tmp_path: Path) -> None:
    trials = BOUND + HANDED_IN + 5
    path = study_of(tmp_path, size=50_000, trials=trials, more="[checkpoints]\nkeep_all = true\n")
    prepare_files(path)
    with watching(tmp_path / "broodline.db.files" / "digits" / "checkpoints") as watch:
        output("run", path)
    assert (watch.most, watch.went) == (trials, [])
