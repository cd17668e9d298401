"""Draws the pictures of docs/structure.md: the packages with their imports, and the loop of a study.

The imports and the functions of the pictures are read from the code, and a test compares the committed pictures with it::

    python -m tools.draw_structure      # or: make pictures
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "broodline"
Point = tuple[int, int]

_STEP, _BOX, _HALF, _PORT = 116, 58, 112, 44  # pixels: from floor to floor, a box's height, half its width, arrow to arrow

# The card has a background of its own: it stays readable where a page does not follow the viewer's colour scheme.
STYLE = """
  text { font-family: -apple-system, "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; fill: #1f2933; }
  .card { fill: #ffffff; stroke: #d5dbe3; }
  .panel { fill: #f5f7fa; stroke: #d5dbe3; }
  .box { fill: #e8eef7; stroke: #5b7db1; stroke-width: 1.5; }
  .pure { fill: #e3f3ea; stroke: #4a9a6f; stroke-width: 1.5; }
  .name { font-weight: 600; font-size: 17px; }
  .title { font-weight: 600; font-size: 15px; }
  .small { font-size: 13px; fill: #52606d; }
  .code { font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace; font-size: 13px; fill: #3c5a8a; }
  .line { fill: none; stroke: #7b8794; stroke-width: 1.6; }
  .head { fill: #7b8794; }
  .strong { fill: none; stroke: #5b7db1; stroke-width: 3; }
  .tip { fill: #5b7db1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e9f0; }
    .card { fill: #14191f; stroke: #38424e; }
    .panel { fill: #1b222a; stroke: #38424e; }
    .box { fill: #22304a; stroke: #7d9fd6; }
    .pure { fill: #1c3a2b; stroke: #63b98a; }
    .small { fill: #a6b1bd; }
    .code { fill: #a9c4f0; }
    .line { stroke: #8793a1; }
    .head { fill: #8793a1; }
    .strong { stroke: #7d9fd6; }
    .tip { fill: #7d9fd6; }
  }
"""


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
    arrows = reduced(imports())
    floors = _floors(arrows)
    highest = max(floors.values())
    width, height = 970, _STEP * (highest + 1) + 96
    tops = {name: 62 + _STEP * (highest - floor) for name, floor in floors.items()}
    body = [_text(28, 36, "An arrow points from a package to a package that it imports", "title", anchor="start")]
    body += [_arrow(start, end, _lane(start, end, tops)) for start, end in _ports(arrows, tops)]
    for name, y in tops.items():
        package = PACKAGES[name]
        body += _box(package.centre - _HALF, y, 2 * _HALF, _BOX, kind="pure" if package.pure else "box")
        body += [_text(package.centre, y + 24, name, "name"), _text(package.centre, y + 45, package.contents, "small")]
    legend = height - 34
    body += _box(28, legend - 14, 22, 18, kind="pure")
    body.append(_text(60, legend, "pure: no clock, disk, database, threads or global random numbers", "small", anchor="start"))
    return _svg(width, height, "The packages of broodline and their imports", body)


def loop() -> str:
    """The loop of a study, as SVG."""
    body = [
        *_box(30, 50, 340, 390, kind="panel"),
        *_box(530, 50, 340, 390, kind="panel"),
        _text(200, 36, "Controller and store", "title"),
        _text(700, 36, "Worker, one of W", "title"),
    ]
    for stage in STAGES:
        body += _box(stage.left, stage.top, 280, 106, kind="box")
        centre = stage.left + 140
        body += [_text(centre, stage.top + 28, stage.name, "name"), _text(centre, stage.top + 50, stage.function[1], "code")]
        body += [_text(centre, stage.top + 73 + 19 * index, line, "small") for index, line in enumerate(stage.lines)]
    body += [
        *_strong("M 340 143 H 548", "560,143 545,135 545,151"),
        *_strong("M 700 196 V 298", "700,310 692,295 708,295"),
        *_strong("M 560 363 H 352", "340,363 355,355 355,371"),
        *_strong("M 200 310 V 208", "200,196 192,211 208,211"),
        _text(450, 128, "trial", "small"),
        _text(712, 258, "checkpoint", "small", anchor="start"),
        _text(450, 348, "metrics", "small"),
        _text(212, 258, "new trial", "small", anchor="start"),
        _text(450, 246, "One transaction", "title"),
        _text(450, 268, "per trial", "title"),
    ]
    return _svg(900, 470, "The loop of a study: ask, train, complete, reproduce", body)


def imports() -> dict[str, set[str]]:
    """The packages that each package imports when it runs, read from the source files."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        here = path.relative_to(SOURCE).with_suffix("").parts[0]
        if here in PACKAGES:
            found.setdefault(here, set()).update(there for there in _imported_by(path) if there in PACKAGES and there != here)
    return found


def reduced(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from others (the transitive reduction of a graph without circles)."""
    return {
        here: {there for there in direct if not any(there in _reachable(arrows, other) for other in direct - {there})}
        for here, direct in arrows.items()
    }


def _reachable(arrows: Mapping[str, set[str]], start: str) -> set[str]:
    return arrows[start].union(*(_reachable(arrows, there) for there in arrows[start]))


def _imported_by(path: Path) -> Iterator[str]:
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue  # imported for types only: nothing runs
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("broodline"):
            names = [node.module or ""] if "." in (node.module or "") else [f"broodline.{alias.name}" for alias in node.names]
            yield from (name.split(".")[1] for name in names)
        nodes.extend(ast.iter_child_nodes(node))


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


def _box(left: int, top: int, width: int, height: int, *, kind: str) -> list[str]:
    return [f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}" rx="9"/>']


def _text(x: int, y: int, text: str, kind: str, *, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}" xml:space="preserve">{escape(text)}</text>'


def _arrow(start: Point, end: Point, lane: int) -> str:
    (x, y), (to_x, to_y) = start, end
    gap, tip = _STEP - _BOX, to_y - 8
    bends = f"V {to_y - gap} {_bend(to_y - gap, x, to_x, tip)}" if lane == x else f"{_bend(y, x, to_x, y + gap - 8)} V {tip}"
    head = f"{to_x},{to_y} {to_x - 5},{to_y - 10} {to_x + 5},{to_y - 10}"
    return f'<path class="line" d="M {x} {y} {bends}"/><polygon class="head" points="{head}"/>'


def _bend(top: int, x: int, to_x: int, bottom: int) -> str:
    middle = (top + bottom) // 2
    return f"C {x} {middle + 6}, {to_x} {middle - 6}, {to_x} {bottom}"


def _strong(path: str, head: str) -> list[str]:
    return [f'<path class="strong" d="{path}"/>', f'<polygon class="tip" points="{head}"/>']


def _svg(width: int, height: int, title: str, body: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
            f'  width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12"/>',
            *body,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Writes the pictures."""
    for name, draw in (("house.svg", house), ("loop.svg", loop)):
        path = ROOT / "docs" / name
        path.write_text(draw(), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
