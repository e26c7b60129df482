"""HTTP on one connection, with the limits that uvicorn's parser lacks.

A request's head must be small and must arrive in time; connections beyond a number are turned
away; and whatever is refused here has the same envelope as everything else.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from labelwise.serve.problems import CODES

MAX_OPENING_BYTES = 65_536
_UPGRADE = re.compile(rb"(?i)(?<=\n)upgrade(?=:)")


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Subclasses set the limits; see ``guarded``."""

    max_connections = 1000
    timeout_s = 10.0
    _n_bytes = 0
    _is_open = False
    _is_in_body = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Turn away what is too many."""
        super().connection_made(transport)
        self._expect()
        if len(self.connections) > self.max_connections:
            self._refuse(429, "There are too many connections. Expected fewer. Try again soon.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Refuse a head that does not end."""
        if self.transport.is_closing():
            return
        self._n_bytes += len(data)
        super().data_received(data if self._is_in_body else without_upgrade(data))
        if self._is_open and self._n_bytes > MAX_OPENING_BYTES:
            self._refuse(400, "The headers are too large. Expected at most 64 KiB. Send fewer.")

    def on_message_begin(self) -> None:
        """Wait for the rest of the head, not for ever."""
        super().on_message_begin()
        self._expect()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse one header that is too large; the parser makes a 400 of the error."""
        if len(name) + len(value) > MAX_OPENING_BYTES:
            raise ValueError("The header is too large.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_open, self._is_in_body = False, True
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next request begins with a head again."""
        self._is_in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, f"{msg} Expected HTTP/1.1. Check the client.")

    def _expect(self) -> None:
        self._n_bytes, self._is_open = 0, True
        self._stop_timer()
        self._timer = self.loop.call_later(self.timeout_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._refuse(408, "The headers did not arrive in time. Expected all of them. Try again.")

    def _refuse(self, status: int, message: str) -> None:
        """Answer without having read a request, and close."""
        if self.transport.is_closing():
            return
        detail: dict[str, Any] = {"code": CODES[status], "message": message}
        detail["request_id"] = secrets.token_hex(8)
        body = json.dumps({"error": detail}).encode()
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: application/json",
            "x-content-type-options: nosniff",
            f"content-length: {len(body)}",
            *(["retry-after: 1"] if status == 429 else []),
            "connection: close",
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()


def without_upgrade(data: bytes) -> bytes:
    r"""Hide an offer to speak another protocol, which may be ignored: the parser drops the body.

    Java's own client makes such an offer with every request.

    Args:
        data: What begins with the head of a request, or goes on with it.

    >>> without_upgrade(b"POST / HTTP/1.1\r\nUpgrade: h2c\r\n\r\nbody")
    b'POST / HTTP/1.1\r\nX-Upgrade: h2c\r\n\r\nbody'
    """
    opening, blank, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"X-Upgrade", opening) + blank + rest


def guarded(max_connections: int, timeout_s: float) -> type[GuardedProtocol]:
    """Make a protocol with these limits.

    Args:
        max_connections: At a time.
        timeout_s: Seconds that the head of a request may take.
    """
    limits = {"max_connections": max_connections, "timeout_s": timeout_s}
    return type("Protocol", (GuardedProtocol,), limits)
