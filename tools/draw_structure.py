"""Draws the pictures of docs/structure.md: the packages with their imports, and the loop of a study.

The imports and the functions of the pictures are read from the code, and a test compares the committed pictures with it::

    python -m tools.draw_structure      # or: make pictures
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.package_graph import ROOT, imports, reduced
from tools.svg import box, strong, svg, text

Point = tuple[int, int]

_STEP, _BOX, _HALF, _PORT = 116, 58, 112, 44  # pixels: from floor to floor, a box's height, half its width, arrow to arrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package in the picture.

    Args:
        centre: The horizontal position, in pixels. The vertical one follows from the imports.
        contents: One line about it.
        pure: It has no clock, disk, threads or global random numbers.
    """

    centre: int
    contents: str
    pure: bool = False


PACKAGES = {
    "cli": Package(centre=340, contents="one file per command"),
    "simulation": Package(centre=590, contents="studies in virtual time"),
    "testing": Package(centre=835, contents="contract tests"),
    "service": Package(centre=835, contents="HTTP server and client"),
    "integrations": Package(centre=140, contents="PyTorch, Optax, Keras"),
    "studies": Package(centre=465, contents="run, replay, continue, check, gc"),
    "workers": Package(centre=610, contents="trial loop, trainers, engines"),
    "reports": Package(centre=350, contents="results, tables, figures"),
    "controller": Package(centre=700, contents="one transaction per call"),
    "config": Package(centre=350, contents="study and schedule files"),
    "strategies": Package(centre=350, contents="one file per strategy", pure=True),
    "storage": Package(centre=700, contents="database, checkpoints"),
    "registry": Package(centre=190, contents="entry points"),
    "core": Package(centre=525, contents="trials, space, decisions", pure=True),
    "errors": Package(centre=357, contents="one tree of errors", pure=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of the loop.

    Args:
        name: Its name.
        function: The function that does it, as module and qualified name.
        lines: What happens.
        left, top: The corner of its box, in pixels.
    """

    name: str
    function: tuple[str, str]
    lines: tuple[str, ...]
    left: int
    top: int


STAGES = (
    Stage(
        name="1  Ask",
        function=("controller.controller", "Controller.ask"),
        lines=("A worker asks for a trial. It gets", "hyperparameters and a checkpoint."),
        left=60,
        top=90,
    ),
    Stage(
        name="2  Train",
        function=("workers.trainers.base", "Trainer.train"),
        lines=("The worker restores the parent's", "checkpoint and trains some steps."),
        left=560,
        top=90,
    ),
    Stage(
        name="3  Complete",
        function=("controller.controller", "Controller.complete"),
        lines=("The worker commits its checkpoint,", "reports metrics, asks for the next."),
        left=560,
        top=310,
    ),
    Stage(
        name="4  Reproduce",
        function=("core.strategy", "Strategy.decide"),
        lines=("The fitter of two members becomes", "the parent; its child is mutated."),
        left=60,
        top=310,
    ),
)


def house() -> str:
    """The packages and their imports, as SVG.

    An arrow that follows from others is left out: `cli` imports `core`, and reaches it through `studies` anyway.
    """
    arrows = reduced(imports(PACKAGES))
    floors = _floors(arrows)
    highest = max(floors.values())
    width, height = 970, _STEP * (highest + 1) + 96
    tops = {name: 62 + _STEP * (highest - floor) for name, floor in floors.items()}
    body = [text(28, 36, "An arrow points from a package to a package that it imports", "title", anchor="start")]
    body += [_arrow(start, end, _lane(start, end, tops)) for start, end in _ports(arrows, tops)]
    for name, y in tops.items():
        package = PACKAGES[name]
        body += box(package.centre - _HALF, y, 2 * _HALF, _BOX, kind="pure" if package.pure else "box")
        body += [text(package.centre, y + 24, name, "name"), text(package.centre, y + 45, package.contents, "small")]
    legend = height - 34
    body += box(28, legend - 14, 22, 18, kind="pure")
    body.append(text(60, legend, "pure: no clock, disk, database, threads or global random numbers", "small", anchor="start"))
    return svg(width, height, "The packages of broodline and their imports", body)


def loop() -> str:
    """The loop of a study, as SVG."""
    body = [
        *box(30, 50, 340, 390, kind="panel"),
        *box(530, 50, 340, 390, kind="panel"),
        text(200, 36, "Controller and store", "title"),
        text(700, 36, "Worker, one of W", "title"),
    ]
    for stage in STAGES:
        body += box(stage.left, stage.top, 280, 106, kind="box")
        centre = stage.left + 140
        body += [text(centre, stage.top + 28, stage.name, "name"), text(centre, stage.top + 50, stage.function[1], "code")]
        body += [text(centre, stage.top + 73 + 19 * index, line, "small") for index, line in enumerate(stage.lines)]
    body += [
        *strong("M 340 143 H 548", "560,143 545,135 545,151"),
        *strong("M 700 196 V 298", "700,310 692,295 708,295"),
        *strong("M 560 363 H 352", "340,363 355,355 355,371"),
        *strong("M 200 310 V 208", "200,196 192,211 208,211"),
        text(450, 128, "trial", "small"),
        text(712, 258, "checkpoint", "small", anchor="start"),
        text(450, 348, "metrics", "small"),
        text(212, 258, "new trial", "small", anchor="start"),
        text(450, 246, "One transaction", "title"),
        text(450, 268, "per trial", "title"),
    ]
    return svg(900, 470, "The loop of a study: ask, train, complete, reproduce", body)


def _floors(arrows: Mapping[str, set[str]]) -> dict[str, int]:
    """The number of packages on the longest way down from each package."""
    floors: dict[str, int] = {}
    while len(floors) < len(arrows):
        ready = {here for here in arrows.keys() - floors.keys() if arrows[here] <= floors.keys()}
        if not ready:
            raise SystemExit(f"the packages import each other in a circle: {sorted(arrows.keys() - floors.keys())}")
        floors |= {here: max((floors[there] + 1 for there in arrows[here]), default=0) for here in sorted(ready)}
    # A package that nothing imports stands on the floor of the commands, or next to `studies`.
    floors["testing"] = max(floors.values())
    floors["integrations"] = floors["studies"]
    return floors


def _ports(arrows: Mapping[str, set[str]], tops: Mapping[str, int]) -> Iterator[tuple[Point, Point]]:
    """The start and the end of each arrow: the arrows of a box leave and enter it side by side."""
    pairs = [(here, there) for here in sorted(arrows) for there in sorted(arrows[here])]
    for here, there in pairs:
        leaving = sorted((end for start, end in pairs if start == here), key=lambda name: PACKAGES[name].centre)
        entering = sorted((start for start, end in pairs if end == there), key=lambda name: PACKAGES[name].centre)
        yield (
            (PACKAGES[here].centre + _offset(leaving.index(there), len(leaving)), tops[here] + _BOX),
            (PACKAGES[there].centre + _offset(entering.index(here), len(entering)), tops[there]),
        )


def _offset(index: int, count: int) -> int:
    return round(_PORT * (index - (count - 1) / 2))


def _lane(start: Point, end: Point, tops: Mapping[str, int]) -> int:
    """Where an arrow over several floors runs down: at its start if no box stands in the way, or else at its end."""
    in_the_way = [
        name
        for name, top in tops.items()
        if start[1] < top < end[1] - _BOX and abs(PACKAGES[name].centre - start[0]) < _HALF + 10
    ]
    return end[0] if in_the_way else start[0]


def _arrow(start: Point, end: Point, lane: int) -> str:
    (x, y), (to_x, to_y) = start, end
    gap, tip = _STEP - _BOX, to_y - 8
    bends = f"V {to_y - gap} {_bend(to_y - gap, x, to_x, tip)}" if lane == x else f"{_bend(y, x, to_x, y + gap - 8)} V {tip}"
    head = f"{to_x},{to_y} {to_x - 5},{to_y - 10} {to_x + 5},{to_y - 10}"
    return f'<path class="line" d="M {x} {y} {bends}"/><polygon class="head" points="{head}"/>'


def _bend(top: int, x: int, to_x: int, bottom: int) -> str:
    middle = (top + bottom) // 2
    return f"C {x} {middle + 6}, {to_x} {middle - 6}, {to_x} {bottom}"


def main() -> None:
    """Writes the pictures."""
    for name, draw in (("house.svg", house), ("loop.svg", loop)):
        path = ROOT / "docs" / name
        path.write_text(draw(), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
