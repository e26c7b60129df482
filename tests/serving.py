"""Apps and clients for the tests of the server: a small real model, no sockets."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from starlette.testclient import TestClient

from builders import tiny_tokenizer
from labelwise.backend import FakeBackend
from labelwise.config import ModelConfig, ServeConfig
from labelwise.serve.app import create_app
from labelwise.serve.server import Server
from labelwise.tagger import Tagger

ORIGIN = "http://127.0.0.1:8000"
TEXTS = ["ada lives in oslo", "bob went to new york", "acme sells aspirin here"]
LABELS = ["person", "city"]


def tiny_tagger(**options: Any) -> Tagger:
    """Build a tagger without torch: a word has a fixed vector, and so has a label."""
    return Tagger(FakeBackend(tiny_tokenizer(), config=ModelConfig(max_pieces=32)), **options)


@contextlib.contextmanager
def client(
    tagger: Any = None, config: ServeConfig | None = None, **options: Any
) -> Iterator[TestClient]:
    """Run an app and yield a client that sees errors as answers."""
    app = create_app(tagger or tiny_tagger(), config or ServeConfig(), **options)
    with TestClient(app, base_url=ORIGIN, raise_server_exceptions=False) as started:
        yield started


@contextlib.contextmanager
def live(
    tagger: Any = None, config: ServeConfig | None = None, **options: Any
) -> Iterator[tuple[str, int]]:
    """Run an app on a socket of its own, in a thread; yields its address."""
    config = (config or ServeConfig()).replace(port=0, drain_s=1.0)
    address: queue.Queue[str] = queue.Queue()
    server = Server(create_app(tagger or tiny_tagger(), config, **options), config, address.put)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        url = urlsplit(address.get(timeout=30))
        yield str(url.hostname), int(url.port or 0)
    finally:
        server.should_exit = True
        thread.join()


def exchange(address: tuple[str, int], sent: bytes) -> bytes:
    """Send raw bytes and return all that comes back until the server closes or falls silent."""
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(sent)
        connection.settimeout(20)  # a busy machine answers late
        received = b""
        with contextlib.suppress(TimeoutError):
            while block := connection.recv(65_536):
                received += block
                connection.settimeout(0.7)
        return received


def raw_request(path: str, headers: str, body: bytes = b"", method: str = "POST") -> bytes:
    """Write a request by hand; ``headers`` are lines."""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode() + body
