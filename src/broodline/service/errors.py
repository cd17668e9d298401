"""The errors of a service on the wire: a status, a code and a sentence; and back to the errors of broodline.

A status below 500 means that the request is at fault, 503 that it may be repeated, and 500 that a person has to act.
"""

from __future__ import annotations

from broodline.errors import (
    BroodlineError,
    IllegalTransition,
    LeaseLost,
    RetryableError,
    StoreError,
    StoreFailing,
    StoreFull,
    StoreMoved,
    StoreUnavailable,
    StudyBusy,
    StudyChanged,
    StudyNotFound,
    UsageError,
)

RETRY_AFTER_SECONDS = 1


class TrialNotFound(UsageError):
    """Raised when a study has no trial of that number."""


# The first kind that an error is an instance of decides, so the more special ones come first.
_KINDS: tuple[tuple[type[BroodlineError], int, str], ...] = (
    (LeaseLost, 409, "lease_lost"),
    (IllegalTransition, 409, "illegal_transition"),
    (StudyNotFound, 404, "study_not_found"),
    (TrialNotFound, 404, "trial_not_found"),
    (StudyChanged, 409, "study_changed"),
    (StudyBusy, 409, "study_busy"),
    (UsageError, 422, "usage"),
    (StoreFull, 503, "store_full"),
    (StoreFailing, 503, "store_failing"),
    (StoreMoved, 503, "store_moved"),
    (RetryableError, 503, "unavailable"),
    (StoreError, 500, "store_error"),
)
_TYPES: dict[str, type[BroodlineError]] = {code: kind for kind, _, code in _KINDS} | {"unavailable": StoreUnavailable}
_PERMITTED = (401, 403)
_MAY_PASS = (408, 425, 429, 502, 503, 504)


class Refused(Exception):
    """Raised where a request can't be served.

    Args:
        status: The HTTP status.
        code: A word for programs.
        message: A sentence for people.
        headers: Further headers of the answer.
        close: Close the connection after the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = (), *, close: bool = False
    ) -> None:
        self.status, self.code, self.message, self.headers, self.close = status, code, message, headers, close
        super().__init__(message)


def refusal(error: BroodlineError) -> Refused:
    """An error of broodline, as an answer."""
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            headers = (("retry-after", str(RETRY_AFTER_SECONDS)),) if status == 503 else ()
            return Refused(status, code, str(error), headers)
    return Refused(500, "error", str(error))


def error_from(status: int, code: str, message: str, url: str) -> BroodlineError:
    """The error that an answer stands for.

    Args:
        status: The HTTP status.
        code: The code in the answer; empty if it holds none, since a proxy made it.
        message: The sentence in it.
        url: The service, for messages.
    """
    if kind := _TYPES.get(code):
        return kind(message)
    if status in _PERMITTED:
        return StoreError(f"{url}: {message}\nhelp: set BROODLINE_TOKEN_FILE, or BROODLINE_TOKEN, to a token that may do this")
    if status in _MAY_PASS:
        return StoreUnavailable(f"{url}: {message or 'the service does not answer'} (HTTP status {status})")
    return StoreError(f"{url}: {message or 'is no service of broodline'} (HTTP status {status})")
