"""An application on a socket: start, signals, and an end that loses no answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from labelwise.config import ServeConfig
from labelwise.errors import LabelwiseError
from labelwise.serve.protocol import guarded
from labelwise.serve.service import Service

SWITCH_S = 0.0005  # a worker that asks for Python's lock has a batch to start: a core waits for it


class ServeError(LabelwiseError):
    """The server could not start."""


class Server(uvicorn.Server):
    """Drains before it stops: not ready first, then no new connections, then the end.

    Args:
        app: Made by ``create_app``.
        config: Where to listen, and how long a drain may take.
        on_start: Called with the address when the model is loaded and requests are taken.
    """

    def __init__(
        self,
        app: FastAPI,
        config: ServeConfig,
        on_start: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Open nothing yet."""
        super().__init__(
            uvicorn.Config(
                app,
                host=config.host,
                port=config.port,
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                http=guarded(config.max_connections, config.body_timeout_s),
                timeout_keep_alive=round(config.keep_alive_s),
                timeout_graceful_shutdown=max(1, round(config.drain_s)),
            )
        )
        self._service: Service = app.state.service
        self._delay_s, self._on_start = config.drain_delay_s, on_start
        self._drain_from: float | None = None
        self._url: str | None = None  # where it has yet to be told

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on SIGTERM and SIGINT; unlike the parent, do not die of them afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second signal ends the wait, a third one everything."""
        if self.should_exit:
            self.force_exit = True
        elif self._service.status == "draining" or sig == signal.SIGINT:
            self.should_exit = True
        self._service.drain()

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, then say where, or as soon as the model is loaded."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            name = f"[{host}]" if ":" in host else host
            self._url = f"http://{name}:{port}"
            self._tell_once_ready()

    def _tell_once_ready(self) -> None:
        if self._url is not None and self._service.status == "ready":
            url, self._url = self._url, None
            self._on_start(url)

    async def on_tick(self, counter: int) -> bool:
        """Stop when the drain's delay is over, or when the model could not be loaded."""
        self._tell_once_ready()
        now = asyncio.get_running_loop().time()
        if self._service.status == "draining" and self._drain_from is None:
            self._drain_from = now
        is_over = self._drain_from is not None and now >= self._drain_from + self._delay_s
        if is_over or self._service.status == "failed":
            self.should_exit = True
        return await super().on_tick(counter)


def run(
    app: FastAPI, config: ServeConfig, on_start: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until a signal comes.

    Args:
        app: Made by ``create_app``.
        config: Where to listen.
        on_start: Called with the address when the model is loaded and requests are taken.

    Raises:
        ServeError: The address cannot be listened on.
        LabelwiseError: The model cannot be loaded.
    """
    server = Server(app, config, on_start)
    sys.setswitchinterval(SWITCH_S)
    try:
        server.run()
    except SystemExit as err:
        raise ServeError(
            f"Cannot listen on '{config.host}' port {config.port}. Expected a free port of this "
            "machine. Choose another with --port."
        ) from err
    if app.state.service.failure is not None:
        raise app.state.service.failure
