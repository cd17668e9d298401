"""Types of command-line arguments."""

from __future__ import annotations

import argparse


def positive_integer(argument: str) -> int:
    """An integer from 1."""
    return _integer(argument, 1)


def natural_number(argument: str) -> int:
    """An integer from 0, such as the number of a trial or a seed."""
    return _integer(argument, 0)


def engine_name(argument: str) -> str:
    """The name of an installed engine."""
    from broodline.registry import ENGINES  # reading the metadata of packages takes time

    if not ENGINES.has(argument):
        raise argparse.ArgumentTypeError(f"there is no engine '{argument}'; installed: {', '.join(ENGINES.names())}")
    return argument


def _integer(argument: str, least: int) -> int:
    try:
        number = int(argument)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got '{argument}'")
    return number
