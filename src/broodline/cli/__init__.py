"""The command line: one small file a command. Commands import slow modules inside their functions, so `--help` is fast."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

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
    rm,
    run,
    schedule,
    serve,
    status,
    stop,
    streams,
    trials,
    upgrade,
    worker,
)
from broodline.core.text import printable
from broodline.errors import BroodlineError, StoreError, UsageError
from broodline.workers.signals import keep_exit_statuses

COMMANDS = (
    check,
    run,
    continue_,
    worker,
    status,
    trials,
    best,
    lineage,
    schedule,
    replay,
    compare,
    stop,
    gc,
    rm,
    export,
    upgrade,
    serve,
)

# Their work is a study: they continue when standard output breaks, and their exit status is that of the study.
TRAINING = (check, run, continue_, worker, replay, stop, serve)

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
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _status(argv)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints a warning, such as one about a deprecated name, as one line without a place in our code."""
    print(f"broodline: warning: {message}", file=sys.stderr)


def _status(argv: Sequence[str] | None) -> int:
    streams.open_missing()
    try:
        arguments = parser().parse_args(argv)
    except SystemExit:
        streams.flush_output()  # the help may not fit into the output
        raise
    if argv is None:  # called as a program: this process is ours
        keep_exit_statuses()
    _never_fail_on_a_character()
    with streams.unfailing(output=arguments.trains):
        return _status_of(arguments)


def _status_of(arguments: argparse.Namespace) -> int:
    """Runs a command and returns the exit status."""
    try:
        arguments.main(arguments)
        sys.stdout.flush()
    except BroodlineError as error:
        print(f"broodline: error: {printable(str(error))}", file=sys.stderr)
        return WRONG_USE if isinstance(error, UsageError | StoreError) else FAILED
    except KeyboardInterrupt:
        print("broodline: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        streams.flush_output()
        return BROKEN_PIPE
    except OSError as error:
        streams.flush_output()
        # Errors of standard output name no file. Others do not either, such as one about a process that can't start.
        what = "standard output can't be written" if streams.is_of_output(error) else error.filename
        print(f"broodline: error: {f'{what}: ' if what else ''}{error.strerror or error}", file=sys.stderr)
        return FAILED
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
        one.set_defaults(main=command.main, trains=command in TRAINING)
    return whole


def _never_fail_on_a_character() -> None:
    """Prints a replacement for each character that the locale of the terminal lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
