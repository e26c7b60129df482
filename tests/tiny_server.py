"""A server with a tiny model, as a process to signal: ``python tiny_server.py SECONDS_A_BATCH``."""

from __future__ import annotations

import sys
import time
from typing import Any

from builders import tiny_tokenizer
from labelwise.apps.serve import write_logs
from labelwise.backend import FakeBackend
from labelwise.config import ModelConfig, ServeConfig
from labelwise.serve.app import create_app
from labelwise.serve.server import run
from labelwise.tagger import Tagger


class SlowBackend(FakeBackend):
    """A backend that takes its time."""

    seconds = 0.0

    def word_states(self, batch: Any) -> Any:
        time.sleep(self.seconds)
        return super().word_states(batch)


def main() -> None:
    SlowBackend.seconds = float(sys.argv[1])
    config = ServeConfig(port=0, drain_delay_s=2.0, drain_s=20.0, batch_pieces=64)
    tagger = Tagger(SlowBackend(tiny_tokenizer(), config=ModelConfig(max_pieces=32)))
    write_logs("info")
    run(create_app(tagger, config), config, lambda url: print(url, flush=True))


if __name__ == "__main__":
    main()
