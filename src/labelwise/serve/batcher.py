"""One batch at a time from many callers: bounded, fair, and nobody pays for a neighbour.

Callers live on an event loop; one worker thread runs the batches. A batch forms while the one
before it runs. Whatever the work is, an item has a size in pieces. Knows no HTTP and no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from labelwise.errors import LabelwiseError

Work = TypeVar("Work")
Result = TypeVar("Result")


class QueueFullError(LabelwiseError):
    """As much is waiting as may wait."""


class Observer(Protocol):
    """Who counts what the batcher does."""

    def waited(self, seconds: float) -> None:
        """Take note of one item's wait."""
        ...

    def ran(self, n_pieces: int, seconds: float) -> None:
        """Take note of one batch."""
        ...


@dataclass(slots=True, eq=False)
class Item(Generic[Work, Result]):
    """Work that waits.

    Attributes:
        work: What to run.
        n_pieces: Its size.
        deadline: Loop time from which nobody wants it.
        future: Where the result goes.
        since: Loop time of its arrival.
        is_waiting: Whether it counts as queued.
    """

    work: Work
    n_pieces: int
    deadline: float
    future: asyncio.Future[Result]
    since: float
    is_waiting: bool = True


class Batcher(Generic[Work, Result]):
    """Runs items in batches, first come first served.

    Cancelling an item's future withdraws it: it is not run, unless its batch has begun. When a
    batch fails it is halved until the items that fail stand alone.

    Args:
        run: Results of some work, in order; called in ``executor``, one call at a time.
        executor: Has one thread.
        observer: Counts.
        max_requests: Requests inside at a time; see ``request``.
        max_pieces: Pieces that wait, above which no further request is let in.
        batch_pieces: Pieces of a batch; a larger item runs alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Work]], Sequence[Result]],
        executor: Executor,
        observer: Observer,
        *,
        max_requests: int = 256,
        max_pieces: int = 65_536,
        batch_pieces: int = 2048,
    ) -> None:
        """Start empty and idle."""
        self._run, self._executor, self._observer = run, executor, observer
        self._max_requests, self._max_pieces = max_requests, max_pieces
        self.batch_pieces = batch_pieces
        self._queue: deque[Item[Work, Result]] = deque()
        self._is_running = False
        self.n_requests = 0
        self.n_pieces = 0

    @property
    def n_waiting(self) -> int:
        """Items in the queue, withdrawn ones included until their turn."""
        return len(self._queue)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Let one request in for the length of a ``with`` block.

        Raises:
            QueueFullError: As many are inside as may be, or too many pieces wait.
        """
        if self.n_requests >= self._max_requests:
            raise QueueFullError(
                f"{self.n_requests} requests are being answered. Expected fewer. Try again soon."
            )
        if self.n_pieces >= self._max_pieces:
            raise QueueFullError(
                f"{self.n_pieces} pieces are waiting. Expected fewer. Try again soon."
            )
        self.n_requests += 1
        try:
            yield
        finally:
            self.n_requests -= 1

    def submit(
        self, work: Work, n_pieces: int, *, deadline: float = math.inf
    ) -> asyncio.Future[Result]:
        """Queue one item.

        Args:
            work: What ``run`` will get.
            n_pieces: Its size.
            deadline: Loop time from which it is not to be run any more.

        Returns:
            A future of its result. It fails with ``TimeoutError`` after the deadline, and with
            whatever ``run`` raises for this item alone.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        item = Item(work, n_pieces, deadline, future, loop.time())
        future.add_done_callback(lambda _: self._leave(item))
        self._queue.append(item)
        self.n_pieces += item.n_pieces
        self._start()
        return future

    def _leave(self, item: Item[Work, Result]) -> None:
        """Stop counting an item as waiting, once."""
        if item.is_waiting:
            item.is_waiting = False
            self.n_pieces -= item.n_pieces

    def _start(self) -> None:
        """Run the next batch, if none is running."""
        if self._is_running:
            return
        loop = asyncio.get_running_loop()
        if batch := self._form(loop.time()):
            self._is_running = True
            for item in batch:
                self._leave(item)
                self._observer.waited(loop.time() - item.since)
            self._executor.submit(self._work, loop, batch)

    def _form(self, now: float) -> list[Item[Work, Result]]:
        """Take the next batch out of the queue."""
        batch: list[Item[Work, Result]] = []
        n_pieces = 0
        while self._queue:
            item = self._queue[0]
            if not item.future.done() and now >= item.deadline:
                item.future.set_exception(TimeoutError())
            if not item.future.done():
                n_pieces += item.n_pieces
                if batch and n_pieces > self.batch_pieces:
                    break
                batch.append(item)
            self._queue.popleft()
        return batch

    def _work(self, loop: asyncio.AbstractEventLoop, batch: list[Item[Work, Result]]) -> None:
        """Run a batch; in the worker thread."""
        started = time.perf_counter()
        try:
            outcomes = run_apart(self._run, [item.work for item in batch])
        except BaseException as err:  # nobody may wait for ever
            outcomes = [err] * len(batch)
        seconds = time.perf_counter() - started
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(self._finish, batch, outcomes, seconds)

    def _finish(
        self,
        batch: list[Item[Work, Result]],
        outcomes: Sequence[Result | BaseException],
        seconds: float,
    ) -> None:
        """Hand out results and go on."""
        self._is_running = False
        self._start()
        self._observer.ran(sum(item.n_pieces for item in batch), seconds)
        for item, outcome in zip(batch, outcomes, strict=True):
            if item.future.done():
                continue
            if isinstance(outcome, BaseException):
                item.future.set_exception(outcome)
            else:
                item.future.set_result(outcome)


def run_apart(
    run: Callable[[Sequence[Work]], Sequence[Result]], works: Sequence[Work]
) -> list[Result | BaseException]:
    """Run work together; what fails is halved until each failure stands alone.

    >>> run_apart(lambda works: [1 / x for x in works], [1, 0, 2])
    [1.0, ZeroDivisionError('division by zero'), 0.5]
    """
    try:
        results = list(run(works))
        if len(results) != len(works):
            raise RuntimeError(f"{len(works)} items gave {len(results)} results.")
        return [*results]
    except Exception as err:
        if len(works) == 1:
            return [err]
    half = len(works) // 2
    return run_apart(run, works[:half]) + run_apart(run, works[half:])
