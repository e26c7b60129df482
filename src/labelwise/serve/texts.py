"""Texts into mentions by way of the batcher: what one request asks for, fairly beside others.

A text that fits a batch is encoded and decoded there, with others of the same label set. A longer
one goes in parts, each queued when the one before it is done, in memory that does not grow.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from labelwise.annotation import Mention, Record
from labelwise.encoding import Window
from labelwise.engine import Chunk, Decoder, Engine, TagTable
from labelwise.records import above_threshold, make_record
from labelwise.segments import segments_of
from labelwise.serve.batcher import Batcher
from labelwise.words import split_words

INLINE_CHARS = 2000  # longer texts are split and tokenized in a thread
IN_FLIGHT = 4  # batches' worth of pieces that one request may have queued
Answer = list[Record] | Exception
_Found = list[Mention] | Exception | asyncio.Future[list[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """One item of the batcher.

    Attributes:
        windows: To encode.
        whole: The text and its labels, if these are all its windows: it is decoded too.
    """

    windows: Sequence[Window]
    whole: tuple[Chunk, TagTable] | None = None


def run_parts(engine: Engine, parts: Sequence[Part]) -> list[list[Any]]:
    """Encode some parts together; decode whole texts, those of one label set together.

    Args:
        engine: Encodes.
        parts: Of any texts.

    Returns:
        Mentions of a whole text; else the states of each window, of shapes ``(words, dim)``.
    """
    states = iter(engine.run_windows([w for part in parts for w in part.windows]))
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
        for (i, _, _), mentions in zip(group, decoder.decode(segments, joined), strict=True):
            found[i] = mentions
    return found


@dataclass(frozen=True, slots=True)
class _Text:
    """A text cut into words, and into windows too if they fit one batch."""

    offsets: list[tuple[int, int]]
    words: list[str]
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
                begun = [(text, await request.begin(text)) for text in texts]
                return [
                    _records(text, offsets, await _settled(found), table, threshold)
                    for text, (offsets, found) in begun
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
    kept = above_threshold(found, table.label_set, threshold)
    spans = [(m, offsets[m.start][0], offsets[m.end - 1][1]) for m in kept]
    return [make_record(text[start:end], m, start, end) for m, start, end in spans]


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

    async def begin(self, text: str) -> tuple[list[tuple[int, int]], _Found]:
        """Queue a text, when there is room for more of this request.

        Returns:
            Offsets of its words; and its mentions, a future of them, or what went wrong.
        """
        try:
            is_short = len(text) <= INLINE_CHARS
            read = self._read(text) if is_short else await asyncio.to_thread(self._read, text)
            if not read.words:
                return [], []
            if read.chunk is None:
                return read.offsets, await self._long(read.words)
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

    def _read(self, text: str) -> _Text:
        """Split and tokenize a text as the engine would."""
        offsets = split_words(text)
        words = [text[a:b] for a, b in offsets]
        segments = list(islice(segments_of([words]), 2))
        if len(segments) > 1:
            return _Text(offsets, words, None)
        chunk = self._engine.tokenize(segments)
        rows = _rows(chunk.windows)
        fits = max(rows) * len(rows) <= self._batcher.batch_pieces
        return _Text(offsets, words, chunk if fits else None)

    async def _long(self, words: list[str]) -> list[Mention]:
        """Find the mentions of a long text segment by segment, one part in the queue at a time."""
        decoder = Decoder(self._engine.backend.config, self._table)
        mentions: list[list[Mention]] = []
        for segment in segments_of([words]):
            chunk = await asyncio.to_thread(self._engine.tokenize, [segment])
            states: list[Any] = []
            for windows in _cut(chunk.windows, self._batcher.batch_pieces):
                states += await (await self._submit(Part(windows)))
            mine = chunk.segment_states(states)
            mentions = await asyncio.to_thread(decoder.decode, chunk.segments, mine)
        return mentions[0]

    async def _submit(self, part: Part) -> asyncio.Future[list[Any]]:
        limit = IN_FLIGHT * self._batcher.batch_pieces
        rows = _rows(part.windows)
        while self._flying and sum(n for n, _ in self._flying) + sum(rows) > limit:
            await asyncio.wait([self._flying.popleft()[1]])
        future = self._batcher.submit(part, rows, deadline=self._deadline)
        self._flying.append((sum(rows), future))
        return future


def _rows(windows: Sequence[Window]) -> list[int]:
    return [len(w.pieces.ids) for w in windows]


def _cut(windows: Sequence[Window], budget: int) -> Iterator[list[Window]]:
    """Runs of windows whose padded batch stays within a budget of pieces."""
    part: list[Window] = []
    for window in windows:
        if part and max(_rows([*part, window])) * (len(part) + 1) > budget:
            yield part
            part = []
        part.append(window)
    if part:
        yield part
