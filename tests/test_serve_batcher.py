"""The batcher: whoever is beside an item, it gets its own result, once, or none at all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from labelwise.labels import LabelSet
from labelwise.serve.batcher import (
    ANSWERS_A_TURN,
    MIN_SHARE,
    Batcher,
    QueueFullError,
    run_apart,
)
from labelwise.serve.texts import CALL_PIECES, TextTagger, little_padding, run_parts
from serving import tiny_tagger

BUDGET = 64


class Counts:
    """An observer with a memory."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.batches: list[int] = []

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def ran(self, n_pieces: int, seconds: float) -> None:
        self.batches.append(n_pieces)


class PoisonError(Exception):
    """What a poisoned item makes of its batch."""


@dataclass(frozen=True)
class Job:
    """Work for the stub: its result is its number, unless it is poisoned."""

    number: int
    is_poison: bool = False


class HandExecutor(Executor):
    """Runs what was submitted when the test says so, in the test's thread."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting.append((fn, args))
        return Future()


class HandLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is moved by hand."""

    now = 0.0

    def time(self) -> float:
        return self.now


class BatcherMachine(RuleBasedStateMachine):
    """Submit, cancel, let time pass, compute: in any order, with poison among the items."""

    items = Bundle("items")

    @initialize()
    def start(self) -> None:
        self.loop, self.executor, self.counts = HandLoop(), HandExecutor(), Counts()
        self.calls: list[list[Job]] = []
        self.batcher: Batcher[Job, int] = Batcher(
            self.run,
            self.executor,
            self.counts,
            max_requests=4,
            max_pieces=256,
            batch_pieces=BUDGET,
        )
        self.open: list[tuple[Job, asyncio.Future[int], float, int]] = []
        self.begun: set[int] = set()
        self.gone: set[int] = set()
        self.number = 0

    def run(self, jobs: Sequence[Job]) -> list[int]:
        self.calls.append(list(jobs))
        if any(job.is_poison for job in jobs):
            raise PoisonError
        return [job.number for job in jobs]

    def on_loop(self, call: Callable[[], Any]) -> Any:
        async def run() -> Any:
            result = call()
            for _ in range(6):  # results come in turns; callbacks of futures run in the next round
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(run())

    @rule(
        target=items,
        n_pieces=st.integers(1, 100),
        is_poison=st.sampled_from([False, False, False, True]),
        patience=st.sampled_from([1.0, 5.0, float("inf")]),
    )
    def submit(self, n_pieces: int, is_poison: bool, patience: float) -> Any:
        job, deadline = Job(self.number, is_poison), self.loop.now + patience
        self.number += 1
        was_idle = not self.executor.waiting
        future = self.on_loop(lambda: self.batcher.submit(job, n_pieces, deadline=deadline))
        self.open.append((job, future, deadline, n_pieces))
        if was_idle:
            self.begun.add(job.number)
        return job, future

    @rule(item=consumes(items))
    def cancel(self, item: Any) -> None:
        job, future = item
        if not future.done() and job.number not in self.begun:
            self.gone.add(job.number)
        self.on_loop(future.cancel)

    @rule(seconds=st.floats(0.1, 3.0))
    def pass_time(self, seconds: float) -> None:
        self.loop.now += seconds

    @precondition(lambda self: self.executor.waiting)
    @rule()
    def compute(self) -> None:
        function, arguments = self.executor.waiting.pop()
        expired = [
            job.number
            for job, future, deadline, _ in self.open
            if not future.done() and job.number not in self.begun and self.loop.now >= deadline
        ]
        self.on_loop(lambda: function(*arguments))
        self.gone.update(expired)
        self.begun.update(self.next_batch())

    def next_batch(self) -> list[int]:
        """Numbers of the batch that the batcher has handed to the executor."""
        return [item.work.number for _, (_, batch) in self.executor.waiting for item in batch]

    @invariant()
    def one_batch_runs_at_a_time(self) -> None:
        assert len(self.executor.waiting) <= 1

    @invariant()
    def the_oldest_goes_first(self) -> None:
        firsts = [job.number for jobs in self.calls for job in jobs if not job.is_poison]
        assert list(dict.fromkeys(firsts)) == sorted(set(firsts))

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """While something waits, something runs."""
        waiting = [1 for j, f, _, _ in self.open if not f.done() and j.number not in self.begun]
        assert not waiting or self.executor.waiting

    @invariant()
    def pieces_that_wait_are_counted(self) -> None:
        waiting = sum(
            pieces
            for job, future, _, pieces in self.open
            if not future.done() and job.number not in self.begun
        )
        assert self.batcher.n_pieces == waiting

    @invariant()
    def batches_keep_to_the_budget(self) -> None:
        sizes = {job.number: pieces for job, _, _, pieces in self.open}
        for jobs in self.calls:
            assert len(jobs) == 1 or sum(sizes[job.number] for job in jobs) <= BUDGET

    @invariant()
    def everyone_gets_their_own_result(self) -> None:
        for job, future, deadline, _ in self.open:
            if not future.done() or future.cancelled():
                continue
            error = future.exception()
            if error is None:
                assert future.result() == job.number
                assert not job.is_poison
            elif isinstance(error, TimeoutError):
                assert self.loop.now >= deadline
            else:
                assert isinstance(error, PoisonError)
                assert job.is_poison

    @invariant()
    def what_was_given_up_is_not_computed(self) -> None:
        computed = {job.number for jobs in self.calls for job in jobs}
        assert not computed & self.gone

    def teardown(self) -> None:
        while self.executor.waiting:
            self.compute()
        self.everyone_gets_their_own_result()
        assert all(future.done() for _, future, _, _ in self.open)
        assert self.batcher.n_pieces == 0
        self.loop.close()


