"""The controller behind a service: the calls of workers as HTTP requests. It needs the standard library only.

Every call can be repeated, so a request whose answer does not come may be sent again: by this client at once if its connection
was an old one, which the service may have closed in between, and by the worker after `StoreUnavailable`.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from broodline.config.study import dump
from broodline.controller.client import Answer, Signal, Wait, WorkerSession
from broodline.controller.failures import failure_texts
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement
from broodline.core.untrained import Likeness
from broodline.errors import StoreError, StoreUnavailable
from broodline.service.auth import own_token
from broodline.service.encoding import answer_from, measurement_document, to_json
from broodline.service.errors import error_from

CA_FILE = "BROODLINE_TLS_CA"
HELD_SECONDS = 20.0  # for which the service holds the request of a worker that waits
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_BROKEN = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class ServiceUrl:
    """The URL of a service.

    Args:
        scheme: `http` or `https`.
        host: A name or an address.
        port: The port.
        path: The path before `/v1`, if a proxy adds one; without a slash at its end.
    """

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def service_url(url: str) -> ServiceUrl:
    """The parts of a URL.

    Raises:
        StoreError: It is not `http(s)://HOST[:PORT][/PATH]`. The message does not repeat a secret that it holds.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise StoreError(f"the URL of a service is http://HOST:PORT or https://HOST:PORT: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise StoreError("the URL of a service holds no user and no token: set BROODLINE_TOKEN_FILE, or BROODLINE_TOKEN")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise StoreError("the URL of a service is http://HOST:PORT or https://HOST:PORT, without a query")
    default = 443 if parts.scheme == "https" else 80
    return ServiceUrl(parts.scheme, parts.hostname, default if port is None else port, parts.path.rstrip("/"))


class Requests:
    """Sends requests to one service, over connections that are kept. For any number of threads.

    Args:
        url: The URL of the service.
        token: The token; None: there is none.
        authority: A file with certificates of authorities; None: those that the system trusts.

    Raises:
        StoreError: The URL or the file can't be used.
    """

    def __init__(self, url: str, *, token: str | None, authority: str | None = None) -> None:
        self.url = service_url(url)
        self._headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        self._idle: list[http.client.HTTPConnection] = []
        self._held: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        if self.url.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=authority)
            except (OSError, ssl.SSLError) as error:
                raise StoreError(f"{authority}: the certificates can't be read: {error}") from error

    def send(self, method: str, path: str, body: Any = None, *, held: float = 0.0) -> Any:
        """Sends a request and returns the document in the answer.

        Args:
            method: The HTTP method.
            path: The path after `/v1`.
            body: The document to send; None: no body.
            held: Seconds for which the service may hold the request.

        Raises:
            StoreUnavailable: The service does not answer; the request can be repeated.
            BroodlineError: The error that the service answers.
        """
        data = None if body is None else to_json(body)
        status, content = self._exchange(method, f"{self.url.path}/v1{path}", data, held)
        document = _document(content)
        if status == 200 and document is not None:
            return document
        problem = document if isinstance(document, Mapping) else {}
        raise error_from(status, str(problem.get("code", "")), str(problem.get("message", "")), str(self.url))

    def wake(self) -> None:
        """Ends the requests of other threads that the service holds."""
        with self._lock:
            for connection in self._held:
                with suppress(OSError):
                    if connection.sock is not None:
                        connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(self, method: str, path: str, data: bytes | None, held: float) -> tuple[int, bytes]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            # Over an old connection, which the service may have closed in the meantime.
            with suppress(*_BROKEN):
                return self._over(connection, method, path, data, held)
        try:
            return self._over(self._connected(), method, path, data, held)
        except ssl.SSLCertVerificationError as error:
            raise StoreError(
                f"{self.url}: the certificate is not trusted ({error.verify_message})\n"
                f"help: name the file of its authority with {CA_FILE}"
            ) from error
        except _BROKEN as error:
            raise StoreUnavailable(f"{self.url}: {str(error) or type(error).__name__}") from error

    def _connected(self) -> http.client.HTTPConnection:
        url = self.url
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(url.host, url.port, timeout=_CONNECT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(url.host, url.port, timeout=_CONNECT_SECONDS, context=self._tls)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _over(
        self, connection: http.client.HTTPConnection, method: str, path: str, data: bytes | None, held: float
    ) -> tuple[int, bytes]:
        try:
            connection.sock.settimeout(_ANSWER_SECONDS + held)
            with self._lock:
                self._held |= {connection} if held else set()
            connection.request(method, path, data, self._headers)
            answer = connection.getresponse()
            # The library takes an answer that is cut off in its head, or a read of a number of bytes, for a whole one.
            if answer.length is None and not answer.chunked:
                raise http.client.IncompleteRead(b"")
            content = answer.read()
            if answer.will_close or not answer.isclosed():
                connection.close()
                return answer.status, content
        except BaseException:  # a signal of the worker's included: what comes over this connection is no answer to the next call
            connection.close()
            raise
        finally:
            with self._lock:
                self._held.discard(connection)
        with self._lock:
            self._idle.append(connection)
        return answer.status, content


class HttpClient:
    """A client of a service; `controller.client.Client` describes its calls.

    Args:
        requests: The service.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._waits: tuple[str, WorkerSession] | None = None  # that was answered `Wait`
        # To the next ask of that worker, which `wait` has made. It may name checkpoints to delete, so it must not be dropped.
        self._answer: tuple[tuple[str, WorkerSession], Answer] | None = None

    def ask(self, study: str, identity: WorkerSession) -> Answer:
        made, self._answer = self._answer, None
        if made is not None and made[0] == (study, identity):
            return made[1]
        return self._asked(study, identity, 0.0)

    def report(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], index: int) -> Signal:
        body = {"attempt": attempt, "index": index, "measurements": _documents(measurements)}
        return Signal(self._post(study, f"/trials/{number}/report", body)["signal"])

    def damaged(self, study: str, number: int, attempt: int, parent: int, identity: WorkerSession) -> Answer:
        return self._end(study, number, "damaged", identity, {"attempt": attempt, "parent": parent})

    def complete(
        self,
        study: str,
        number: int,
        attempt: int,
        measurements: Sequence[Measurement],
        checkpoint: str,
        identity: WorkerSession,
        likeness: Likeness | None = None,
    ) -> Answer:
        body = {"attempt": attempt, "measurements": _documents(measurements), "checkpoint": checkpoint, "likeness": likeness}
        return self._end(study, number, "complete", identity, body)

    def fail(
        self,
        study: str,
        number: int,
        attempt: int,
        measurements: Sequence[Measurement],
        reason: str,
        output: str,
        identity: WorkerSession,
    ) -> Answer:
        reason, output = failure_texts(reason, output)
        body = {"attempt": attempt, "measurements": _documents(measurements), "reason": reason, "output": output}
        return self._end(study, number, "fail", identity, body)

    def stop(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], identity: WorkerSession) -> Answer:
        return self._end(study, number, "stop", identity, {"attempt": attempt, "measurements": _documents(measurements)})

    def renew(self, study: str, sessions: Sequence[str]) -> None:
        self._post(study, "/renew", {"sessions": list(sessions)})

    def release(self, study: str, sessions: Sequence[str], *, lost: bool = False) -> None:
        self._answer = None
        self._post(study, "/release", {"sessions": list(sessions), "lost": lost})

    def open(self, study: StudyConfig) -> None:
        """Creates a study, or resumes it, as `Controller.open` does."""
        self._requests.send("PUT", path_of(study.name), {"definition": dump(study)})

    def end(self, study: str, *, now: bool, reason: str) -> None:
        """Ends a study, as `Controller.end` does."""
        self._post(study, "/end", {"now": now, "reason": failure_texts(reason, "")[0]})

    def delete(self, study: str) -> None:
        """Deletes the records of a study."""
        self._requests.send("DELETE", path_of(study))

    def wait(self, seconds: float) -> None:
        """Asks again for the worker that was answered `Wait`; the service holds that request until there is a trial.

        So it may take longer than `seconds`: nothing is gained by asking more often.
        """
        waits = self._waits
        if waits is None:
            threading.Event().wait(seconds)
            return
        try:
            self._answer = waits, self._asked(*waits, HELD_SECONDS)
        except StoreUnavailable:
            threading.Event().wait(seconds)

    def wake(self) -> None:
        self._requests.wake()

    def close(self) -> None:
        """Closes the connections to the service."""
        self._requests.close()

    def _asked(self, study: str, identity: WorkerSession, held: float) -> Answer:
        body = {"worker": identity.worker, "session": identity.session, "wait": held}
        return self._answered(study, identity, answer_from(self._post(study, "/ask", body, held=held)))

    def _end(self, study: str, number: int, end: str, identity: WorkerSession, body: Mapping[str, Any]) -> Answer:
        self._answer = None
        body = {**body, "worker": identity.worker, "session": identity.session}
        return self._answered(study, identity, answer_from(self._post(study, f"/trials/{number}/{end}", body)))

    def _answered(self, study: str, identity: WorkerSession, answer: Answer) -> Answer:
        self._waits = (study, identity) if isinstance(answer, Wait) else None
        return answer

    def _post(self, study: str, path: str, body: Mapping[str, Any], *, held: float = 0.0) -> Any:
        return self._requests.send("POST", path_of(study) + path, body, held=held)


def requests_to(url: str, environment: Mapping[str, str] = os.environ) -> Requests:
    """The way to a service, with the token and the authorities that the environment names.

    Raises:
        StoreError: The URL or a file can't be used.
        UsageError: The token can't be used.
    """
    service_url(url)  # first: a URL with a secret in it is refused before anything else is looked at
    return Requests(url, token=own_token(environment), authority=environment.get(CA_FILE) or None)


def path_of(study: str) -> str:
    """The path of a study after `/v1`."""
    return f"/studies/{quote(study, safe='')}"


def _documents(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    return [measurement_document(measurement) for measurement in measurements]


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
