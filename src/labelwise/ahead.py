"""Work in other threads, ahead of what is used or side by side; order and results stay the same.

Knows nothing of what the work is. It should release Python's lock for most of its time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    with ThreadPoolExecutor(1, thread_name_prefix="labelwise-ahead") as pool:
        started: deque[Future[Result]] = deque()
        futures = _futures(function, items, pool)
        for first in islice(futures, 1):
            yield first.result()
        for future in futures:
            started.append(future)
            if len(started) > 1:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()


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


def _futures(
    function: Callable[[Item], Result], items: Iterable[Item], pool: Executor
) -> Iterator[Future[Result]]:
    """Start the work on each item; an error of ``items`` waits its turn."""
    try:
        for index, item in enumerate(items):
            yield pool.submit(function, item) if index else _done(function, item)
    except Exception as err:
        failed: Future[Result] = Future()
        failed.set_exception(err)
        yield failed


def _done(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Do the work here: the first item has nothing to run beside."""
    future: Future[Result] = Future()
    future.set_result(function(item))
    return future
