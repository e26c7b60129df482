"""Matrix products on one thread: others that wake for one wait for the next in a spin."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Iterator

import numpy  # noqa: F401  # its BLAS must be loaded to be found
from threadpoolctl import ThreadpoolController

_LIMITING = threading.Lock()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep the matrix products of a block on one thread.

    The limit holds for the process, so while one thread has set it, others leave it alone:
    blocks that overlap would put back each other's limit.
    """
    if not _LIMITING.acquire(blocking=False):
        yield
        return
    try:
        with _libraries(_SOLVER in sys.modules).limit(limits=1, user_api="blas"):
            yield
    finally:
        _LIMITING.release()


@functools.cache
def _libraries(has_solver: bool) -> ThreadpoolController:
    """Find the libraries that are loaded: scipy brings one of its own, which its solver uses."""
    return ThreadpoolController()


_SOLVER = "scipy.optimize"
