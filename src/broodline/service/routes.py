"""A route of the service: its parameters are those of a function, which the OpenAPI description shows too.

FastAPI describes the function. It is called in a shorter way: with the path, the query and the body checked by strict models,
after a check of the role, and with JSON that only the service's own reader has read.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request as HttpRequest
from starlette.types import Receive, Scope, Send

from broodline.core.text import printable
from broodline.errors import BroodlineError
from broodline.service.auth import Role
from broodline.service.encoding import to_json
from broodline.service.errors import Refused, refusal
from broodline.service.guard import Limits, answer, body_of, send_json
from broodline.service.models import Problem, Query, Request
from broodline.service.strict_json import BadJson, read_json

F = TypeVar("F", bound=Callable[..., Any])

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "The body is not JSON, or the request is malformed.",
        401: "There is no token, or the service does not know it.",
        403: "The token does not permit this.",
        404: "There is no such study or trial.",
        408: "The body arrived too slowly.",
        409: "The trial belongs to another attempt, or the study differs.",
        413: "The body is too large.",
        415: "The body is not JSON by its header.",
        421: "The service has another name.",
        422: "A value is not valid.",
        429: "Too many requests.",
        500: "The store can't be used until a person acts.",
        503: "The store does not answer at the moment: repeat the request.",
    }.items()
}
_log = logging.getLogger(__name__)


def permits(role: Role) -> Callable[[F], F]:
    """Marks a function with the role that may call it."""

    def mark(function: F) -> F:
        function.role = role  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A function of the service, called with checked values.

    Args:
        function: Answers a request with a document.
        limits: The limits of a body.
    """

    function: Callable[..., Awaitable[Any]]
    limits: Limits

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        try:
            role: Role = self.function.role  # type: ignore[attr-defined]
            if scope["role"] < role:
                raise Refused(403, "forbidden", f"this needs a token of the role {role.name.lower()}")
            document = await self.function(**await self._arguments(scope, receive))
        except Refused as refused:
            await answer(send, refused)
        except BroodlineError as error:
            await answer(send, refusal(error))
        except Exception as error:
            _log.error("a request failed", exc_info=error, extra={"study": None, "worker": None, "trial": None})
            await answer(send, Refused(500, "internal", "the service failed; its log has the reason"))
        else:
            await send_json(send, to_json(document))

    async def _arguments(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        return {name: await self._argument(name, kind, scope, receive) for name, kind in parameters(self.function).items()}

    async def _argument(self, name: str, kind: Any, scope: Scope, receive: Receive) -> Any:
        if kind is HttpRequest:
            return HttpRequest(scope, receive)
        try:
            if isinstance(kind, TypeAdapter):
                return kind.validate_python(scope["path_params"][name])
            if issubclass(kind, Query):
                return kind.model_validate(_query(scope))
            return kind.model_validate(read_json(await body_of(scope, receive, self.limits)))
        except BadJson as error:
            raise Refused(400, "bad_json", str(error)) from None
        except ValidationError as error:
            raise Refused(422, "invalid", _described(error, name)) from None


_parameters: dict[Any, dict[str, Any]] = {}


def parameters(function: Any) -> dict[str, Any]:
    """The kind of each parameter of a function: a model, a request, or a check of a value in the path."""
    key = getattr(function, "__func__", function)
    if key not in _parameters:
        signature = inspect.signature(function, eval_str=True)
        _parameters[key] = {name: _kind(parameter.annotation) for name, parameter in signature.parameters.items()}
    return _parameters[key]


def _kind(annotation: Any) -> Any:
    plain = get_args(annotation)[0] if get_args(annotation) else annotation
    if isinstance(plain, type) and issubclass(plain, Request | Query | HttpRequest):
        return plain
    return TypeAdapter(annotation)


def _query(scope: Scope) -> dict[str, str]:
    try:
        pairs = parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        if not scope["query_string"]:
            return {}
        raise Refused(400, "bad_request", "the query of the URL is malformed") from None
    if len(dict(pairs)) != len(pairs):
        raise Refused(400, "bad_request", "the query of the URL has the same key twice")
    return dict(pairs)


def _described(error: ValidationError, where: str) -> str:
    """The first mistake: its place and the rule. The value is not repeated: it may be large, or secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, (where, *first["loc"])))[:200]
    return printable(f"{place}: {first['msg']}")


class Route(APIRoute):
    """A route that FastAPI describes, and an `Endpoint` answers."""

    limits = Limits()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            allowed = ", ".join(sorted(self.methods or ()))
            await answer(send, Refused(405, "method", f"this path takes {allowed}", (("allow", allowed),), close=True))
            return
        await Endpoint(function=self.endpoint, limits=self.limits).serve(scope, receive, send)
