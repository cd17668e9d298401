"""Schedules on a disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broodline.config.schedule_formats import NOTATIONS, read, write
from broodline.core.schedule import Schedule
from broodline.errors import ScheduleError, UsageError


def load_schedule(path: str | os.PathLike[str]) -> Schedule:
    """Reads a schedule that `broodline schedule STUDY -o FILE` or `save_schedule` wrote.

    Args:
        path: The file; `.json`, `.toml` or `.csv` tells how it is written.

    Raises:
        ScheduleError: It can't be read, or is no schedule.

    Example:
        >>> load_schedule("schedule.json")(1500)["lr"]                                     # doctest: +SKIP
        0.064
    """
    source, notation = str(path), notation_of(Path(path))
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ScheduleError(source, "", f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScheduleError(source, "", "is not UTF-8 text") from None
    return read(content, notation, source)


def save_schedule(
    schedule: Schedule, path: str | os.PathLike[str], *, notation: str | None = None, origin: Mapping[str, Any] | None = None
) -> None:
    """Writes a schedule; the file never holds half of one.

    Args:
        schedule: The schedule.
        path: The file.
        notation: "json", "toml" or "csv"; None: as the file's name ends.
        origin: The `study` and the `trial` that it comes from.

    Raises:
        UsageError: It can't be written.
    """
    path = Path(path)
    content = write(schedule, notation or notation_of(path), origin)
    beside = path.with_name(path.name + ".partial")
    try:
        beside.write_bytes(content.encode())
        os.replace(beside, path)
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: can't be written: a param is a text that UTF-8 can't hold ({error.reason})") from None
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{path}: can't be written: {error.strerror}; name another file") from error


def notation_of(path: Path) -> str:
    """How a file of this name is written.

    Raises:
        UsageError: Its name does not tell.
    """
    notation = path.suffix.removeprefix(".").lower()
    if notation not in NOTATIONS:
        endings = ", ".join(f".{each}" for each in NOTATIONS)
        raise UsageError(f"{path}: its name must end in {endings}, which tells how it is written")
    return notation
