"""One thread that owns the model: calls of people first, work for later in small steps."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)
_Task = tuple[int, int, Callable[[], None] | None]
_NOW, _LATER, _STOP = 0, 1, -1


class Worker:
    """Runs functions one after the other in a thread of its own."""

    def __init__(self) -> None:
        """Start the thread."""
        self._tasks: queue.PriorityQueue[_Task] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._run, name="labelwise-model", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run a function before all steps; its result or error is the future's."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function()
            except BaseException as err:  # whoever waits shall see it
                future.set_exception(err)
            else:
                future.set_result(result)

        self._put(_NOW, run)
        return future

    def steps(self, steps: Iterator[Any]) -> None:
        """Run an iterator to its end, step by step, whenever nobody waits."""

        def run() -> None:
            try:
                next(steps)
            except StopIteration:
                return
            except Exception:
                _log.exception("Work in the background failed")
                return
            self._put(_LATER, run)

        self._put(_LATER, run)

    def close(self) -> None:
        """Finish the task that runs, drop the others, and end the thread."""
        self._put(_STOP, None)
        self._thread.join(timeout=30)

    def _put(self, priority: int, run: Callable[[], None] | None) -> None:
        self._tasks.put((priority, next(self._numbers), run))

    def _run(self) -> None:
        while (run := self._tasks.get()[2]) is not None:
            run()
