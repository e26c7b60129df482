"""``labelwise serve``: the HTTP server from the command line."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from labelwise.apps.output import note, printable
from labelwise.apps.train import Engine, Model
from labelwise.config import ServeConfig
from labelwise.errors import ConfigError, require

TOKEN_VARIABLE = "LABELWISE_TOKEN"
_OWN_FIELDS = ("request_id", "method", "route", "status", "seconds")


def serve(
    model: Model = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Default label set, as for predict; the model's own if left out."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML or JSON file with a section 'server'.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File that holds the token; {TOKEN_VARIABLE} if left out."),
    ] = None,
    engine: Engine = "auto",
    threads: Annotated[
        int,
        typer.Option(
            min=0,
            help="Threads of one batch, of which so many run at a time as there are cores for; 0 "
            "shares one out among all: slower under load, sooner for a lone caller of long texts.",
        ),
    ] = 1,
    *,
    flags: Mapping[str, Any],
) -> None:
    """Answer over HTTP: /v1/predict, /v1/labels, /v1/fit, and Label Studio's ML backend.

    Listens on this machine only unless told otherwise. SIGTERM lets what has begun end first.
    """
    require("uvicorn", "serve", "The server")
    require("fastapi", "serve", "The server")
    require("prometheus_client", "serve", "The server")
    from labelwise.apps.inputs import read_labels
    from labelwise.apps.settings import read_settings, resolve
    from labelwise.serve.access import check_binding
    from labelwise.serve.app import create_app
    from labelwise.serve.server import run
    from labelwise.tagger import Tagger

    settings = resolve(ServeConfig(), read_settings(config, ("server",))["server"], flags)
    token = read_token(token_file)
    check_binding(settings, token)
    label_set = read_labels(labels) if labels is not None else None
    write_logs(settings.log_level)

    def load() -> Tagger:
        tagger = Tagger.from_pretrained(model, engine=engine, threads=threads)
        if label_set is not None:
            tagger.label_set = label_set.with_known(tagger.label_set)
        return tagger

    run(create_app(load, settings, token=token), settings, lambda url: note(f"Serving on {url}"))
    note("Stopped")


def read_token(path: Path | None) -> str | None:
    """Read the token of the server, from a file or the environment: never from the command line.

    Raises:
        ConfigError: The file cannot be read.
    """
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(
            f"Cannot read the token from '{path}': {err}. Expected a file with one line of ASCII. "
            "Check the path."
        ) from err


def write_logs(level: str) -> None:
    """Send log lines to stderr, one JSON object each."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # not written
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel("WARNING")


class _JsonLines(logging.Formatter):
    """Log records as JSON: no line can be forged by what a caller sent."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        fields: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "message": printable(record.getMessage()),
        }
        fields |= {k: v for k in _OWN_FIELDS if (v := getattr(record, k, None)) is not None}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]  # its message may quote a text: only say where it arose
            fields["error"] = type(error).__name__
            fields["traceback"] = "".join(traceback.format_tb(error.__traceback__))
        return json.dumps(fields)
