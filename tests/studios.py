"""Projects, apps and processes of the studio, for its tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from labelwise.config import ServeConfig
from labelwise.labels import LabelSet
from labelwise.serve.access import cookie_name, session_cookie
from labelwise.serve.app import create_app
from labelwise.studio import routes
from labelwise.studio.nouns import NewText
from labelwise.studio.project import Project
from labelwise.studio.store import Store
from serving import ORIGIN, tiny_tagger

TOKEN = "t" * 40
CODE = "c" * 32
TEXTS = ["ada lives in oslo", "bob went to new york", "acme sells aspirin here", "anna is in rome"]
ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def project(path: Path, texts: list[str] | None = None) -> Iterator[Project]:
    """Open a project with a fake model, some texts and two labels."""
    opened = Project(Store(path / "project.db"), lambda _: tiny_tagger())
    try:
        if opened.store.counts()["new"] == 0:
            found = TEXTS if texts is None else texts
            new = [NewText(t, f"test:{i}") for i, t in enumerate(found, start=1)]
            opened.import_texts(new, LabelSet.parse(["person", "city"]))
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def studio_client(path: Path, *, is_in: bool = True, **options: Any) -> Iterator[TestClient]:
    """Run the studio's app around such a project, as a browser that has the cookie or not."""
    with project(path, **options) as opened:
        app = create_app(
            tiny_tagger(),
            ServeConfig(),
            token=TOKEN,
            routers=[
                routes.page_router(routes.OneTimeCode(CODE), TOKEN),
                routes.studio_router(opened, "test"),
            ],
            open_paths=routes.OPEN_PATHS,
            body_limits=routes.BODY_LIMITS,
        )
        with TestClient(app, base_url=ORIGIN, raise_server_exceptions=False) as client:
            if is_in:
                name = cookie_name(client.base_url.netloc).decode()
                client.cookies.set(name, session_cookie(TOKEN))
            yield client


@dataclass
class Running:
    """A studio process.

    Attributes:
        process: The process.
        address: With the one-time code.
    """

    process: subprocess.Popen[str]
    address: str

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.address.partition("/studio")[0]

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx2.Client]:
        """Yield a client that has traded the code for a cookie."""
        with httpx2.Client(base_url=self.origin, timeout=60, trust_env=False) as client:
            code = self.address.partition("code=")[2]
            client.post("/studio/session", json={"code": code}).raise_for_status()
            yield client


@contextlib.contextmanager
def running(file: Path, *options: str) -> Iterator[Running]:
    """Start ``labelwise studio`` and wait for its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "labelwise", "studio", str(file), "--no-browser", *options],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["src", *sys.path])},
    )
    try:
        yield Running(process, _address(process))
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def _address(process: subprocess.Popen[str]) -> str:
    said: list[str] = []
    deadline = time.monotonic() + 120
    for line in process.stderr or ():
        said.append(line)
        if found := re.search(r"http://\S+#code=\S+", line):
            return found[0]
        if time.monotonic() > deadline:
            break
    raise AssertionError("The studio did not start: " + "".join(said))


def need_default_model() -> None:
    """Skip where the model that ships is not installed."""
    if importlib.util.find_spec("labelwise_mini_en") is None:
        pytest.skip("The default model is not installed; `make setup` installs it.")
