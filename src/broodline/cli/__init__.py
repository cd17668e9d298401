"""The command line: one small file a command. Commands import slow modules inside their functions, so `--help` is fast."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from broodline import __version__
from broodline.cli import (
    best,
    check,
    compare,
    continue_,
    export,
    gc,
    lineage,
    replay,
    run,
    schedule,
    status,
    stop,
    trials,
    worker,
)
from broodline.errors import BroodlineError, StoreError, UsageError
from broodline.workers.signals import keep_exit_statuses

COMMANDS = (check, run, continue_, worker, status, trials, best, lineage, schedule, replay, compare, stop, gc, export)

DONE, FAILED, WRONG_USE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

_DESCRIPTION = """\
Tune hyperparameters while the model trains: population based training, for any program that saves its weights, loads them
and reports a metric.
"""
_EPILOG = """\
exit status:
  0 success, 1 the study failed, 2 wrong usage, 130 interrupted (repeat the command to resume)

example:
  broodline run study.toml
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status; errors of broodline are printed without a traceback."""
    arguments = parser().parse_args(argv)
    if argv is None:  # called as a program: this process is ours
        keep_exit_statuses()
    _never_fail_on_a_character()
    try:
        arguments.main(arguments)
        sys.stdout.flush()
    except BroodlineError as error:
        print(f"broodline: error: {error}", file=sys.stderr)
        return WRONG_USE if isinstance(error, UsageError | StoreError) else FAILED
    except KeyboardInterrupt:
        print("broodline: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    return DONE


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = argparse.ArgumentParser(
        prog="broodline",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"broodline {__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(
            command.__name__.rpartition(".")[2].rstrip("_"),
            help=command.PURPOSE,
            description=command.PURPOSE,
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(one)
        one.set_defaults(main=command.main)
    return whole


def _never_fail_on_a_character() -> None:
    """Prints a replacement for each character that the locale of the terminal lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _drop_output() -> None:
    """Discards further output after the reader has closed the pipe (`| head`): else Python reports the pipe again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
