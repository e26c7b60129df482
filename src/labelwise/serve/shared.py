"""What all routes share: the service, admission, and how errors are described."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import Request

from labelwise.serve.problems import ApiError, ClientGoneError, as_api_error
from labelwise.serve.schemas import ErrorEnvelope
from labelwise.serve.service import Service
from labelwise.serve.texts import Answer

log = logging.getLogger("labelwise.serve")
WATCH_AFTER_S = 0.5  # a watcher costs more than most answers take
DESCRIPTIONS = {
    400: "The request is malformed, or not for this server.",
    401: "No valid token.",
    403: "A page of another site made the request.",
    404: "There is nothing of that name.",
    405: "There is another method for this path.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    415: "The body is not application/json, or it is compressed.",
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
    """Return the service of the app that a request came to."""
    return request.app.state.service


def text_results(answers: Sequence[Answer], request_id: str) -> list[dict[str, Any]]:
    """Write a result a text: its entities, or none and why it failed.

    Raises:
        ApiError: 500, all of them failed.
    """
    results = [_text_result(answer, request_id) for answer in answers]
    if all(isinstance(answer, Exception) for answer in answers):
        raise ApiError(500, results[0]["error"]["message"])
    return results


def _text_result(answer: Answer, request_id: str) -> dict[str, Any]:
    if not isinstance(answer, Exception):
        return {"entities": answer}
    found = as_api_error(answer)
    if found.status_code >= 500:
        log.error("a text failed", exc_info=answer, extra={"request_id": request_id})
    error = {"code": found.code, "message": found.detail, "request_id": request_id}
    return {"entities": [], "error": error}


class Admitted:
    """Lets a request in for the length of an ``async with`` block, and says until when it has time.

    When the client leaves in the meantime, the block is cancelled.

    Args:
        service: Admits.
        request: Where to listen for the client; its body must have been read.

    Raises:
        QueueFullError: There are too many requests.
        ClientGoneError: The client left.
    """

    def __init__(self, service: Service, request: Request) -> None:
        """Ask for nothing yet."""
        self._service, self._request = service, request
        self._inside = service.request()
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> float:
        """Enter; returns the loop time of the deadline."""
        self._inside.__enter__()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(WATCH_AFTER_S, self._watch, asyncio.current_task())
        return loop.time() + self._service.config.deadline_s

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        """Leave."""
        self._inside.__exit__(None, None, None)
        self._timer.cancel()
        watcher, self._watcher = self._watcher, None  # a cycle else: its traceback leads back here
        if watcher is None:
            return
        is_gone = watcher.done()
        watcher.cancel()
        task = asyncio.current_task()
        if is_gone and task is not None and kind is asyncio.CancelledError:
            task.uncancel()
            raise ClientGoneError("The client left.") from None

    def _watch(self, task: asyncio.Task[Any] | None) -> None:
        self._watcher = asyncio.create_task(self._cancel_when_gone(task))

    async def _cancel_when_gone(self, task: asyncio.Task[Any] | None) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        if task is not None:
            task.cancel()
