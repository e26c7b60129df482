"""Texts into mentions by way of the batcher: what one request asks for, fairly beside others.

A text that fits a batch is encoded and decoded there, with others of the same label set. A longer
one goes in parts, each queued when the one before it is done, in memory that does not grow.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from labelwise.annotation import Mention, Record
from labelwise.arrays import FloatArray
from labelwise.encoding import Window
from labelwise.engine import Chunk, Engine
from labelwise.records import above_threshold, records_in
from labelwise.segments import SEGMENT_WORDS, chunks, segments_of
from labelwise.sentences import in_one_text, words_by_sentence
from labelwise.serve.batcher import Batcher
from labelwise.tag_table import Decoder, TagTable
from labelwise.words import split_words

INLINE_CHARS = 2000  # of a request; what is beyond is split and tokenized in a thread
CALL_PIECES = 6  # a call of the encoder on one core costs as much as so many pieces
IN_FLIGHT = 4  # batches' worth of pieces that one request may have queued
Answer = list[Record] | Exception
OnBatch = Callable[[int, int], None]
_Found = list[Mention] | Exception | asyncio.Future[list[Any]]
_Begun = tuple[list[tuple[int, int]], _Found]  # offsets of words; what is found, or will be
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """One item of the batcher.

    Attributes:
        windows: To encode.
        whole: The text and its labels, if these are all its windows: it is decoded too.
    """

    windows: Sequence[Window]
    whole: tuple[Chunk, TagTable] | None = None


def run_parts(
    engine: Engine, parts: Sequence[Part], on_batch: OnBatch = lambda *_: None
) -> list[list[Any]]:
    """Encode some parts together; decode whole texts, those of one label set together.

    Args:
        engine: Encodes.
        parts: Of any texts.
        on_batch: Told of each call of the encoder: its pieces without padding and with it.

    Returns:
        Mentions of a whole text; else the states of each window, of shapes ``(words, dim)``.
    """
    windows = [w for part in parts for w in part.windows]
    lengths = _rows(windows)
    by_window: dict[int, FloatArray] = {}
    for group in little_padding(lengths, engine.batch_pieces):
        by_window |= zip(group, engine.run_windows([windows[i] for i in group]), strict=True)
        on_batch(sum(lengths[i] for i in group), len(group) * max(lengths[i] for i in group))
    states = iter([by_window[i] for i in range(len(windows))])
    found: list[list[Any]] = [[next(states) for _ in part.windows] for part in parts]
    by_table: dict[int, list[tuple[int, Chunk, TagTable]]] = defaultdict(list)
    for i, part in enumerate(parts):
        if part.whole is not None:
            chunk, table = part.whole
            by_table[id(table)].append((i, chunk, table))
    for group in by_table.values():
        decoder = Decoder(engine.backend.config, group[0][2])
        segments = [s for _, chunk, _ in group for s in chunk.segments]
        joined = [s for i, chunk, _ in group for s in chunk.segment_states(found[i])]
        mentions = iter(decoder.decode(segments, joined))
        for i, chunk, _ in group:
            sentences = [s.words for s in chunk.segments]
            found[i] = in_one_text(islice(mentions, len(sentences)), sentences)
    return found


def little_padding(lengths: Sequence[int], max_batch_pieces: int) -> list[list[int]]:
    """Group rows for the least work, where padding costs as much as text and each call its own.

    Args:
        lengths: Pieces of each row.
        max_batch_pieces: Budget for ``longest * count``; a longer row stands alone.

    Returns:
        Indices of each group, shortest rows first.

    >>> little_padding([30, 10, 29, 10], max_batch_pieces=2048)
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    costs, starts = [0], [0]  # of the first rows; where their last group starts
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        most = max(1, max_batch_pieces // max(1, longest))
        options = range(max(0, end - most), end)
        start = min(options, key=lambda i: costs[i] + (end - i) * longest)
        costs.append(costs[start] + (end - start) * longest + CALL_PIECES)
        starts.append(start)
    groups: list[list[int]] = []
    while order:
        groups.append(order[starts[len(order)] :])
        del order[starts[len(order)] :]
    return groups[::-1]


@dataclass(frozen=True, slots=True)
class _CutText:
    """A text cut into words, and into windows too if they fit one batch."""

    offsets: list[tuple[int, int]]
    sentences: list[Sequence[str]]
    chunk: Chunk | None


class TextTagger:
    """Finds the entities of requests.

    Args:
        engine: Tokenizes and decodes.
        batcher: Runs ``run_parts``.
    """

    def __init__(self, engine: Engine, batcher: Batcher[Part, list[Any]]) -> None:
        """Take the parts as they are."""
        self._engine, self._batcher = engine, batcher

    async def tag(
        self, texts: Sequence[str], table: TagTable, threshold: float | None, deadline: float
    ) -> list[Answer]:
        """Find the entities of some texts; a text that fails has its error in their place.

        Args:
            texts: Any texts.
            table: Labels to look for.
            threshold: As for ``Tagger.predict``.
            deadline: Loop time until which there must be an answer.

        Raises:
            TimeoutError: The deadline passed; what still waited was not computed.
        """
        async with asyncio.timeout_at(deadline):
            request = _Request(self._engine, self._batcher, table, deadline)
            try:
                begun = await request.begin(texts)
                return [
                    _records(text, offsets, await _settled(found), table, threshold)
                    for text, (offsets, found) in zip(texts, begun, strict=True)
                ]
            finally:
                request.withdraw()


async def _settled(found: _Found) -> list[Mention] | Exception:
    """Wait for the mentions of a text, or for the error it alone caused."""
    if not isinstance(found, asyncio.Future):
        return found
    try:
        return await found
    except TimeoutError:
        raise
    except Exception as err:
        return err


def _records(
    text: str,
    offsets: Sequence[tuple[int, int]],
    found: list[Mention] | Exception,
    table: TagTable,
    threshold: float | None,
) -> Answer:
    if isinstance(found, Exception):
        return found
    return records_in(text, offsets, above_threshold(found, table.label_set, threshold))


class _Request:
    """The texts of one request on their way through the batcher."""

    def __init__(
        self,
        engine: Engine,
        batcher: Batcher[Part, list[Any]],
        table: TagTable,
        deadline: float,
    ) -> None:
        self._engine, self._batcher = engine, batcher
        self._table, self._deadline = table, deadline
        self._flying: deque[tuple[int, asyncio.Future[list[Any]]]] = deque()

    async def begin(self, texts: Sequence[str]) -> list[_Begun]:
        """Queue texts, as there is room for more of this request.

        The first few are read at once. Whatever comes is answered by the same thread, so more than
        that would keep others waiting, those who are refused too.
        """
        begun: list[_Begun] = []
        for run in _cut(texts, len, INLINE_CHARS):
            is_quick = not begun and len(run[0]) <= INLINE_CHARS
            read = self._read(run) if is_quick else await asyncio.to_thread(self._read, run)
            begun += [await self._begun(text) for text in read]
        return begun

    async def _begun(self, read: _CutText | Exception) -> _Begun:
        if isinstance(read, Exception):
            return [], read
        try:
            if not read.offsets:
                return [], []
            if read.chunk is None:
                return read.offsets, await self._long(read.sentences)
            whole = Part(read.chunk.windows, (read.chunk, self._table))
            return read.offsets, await self._submit(whole)
        except TimeoutError:
            raise
        except Exception as err:
            return [], err

    def withdraw(self) -> None:
        """Take back what is still queued, and leave no error unseen."""
        for _, future in self._flying:
            if not future.cancel() and not future.cancelled():
                future.exception()

    def _read(self, texts: Sequence[str]) -> list[_CutText | Exception]:
        """Read texts; one that cannot be read has the error in its place."""
        found: list[_CutText | Exception] = []
        for text in texts:
            try:
                found.append(self._read_one(text))
            except Exception as err:
                found.append(err)
        return found

    def _read_one(self, text: str) -> _CutText:
        """Split and tokenize a text as the engine would."""
        offsets = split_words(text)
        sentences = list(words_by_sentence(text, [text[a:b] for a, b in offsets], offsets))
        if len(offsets) > SEGMENT_WORDS:
            return _CutText(offsets, sentences, None)
        chunk = self._engine.tokenize(list(segments_of(sentences)))
        fits = sum(_rows(chunk.windows)) <= self._batcher.batch_pieces
        return _CutText(offsets, sentences, chunk if fits else None)

    async def _long(self, sentences: Sequence[Sequence[str]]) -> list[Mention]:
        """Find the mentions of a long text some sentences at a time, one part in the queue."""
        decoder = Decoder(self._engine.backend.config, self._table)
        mentions: list[list[Mention]] = []
        for segments in chunks(segments_of(sentences), SEGMENT_WORDS):
            chunk = await asyncio.to_thread(self._engine.tokenize, segments)
            states: list[Any] = []
            for windows in _cut(chunk.windows, _n_pieces, self._batcher.batch_pieces):
                states += await (await self._submit(Part(windows)))
            mine = chunk.segment_states(states)
            mentions += await asyncio.to_thread(decoder.decode, chunk.segments, mine)
        return in_one_text(mentions, sentences)

    async def _submit(self, part: Part) -> asyncio.Future[list[Any]]:
        limit = IN_FLIGHT * self._batcher.batch_pieces
        n_pieces = sum(_rows(part.windows))
        while self._flying and sum(n for n, _ in self._flying) + n_pieces > limit:
            await asyncio.wait([self._flying[0][1]])  # still there for ``withdraw``
            self._flying.popleft()
        future = self._batcher.submit(part, n_pieces, deadline=self._deadline)
        self._flying.append((n_pieces, future))
        return future


def _n_pieces(window: Window) -> int:
    return len(window.pieces.ids)


def _rows(windows: Sequence[Window]) -> list[int]:
    return [len(w.pieces.ids) for w in windows]


def _cut(items: Iterable[T], size: Callable[[T], int], budget: int) -> Iterator[list[T]]:
    """Runs of items within a budget; a larger item stands alone."""
    run: list[T] = []
    total = 0
    for item in items:
        total += size(item)
        if run and total > budget:
            yield run
            run, total = [], size(item)
        run.append(item)
    if run:
        yield run
