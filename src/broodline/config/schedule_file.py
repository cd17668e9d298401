"""Reading and writing schedule files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broodline.config.schedule_formats import NOTATIONS, read, write
from broodline.core.schedule import Schedule
from broodline.errors import ScheduleError, UsageError
from broodline.storage.disk import write_whole


def load_schedule(path: str | os.PathLike[str]) -> Schedule:
    """Reads a schedule that `broodline schedule STUDY -o FILE` or `save_schedule` wrote.

    Args:
        path: The file; its suffix, `.json`, `.toml` or `.csv`, names the notation.

    Raises:
        ScheduleError: The file can't be read, or is not a valid schedule.

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
        raise ScheduleError(source, "", "is not encoded in UTF-8") from None
    return read(content, notation, source)


def save_schedule(
    schedule: Schedule, path: str | os.PathLike[str], *, notation: str | None = None, origin: Mapping[str, Any] | None = None
) -> None:
    """Writes a schedule. The write is atomic: the file never holds a part of one.

    Args:
        schedule: The schedule.
        path: The file.
        notation: "json", "toml" or "csv"; None: by the suffix of the file.
        origin: The `study` and the `trial` that it comes from.

    Raises:
        UsageError: The file can't be written.
    """
    path = Path(path)
    content = write(schedule, notation or notation_of(path), origin)
    try:
        write_whole(path, [content.encode()])
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: can't be written: UTF-8 can't encode the value of a hyperparameter ({error.reason})") from None
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror}\nhelp: name another file") from error


def notation_of(path: Path) -> str:
    """The notation of a file, by its suffix.

    Raises:
        UsageError: The suffix is unknown.
    """
    notation = path.suffix.removeprefix(".").lower()
    if notation not in NOTATIONS:
        endings = ", ".join(f".{each}" for each in NOTATIONS)
        raise UsageError(f"{path}: the file name must end in {endings}")
    return notation
