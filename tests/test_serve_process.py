"""The server as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from builders import tiny_model_folder
from labelwise.apps.cli import app
from labelwise.labels import LabelSet
from serving import LABELS, TEXTS

TESTS = Path(__file__).parent
ASK = {"texts": TEXTS, "labels": LABELS}


@contextlib.contextmanager
def process(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a server; whatever happens, it is gone afterwards."""
    paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    started = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def _ask_until_told_to_stop(url: str, statuses: list[int], lost: list[str]) -> None:
    """Ask as a polite client does, who leaves when the server says so."""
    with httpx2.Client(base_url=url, timeout=30) as http:
        while True:
            try:
                answer = http.post("/v1/predict", json=ASK)
            except httpx2.HTTPError as err:
                lost.append(repr(err))
                return
            statuses.append(answer.status_code)
            if answer.headers.get("Connection") == "close":
                return


def test_p8_a_server_told_to_stop_answers_all_that_it_took() -> None:
    statuses: list[int] = []
    lost: list[str] = []
    with process([str(TESTS / "tiny_server.py"), "0.05"]) as server:
        url = server.stdout.readline().strip()  # type: ignore[union-attr]
        clients = [
            threading.Thread(target=_ask_until_told_to_stop, args=(url, statuses, lost))
            for _ in range(12)
        ]
        for thread in clients:
            thread.start()
        while len(statuses) < 13:  # a busy machine takes its time
            time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        ready = httpx2.get(f"{url}/ready")
        for thread in clients:
            thread.join()
        _, logged = server.communicate(timeout=30)
    assert ready.status_code == 503
    assert ready.json()["status"] == "draining"
    assert not lost
    assert len(statuses) > 12
    assert set(statuses) == {200}
    assert server.returncode == 0
    answered = [json.loads(line) for line in logged.splitlines()]
    assert sum(line.get("route") == "/v1/predict" for line in answered) == len(statuses)


def test_p8_what_is_being_computed_is_answered_before_the_end() -> None:
    answers: list[int] = []
    with process([str(TESTS / "tiny_server.py"), "1.5"]) as server:
        url = server.stdout.readline().strip()  # type: ignore[union-attr]
        slow = threading.Thread(
            target=lambda: answers.append(
                httpx2.post(f"{url}/v1/predict", json=ASK, timeout=30).status_code
            )
        )
        slow.start()
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        slow.join()
        assert server.wait(timeout=30) == 0
    assert answers == [200]


def test_the_command_serves_a_model_folder(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a model without an export runs on torch")
    folder = tiny_model_folder(tmp_path, label_set=LabelSet.parse(LABELS))
    command = ["-m", "labelwise", "serve", "--model", str(folder), "--port", "0"]
    with process(command) as server:
        line = server.stderr.readline()  # type: ignore[union-attr]
        assert line.startswith("Serving on http://127.0.0.1:")
        url = line.split()[-1]
        for _ in range(600):
            if httpx2.get(f"{url}/ready").status_code == 200:
                break
            time.sleep(0.1)
        answer = httpx2.post(f"{url}/v1/predict", json={"texts": TEXTS})
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0
    assert answer.json()["label_set"] == "default"
    assert len(answer.json()["results"]) == len(TEXTS)


def test_a_model_that_is_missing_ends_the_server_with_a_message() -> None:
    with process(["-m", "labelwise", "serve", "--model", "nowhere", "--port", "0"]) as server:
        _, said = server.communicate(timeout=60)
    assert server.returncode == 2
    [line] = said.splitlines()
    assert line.startswith("Error: There is no model folder 'nowhere'.")


def test_a_port_that_is_taken_is_a_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with process(["-m", "labelwise", "serve", "--model", "nowhere", "--port", port]) as server:
            _, said = server.communicate(timeout=60)
    assert server.returncode == 2
    assert f"Cannot listen on '127.0.0.1' port {port}." in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "there is no token"),
        (["--host", "example.org", "--port", "0"], "there is no token"),
        (["--token-file", "missing.txt"], "Cannot read the token from 'missing.txt'"),
        (["--token-file", "short.txt"], "The token has 5 characters"),
        (["--max-texts", "0"], "'max_texts' is 0"),
        (["--config", "settings.toml"], "has no setting 'prt'. Expected one of"),
        (["--labels", "person,person"], "given more than once"),
    ],
)
def test_p12_the_command_refuses_what_is_unsafe_or_wrong(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABELWISE_TOKEN", raising=False)
    Path("short.txt").write_text("short\n")
    Path("settings.toml").write_text("[server]\nprt = 1\n")
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_without_the_extra_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(app, ["serve"])
    assert result.exit_code == 2
    assert "pip install 'labelwise[serve]'" in result.output
