"""Names that study files used until version 0.1: they work for one more version, with a warning."""

from __future__ import annotations

from pathlib import Path

from commands import call, write_study


def test_a_study_of_a_former_strategy_name_is_the_same_study_under_the_new_name(tmp_path: Path) -> None:
    study = write_study(tmp_path, trials=2, more='[evolution]\nstrategy = "none"\n')
    first = call("run", study)
    assert first.returncode == 0
    warned = f"broodline: warning: {study}: [evolution] strategy: 'none' is deprecated: write 'random'"
    assert first.stderr.splitlines().count(warned) == 1

    study.write_text(study.read_text().replace('"none"', '"random"').replace("trials = 2", "trials = 3"))
    again = call("run", study)
    assert again.returncode == 0
    assert "deprecated" not in again.stderr