TestBatcherMachine = BatcherMachine.TestCase
TestBatcherMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@contextlib.contextmanager
def one_worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def _work(groups: Iterable[Sequence[int]]) -> int:
    """Pieces of some groups of lengths with padding, and what the calls cost."""
    return sum(len(group) * max(group) + CALL_PIECES for group in groups)


def _divisions(rows: list[int]) -> Iterator[list[list[int]]]:
    """Every way to cut a list into runs."""
    for cuts in itertools.product([False, True], repeat=max(0, len(rows) - 1)):
        ends = [i for i, is_cut in enumerate(cuts, start=1) if is_cut]
        yield [rows[a:b] for a, b in itertools.pairwise([0, *ends, len(rows)])]


@given(st.lists(st.integers(1, 256), min_size=1, max_size=60), st.integers(16, 600))
def test_groups_of_rows_hold_each_row_once_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    groups = little_padding(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget
    assert _work([lengths[i] for i in g] for g in groups) <= _work([n] for n in lengths)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=7), st.integers(16, 200))
def test_no_other_groups_of_rows_are_less_work(lengths: list[int], budget: int) -> None:
    groups = [[lengths[i] for i in group] for group in little_padding(lengths, budget)]
    within = (
        division
        for division in _divisions(sorted(lengths))
        if all(len(rows) == 1 or len(rows) * max(rows) <= budget for rows in division)
    )
    assert _work(groups) == min(map(_work, within))


def test_no_rows_make_no_groups() -> None:
    assert little_padding([], 100) == []


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_work_that_fails_together_fails_alone_when_run_apart(poisoned: list[bool]) -> None:
    def run(jobs: Sequence[tuple[int, bool]]) -> list[int]:
        if any(is_poison for _, is_poison in jobs):
            raise PoisonError
        return [number for number, _ in jobs]

    outcomes = run_apart(run, list(enumerate(poisoned)))
    for i, (outcome, is_poison) in enumerate(zip(outcomes, poisoned, strict=True)):
        assert isinstance(outcome, PoisonError) if is_poison else outcome == i


def test_a_run_that_loses_results_is_a_failure() -> None:
    (outcome,) = run_apart(lambda jobs: [], [1])
    assert isinstance(outcome, RuntimeError)


