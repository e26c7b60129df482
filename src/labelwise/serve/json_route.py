"""Routes whose bodies are strict JSON: no duplicate keys, no NaN, no deep nesting.

A router takes them by ``APIRouter(route_class=JsonRoute)``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from labelwise.errors import CheckpointError
from labelwise.serve.problems import ApiError
from labelwise.strict_json import MAX_JSON_DEPTH, parse_json

INLINE_BYTES = 65_536  # larger bodies are parsed in a thread


class StrictRequest(Request):
    """A request whose JSON is read with suspicion."""

    async def json(self) -> Any:
        """Parse the body.

        Raises:
            ApiError: 400, it is no strict JSON.
        """
        if not hasattr(self, "_json"):
            body = await self.body()
            is_small = len(body) <= INLINE_BYTES
            self._json = parse_body(body) if is_small else await asyncio.to_thread(parse_body, body)
        return self._json


def parse_body(body: bytes) -> Any:
    """Parse a body.

    Raises:
        ApiError: 400, it is no strict JSON.
    """
    try:
        return parse_json(body, "body")
    except CheckpointError as err:
        reason = err.__cause__ or f"it nests more than {MAX_JSON_DEPTH} levels deep"
        raise ApiError(
            400, f"The body is not the JSON that is read here: {reason}. Correct it.",
            code="invalid_json",
        ) from err  # fmt: skip


class JsonRoute(APIRoute):
    """A route that reads strict JSON only."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the usual handler."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            if self.body_field is not None:
                check_media_type(request)
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


def check_media_type(request: Request) -> None:
    """Refuse bodies of another type: pages of other sites can send those unasked.

    Raises:
        ApiError: 415.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(
            415, f"The body is of type '{media_type[:64]}'. Expected 'application/json'. Set it."
        )
