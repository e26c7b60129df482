"""What every request passes, whichever route it is for: one ASGI middleware, no thread hops.

Request id, host and site, token, size of the body, headers of the answer, the envelope of errors,
one log line and the counters. Knows nothing of texts and labels.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labelwise.config import ServeConfig
from labelwise.serve.access import Access
from labelwise.serve.metrics import Metrics
from labelwise.serve.problems import ApiError, ClientGoneError, problem

log = logging.getLogger("labelwise.serve")

OPEN_PATHS = frozenset({"/health", "/ready"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SECURITY_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
}


class Gate:
    """Lets a request in or answers it, and sees every answer out.

    Args:
        app: What lies behind.
        access: Decides who may ask.
        config: Limits.
        metrics: Counts.
        is_draining: Whether connections should end with their present answers.
        open_paths: Paths that need no token, beside the probes; one that ends with ``/`` opens
            all below it.
        body_limits: Bytes of a body for paths that begin so, where not the usual.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        config: ServeConfig,
        metrics: Metrics,
        is_draining: Callable[[], bool],
        open_paths: Collection[str] = (),
        body_limits: Mapping[str, int] | None = None,
    ) -> None:
        """Take the parts as they are."""
        self._is_draining = is_draining
        self._app, self._access, self._config, self._metrics = app, access, config, metrics
        self._open = OPEN_PATHS | {p for p in open_paths if not p.endswith("/") or p == "/"}
        self._open_below = tuple(p for p in open_paths if p.endswith("/") and p != "/")
        self._body_limits = dict(body_limits or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # websockets: none are served
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["method"] == "HEAD":  # as a GET; uvicorn, which has the old scope, sends no body
            scope = {**scope, "method": "GET"}
        timeout_s = self._config.body_timeout_s
        exchange = _Exchange(scope, receive, send, timeout_s, is_last=self._is_draining)
        try:
            exchange.allow(self._check(scope, exchange.headers))
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as err:
            await self._answer_error(err, exchange)
        finally:
            self._record(exchange)

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> int:
        """Refuse what may not pass; returns how many bytes the body may have."""
        path: str = scope["path"]
        _check_headers(scope["headers"])
        self._access.check(scope["method"], headers)
        if path not in self._open and not path.startswith(self._open_below):
            self._access.check_token(headers)
        limit = next(
            (n for prefix, n in self._body_limits.items() if path.startswith(prefix)),
            self._config.max_body_bytes,
        )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            raise too_large(limit)
        return limit

    async def _answer_error(self, error: Exception, exchange: _Exchange) -> None:
        if isinstance(error, (ClientGoneError, ClientDisconnect)):
            return
        if not isinstance(error, ApiError):
            log.error("failed", exc_info=error, extra={"request_id": exchange.request_id})
        if exchange.status:  # the answer has begun: all that is left is to break it off
            raise error
        response = problem(error, exchange.request_id)
        await response(exchange.scope, exchange.receive, exchange.send)

    def _record(self, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        route = getattr(exchange.scope.get("route"), "path", "unmatched")
        status = exchange.status or 499  # as proxies call a client that is gone
        self._metrics.answered(route, status, seconds)
        log.info(
            "answered",
            extra={
                "request_id": exchange.request_id,
                "method": exchange.scope["method"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
            },
        )


class _Exchange:
    """One request, which may have no body until it is allowed one, and its answer.

    Args:
        scope: As ASGI has it.
        receive: As ASGI has it.
        send: As ASGI has it.
        body_timeout_s: Time for the body.
        is_last: Whether its connection should end with it.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        body_timeout_s: float,
        *,
        is_last: Callable[[], bool],
    ) -> None:
        self.scope, self.started, self.status = scope, time.perf_counter(), 0
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        is_valid = _REQUEST_ID.fullmatch(given) is not None
        self.request_id = given.decode() if is_valid else f"{random.getrandbits(64):016x}"
        scope.setdefault("state", {})["request_id"] = self.request_id
        self._receive, self._send = receive, send
        self._body_timeout_s, self._size, self._has_body = body_timeout_s, 0, True
        self._max_bytes, self._is_last = 0, is_last

    def allow(self, max_bytes: int) -> None:
        """Let the body have so many bytes."""
        self._max_bytes = max_bytes

    async def receive(self) -> Message:
        """Pass on a piece of the body, within the limits of size and time."""
        if not self._has_body:
            return await self._receive()  # waits for the client to leave
        left = self._body_timeout_s - (time.perf_counter() - self.started)
        try:
            async with asyncio.timeout(max(left, 0.0)):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(
                408,
                f"The body did not arrive within {self._body_timeout_s:g} s. Expected all of it. "
                "Send it again.",
                headers={"Connection": "close"},
            ) from None
        self._has_body = bool(message.get("more_body"))
        self._size += len(message.get("body", b""))
        if self._size > self._max_bytes:
            raise too_large(self._max_bytes)
        return message

    async def send(self, message: Message) -> None:
        """Pass on a piece of the answer, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._missing(message)]
        await self._send(message)

    def _missing(self, message: Message) -> list[tuple[bytes, bytes]]:
        given = {name for name, _ in message.get("headers", ())}
        headers = [pair for pair in _SECURITY_HEADERS.items() if pair[0] not in given]
        if self._is_last() and b"connection" not in given:
            headers.append((b"connection", b"close"))
        return [*headers, (b"x-request-id", self.request_id.encode())]


def too_large(limit: int) -> ApiError:
    """Make the answer to a body that is too large."""
    return ApiError(413, f"The body has more than {limit} bytes. Expected less. Send it in parts.")


def _check_headers(headers: Any) -> None:
    """Refuse what proxies and servers read differently."""
    names = [name for name, _ in headers]
    for name in (b"host", b"content-length", b"authorization"):
        if names.count(name) > 1:
            raise ApiError(400, f"The header '{name.decode()}' is given twice. Expected it once.")
