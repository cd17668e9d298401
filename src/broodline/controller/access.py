"""The calls of workers on a study that is open: the one place that decides who answers them.

A store answers no calls, so a controller answers them from its transactions. A service elsewhere has a controller of its own:
its client passes calls on, and its records can only be read. Such an object is opened as a store is, and has a method `client`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from broodline.controller.client import Client
from broodline.controller.controller import Controller
from broodline.core.study import StudyConfig
from broodline.storage.base import Store


class StudyClient(Client, Protocol):
    """The calls of workers, and those that create and end a study."""

    def open(self, study: StudyConfig) -> None:
        """Creates a study, or resumes it: settings that may change are updated, and a study that had ended is active again.

        Raises:
            StudyChanged: A setting differs that can't change after the start; nothing is changed.
            UsageError: The strategy can't decide for this study; nothing is created.
        """

    def end(self, study: str, *, now: bool, reason: str) -> None:
        """Ends a study: running trials finish, or with `now` are recalled."""


@runtime_checkable
class AnswersItself(Protocol):
    """A store that is a service with a controller of its own."""

    def client(self) -> StudyClient:
        """The client of its controller."""


def client_of(store: Store) -> StudyClient:
    """The client for the studies of a store that is open."""
    return store.client() if isinstance(store, AnswersItself) else Controller(store)
