"""What examples/wavenet concludes from its results: on results that were made up, and on the committed ones."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "wavenet"


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))


@pytest.fixture
def findings() -> Any:
    return import_module("findings")


def run(method: str, losses: list[float], repeat: int = 0, **columns: Any) -> dict[str, Any]:
    """One lineage of trials of 10 steps, unless told otherwise."""
    count = len(losses)
    whole = {
        "number": list(range(count)),
        "parent": [None, *range(count - 1)],
        "start": [10 * k for k in range(count)],
        "steps": [10] * count,
        "lr": [0.1] * count,
    }
    return {"method": method, "repeat": repeat, "loss": losses, **whole, **columns}


def results(findings: Any, *runs: dict[str, Any], replays: Any = (), overhead: Any = None, test: Any = None) -> Any:
    read = findings.Run.read
    return findings.Results(
        runs=list(map(read, runs)), replays=list(map(read, replays)), further=[], test=test or {}, overhead=overhead
    )


def test_the_best_so_far_never_gets_worse(findings: Any) -> None:
    assert list(findings.Run.read(run("grid", [3.0, 4.0, 2.0, 2.5])).best_so_far) == [3.0, 3.0, 2.0, 2.0]


def test_a_lineage_follows_the_parents_of_the_best_trial(findings: Any) -> None:
    # In the order of completion: trial 3 is the best, its parent is 1, and that one's is nobody.
    told = run("pbt-5x5", [5.0, 4.0, 3.0, 3.5], number=[1, 0, 3, 2], parent=[None, None, 1, 0], start=[0, 0, 10, 10])
    read = findings.Run.read(told)
    assert [read.number[k] for k in read.lineage] == [1, 3]
    assert (read.loss_at(10), read.loss_at(20), read.loss_at(30)) == (5.0, 3.0, None)


def test_a_run_is_cut_by_what_had_completed(findings: Any) -> None:
    cut = findings.Run.read(run("pbt-5x5", [5.0, 4.0, 3.0])).until(2)
    assert (cut.loss, cut.number) == ([5.0, 4.0], [0, 1])


@pytest.mark.parametrize(("ours", "holds"), [([2.0, 2.9, 2.0], True), ([2.0, 3.1, 3.1], False)])
def test_the_median_of_the_repeats_decides_who_is_lowest(findings: Any, ours: list[float], holds: bool) -> None:
    runs = [run("pbt-5x5", [loss], repeat) for repeat, loss in enumerate(ours)] + [run("grid", [3.0])]
    assert findings.lowest_at_the_full_resource(results(findings, *runs), ("pbt-5x5", "grid")).holds is holds


def test_nothing_is_claimed_of_methods_that_have_not_run(findings: Any) -> None:
    unfinished = results(findings, run("pbt-5x5", [1.0, 1.0]), run("grid", [3.0]))
    claim = findings.lowest_at_the_full_resource(unfinished, ("pbt-5x5", "grid"))
    assert (claim.holds, claim.verdict) == (None, "not run yet")
    assert {claim.holds for claim in findings.claims(results(findings), ("pbt-5x5", "grid"), 10)} == {None}


@pytest.mark.parametrize(("large", "holds"), [(2.9, True), (3.1, False)])
@pytest.mark.parametrize("lineage", [True, False])
def test_the_populations_are_compared_at_the_same_step(findings: Any, large: float, holds: bool, lineage: bool) -> None:
    told = results(findings, run("pbt-5x5", [4.0, 3.0, 2.0]), run("pbt-5x20", [4.0, large, large - 0.1]))
    assert findings.large_population_ahead(told, shallow=2, lineage=lineage).holds is holds


def test_the_best_at_a_step_may_lie_off_the_best_lineage(findings: Any) -> None:
    # Trials 0 and 1 begin; 0 is the better one, but the best child is that of 1.
    read = findings.Run.read(run("pbt-5x5", [3.0, 4.0, 2.0], parent=[None, None, 1], start=[0, 0, 10]))
    assert (read.best_at(10), read.loss_at(10), read.best_at(30)) == (3.0, 4.0, None)


@pytest.mark.parametrize(("wide", "holds"), [([2.0, 4.0], True), ([3.0, 3.01], False)])
def test_the_spread_is_compared_at_half_of_the_resource(findings: Any, wide: list[float], holds: bool) -> None:
    # What came after half of the trials does not count: PBT's last trials differ wildly.
    ours = [run("pbt-5x5", [loss, 3 * loss - 7], k) for k, loss in enumerate([3.0, 3.1])]
    told = results(findings, *ours, *(run("random", [loss, loss], k) for k, loss in enumerate(wide)))
    assert findings.varies_less(told, "pbt-5x5", than="random", described="").holds is holds


def test_the_start_is_told_of_beside_the_spread(findings: Any) -> None:
    grid = run("grid", [3.0, 2.0, 4.0, 4.0], lr=[0.1, 0.01, 1.0, 1.0])
    ours = [
        run("pbt-5x5", [loss, loss], k, lr=[rate, 0.01]) for k, (loss, rate) in enumerate([(3, 0.006), (4, 0.019), (9, 0.03)])
    ]
    deep = [run("random-deep", [loss, loss], k, lr=[rate, rate]) for k, (loss, rate) in enumerate([(3.5, 0.006), (3.9, 0.019)])]
    told = results(findings, grid, *ours, *deep)
    assert "2 repeats that drew a rate within a factor of two of 0.01 to begin with: 0.707" in findings.well_begun(told, 2)
    assert findings.lower_from_the_same_start(told, "random-deep", 2).startswith("PBT-5x5 is lower in 1 of 2 repeats")


@pytest.mark.parametrize(("replayed", "holds"), [(2.9, True), (2.93, False)])
def test_a_replay_must_beat_the_best_constant_rate_of_any_repeat_at_its_last_step(
    findings: Any, replayed: float, holds: bool
) -> None:
    deep: dict[str, Any] = {"number": [0, 1, 2, 3], "parent": [None, 0, None, 2], "start": [0, 10, 0, 10], "lr": [1, 1, 2, 2]}
    grids = [run("grid", [4.0, 3.0, 4.0, best], repeat, **deep) for repeat, best in enumerate([2.93, 2.96])]
    early = run("constants", [2.0, 9.0, 9.0, 9.0])  # ahead at its first step, where nothing is compared
    told = results(findings, *grids, early, replays=[run("pbt-5x5", [1.0, replayed])])
    assert findings.replay_beats_constants(told).holds is holds


def test_of_several_copies_of_a_replay_the_median_counts(findings: Any) -> None:
    copies: dict[str, Any] = {"number": [0, 1, 2], "parent": [None] * 3, "start": [0] * 3}
    claim = findings.replay_beats_constants(
        results(findings, run("grid", [3.0]), replays=[run("pbt-5x5", [2.0, 3.1, 2.9], **copies)])
    )
    assert claim.holds is True
    assert claim.here == "2.900 against 3.000 of the best of 1 at step 10 (2 of all 3 replays are better)"


@pytest.mark.parametrize(("ratio", "holds"), [(1.05, True), (1.051, False)])
def test_chunking_may_cost_five_percent(findings: Any, ratio: float, holds: bool) -> None:
    told = results(findings, overhead={"two_seconds": {"ratio": ratio, "train_s": 2.0, "steps": 200}})
    assert findings.chunking_is_cheap(told).holds is holds


def test_the_loss_on_the_test_split_counts_every_sample_alike(findings: Any) -> None:
    told = results(findings, test={"samples": [1, 3], "pbt-5x5-0": [2.0, 4.0], "pbt-5x20-0": [9.0, 9.0]})
    assert told.tested("pbt-5x5") == [3.5]


def test_an_advantage_is_paired_by_recording(findings: Any) -> None:
    # The recordings differ by far more than the methods do; what counts is the difference on each.
    test = {"samples": [1, 1], "pbt-5x5-0": [1.0, 9.0], "grid-0": [1.5, 9.7], "grid-1": [1.5, 9.3]}
    assert results(findings, test=test).advantage("pbt-5x5", "grid") == pytest.approx((0.5, 0.0))
    test["grid-1"] = [1.7, 9.3]
    assert results(findings, test=test).advantage("pbt-5x5", "grid") == pytest.approx((0.55, 0.05))
    assert results(findings, test=test).advantage("pbt-5x5", "gp") is None


def test_every_figure_is_drawn_from_the_committed_results(findings: Any, tmp_path: Path) -> None:
    figures, studies = import_module("figures"), import_module("studies")
    committed = findings.load(EXAMPLE / "results" / "small")
    drawn = figures.draw(committed, studies.SIZES["small"], tmp_path)
    assert [path.name for path in drawn] == [path.name for path in drawn if path.stat().st_size > 1000]
    assert {path.name for path in drawn} == {path.name for path in (EXAMPLE / "figures" / "small").glob("*.svg")}


def test_the_readme_tells_what_the_results_say(findings: Any) -> None:
    report, studies = import_module("report"), import_module("studies")
    committed = findings.load(EXAMPLE / "results" / "small")
    assert report.report(committed, studies.SIZES["small"]) in (EXAMPLE / "README.md").read_text(encoding="utf-8")


def test_every_study_of_the_experiment_is_a_study_file_that_broodline_reads(tmp_path: Path) -> None:
    from broodline.config.study_file import read

    studies = import_module("studies")
    for name, size in studies.SIZES.items():
        for plan in studies.planned(size):
            path = tmp_path / f"{name}-{plan.name}.toml"
            path.write_text(studies.study_file(plan, size, studies.HERE / "runs" / name / plan.name), encoding="utf-8")
            study = read(path).study
            assert study.budget.trials == plan.trials
            assert study.population * (study.budget.generations or size.deep) >= plan.trials


def test_the_time_of_a_trial_is_shared_out_among_its_spans() -> None:
    overhead = import_module("overhead")
    told = {"begun": 1000.25, "setup": 0.5, "first_step": 0.3, "other_steps": 0.9, "evaluate": 4.0, "save": 0.05}
    records = [
        {"steps": 10, "started": "1970-01-01T00:16:40.000000Z", "metrics": told},
        {"steps": 10, "started": "1970-01-01T00:16:46.100000Z", "metrics": told},
    ]
    (spans,) = overhead.spans_of(records)
    expected = {"ask": 0.25, "setup": 0.5, "warmup": 0.2, "train": 1.0, "save": 0.05, "complete": 0.1}
    assert spans == pytest.approx(expected)
    assert sum(spans.values()) == pytest.approx(6.1 - told["evaluate"])