def test_batches_form_while_the_one_before_runs() -> None:
    sizes: list[int] = []
    go = threading.Event()

    def run(jobs: Sequence[int]) -> list[int]:
        sizes.append(len(jobs))
        go.wait(10)
        return list(jobs)

    async def main() -> list[int]:
        with one_worker() as executor:
            batcher: Batcher[int, int] = Batcher(run, executor, Counts(), batch_pieces=1000)
            futures = [batcher.submit(i, 10) for i in range(20)]
            go.set()
            return await asyncio.gather(*futures)

    assert asyncio.run(main()) == list(range(20))
    assert sizes == [1, 19]


def test_whoever_asks_meanwhile_does_not_wait_for_a_whole_batch_of_answers() -> None:
    n_done: list[int] = []

    async def main() -> list[int]:
        executor = HandExecutor()
        batcher: Batcher[int, int] = Batcher(list, executor, Counts(), batch_pieces=1000)
        futures = [batcher.submit(i, 1) for i in range(5 * ANSWERS_A_TURN)]
        for _ in range(2):  # the first alone, the others while it runs
            function, arguments = executor.waiting.pop()
            function(*arguments)
            await asyncio.sleep(0)
        while not all(future.done() for future in futures):
            n_done.append(sum(future.done() for future in futures))
            await asyncio.sleep(0)
        return [future.result() for future in futures]

    assert asyncio.run(main()) == list(range(5 * ANSWERS_A_TURN))
    assert len(n_done) >= 4
    assert max(np.diff(n_done)) <= ANSWERS_A_TURN


def test_workers_share_what_there_is_and_no_more_run_than_there_are() -> None:
    batches: list[list[int]] = []
    running, most = 0, 0
    lock, go = threading.Lock(), threading.Event()

    def run(jobs: Sequence[int]) -> list[int]:
        nonlocal running, most
        with lock:
            batches.append(list(jobs))
            running += 1
            most = max(most, running)
        go.wait(10)
        with lock:
            running -= 1
        return list(jobs)

    async def main() -> list[int]:
        with ThreadPoolExecutor(8) as executor:
            batcher: Batcher[int, int] = Batcher(run, executor, Counts(), batch_pieces=1000)
            batcher.n_workers = 2
            first = [batcher.submit(i, MIN_SHARE) for i in range(2)]
            rest = [batcher.submit(i, 10) for i in range(2, 82)]  # 800 pieces wait
            go.set()
            return await asyncio.gather(*first, *rest)

    assert asyncio.run(main()) == list(range(82))
    assert most == 2
    assert sorted(len(batch) for batch in batches[:2]) == [1, 1]
    assert max(len(batch) for batch in batches) <= (800 + MIN_SHARE) / 10 / 2 + 1


def test_more_requests_than_may_be_inside_are_refused() -> None:
    async def main() -> None:
        with one_worker() as executor:
            batcher: Batcher[int, int] = Batcher(list, executor, Counts(), max_requests=2)
            full = pytest.raises(QueueFullError, match="2 requests are being answered")
            with batcher.request(), batcher.request(), full:
                batcher.request().__enter__()
            with batcher.request():
                assert batcher.n_requests == 1

    asyncio.run(main())


def test_no_request_is_let_in_while_too_many_pieces_wait() -> None:
    go = threading.Event()

    async def main() -> None:
        with one_worker() as executor:
            batcher: Batcher[int, int] = Batcher(
                lambda jobs: go.wait(10) and list(jobs), executor, Counts(), max_pieces=100
            )
            futures = [batcher.submit(i, 60) for i in range(3)]  # one runs, two wait
            with pytest.raises(QueueFullError, match="120 pieces are waiting"):
                batcher.request().__enter__()
            futures[2].cancel()
            await asyncio.sleep(0)
            batcher.request().__enter__()
            go.set()
            await asyncio.gather(*futures[:2])

    asyncio.run(main())


