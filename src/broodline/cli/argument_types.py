"""Types of command-line arguments."""

from __future__ import annotations

import argparse
from typing import Any


def positive_integer(argument: str) -> int:
    """An integer from 1."""
    return _integer(argument, 1)


def natural_number(argument: str) -> int:
    """An integer from 0, such as the number of a trial or a seed."""
    return _integer(argument, 0)


def device_list(argument: str) -> tuple[str, ...]:
    """Devices, separated by commas; "none" is an empty list."""
    names = tuple(name.strip() for name in argument.split(","))
    if names == ("none",):
        return ()
    if not all(names):
        raise argparse.ArgumentTypeError(f"must be a list of devices, such as 2,3, or none, got '{argument}'")
    return names


def engine_name(argument: str) -> str:
    """The name of an installed engine."""
    from broodline.registry import ENGINES  # reading the metadata of packages takes time

    if not ENGINES.has(argument):
        raise argparse.ArgumentTypeError(f"there is no engine '{argument}'; installed: {', '.join(ENGINES.names())}")
    return argument


def duration(argument: str) -> float:
    """A time above zero, in seconds: a number of seconds, or a string such as `30m`."""
    from broodline.config.fields import DURATION, InvalidValue

    try:
        value: Any = float(argument)
    except ValueError:
        value = argument
    try:
        return float(DURATION.read(value))
    except InvalidValue:
        raise argparse.ArgumentTypeError(f"must be {DURATION.expected}, got '{argument}'") from None


def _integer(argument: str, least: int) -> int:
    try:
        number = int(argument)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got '{argument}'")
    return number
