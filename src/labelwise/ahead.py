"""Work in other threads, ahead of what is used or side by side; order and results stay the same.

Knows nothing of what the work is. It should release Python's lock for most of its time.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NoReturn, TypeVar

Item = TypeVar("Item")
Part = TypeVar("Part")
Result = TypeVar("Result")

TURN_S = 0.001  # a batch takes ten times as long, and a core waits for who holds Python's lock
_turns_lock = threading.Lock()
_turns: list[float] = []  # switch intervals found; the last one left is from before all


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map a function, one item ahead of the results taken, in a thread.

    The items themselves are drawn in the caller's thread; the first result waits for no second
    item. No thread starts for a single item, and none is left when the iterator ends, fails or is
    closed.

    Args:
        function: The work.
        items: Any iterable.

    Yields:
        ``function(item)`` of each, in order; an error comes after the results before it.

    >>> list(map_ahead(str.upper, ["a", "b", "c"]))
    ['A', 'B', 'C']
    """
    alone = ((None, [item]) for item in items)
    for _, (result,) in _ahead(function, alone, ThreadPoolExecutor(1, "labelwise-ahead")):
        yield result


def map_parts_ahead(
    function: Callable[[Part], Result], items: Iterable[tuple[Item, Sequence[Part]]], n_workers: int
) -> Iterator[tuple[Item, list[Result]]]:
    """Map a function over the parts of items, several at a time, one item ahead.

    Workers go on with the parts of the next item while the last ones of an item are at work. The
    items are drawn and the first result is given as by ``map_ahead``.

    Args:
        function: The work.
        items: Any iterable of whatever names an item, and its parts.
        n_workers: Threads at most; with one, it is done in the caller's, and nothing ahead.

    Yields:
        Each item with ``function(part)`` of its parts, in order; an error comes after the results
        before it.

    >>> list(map_parts_ahead(str.upper, [(1, ["a", "b"]), (2, []), (3, ["c"])], n_workers=2))
    [(1, ['A', 'B']), (2, []), (3, ['C'])]
    """
    if n_workers < 2:
        yield from ((item, list(map(function, parts))) for item, parts in items)
        return
    with short_turns():
        yield from _ahead(function, items, ThreadPoolExecutor(n_workers, "labelwise-batch"))


@contextlib.contextmanager
def short_turns() -> Generator[None, None, None]:
    """Let Python's lock change hands after a millisecond, where five are usual, for a while.

    It holds for the whole process. The usual comes back when the last of all who asked is done.
    """
    with _turns_lock:
        _turns.append(sys.getswitchinterval())
        sys.setswitchinterval(min(_turns[0], TURN_S))
    try:
        yield
    finally:
        with _turns_lock:
            before = _turns.pop()
            if not _turns:
                sys.setswitchinterval(before)


def _ahead(
    function: Callable[[Part], Result],
    items: Iterable[tuple[Item, Sequence[Part]]],
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Item, list[Result]]]:
    """Give the results of an item while the parts of the next are at work; then end the pool."""
    try:
        started: deque[Callable[[], tuple[Item, list[Result]]]] = deque()
        work = _started(function, items, pool)
        for first in islice(work, 1):
            yield first()
        for finish in work:
            started.append(finish)
            if len(started) > 1:
                yield started.popleft()()
        while started:
            yield started.popleft()()
    finally:
        pool.shutdown(cancel_futures=True)


def map_side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], n_workers: int
) -> Iterator[Result]:
    """Map a function over a few items, several at a time; none is left when the iterator ends.

    Args:
        function: The work.
        items: All of them.
        n_workers: Threads at most; with one item or worker it is done in the caller's.

    Yields:
        ``function(item)`` of each, in order.

    >>> list(map_side_by_side(str.upper, ["a", "b", "c"], n_workers=2))
    ['A', 'B', 'C']
    """
    n_workers = min(n_workers, len(items))
    if n_workers < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(n_workers, thread_name_prefix="labelwise-batch") as pool:
        yield from pool.map(function, items)


def _started(
    function: Callable[[Part], Result],
    items: Iterable[tuple[Item, Sequence[Part]]],
    pool: Executor,
) -> Iterator[Callable[[], tuple[Item, list[Result]]]]:
    """Start the work on each item; what is given waits for it. An error of ``items`` comes last."""
    try:
        for index, (item, parts) in enumerate(items):
            if index or len(parts) > 1:
                yield partial(_finish, item, [pool.submit(function, part) for part in parts])
            else:  # it has nothing to run beside
                yield partial(_finish, item, [_done(function, part) for part in parts])
    except Exception as err:
        yield partial(_fail, err)


def _finish(item: Item, futures: Sequence[Future[Result]]) -> tuple[Item, list[Result]]:
    return item, [future.result() for future in futures]


def _fail(err: Exception) -> NoReturn:
    raise err


def _done(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Do the work here."""
    future: Future[Result] = Future()
    future.set_result(function(item))
    return future
