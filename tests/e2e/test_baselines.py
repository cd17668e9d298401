"""Studies with strategies optuna and grid, with real workers, also after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import output
from living import begun, running, trials_of, wait_for, write_study


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", pytest.param("gp", marks=pytest.mark.frameworks)])
@pytest.mark.timeout(400)
def test_real_workers_train_the_suggestions_of_a_sampler_also_after_a_kill(tmp_path: Path, sampler: str) -> None:
    more = f'[evolution]\nstrategy = "optuna"\nsampler = "{sampler}"\n'
    study = write_study(tmp_path, population=12, workers=2, budget="generations = 2", more=more)
    with running("run", study, cwd=tmp_path, FREE="9") as run:
        wait_for(lambda: max(begun(tmp_path), default=(0, 0))[0] >= 9, "the tenth trial")
        run.kill()
    (tmp_path / "go").touch()
    output("run", study, "--json", cwd=tmp_path)
    trials = trials_of(study)
    assert [trial["state"] for trial in trials] == ["completed"] * 24
    assert sorted(trial["member"] for trial in trials) == sorted([*range(12), *range(12)])
    firsts = {trial["member"]: trial for trial in trials if trial["generation"] == 0}
    for child in (trial for trial in trials if trial["generation"] == 1):
        assert (child["parent"], child["params"]) == (firsts[child["member"]]["number"], firsts[child["member"]]["params"])
    tried = {trial["params"]["lr"] for trial in firsts.values()}
    assert len(tried) == 12 or sampler == "gp"  # gp ignores running trials, and may suggest the same again


def test_real_workers_train_all_points_of_a_grid(tmp_path: Path) -> None:
    more = '[evolution]\nstrategy = "grid"\npoints = 5\n'
    (tmp_path / "go").touch()
    study = write_study(tmp_path, population=5, workers=2, budget="generations = 2", more=more)
    output("run", study, "--json", cwd=tmp_path)
    tried = sorted({trial["params"]["lr"] for trial in trials_of(study)})
    assert tried == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
