"""The compared methods and sizes: every study of the experiment as a study file.

All methods have the same trainer, network, data, workers, steps a trial and number of trials; only who decides the learning
rate differs. One unit of resource is a trial; the paper's is 1,000 steps, with 5 workers and 200 units.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RANGE = (1e-5, 1e-1)  # of the learning rate: four decades
LINEAGES = 5  # of a deep study; the shallow ones have four times as many


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of the experiment.

    Args:
        voice: Which recordings.
        network: Sizes of the network.
        batch: Crops a step.
        segment: Samples a crop to train on.
        crops: Of the validation split.
        crop: Samples of each that are predicted.
        trial_steps: Steps a trial.
        deep: Trials of a lineage if 5 workers train 5 lineages; `LINEAGES * deep` is the resource.
        shallow: Trials of a lineage if there are 20.
        repeats: Of every method, with other seeds.
        workers: At a time; the paper's 5, where results count.
        copies: Of each replay, with other random numbers.
        spread: Of PBT-5x5 and random search, for Figure 10; the further ones may stop at half of the resource.
    """

    voice: str
    network: dict[str, int]
    batch: int
    segment: int
    crops: int
    crop: int
    trial_steps: int
    deep: int
    shallow: int
    repeats: int
    spread: int
    copies: int = 3
    workers: int = 5

    @property
    def resource(self) -> int:
        """Trials of each study."""
        return LINEAGES * self.deep


SIZES = {
    # For CI: a minute, too small for a result.
    "quick": Size(
        voice="asterisk",
        network={"channels": 8, "skip": 16, "layers": 4, "stacks": 1},
        batch=1,
        segment=256,
        crops=4,
        crop=500,
        trial_steps=5,
        deep=4,
        shallow=1,
        repeats=1,
        spread=2,
        copies=2,
        workers=2,
    ),
    # Two CPU cores, an hour and a half or more.
    "small": Size(
        voice="festvox",
        network={"channels": 16, "skip": 32, "layers": 8, "stacks": 1},
        batch=1,
        segment=1024,
        crops=24,
        crop=1500,
        trial_steps=80,
        deep=40,
        shallow=10,
        repeats=3,
        spread=10,
    ),
    # The kind of network that the paper trained, for GPUs.
    "paper": Size(
        voice="festvox",
        network={"channels": 64, "skip": 256, "layers": 10, "stacks": 3},
        batch=8,
        segment=8000,
        crops=32,
        crop=8000,
        trial_steps=1000,
        deep=40,
        shallow=10,
        repeats=3,
        spread=10,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method that decides the learning rate.

    Args:
        title: In figures.
        population: Lineages.
        evolution: That table of the study file.
        shallow: True if each lineage gets `Size.shallow` trials, False if it gets `Size.deep`, None if they evolve.
        rates: The range of the learning rate.
    """

    title: str
    population: int
    evolution: dict[str, str | int]
    shallow: bool | None = None
    rates: tuple[float, float] = RANGE


METHODS = {
    "pbt-5x5": Method(title="PBT-5x5", population=5, evolution={"strategy": "initiator"}),
    "pbt-5x20": Method(title="PBT-5x20", population=20, evolution={"strategy": "initiator"}),
    "grid": Method(title="grid", population=5, evolution={"strategy": "grid", "points": 5}, shallow=False),
    "random": Method(title="random search", population=20, evolution={"strategy": "optuna", "sampler": "random"}, shallow=True),
    "gp": Method(title="GP-bandit", population=20, evolution={"strategy": "optuna", "sampler": "gp"}, shallow=True),
    "cmaes": Method(title="CMA-ES", population=20, evolution={"strategy": "optuna", "sampler": "cmaes"}, shallow=True),
}
CONTROLS = {  # for comparison only
    # Constant rates around the best ones of the grid, as baselines for a replayed schedule.
    "constants": Method(
        title="finer grid", population=5, evolution={"strategy": "grid", "points": 5}, shallow=False, rates=(1e-3, 3.2e-2)
    ),
    # PBT-5x5 without evolution.
    "random-deep": Method(title="random search, 5 deep lineages", population=5, evolution={"strategy": "random"}),
}
SPREAD = ("pbt-5x5", "pbt-5x20", "random", "random-deep")  # Figure 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One study of the experiment.

    Args:
        method: A key of `METHODS` or `CONTROLS`.
        repeat: Which of its repeats; the seed follows from it, so repeat k of all methods begins alike.
        trials: Its budget.
    """

    method: str
    repeat: int
    trials: int

    @property
    def name(self) -> str:
        """Names its folder, its results, and the study."""
        return f"{self.method}-{self.repeat}"


def planned(size: Size) -> list[Planned]:
    """All studies of the comparison, in an order that makes early results useful."""
    compared = [Planned(method=method, repeat=k, trials=size.resource) for k in range(size.repeats) for method in METHODS]
    constants = [Planned(method="constants", repeat=k, trials=size.resource) for k in range(size.repeats)]
    spread = [
        Planned(method=method, repeat=k, trials=size.resource // 2)
        for k in range(size.spread)
        for method in SPREAD
        if method in CONTROLS or k >= size.repeats
    ]
    return [*compared, constants[0], *spread, *constants[1:]]


def study_file(plan: Planned, size: Size, folder: Path) -> str:
    """The content of a study file in `folder`."""
    method = (METHODS | CONTROLS)[plan.method]
    low, high = method.rates
    budget = {"trials": plan.trials}
    if method.shallow is not None:
        budget["generations"] = size.shallow if method.shallow else size.deep
    # Relative, so that the whole folder can be moved.
    program = Path(*[".."] * len(folder.relative_to(HERE).parts), "train.py")
    return "\n".join(
        [
            f'name = "{plan.name}"',
            f"trial_steps = {size.trial_steps}",
            f"population = {method.population}",
            f"workers = {size.workers}",
            f"seed = {plan.repeat}",
            "[objective]",
            'loss = "minimize"',
            "[space]",
            f"lr = {{ float = [{low}, {high}], log = true }}",
            *fixed_params(size),
            "[evolution]",
            *(_line(name, value) for name, value in method.evolution.items()),
            "[budget]",
            *(_line(name, value) for name, value in budget.items()),
            "[train]",
            f'command = ["python", "{program}"]',
            "resident = true",
            "",
        ]
    )


def fixed_params(size: Size) -> list[str]:
    """The lines of a study file's [space] that give the trainer everything but the learning rate."""
    fixed = size.network | {name: getattr(size, name) for name in ("voice", "batch", "segment", "crops", "crop")}
    return [_line(name, value) for name, value in fixed.items()]


def _line(name: str, value: str | int) -> str:
    return f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
