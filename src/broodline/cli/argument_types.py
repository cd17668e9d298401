"""Values on the command line."""

from __future__ import annotations

import argparse


def at_least_one(text: str) -> int:
    """An integer from 1."""
    return _integer(text, 1)


def trial_number(text: str) -> int:
    """The number of a trial."""
    return _integer(text, 0)


def _integer(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be an integer from {least}, not '{text}'")
    return number
