"""Routes whose bodies are strict JSON: no duplicate keys, no NaN, no deep nesting.

A router takes them by ``APIRouter(route_class=JsonRoute)``. ``Shortcut`` leads to those of them
that need none of the framework's machinery.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from labelwise.errors import CheckpointError
from labelwise.serve.problems import ApiError
from labelwise.strict_json import MAX_JSON_DEPTH, parse_json

T = TypeVar("T")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
INLINE_BYTES = 65_536  # larger bodies are parsed and checked in a thread


class StrictRequest(Request):
    """A request whose JSON is read with suspicion."""

    async def json(self) -> Any:
        """Parse the body.

        Raises:
            ApiError: 400, it is no strict JSON; 415, it says that it is something else.
        """
        if not hasattr(self, "_json"):
            check_media_type(self)
            self._json = await self.call(parse_body, await self.body())
        return self._json

    async def call(self, function: Callable[[Any], T], value: Any) -> T:
        """Call a function of what was sent: in a thread if that is large, to hold up nobody."""
        is_small = len(await self.body()) <= INLINE_BYTES
        return function(value) if is_small else await asyncio.to_thread(function, value)


def parse_body(body: bytes) -> Any:
    """Parse a body; an empty one is null.

    Raises:
        ApiError: 400, it is no strict JSON.
    """
    try:
        return parse_json(body or b"null", "body")
    except CheckpointError as err:
        reason = err.__cause__ or f"it nests more than {MAX_JSON_DEPTH} levels deep"
        raise ApiError(
            400, f"The body is not the JSON that is read here: {reason}. Correct it.",
            code="invalid_json",
        ) from err  # fmt: skip


def check_media_type(request: Request) -> None:
    """Refuse bodies of another type, which pages of other sites can send unasked, and packed ones.

    Raises:
        ApiError: 415.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise ApiError(
            415, f"The body is coded as '{coding[:64]}'. Expected it as it is. Send it unpacked."
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(
            415, f"The body is of type '{media_type[:64]}'. Expected 'application/json'. Set it."
        )


class JsonRoute(APIRoute):
    """A route that reads strict JSON only.

    An async endpoint that takes a body and the request, and nothing else, is called without
    FastAPI's machinery for dependencies, which costs as much as the rest of a small request.
    """

    def get_route_handler(self) -> Handler:
        """Return what answers a request."""
        usual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await usual(StrictRequest(request.scope, request.receive))

        return self.direct_handler() or handle

    def direct_handler(self) -> Handler | None:
        """Return what answers a request by calling the endpoint, if that is all it takes."""
        wanted, field = self.dependant, self.body_field
        others = (wanted.path_params, wanted.query_params, wanted.header_params,
                  wanted.cookie_params, wanted.dependencies)  # fmt: skip
        if field is None or any(others) or len(wanted.body_params) != 1:
            return None
        if not inspect.iscoroutinefunction(self.endpoint):  # FastAPI runs it in a thread
            return None
        body_name, request_name = wanted.body_params[0].name, wanted.request_param_name
        adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", field.field_info.annotation))

        async def handle_directly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            try:
                body = await strict.call(adapter.validate_python, await strict.json())
            except ValidationError as err:
                raise RequestValidationError(err.errors(include_url=False)) from None
            arguments = {body_name: body} | ({request_name: strict} if request_name else {})
            return await self.endpoint(**arguments)

        return handle_directly


class Shortcut:
    """Middleware that leads straight to the routes that ``JsonRoute`` calls directly.

    Looking a route up, and all that FastAPI has ready for one, is nearly half of the event loop's
    work for a short text.

    Args:
        app: Answers everything else.
        routers: Whose routes to lead to.
        errors: Exceptions that ``on_error`` answers.
        on_error: As an exception handler.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routers: Iterable[APIRouter],
        errors: tuple[type[Exception], ...],
        on_error: Callable[[Request, Exception], Coroutine[Any, Any, Response]],
    ) -> None:
        """Look the routes up."""
        self._app, self._errors, self._on_error = app, errors, on_error
        routes = [r for router in routers for r in router.routes if isinstance(r, JsonRoute)]
        self._routes: dict[tuple[Any, Any], tuple[JsonRoute, Handler]] = {
            (method, route.path): (route, route.get_route_handler())
            for route in routes
            if route.direct_handler()
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        found = self._routes.get((scope.get("method"), scope.get("path")))
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], handler = found
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except self._errors as err:
            response = await self._on_error(request, err)
        await response(scope, receive, send)
