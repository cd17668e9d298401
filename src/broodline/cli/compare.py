"""`broodline compare`."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from broodline.cli.output import print_json
from broodline.cli.study_argument import Target, add_files, target_named
from broodline.cli.trial_argument import chosen_lineage
from broodline.errors import UsageError

if TYPE_CHECKING:
    from broodline.reports.comparison import Contender

PURPOSE = "Compare the best metric of studies at equal cost, as a table and as a figure."
EXAMPLE = "broodline compare study.toml random.toml -o compare.svg"

# A label holds none of these characters: a path or a URL may hold a "=" itself.
_LABELLED = re.compile(r"([^=/:#]+)=(.+)", re.DOTALL)
_REPEAT = re.compile(r"(.+)-[0-9]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    forms = "a study file, the name of a study in the store of --store, or URL#NAME"
    add("studies", metavar="STUDY", nargs="+", help=f"{forms}; LABEL=STUDY sets a label, and equal labels mean repeats")
    add("--store", metavar="URL", help="the store of the studies (default: broodline.db next to each study file)")
    add_files(parser)
    add("--group", action="store_true", help="treat the studies NAME-0, NAME-1, ... as repeats of NAME")
    add("-o", "--output", metavar="FILE", type=Path, help="draw a figure to FILE: .svg, .png or .pdf (needs matplotlib)")
    add("--json", action="store_true", help="print JSON, with all points of every curve")


def main(arguments: argparse.Namespace) -> None:
    """Compares studies."""
    from broodline.reports.comparison import check_comparable
    from broodline.reports.terminal.comparison import document, show
    from broodline.reports.terminal.tables import terminal_console

    path = arguments.output
    if path is not None:
        _check_drawable(path)
    contenders = _contenders(arguments.studies, arguments.store, arguments.files, repeats=arguments.group)
    check_comparable(contenders)
    if path is not None:
        _draw(contenders, path)
    if arguments.json:
        print_json(document(contenders) | ({} if path is None else {"figure": str(path.absolute())}))
        return
    show(contenders, terminal_console())
    if path is not None:
        print(f"wrote the figure to {path.absolute()}")


def _contenders(studies: Sequence[str], store: str | None, files: Path | None, *, repeats: bool) -> list[Contender]:
    labels = [found[1] if (found := _labelled(each)) else None for each in studies]
    named = [found[2] if (found := _labelled(each)) else each for each in studies]
    targets = [_target(each, store, files) for each in named]
    _check_distinct(targets)
    names = Counter(target.name for target, label in zip(targets, labels, strict=True) if label is None)
    contenders = []
    for target, label, given in zip(targets, labels, named, strict=True):
        repeat = _REPEAT.fullmatch(target.name) if repeats else None
        own = repeat[1] if repeat else target.name if names[target.name] == 1 else given
        contenders.append(_contender(target, label or own))
    return contenders


def _check_distinct(targets: Sequence[Target]) -> None:
    (name, _), times = Counter((target.name, target.location) for target in targets).most_common(1)[0]
    if times > 1:
        raise UsageError(f"study '{name}' is given {times} times\nhelp: give each study once")


def _labelled(study: str) -> re.Match[str] | None:
    return None if Path(study).is_file() else _LABELLED.fullmatch(study)


def _target(study: str, store: str | None, files: Path | None) -> Target:
    url, separator, name = study.rpartition("#")
    return target_named(name, url, files) if separator and "://" in url else target_named(study, store, files)


def _contender(target: Target, label: str) -> Contender:
    from broodline.config.study import study_from
    from broodline.reports.comparison import contender

    with target.records() as records:
        return contender(label, study_from(records.definition()), records.trials(), chosen_lineage(records, target, None))


def _check_drawable(path: Path) -> None:
    try:
        from broodline.reports.figure import FORMATS
    except ImportError:
        raise UsageError("drawing a figure needs matplotlib: pip install 'broodline[plot]', or leave out -o") from None
    if path.suffix not in FORMATS:
        raise UsageError(f"{path}: the name of a figure must end in {', '.join(FORMATS)}")


def _draw(contenders: Sequence[Contender], path: Path) -> None:
    from broodline.reports.figure import draw

    try:
        draw(contenders, path)
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror}\nhelp: name another file with -o") from error
