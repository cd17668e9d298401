"""The argument that selects a study: a study file, or a name together with `--store`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from broodline.errors import UsageError
from broodline.storage.urls import shown

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.storage.base import Transaction
    from broodline.storage.location import StudyLocation
    from broodline.storage.study_files import StudyFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A study.

    Args:
        name: The name of the study.
        location: Its store and files.
        file: Its study file, if the command line names one.
        store: The store, if the command line names one.
    """

    name: str
    location: StudyLocation
    file: StudyFile | None
    store: str | None

    @property
    def files(self) -> StudyFiles:
        """Its checkpoints and logs."""
        return self.location.files_of(self.name)

    def command(self, name: str) -> str:
        """The command line of another command for this study, to copy."""
        study = self.name if self.file is None else str(self.file.path)
        given = self.location.files
        options = [*([] if self.store is None else ["--store", shown(self.store)]), *(["--files", str(given)] if given else [])]
        return shlex.join(["broodline", name, study, *options])

    @contextmanager
    def records(self) -> Iterator[Transaction]:
        """A consistent view of its records.

        Raises:
            StoreError: There is no such store; none is created.
            StudyNotFound: The store has no such study.
        """
        with self.location.records(self.name) as records:
            yield records


def add_target(parser: argparse.ArgumentParser, *, by_name: bool = True, stored: bool = True) -> None:
    """Adds the arguments that select a study, and `--json`.

    Args:
        parser: The parser of one command.
        by_name: Accept the name of a study instead of a study file.
        stored: Add `--store`.
    """
    forms = "the study file, or the name of a study together with --store" if by_name else "the study file"
    parser.add_argument("study", metavar="STUDY.toml", help=forms)
    if stored:
        default = "broodline.db next to the study file"
        parser.add_argument("--store", metavar="URL", help=f"the study's database, such as sqlite:///PATH (default: {default})")
        add_files(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def add_files(parser: argparse.ArgumentParser) -> None:
    """Adds `--files`."""
    parser.add_argument(
        "--files",
        metavar="DIR",
        type=Path,
        help="directory of checkpoints and logs of a store other than SQLite (default: broodline.files next to the study file)",
    )


def target_of(arguments: argparse.Namespace) -> Target:
    """The study that the command line names.

    Raises:
        UsageError: There is no such study file, or it has a mistake.
    """
    return target_named(arguments.study, getattr(arguments, "store", None), getattr(arguments, "files", None))


def target_named(study: str, store: str | None, files: Path | None = None) -> Target:
    """The study of a study file, or the study of a name in a store.

    Raises:
        UsageError: The argument is neither, or the study file has a mistake.
    """
    from broodline.storage.location import StudyLocation, default_location, location_of

    path = Path(study)
    if _is_file(path):
        from broodline.config.study_file import read

        file = read(path)
        location = default_location(path) if store is None else location_of(store, files=files, near=path.parent)
        if store is None and files is not None:
            location = replace(location, files=files)  # which refuses it
        return Target(name=file.study.name, location=location, file=file, store=store)
    if store is None:
        raise UsageError(f"'{path}' is not a study file (STUDY.toml); to give the name of a study, add --store URL")
    return Target(name=study, location=StudyLocation(url=store, files=files), file=None, store=store)


def file_of(target: Target) -> StudyFile:
    """The study file of a command that needs one.

    Raises:
        UsageError: The command line gives only the name of the study.
    """
    if target.file is None:
        raise UsageError(
            f"'{target.name}' is not a study file (STUDY.toml); this command needs one: only a study file names programs"
        )
    return target.file


def _is_file(path: Path) -> bool:
    return path.suffix == ".toml" or len(path.parts) > 1 or path.is_file()
