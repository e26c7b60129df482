"""Working ahead: the same results in the same order, errors in their turn, no thread left."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.ahead import TURN_S, map_ahead, map_parts_ahead, map_side_by_side


def n_threads() -> int:
    return sum(t.name.startswith("labelwise-") for t in threading.enumerate())


@given(st.lists(st.integers(), max_size=6))
def test_results_are_those_of_map(items: list[int]) -> None:
    assert list(map_ahead(str, items)) == list(map(str, items))
    assert n_threads() == 0


def test_items_are_drawn_by_the_caller_and_one_ahead() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for i in itertools.count():
            assert threading.current_thread() is threading.main_thread()
            drawn.append(i)
            yield i

    results = map_ahead(lambda i: i, items())
    for i in range(4):
        assert next(results) == i
        assert len(drawn) == (i + 2 if i else 1)  # the first result waits for nothing more
    assert n_threads() == 1
    results.close()  # type: ignore[attr-defined]
    assert n_threads() == 0


def test_the_next_item_is_worked_on_while_the_present_one_is_used() -> None:
    reached = threading.Event()

    def work(i: int) -> int:
        if i == 2:
            reached.set()
        return i

    results = map_ahead(work, range(4))
    assert list(itertools.islice(results, 2)) == [0, 1]
    assert reached.wait(timeout=10)
    assert list(results) == [2, 3]


def test_a_single_item_needs_no_thread() -> None:
    results = map_ahead(lambda _: n_threads(), ["one"])
    assert list(results) == [0]


@pytest.mark.parametrize("failing", range(4))
def test_an_error_of_the_work_comes_after_the_results_before_it(failing: int) -> None:
    results = map_ahead(lambda i: 1 // (i - failing), range(4))
    given = list(itertools.islice(results, failing))
    assert len(given) == failing
    with pytest.raises(ZeroDivisionError, match="by zero"):
        next(results)
    assert n_threads() == 0


@pytest.mark.parametrize("n_good", range(4))
def test_an_error_of_the_items_comes_after_the_results_before_it(n_good: int) -> None:
    def items() -> Iterator[int]:
        yield from range(n_good)
        raise LookupError("no more")

    results = map_ahead(str, items())
    assert list(itertools.islice(results, n_good)) == [str(i) for i in range(n_good)]
    with pytest.raises(LookupError, match="no more"):
        next(results)
    assert n_threads() == 0


@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_results_side_by_side_are_those_of_map(items: list[int], n_workers: int) -> None:
    assert list(map_side_by_side(str, items, n_workers)) == list(map(str, items))
    assert n_threads() == 0


def test_workers_run_at_the_same_time() -> None:
    together = threading.Barrier(3)
    list(map_side_by_side(lambda _: together.wait(timeout=10), range(3), n_workers=3))


def test_one_item_or_worker_needs_no_thread() -> None:
    assert list(map_side_by_side(lambda _: n_threads(), ["one"], n_workers=3)) == [0]
    assert list(map_side_by_side(lambda _: n_threads(), ["one", "two"], n_workers=1)) == [0, 0]


def test_an_error_side_by_side_comes_in_its_turn_and_leaves_no_thread() -> None:
    results = map_side_by_side(lambda i: 1 // (i - 1), range(3), n_workers=2)
    assert next(results) == -1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert n_threads() == 0


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=5), st.integers(1, 3))
def test_parts_come_back_with_their_items(items: list[list[int]], n_workers: int) -> None:
    found = map_parts_ahead(str, enumerate(items), n_workers)
    assert list(found) == [(i, list(map(str, parts))) for i, parts in enumerate(items)]
    assert n_threads() == 0


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("failing", range(3))
def test_an_error_of_a_part_comes_after_the_items_before_it(failing: int, n_workers: int) -> None:
    items = [(i, [2, failing - i]) for i in range(3)]
    results = map_parts_ahead(lambda n: 1 // n, items, n_workers)
    assert [i for i, _ in itertools.islice(results, failing)] == list(range(failing))
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert n_threads() == 0


def test_parts_of_the_next_item_begin_while_one_of_the_present_is_at_work() -> None:
    reached = threading.Event()
    parts = {"first": "a", "slow": "b", "next": "c"}

    def work(part: str) -> str:
        if part == "next":
            reached.set()
        if part == "slow":
            assert reached.wait(timeout=10)
        return parts[part]

    found = map_parts_ahead(work, [(1, ["first"]), (2, ["slow"]), (3, ["next"])], n_workers=2)
    assert list(found) == [(1, ["a"]), (2, ["b"]), (3, ["c"])]


def test_parts_that_wait_are_dropped_when_the_results_are_closed() -> None:
    found = map_parts_ahead(str, ((i, [i, i]) for i in itertools.count()), n_workers=2)
    assert next(found) == (0, ["0", "0"])
    found.close()  # type: ignore[attr-defined]
    assert n_threads() == 0


def test_turns_are_short_until_the_last_run_of_parts_ends() -> None:
    usual = sys.getswitchinterval()
    runs = [map_parts_ahead(str.upper, [(i, ["a", "b"]) for i in range(3)], 2) for _ in range(2)]
    assert sys.getswitchinterval() == usual
    for run in runs:
        next(run)
    assert sys.getswitchinterval() == TURN_S < usual
    runs[0].close()
    assert sys.getswitchinterval() == TURN_S
    list(runs[1])
    assert sys.getswitchinterval() == usual
