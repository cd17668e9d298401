"""Types of command-line arguments."""

from __future__ import annotations

import argparse


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


def _integer(argument: str, least: int) -> int:
    try:
        number = int(argument)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got '{argument}'")
    return number
