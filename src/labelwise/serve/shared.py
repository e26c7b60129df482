"""What all routes share: the service, admission, and how errors are described."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request

from labelwise.serve.problems import ClientGoneError
from labelwise.serve.schemas import ErrorEnvelope
from labelwise.serve.service import Service

DESCRIPTIONS = {
    400: "The request is malformed, or not for this server.",
    401: "No valid token.",
    403: "A page of another site made the request.",
    404: "There is nothing of that name.",
    405: "There is another method for this path.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "The body does not say what it should; the message names the field.",
    429: "Too much is waiting; come back after Retry-After seconds.",
    500: "A fault of the server.",
    503: "The model is not loaded; come back after Retry-After seconds.",
    504: "The deadline passed; what still waited was not computed.",
}


GUARDED = (400, 401, 403, 405)
POSTED = (*GUARDED, 408, 413, 415, 422, 429, 500, 503, 504)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for OpenAPI."""
    return {
        status: {"model": ErrorEnvelope, "description": DESCRIPTIONS[status]} for status in statuses
    }


def service_of(request: Request) -> Service:
    """Return the service of the app that a request came to; a FastAPI dependency."""
    return request.app.state.service


Serving = Annotated[Service, Depends(service_of)]


@contextlib.asynccontextmanager
async def admitted(service: Service, request: Request) -> AsyncIterator[float]:
    """Let a request in, give it up when its client leaves, and say until when it has time."""
    with service.request():
        task = asyncio.current_task()
        watcher = asyncio.create_task(_cancel_when_gone(request, task))
        try:
            yield asyncio.get_running_loop().time() + service.config.deadline_s
        except asyncio.CancelledError:
            if task is None or not watcher.done():
                raise
            task.uncancel()
            raise ClientGoneError("The client left.") from None
        finally:
            watcher.cancel()


async def _cancel_when_gone(request: Request, task: asyncio.Task[Any] | None) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    if task is not None:
        task.cancel()
