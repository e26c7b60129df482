"""Batches from many callers: bounded, fair, and nobody pays for a neighbour.

Callers live on an event loop; worker threads run the batches, each its share of what there is. A
batch forms while those before it run. Whatever the work is, an item has a size in pieces. Knows no
HTTP and no model.
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

MIN_SHARE = 128  # pieces: fewer are not worth a worker of their own
ANSWERS_A_TURN = 3  # results that are handed out before the event loop sees to others
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
        run: Results of some work, in order; called in ``executor``.
        executor: Has a thread for every worker.
        observer: Counts.
        max_requests: Requests inside at a time; see ``request``.
        max_pieces: Pieces that wait, above which no further request is let in.
        batch_pieces: Pieces of a batch; a larger item runs alone.

    Attributes:
        n_workers: Batches that run at a time.
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
        self._running: list[int] = []  # pieces of each batch
        self.n_workers = 1
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
        """Run batches while a worker is free."""
        loop = asyncio.get_running_loop()
        while len(self._running) < self.n_workers and (batch := self._form(loop.time())):
            self._running.append(sum(item.n_pieces for item in batch))
            for item in batch:
                self._leave(item)
                self._observer.waited(loop.time() - item.since)
            self._executor.submit(self._work, loop, batch)

    def _limit(self) -> int:
        """Pieces of the next batch: no more than leaves the other workers as much."""
        inside = self.n_pieces + sum(self._running)
        return min(self.batch_pieces, max(MIN_SHARE, math.ceil(inside / self.n_workers)))

    def _form(self, now: float) -> list[Item[Work, Result]]:
        """Take the next batch out of the queue."""
        batch: list[Item[Work, Result]] = []
        n_pieces, limit = 0, self._limit()
        while self._queue:
            item = self._queue[0]
            if not item.future.done() and now >= item.deadline:
                item.future.set_exception(TimeoutError())
            if not item.future.done():
                n_pieces += item.n_pieces
                if batch and n_pieces > limit:
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
        """Go on to the next batch, then hand out the results of this one."""
        n_pieces = sum(item.n_pieces for item in batch)
        self._running.remove(n_pieces)
        self._start()
        self._observer.ran(n_pieces, seconds)
        self._hand_out(deque(zip(batch, outcomes, strict=True)))

    def _hand_out(self, results: deque[tuple[Item[Work, Result], Result | BaseException]]) -> None:
        """Settle a few items, and the others after what came in meanwhile has had its turn.

        All at once, a batch of a hundred short texts would keep whoever asks now waiting for a
        hundred answers to be written.
        """
        for _ in range(min(ANSWERS_A_TURN, len(results))):
            item, outcome = results.popleft()
            if item.future.done():
                continue
            if isinstance(outcome, BaseException):
                item.future.set_exception(outcome)
            else:
                item.future.set_result(outcome)
        if results:
            asyncio.get_running_loop().call_soon(self._hand_out, results)


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
