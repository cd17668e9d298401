"""Watching a run: a live view in a terminal, plain lines elsewhere, or only what workers have to say."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel

from broodline.errors import StoreUnavailable
from broodline.reports import format as wording
from broodline.reports.status import Overview, read
from broodline.reports.terminal import status as panels
from broodline.reports.terminal.tables import console as console_for_people
from broodline.storage.base import Store

LIVE_SECONDS = 0.25
PLAIN_SECONDS = 5.0
_PACE_SECONDS = 30.0
_OTHER_LINES = 16  # of a terminal: what stands above and below the workers


class Watch(Protocol):
    """What a run tells those who watch it; `run.Watch` is the same."""

    def say(self, line: str) -> None:
        """Shows one line, such as what a worker has to say."""

    def refresh(self) -> None:
        """Shows how the study stands now, if it is time to."""


Watching = Callable[[Store], AbstractContextManager[Watch]]


def watching(study: str, *, workers: int = 0, console: Console | None = None) -> Watching:
    """Returns what watches a run, once it is given the store.

    Args:
        study: The study's name.
        workers: How many workers the run has; those that wait are shown too.
        console: Where to; standard output by default. Without a terminal that can move its cursor, plain lines are written.
    """
    chosen = console or console_for_people()
    if chosen.is_terminal and not chosen.is_dumb_terminal:
        return lambda store: _live(LiveView(store, study, workers=workers), chosen)
    return lambda store: _lines(PlainLines(store, study, chosen))


def quiet(_store: Store) -> AbstractContextManager[Watch]:
    """Watches a run for a machine: what workers have to say goes to standard error, and nothing else is shown."""
    return _Quiet()


class Pace:
    """Trials finished a second, over the last half minute; its clock is the caller's."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, finished: int) -> float | None:
        """Takes how many had finished at a time, and returns the rate; None while there is too little to tell.

        Args:
            now: Seconds.
            finished: Trials finished since the beginning of the study.
        """
        self._seen.append((now, finished))
        while now - self._seen[0][0] > _PACE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (finished - before) / (now - since) if finished > before and now - since >= 1.0 else None


class LiveView:
    """What a terminal shows of a running study.

    Args:
        store: Where the study is.
        study: Its name.
        workers: How many workers, named by number, the run has.
    """

    def __init__(self, store: Store, study: str, *, workers: int = 0) -> None:
        self._store, self._study = store, study
        self._workers = [str(index) for index in range(workers)]
        self._pace, self._view = Pace(), None

    _view: Overview | None

    def frame(self, height: int) -> RenderableType:
        """The view as it is now.

        Args:
            height: Lines that the terminal has.
        """
        try:
            with self._store.snapshot(self._study) as records:
                self._view = read(records, former=self._view)
        except StoreUnavailable as error:
            return Group(self._drawn(height), f"! the store does not answer: {error}")
        return self._drawn(height)

    def _drawn(self, height: int) -> RenderableType:
        view = self._view
        if view is None:
            return ""
        rate = self._pace.rate(view.now, view.progress.finished)
        rows = max(1, height - _OTHER_LINES)
        busy = {trial.worker for trial in view.running[:rows]}
        idle = [name for name in self._workers if name not in busy][: rows - len(busy)]
        workers = panels.workers(view.study, view.running[:rows], idle, view.now)
        more = len(view.running) - rows
        return Panel(
            Group(
                *panels.facts(view),
                workers,
                *([f"and {more} more"] if more > 0 else []),
                *panels.remarks(view),
            ),
            title=panels.headline(view, rate=rate),
            title_align="left",
            border_style="dim",
        )


class PlainLines:
    """A line every few seconds, for logs and pipes.

    Args:
        store: Where the study is.
        study: Its name.
        console: Where to.
    """

    def __init__(self, store: Store, study: str, console: Console) -> None:
        self._store, self._study, self._console = store, study, console
        self._pace, self._next = Pace(), time.monotonic() + PLAIN_SECONDS
        self._view: Overview | None = None

    def say(self, line: str) -> None:
        self._console.print(line)

    def refresh(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_SECONDS
            self.tell()

    def tell(self) -> None:
        """Writes the line."""
        try:
            with self._store.snapshot(self._study) as records:
                self._view = read(records, former=self._view)
        except StoreUnavailable as error:
            self.say(f"the store does not answer: {error}")
        else:
            self._console.print(line_of(self._view, self._pace.rate(self._view.now, self._view.progress.finished)))


def line_of(view: Overview, rate: float | None = None) -> str:
    """How a study stands, in one line."""
    told = [wording.span(view.elapsed), panels.counts(view).plain]
    told += [f"{spending.name} {panels.spent(spending)}" for spending in view.budget]
    if rate is not None:
        told.append(f"{wording.value(rate, 3)} trials/s")
    if view.best is not None:
        told.append(f"best {wording.score(view.study, view.best)} (trial {view.best.number})")
    return "  ".join(told)


class _Quiet:
    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def refresh(self) -> None:
        pass


class _OnScreen:
    """A live view that is on a screen."""

    def __init__(self, view: LiveView, live: Live) -> None:
        self._view, self._live, self._next = view, live, 0.0

    def say(self, line: str) -> None:
        self._live.console.print(line)

    def refresh(self) -> None:
        if time.monotonic() >= self._next:
            self._live.update(self._view.frame(self._live.console.height), refresh=True)
            self._next = time.monotonic() + LIVE_SECONDS


@contextmanager
def _live(view: LiveView, console: Console) -> Iterator[Watch]:
    # Transient: what stays on the screen is what the caller prints at the end.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield _OnScreen(view, live)


@contextmanager
def _lines(lines: PlainLines) -> Iterator[Watch]:
    yield lines
    lines.tell()
