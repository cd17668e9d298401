"""Thousands of real trials while processes are killed and stopped, disks fill or go away, and databases are locked: `make soak`.

`BROODLINE_SOAK_SEED` draws other faults, `BROODLINE_SOAK_TRIALS` changes the number of trials.
A kill counts for the phase that it hit, which is read from memory that outlives the worker.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from soak.campaign import Campaign, faults_of
from soak.fault_injector import FaultInjector
from soak.places import chaotic_place
from soak.stage import COMMAND, FUNCTION, RESIDENT, Stage, small_disk

SEED = int(os.environ.get("BROODLINE_SOAK_SEED", "0"))
TRIALS = int(os.environ.get("BROODLINE_SOAK_TRIALS", "2000"))
ENOUGH = 20  # kills in each phase, of a whole soak
UNMOUNTS = 12

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3 * 3600)]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line while the test runs."""

    def shown(line: str) -> None:
        with capsys.disabled():
            print("\n" + line, flush=True)

    return shown


@pytest.mark.parametrize(("kind", "share"), [(COMMAND, 1.0), (RESIDENT, 0.3), (FUNCTION, 0.3)])
def test_nothing_is_ever_lost(kind: str, share: float, tmp_path: Path, show: Callable[[str], None]) -> None:
    with small_disk(tmp_path / "disk") as no_disk:
        if no_disk is not None:
            show(f"skipped, the full disk: {no_disk}")
        stage = Stage(tmp_path / "disk", tmp_path / "notes", SEED, kind=kind)
        injector = FaultInjector(stage=stage, rng=random.Random(SEED))
        faults = faults_of(injector, may_fill=no_disk is None, share=share)
        campaign = Campaign(
            stage=stage,
            injector=injector,
            faults=faults,
            trials=round(share * TRIALS),
            enough=ENOUGH if kind == COMMAND else 0,
            show=show,
        )
        campaign.play()
    campaign.assert_clean()


def test_two_stores_in_one_directory_lose_nothing_while_files_are_unmounted_and_paths_differ(
    tmp_path: Path, show: Callable[[str], None]
) -> None:
    """One store is reached by its path, by a link and by another mount; its files are unmounted again and again."""
    share = 0.3
    one = Stage(tmp_path / "disk", tmp_path / "one", SEED, kind=RESIDENT, database="soak.db")
    other = Stage(tmp_path / "disk", tmp_path / "other", SEED + 1, kind=COMMAND, database="soak.sqlite")
    with chaotic_place(one, tmp_path) as mounts:
        campaigns = []
        for stage in (one, other):
            injector = FaultInjector(stage=stage, rng=random.Random(stage.database.name + str(SEED)))
            more = mounts.faults(injector, UNMOUNTS) if stage is one else []
            faults = faults_of(injector, share=share, more=more)
            campaigns.append(
                Campaign(stage=stage, injector=injector, faults=faults, trials=round(share * TRIALS), enough=0, show=show)
            )
        with ThreadPoolExecutor(len(campaigns)) as threads:
            for played in [threads.submit(campaign.play) for campaign in campaigns]:
                played.result()
    for campaign in campaigns:
        campaign.assert_clean()
