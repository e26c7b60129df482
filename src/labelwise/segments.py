"""Texts of any length as segments, and segments as chunks, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SEGMENT_WORDS = 2048
SEGMENT_CONTEXT = 64
CHUNK_WORDS = 8192
FIRST_CHUNK_WORDS = 1024


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one text; only words ``[start, end)`` are its own, the rest is context.

    Attributes:
        words: Own words and those around them.
        start: First own word, counted in ``words``.
        end: One after the last (exclusive).
        is_first: Whether the text begins here.
        is_last: Whether it ends here.
    """

    words: tuple[str, ...]
    start: int
    end: int
    is_first: bool
    is_last: bool


def segments_of(sentences: Iterable[Sequence[str]]) -> Iterator[Segment]:
    """Cut endless sentences, with context on both sides, so that memory stays bounded."""
    for words in sentences:
        n = len(words)
        if n <= SEGMENT_WORDS + SEGMENT_CONTEXT:
            yield Segment(tuple(words), 0, n, True, True)
            continue
        for low in range(0, n, SEGMENT_WORDS):
            high = min(low + SEGMENT_WORDS, n)
            before = max(0, low - SEGMENT_CONTEXT)
            context = tuple(words[before : high + SEGMENT_CONTEXT])
            yield Segment(context, low - before, high - before, low == 0, high == n)


def chunks(
    segments: Iterable[Segment],
    n_words: int = CHUNK_WORDS,
    first_words: int = FIRST_CHUNK_WORDS,
) -> Iterator[list[Segment]]:
    """Group segments to encode together: so many words, or as many as are given.

    Args:
        segments: Any iterable; its error comes after the segments before it.
        n_words: Words of a chunk.
        first_words: Words of the first chunk, so that cores and callers wait little for it; each
            has four times those of the one before, up to ``n_words``.
    """
    limit = min(first_words, n_words)
    chunk: list[Segment] = []
    words = 0
    try:
        for segment in segments:
            chunk.append(segment)
            words += len(segment.words) + 1
            if words >= limit:
                yield chunk
                chunk, words, limit = [], 0, min(4 * limit, n_words)
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
