"""What every test gets: no network, few threads, and the shared data where there is some."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

# Read when the libraries are imported, so they are set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

import pytest
from hypothesis import settings

# Busy machines make single examples slow, which says nothing about the code.
settings.register_profile("labelwise", deadline=None, max_examples=60)
settings.load_profile("labelwise")

_REPOSITORY = Path(__file__).resolve().parents[1]
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1", "", None}


class NetworkBlockedError(AssertionError):
    """A test tried to leave this machine."""


def _refuse_remote(host: object) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in _LOCAL_HOSTS:
        raise NetworkBlockedError(
            f"A test tried to reach '{name}'. Tests may use this machine only; "
            "mark it with @pytest.mark.network if it is about the network."
        )


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets reach loopback and Unix addresses only."""
    if request.node.get_closest_marker("network"):
        return

    def guarded(name: str) -> Any:
        original = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                _refuse_remote(args[-1][0])  # the address is the last argument of all three
            return original(self, *args)

        return call

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_remote(host)
        return resolve(host, *args, **kwargs)

    resolve = socket.getaddrinfo
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, guarded(name))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch", reason="GPU tests need labelwise[train]")
        if not torch.cuda.is_available():
            pytest.skip("This machine has no CUDA device.")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with ``source/`` and ``target/`` datasets, which this repository doesn't hold."""
    path = Path(os.environ.get("LABELWISE_SHARED_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not (path / "target").is_dir():
        pytest.skip(
            f"No datasets in '{path}'. Expected a folder with source/ and target/; "
            "set LABELWISE_SHARED_DATA to its path to run this test."
        )
    return path