WORDS = st.lists(
    st.sampled_from(["ada", "bob", "oslo", "rome", "went", "to", "x" * 40, "é", "."]), max_size=90
).map(" ".join)
LABEL_SETS = [["person"], ["person", "city"], ["drug", "date", "city"]]


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(
        st.tuples(
            st.lists(WORDS, min_size=1, max_size=4),
            st.sampled_from(LABEL_SETS),
            st.sampled_from([None, None, None, 0.0, 0.001]),  # seconds until it is given up
        ),
        min_size=1,
        max_size=8,
    ),
    batch_pieces=st.sampled_from([16, 64, 512]),
    n_workers=st.sampled_from([1, 3]),
)
def test_requests_with_a_real_engine_get_what_the_tagger_gives(
    requests: list[tuple[list[str], list[str], float | None]], batch_pieces: int, n_workers: int
) -> None:
    tagger = tiny_tagger()
    tables = {tuple(names): tagger.table(LabelSet.parse(names)) for names in LABEL_SETS}

    async def ask(texts: TextTagger, request: tuple[list[str], list[str], float | None]) -> Any:
        sent, names, patience = request
        deadline = asyncio.get_running_loop().time() + 60
        call = texts.tag(sent, tables[tuple(names)], None, deadline)
        if patience is None:
            return await call
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(call, patience)
        return None

    async def main() -> list[Any]:
        with ThreadPoolExecutor(n_workers) as executor:
            batcher: Batcher[Any, Any] = Batcher(
                lambda parts: run_parts(tagger.engine, parts),
                executor,
                Counts(),
                batch_pieces=batch_pieces,
            )
            batcher.n_workers = n_workers
            texts = TextTagger(tagger.engine, batcher)
            found = await asyncio.gather(*(ask(texts, request) for request in requests))
            assert batcher.n_pieces == 0
            return found

    for (sent, names, patience), found in zip(requests, asyncio.run(main()), strict=True):
        if patience is None or found is not None:
            assert found == tagger.predict(sent, names)


def test_a_long_text_does_not_block_a_short_one() -> None:
    tagger = tiny_tagger()
    table = tagger.table(LabelSet.parse(["person"]))
    order: list[str] = []

    def run(parts: Sequence[Any]) -> list[list[Any]]:
        time.sleep(0.002)
        return run_parts(tagger.engine, parts)

    async def ask(texts: TextTagger, name: str, text: str) -> None:
        await texts.tag([text], table, None, asyncio.get_running_loop().time() + 60)
        order.append(name)

    async def main() -> None:
        with one_worker() as executor:
            batcher: Batcher[Any, Any] = Batcher(run, executor, Counts(), batch_pieces=64)
            texts = TextTagger(tagger.engine, batcher)
            long = asyncio.create_task(ask(texts, "long", "ada " * 5000))
            await asyncio.sleep(0.05)
            await ask(texts, "short", "bob")
            await long

    asyncio.run(main())
    assert order == ["short", "long"]


def test_a_request_that_is_given_up_while_it_waits_for_room_leaves_nothing_to_compute() -> None:
    tagger = tiny_tagger()
    table = tagger.table(LabelSet.parse(["person"]))
    go, n_run = threading.Event(), 0

    def run(parts: Sequence[Any]) -> list[list[Any]]:
        nonlocal n_run
        n_run += len(parts)
        go.wait(30)
        return run_parts(tagger.engine, parts)

    async def main() -> None:
        with one_worker() as executor:
            batcher: Batcher[Any, Any] = Batcher(run, executor, Counts(), batch_pieces=16)
            texts, deadline = TextTagger(tagger.engine, batcher), asyncio.get_running_loop().time()
            other = asyncio.create_task(texts.tag(["bob"], table, None, deadline + 60))
            await asyncio.sleep(0.05)
            asked = texts.tag(["ada lives in oslo"] * 40, table, None, deadline + 60)
            request = asyncio.create_task(asked)
            await asyncio.sleep(0.05)
            assert 0 < batcher.n_waiting < 40  # it waits for room
            request.cancel()
            await asyncio.wait([request])
            n_left = batcher.n_pieces
            go.set()
            await other
            assert (n_left, batcher.n_pieces) == (0, 0)

    asyncio.run(main())
    assert n_run == 1
