"""The service as an ASGI application: the paths of its calls and views, their description, and the guard before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broodline import __version__
from broodline.service import models
from broodline.service.auth import Tokens
from broodline.service.calls import Calls
from broodline.service.encoding import to_json
from broodline.service.guard import Guard, Limits
from broodline.service.routes import PROBLEMS, Route
from broodline.service.views import Views
from broodline.storage.base import Store

_STUDY = "/v1/studies/{study}"
_TRIAL = _STUDY + "/trials/{number:int}"
DESCRIPTION = "/v1/openapi.json"


class Application:
    """The service.

    Args:
        store: The store of its studies.
        tokens: The tokens that it accepts.
        hosts: The names by which it is called, besides those of this machine.
        limits: Its limits.
    """

    def __init__(self, store: Store, *, tokens: Tokens, hosts: tuple[str, ...] = (), limits: Limits | None = None) -> None:
        self.calls, self.limits = Calls(store), limits or Limits()
        self.described = self._described(Views(store, self.calls.read))
        self._guarded = Guard(self.described, tokens=tokens, hosts=hosts, limits=self.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guarded(scope, receive, send)

    def _described(self, views: Views) -> FastAPI:
        app = FastAPI(
            title="broodline",
            version=__version__,
            lifespan=self._lifespan,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        app.router.route_class = Route
        app.add_exception_handler(HTTPException, _not_found)
        self._add_calls(app)
        _add_views(app, views)
        for route in app.routes:
            if isinstance(route, Route):
                route.limits = self.limits
        description = to_json(_openapi(app))

        async def describe(_: HttpRequest) -> Response:
            return Response(description, media_type="application/json")

        app.add_route(DESCRIPTION, describe, methods=["GET"])
        return app

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self.calls.start()
        yield
        await self.calls.close()

    def _add_calls(self, app: FastAPI) -> None:
        calls, answers = self.calls, models.AnswerModel
        for path, endpoint, answered in (
            (f"{_STUDY}/ask", calls.ask, answers),
            (f"{_STUDY}/renew", calls.renew, models.Nothing),
            (f"{_STUDY}/release", calls.release, models.Nothing),
            (f"{_STUDY}/end", calls.end, models.Nothing),
            (f"{_TRIAL}/report", calls.report, models.SignalModel),
            (f"{_TRIAL}/damaged", calls.damaged, answers),
            (f"{_TRIAL}/complete", calls.complete, answers),
            (f"{_TRIAL}/fail", calls.fail, answers),
            (f"{_TRIAL}/stop", calls.stop, answers),
        ):
            app.add_api_route(path, endpoint, methods=["POST"], response_model=answered, responses=PROBLEMS)
        app.add_api_route(_STUDY, calls.open, methods=["PUT"], response_model=models.Nothing, responses=PROBLEMS)
        app.add_api_route(
            f"{_STUDY}/files", calls.replace_files, methods=["PUT"], response_model=models.ReplacedModel, responses=PROBLEMS
        )
        app.add_api_route(_STUDY, calls.delete, methods=["DELETE"], response_model=models.Nothing, responses=PROBLEMS)


def _add_views(app: FastAPI, views: Views) -> None:
    several = models.TrialsModel
    for path, endpoint, answered in (
        ("/v1/studies", views.studies, models.StudiesModel),
        (_STUDY, views.study, models.StudyModel),
        (f"{_STUDY}/trials", views.trials, several),
        (_TRIAL, views.trial, models.OneTrialModel),
        (f"{_TRIAL}/measurements", views.measurements, models.MeasurementsModel),
        (f"{_STUDY}/best", views.best, several),
        (f"{_STUDY}/scored", views.scored, models.CountModel),
        (f"{_STUDY}/checkpoints", views.checkpoints, models.CheckpointsModel),
        (f"{_STUDY}/has-checkpoints", views.has_checkpoints, models.CountModel),
        (f"{_STUDY}/files", views.files, models.FilesAnswer),
        (f"{_STUDY}/members", views.members, models.MembersModel),
        (_STUDY + "/members/{number:int}/completed", views.last_completed, several),
        (f"{_STUDY}/generation", views.generation, several),
        (f"{_STUDY}/leaves", views.leaves, several),
        (f"{_STUDY}/open-leaves", views.open_leaves, several),
        (f"{_STUDY}/initiator", views.initiator, models.OneTrialModel),
    ):
        app.add_api_route(path, endpoint, methods=["GET"], response_model=answered, responses=PROBLEMS)


async def _not_found(_: HttpRequest, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    word = "method" if status == 405 else "not_found"
    body = {"code": word, "message": "there is no such path" if status == 404 else "the request is malformed"}
    return Response(to_json(body), status, media_type="application/json")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description, with the token that every path needs."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    return document
