"""The tables of the README, made from the results: the figures of the paper, and those of this experiment."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import findings
from findings import Results
from studies import METHODS, Size, planned

BEGIN, END = "<!-- results: written by figures.py -->", "<!-- end of results -->"

# Of the paper's Figures 4, 5 and 6, read off their plots (about ±0.01).
PAPER = {
    "pbt-5x5": (5.61, 5.54, 5.755),
    "pbt-5x20": (5.71, 5.56, 5.705),
    "grid": (5.66, 5.58, 5.905),
    "random": (None, None, None),
    "gp": (5.74, 5.57, 5.74),
    "cmaes": (5.77, 5.58, 5.765),
}


def told(values: list[float]) -> str:
    """The median of repeats, and their range."""
    if not values:
        return ""
    return f"**{median(values):.3f}** ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else f"**{values[0]:.3f}**"


def rows(results: Results, size: Size) -> list[list[str]]:
    """One row per method: the paper's three numbers, ours beside them, and the loss on the test split."""
    made = []
    for method, title in ((method, about.title) for method, about in METHODS.items()):
        runs = results.of(method)
        at_step = [run.loss_at(size.shallow * size.trial_steps) for run in runs]
        ours = [
            [min(run.loss) for run in runs],
            [min(run.loss) for run in results.further if run.method == method],
            [loss for loss in at_step if loss is not None],
        ]
        cells = []
        for theirs, here in zip(PAPER[method], ours, strict=True):
            cells += ["" if theirs is None else f"{theirs:g}", told(here)]
        made.append([f"{title} ({len(runs)})", *cells, told(results.tested(method))])
    return made


def table(head: list[str], body: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def report(results: Results, size: Size) -> str:
    """Both tables."""
    steps = size.shallow * size.trial_steps
    head = [
        "method (repeats)",
        "Fig. 4, full resource: paper",
        "here",
        "Fig. 5, trained on: paper",
        "here",
        "Fig. 6, early in the best lineage (paper: step 10,000): paper",
        f"here: step {steps:,}",
        "test split",
    ]
    claims = findings.claims(results, tuple(METHODS), size.shallow)
    judged = [[claim.sentence, claim.figure, claim.paper, claim.here, f"**{claim.verdict}**"] for claim in claims]
    return "\n\n".join(
        [
            table(["claim", "figure", "paper", "here", "verdict"], judged),
            "Validation losses, in nats a sample: the median of the repeats, and their range. The paper's objective is another,\n"
            "so only the order of methods can be compared.",
            table(head, rows(results, size)),
            *sureness(results),
            *missing(results, size),
        ]
    )


def missing(results: Results, size: Size) -> list[str]:
    """The studies of the plan that have no results yet."""
    trials = {(run.method, run.repeat): len(run.loss) for run in results.runs}
    further = {(run.method, run.repeat) for run in results.further}
    left = [plan.name for plan in planned(size) if trials.get((plan.method, plan.repeat), 0) < plan.trials]
    left += [
        f"{plan.name} trained on"
        for plan in planned(size)
        if plan.method in METHODS and plan.repeat < size.repeats and (plan.method, plan.repeat) not in further
    ]
    left += [] if results.test else ["the test split"]
    return [f"**Not run yet** (`make wavenet` goes on with it): {', '.join(left)}."] if left else []


def sureness(results: Results) -> list[str]:
    """The differences on the test split, with the standard error over its recordings."""
    compared = [(METHODS[other].title, results.advantage("pbt-5x5", other)) for other in METHODS if other != "pbt-5x5"]
    parts = [f"{title} {found[0]:.3f} ± {found[1]:.3f}" for title, found in compared if found is not None]
    if not parts:
        return []
    count = len(results.test["samples"])
    return [
        f"On the test split ({count} recordings that nothing else has seen) PBT-5x5 is lower than the others by, in nats a\n"
        f"sample and with the standard error over the recordings: {', '.join(parts)}."
    ]


def bring_up_to_date(readme: Path, results: Results, size: Size) -> None:
    """Writes both tables between their marks."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{report(results, size)}\n\n{END}{after}", encoding="utf-8")
