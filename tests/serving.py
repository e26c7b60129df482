"""Apps and clients for the tests of the server: a small real model, no sockets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient

from builders import WORDS, tiny_tokenizer
from labelwise.backend import FakeBackend
from labelwise.config import ModelConfig, ServeConfig
from labelwise.serve.app import create_app
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


__all__ = ["LABELS", "ORIGIN", "TEXTS", "WORDS", "client", "tiny_tagger"]
