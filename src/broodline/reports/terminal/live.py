"""Views of a run: a live view in a terminal, a plain line now and then elsewhere, or only the messages of workers."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel

from broodline.core.trial import Trial
from broodline.errors import StoreUnavailable
from broodline.reports.format import format_duration, format_score, format_value
from broodline.reports.observer import Every, View, ViewOf
from broodline.reports.status import StudyOverview, read_overview
from broodline.reports.terminal.status import budget_used, facts, headline, remarks, trial_counts, workers_table
from broodline.reports.terminal.tables import terminal_console
from broodline.storage.base import Records

LIVE_SECONDS = 0.25
PLAIN_SECONDS = 5.0
_PACE_SECONDS = 30.0
_OTHER_LINES = 16  # of a terminal: the lines above and below the workers


def terminal_view(study: str, *, workers: int = 0, console: Console | None = None) -> ViewOf:
    """Returns a function that makes the view of a run from its store.

    Args:
        study: The study's name.
        workers: How many workers the run has; the view shows the waiting ones too.
        console: The output; standard output by default. A console that can't move its cursor gets plain lines.
    """
    chosen = console or terminal_console()
    if chosen.is_terminal and not chosen.is_dumb_terminal:
        return lambda store: LiveView(store, study, chosen, workers=workers)
    return lambda store: PlainLines(store, study, chosen)


def quiet_view(_store: Records) -> View:
    """Returns a view for scripts: messages of workers go to standard error, and standard output stays empty."""
    return _QuietView()


class Unfailing:
    """A view that shows nothing more once its output fails: a full disk or a closed pipe must not end the study.

    Args:
        view: The view.
    """

    def __init__(self, view: View) -> None:
        self._view, self._broken = view, False

    def say(self, line: str) -> None:
        """Shows a line."""
        self._show(lambda: self._view.say(line))

    def trial_finished(self, trial: Trial) -> None:
        """Counts the trial."""
        self._show(lambda: self._view.trial_finished(trial))

    def refresh(self) -> None:
        """Shows the progress, if it is time to."""
        self._show(self._view.refresh)

    def end(self) -> None:
        """Shows the end."""
        self._show(self._view.end)

    def _show(self, show: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            show()
        except (OSError, SystemExit):  # the terminal library answers a closed pipe with SystemExit
            self._broken = True


class Pace:
    """Trials finished a second, over the last half minute; the caller brings the clock."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, finished: int) -> float | None:
        """Records a count and returns the rate; None while a rate would be a guess.

        Args:
            now: Seconds.
            finished: Trials finished since the beginning of the study.
        """
        self._seen.append((now, finished))
        while now - self._seen[0][0] > _PACE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (finished - before) / (now - since) if finished > before and now - since >= 1.0 else None


class _Reader:
    """Reads the overview of a study again and again, and keeps the last one and its pace."""

    def __init__(self, store: Records, study: str) -> None:
        self._store, self._study, self._pace = store, study, Pace()
        self.last: StudyOverview | None = None
        self.rate: float | None = None

    def read(self) -> StudyOverview:
        """Reads the overview.

        Raises:
            StoreUnavailable: The store does not answer; `last` stays as it is.
        """
        with self._store.snapshot(self._study) as records:
            self.last = read_overview(records, former=self.last)
        self.rate = self._pace.rate(self.last.now, self.last.progress.finished)
        return self.last


class LiveView:
    """An overview of a running study that a terminal shows in place.

    Args:
        store: The study's store.
        study: The study's name.
        console: The terminal.
        workers: How many workers, named by number, the run has.
    """

    def __init__(self, store: Records, study: str, console: Console, *, workers: int = 0) -> None:
        self._reader, self._console = _Reader(store, study), console
        self._workers = [str(index) for index in range(workers)]
        self._frames = Every(LIVE_SECONDS)
        # Transient: the caller prints the final overview, and that stays on the screen.
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def say(self, line: str) -> None:
        """Prints a line above the view."""
        self._console.print(line)

    def trial_finished(self, trial: Trial) -> None:
        """Does nothing: the next frame counts the trial."""

    def refresh(self) -> None:
        """Draws the next frame, four times a second."""
        if self._frames.due():
            self._live.start()
            self._live.update(self.frame(self._console.height), refresh=True)

    def end(self) -> None:
        """Takes the view off the screen."""
        self._live.stop()

    def frame(self, height: int) -> RenderableType:
        """The view as it is now.

        Args:
            height: Lines that the terminal has.
        """
        try:
            return self._drawn(self._reader.read(), height)
        except StoreUnavailable as error:
            problem = f"! the store does not answer: {error}"
        last = self._reader.last
        return problem if last is None else Group(self._drawn(last, height), problem)

    def _drawn(self, view: StudyOverview, height: int) -> RenderableType:
        rows = max(1, height - _OTHER_LINES)
        busy = {trial.worker for trial in view.running[:rows]}
        idle = [name for name in self._workers if name not in busy][: rows - len(busy)]
        more = len(view.running) - rows
        body = Group(
            *facts(view),
            workers_table(view.study, view.running[:rows], idle, view.now),
            *([f"and {more} more"] if more > 0 else []),
            *remarks(view),
        )
        return Panel(body, title=headline(view, rate=self._reader.rate), title_align="left", border_style="dim")


class PlainLines:
    """A line every few seconds, for logs and pipes.

    Args:
        store: The study's store.
        study: The study's name.
        console: The output.
    """

    def __init__(self, store: Records, study: str, console: Console) -> None:
        self._reader, self._console = _Reader(store, study), console
        self._lines = Every(PLAIN_SECONDS, wait=True)

    def say(self, line: str) -> None:
        """Prints a line."""
        self._console.print(line)

    def trial_finished(self, trial: Trial) -> None:
        """Does nothing: the next line counts the trial."""

    def refresh(self) -> None:
        """Prints the progress, every five seconds."""
        if self._lines.due():
            self.print_progress()

    def end(self) -> None:
        """Prints the progress once more."""
        self.print_progress()

    def print_progress(self) -> None:
        """Prints one line of progress."""
        try:
            view = self._reader.read()
        except StoreUnavailable as error:
            self.say(f"the store does not answer: {error}")
        else:
            self.say(progress_line(view, self._reader.rate))


def progress_line(view: StudyOverview, rate: float | None = None) -> str:
    """The progress of a study in one line.

    Args:
        view: The overview.
        rate: Trials a second, if known.
    """
    parts = [format_duration(view.elapsed), trial_counts(view).plain]
    parts += [f"{budget.name} {budget_used(budget)}" for budget in view.budget]
    if rate is not None:
        parts.append(f"{format_value(rate, 3)} trials/s")
    if view.best is not None:
        parts.append(f"best {format_score(view.study, view.best)} (trial {view.best.number})")
    return "  ".join(parts)


class _QuietView:
    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def trial_finished(self, trial: Trial) -> None:
        pass

    def refresh(self) -> None:
        pass

    def end(self) -> None:
        pass
