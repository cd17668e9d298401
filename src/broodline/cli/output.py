"""Standard output of the commands: JSON for scripts, tables and lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


def print_json(document: Any) -> None:
    """Prints a document as one line of JSON, at once: a script may read the lines of a command that still runs."""
    from broodline.reports.records import to_json

    print(to_json(document), flush=True)


def print_blocks(*blocks: RenderableType) -> None:
    """Prints tables and other blocks, laid out for the terminal."""
    from broodline.reports.terminal.tables import terminal_console

    terminal_console().print(*blocks)


def print_line(line: str) -> None:
    """Prints a line that a user may copy from, such as a path or a command: it is not broken at the terminal's width."""
    from broodline.reports.terminal.tables import terminal_console

    terminal_console().print(line, soft_wrap=True)
