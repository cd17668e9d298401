"""Stands before the service: nothing of a request is looked at unless its host, origin, rate and token are in order.

- **Host.** A page in a browser of this machine can give its own name to the address of the service (DNS rebinding), and its
  requests then carry that name: a name that is not one of the service is refused.
- **Origin.** Browsers send it with the requests of pages. No page belongs to this service.
- **Rate.** Each address has a bucket of requests that fills up at a steady rate, and a small one for wrong tokens.
- **Token.** Every path but `/health` needs one, so that a stranger learns nothing of the paths that there are.
- **Body.** It has a largest size and has to arrive within a time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broodline.service.auth import Role, Tokens
from broodline.service.encoding import to_json
from broodline.service.errors import Refused

HEALTH = "/health"
_MOST_ADDRESSES = 10_000
_WRONG_TOKENS, _WRONG_TOKENS_A_SECOND = 20.0, 1.0
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a service.

    Args:
        body: Bytes of the largest body.
        rate: Requests a second from one address.
        connections: Open connections.
        head_seconds: Seconds within which a connection sends the head of its first request, and each head ends.
        body_seconds: Seconds within which a body arrives.
    """

    body: int = 16 << 20
    rate: float = 5_000.0
    connections: int = 5_000
    head_seconds: float = 10.0
    body_seconds: float = 20.0


@dataclass(slots=True)
class _Bucket:
    size: float
    a_second: float
    level: float = field(init=False)
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.level = self.size

    def take(self) -> bool:
        now = time.monotonic()
        self.level, self.at = min(self.size, self.level + (now - self.at) * self.a_second), now
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True


class Buckets:
    """A bucket for each address; those that were used least recently are forgotten.

    Args:
        size: Requests that may come at once.
        a_second: Requests by which it fills up.
    """

    def __init__(self, size: float, a_second: float) -> None:
        self._size, self._a_second = size, a_second
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, address: str) -> bool:
        """Takes from the bucket of an address; False if it is empty."""
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = _Bucket(self._size, self._a_second)
            if len(self._buckets) > _MOST_ADDRESSES:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(address)
        return bucket.take()


class Guard:
    """Refuses requests, and passes all others on with the role of their token as `scope["role"]`.

    Args:
        app: Answers them.
        tokens: The tokens that are accepted.
        hosts: The names by which the service is called, without a port.
        limits: The limits.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens, hosts: Iterable[str], limits: Limits) -> None:
        self._app, self._tokens, self._limits = app, tokens, limits
        self._hosts = {*_LOCAL, *(host.lower() for host in hosts)}
        self._rates = Buckets(2 * limits.rate, limits.rate)
        self._wrong = Buckets(_WRONG_TOKENS, _WRONG_TOKENS_A_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: there are none
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            self._check(scope)
        except Refused as refused:
            await answer(send, refused)
            return
        if scope["path"] == HEALTH:
            await _send_json(send, 200, b'{"status":"ok"}', ())
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in headers and name in (b"host", b"authorization", b"content-length", b"origin"):
                raise Refused(400, "bad_request", f"the header {name.decode()} is there twice", close=True)
            headers[name] = value
        self._check_host(headers.get(b"host"))
        if b"origin" in headers:
            raise Refused(403, "origin", "requests of web pages are not served")
        address = scope["client"][0] if scope["client"] else ""
        if not self._rates.take(address):
            raise Refused(429, "too_many_requests", "too many requests from this address", (("retry-after", "1"),))
        scope["headers_by_name"] = headers
        if scope["path"] != HEALTH:
            scope["role"] = self._role(headers.get(b"authorization"), address)

    def _check_host(self, host: bytes | None) -> None:
        name = _without_port((host or b"").decode("latin-1")).lower()
        if name not in self._hosts:
            raise Refused(421, "host", "this service has another name; `broodline serve --allow-host NAME` adds one", close=True)

    def _role(self, authorization: bytes | None, address: str) -> Role:
        scheme, _, token = (authorization or b"").partition(b" ")
        role = self._tokens.role_of(token) if scheme.lower() == b"bearer" else None
        if role is not None:
            return role
        # A right token passes always: a worker that shares an address with an attacker is not locked out.
        if authorization is not None and not self._wrong.take(address):
            raise Refused(429, "too_many_requests", "too many wrong tokens from this address", (("retry-after", "1"),))
        problem = "this service needs a token" if authorization is None else "the service does not know this token"
        raise Refused(401, "unauthorized", problem, (("www-authenticate", "Bearer"),))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


async def body_of(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        Refused: It is no JSON by its header, too large, too slow, or the client is gone.
    """
    headers: dict[bytes, bytes] = scope["headers_by_name"]
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise Refused(415, "media_type", "the body must be application/json", close=True)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(415, "media_type", "the body must not be compressed", close=True)
    largest = limits.body
    too_large = Refused(413, "too_large", f"the body is larger than {largest} bytes; raise --max-body of the service", close=True)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > largest:
        raise too_large
    chunks, size = list[bytes](), 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            while True:
                message: Message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "bad_request", "the client is gone", close=True)
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > largest:
                    raise too_large
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise Refused(408, "slow_body", f"the body did not arrive within {limits.body_seconds:g} s", close=True) from None


async def answer(send: Send, refused: Refused) -> None:
    """Sends an error."""
    close = (("connection", "close"),) if refused.close else ()
    body = to_json({"code": refused.code, "message": refused.message})
    await _send_json(send, refused.status, body, (*refused.headers, *close))


async def _send_json(send: Send, status: int, body: bytes, headers: Iterable[tuple[str, str]]) -> None:
    lines = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *((name.encode(), value.encode()) for name, value in headers),
    ]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, body: bytes) -> None:
    """Sends a JSON document."""
    await _send_json(send, 200, body, ())


def is_loopback(host: str) -> bool:
    """True for an address, or the name `localhost`, that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
