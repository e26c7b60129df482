"""Words into pieces, long texts into windows, windows into batches.

Knows the tokenizer and the arrays an encoder wants, but no encoder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import numpy as np
from tokenizers import Tokenizer

from labelwise.arrays import BoolArray, IntArray
from labelwise.errors import DataError
from labelwise.words import without_surrogates

MAX_PIECES_PER_WORD = 32
CACHED_WORDS = 65_536
MAX_CACHED_WORD = 64  # characters; so that endless words do not fill the memory


@dataclass(frozen=True, slots=True)
class Pieces:
    """One sequence as the encoder reads it, special pieces included.

    Attributes:
        ids: Piece ids. Shape ``(seq,)``.
        first: Position of every word's first piece; -1 for a word without pieces.
            Shape ``(words,)``.
    """

    ids: IntArray
    first: IntArray

    @property
    def n_words(self) -> int:
        """Number of words."""
        return len(self.first)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one text that fits the encoder.

    Attributes:
        text_index: Which text of the stream it belongs to.
        pieces: What the encoder reads; words outside ``[start, end)`` are context only.
        word_start: Index in the text of the window's first word.
        start: First word (index in the text) whose scores are taken from this window.
        end: One after the last such word (exclusive).
        is_last: Whether the text ends here.
    """

    text_index: int
    pieces: Pieces
    word_start: int
    start: int
    end: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded sequences, and which of their positions are words to score.

    Attributes:
        ids: Piece ids, padded. Shape ``(batch, seq)``.
        mask: True on real pieces. Shape ``(batch, seq)``.
        rows: Sequence of every word to score. Shape ``(words,)``.
        columns: Position of its first piece. Shape ``(words,)``.
    """

    ids: IntArray
    mask: BoolArray
    rows: IntArray
    columns: IntArray


class PieceTokenizer:
    """A fast tokenizer that keeps words apart.

    Args:
        tokenizer: A ``tokenizers.Tokenizer`` of a BERT-like encoder; truncation and padding
            are switched off.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Read the special pieces from the tokenizer's own template."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # "[SEP]" in a text is three marks, no border
        self._tokenizer = tokenizer
        empty = tokenizer.encode("", add_special_tokens=True).ids
        self._prefix, self._suffix = empty[: len(empty) // 2], empty[len(empty) // 2 :]
        self.pad_id = next(
            (i for p in ("[PAD]", "<pad>") if (i := tokenizer.token_to_id(p)) is not None), 0
        )
        self._space = " " if _glues_words(tokenizer) else ""
        self._cache: dict[str, tuple[int, ...]] = {}

    @classmethod
    def from_json(cls, text: str) -> PieceTokenizer:
        """Build from the text of a ``tokenizer.json``.

        Raises:
            DataError: It is not that of a fast tokenizer.
        """
        try:
            return cls(Tokenizer.from_str(text))
        except Exception as err:  # the library raises no narrower one
            raise DataError(
                f"The text is not a tokenizer: {err}. Expected the tokenizer.json of a fast "
                "tokenizer. Save it with save_pretrained() of transformers."
            ) from err

    def to_json(self) -> str:
        """Return the text of a ``tokenizer.json``."""
        return self._tokenizer.to_str()

    @property
    def n_special(self) -> int:
        """Special pieces around every sequence."""
        return len(self._prefix) + len(self._suffix)

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[Pieces]:
        """Encode pre-tokenised sentences, however long.

        A word's pieces do not depend on its neighbours, so each is encoded once and remembered.

        Args:
            sentences: Words of each sentence; lone surrogates are read as U+FFFD.

        Returns:
            One entry a sentence. At most 32 pieces of a word are read.
        """
        known = self._pieces_of(dict.fromkeys(chain.from_iterable(sentences)))
        return [self._joined([known[word] for word in words]) for words in sentences]

    def _joined(self, parts: Sequence[tuple[int, ...]]) -> Pieces:
        """Put the pieces of some words, and the special ones around them, into one sequence."""
        ids = np.array([*self._prefix, *chain.from_iterable(parts), *self._suffix], dtype=np.int64)
        starts = accumulate(map(len, parts), initial=len(self._prefix))
        first = np.fromiter(starts, dtype=np.int64, count=len(parts))
        if not all(parts):
            first[[not part for part in parts]] = -1
        return Pieces(ids, first)

    def _pieces_of(self, words: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Pieces of each word by itself."""
        found = {word: self._cache.get(word) for word in words}
        if missing := [word for word, pieces in found.items() if pieces is None]:
            fresh = dict(zip(missing, self._encode_each(missing), strict=True))
            if len(self._cache) > CACHED_WORDS:
                self._cache = {}  # not clear(): another thread may be reading
            self._cache.update((w, p) for w, p in fresh.items() if len(w) <= MAX_CACHED_WORD)
            found |= fresh
        return found  # type: ignore[return-value]

    def _encode_each(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        clean = [w and self._space + without_surrogates(w) for w in words]
        encoding = self._tokenizer.encode(clean, is_pretokenized=True, add_special_tokens=False)
        ids: list[int] = encoding.ids
        word_ids = np.array(encoding.word_ids, dtype=np.int64)
        bounds = np.searchsorted(word_ids, np.arange(len(words) + 1)).tolist()
        return [tuple(ids[a : min(b, a + MAX_PIECES_PER_WORD)]) for a, b in pairwise(bounds)]

    def encode_texts(self, texts: Sequence[str], max_pieces: int) -> list[IntArray]:
        """Encode label texts, cut at ``max_pieces``.

        Returns:
            Piece ids of each text, special pieces included. Shapes ``(pieces,)``.
        """
        encodings = self._tokenizer.encode_batch_fast(
            [without_surrogates(t) for t in texts], add_special_tokens=False
        )
        room = max_pieces - self.n_special
        return [
            np.array([*self._prefix, *e.ids[:room], *self._suffix], dtype=np.int64)
            for e in encodings
        ]

    def ends_of_reading(self, texts: Sequence[str], max_pieces: int) -> list[int | None]:
        """Find where texts are cut by ``encode_texts``.

        Returns:
            Code points of each text that are read; None where it is not cut.
        """
        room = max_pieces - self.n_special
        long = [t for t in dict.fromkeys(texts) if len(t.encode(errors="replace")) > room]
        encodings = self._tokenizer.encode_batch(
            [without_surrogates(t) for t in long], add_special_tokens=False
        )
        ends = {
            t: e.offsets[room - 1][1]
            for t, e in zip(long, encodings, strict=True)
            if len(e.ids) > room
        }
        return [ends.get(text) for text in texts]

    def windows(self, text_index: int, pieces: Pieces, max_pieces: int) -> Iterator[Window]:
        """Cut a sequence into overlapping windows of at most ``max_pieces`` pieces.

        Neighbours share about a quarter of a window; each word is scored in the window where
        it lies farther from the border, so every word is scored exactly once.
        """
        n_words = pieces.n_words
        if len(pieces.ids) <= max_pieces:
            yield Window(text_index, pieces, 0, 0, n_words, True)
            return
        bounds = _word_bounds(pieces, len(self._prefix), len(pieces.ids) - len(self._suffix))
        room = max_pieces - self.n_special
        spans = _window_spans(bounds, room)
        start = 0
        for i, (low, high) in enumerate(spans):
            is_last = i == len(spans) - 1
            end = n_words if is_last else (spans[i + 1][0] + high + 1) // 2
            cut = self._cut(pieces, bounds, low, high, room)
            yield Window(text_index, cut, low, start, end, is_last)
            start = end

    def _cut(self, pieces: Pieces, bounds: IntArray, low: int, high: int, room: int) -> Pieces:
        body = pieces.ids[bounds[low] : bounds[high]][:room]  # one word may be longer than that
        first = pieces.first[low:high]
        shifted = np.where(first < 0, -1, first - bounds[low] + len(self._prefix))
        ids = np.concatenate([self._prefix, body, self._suffix]).astype(np.int64)
        return Pieces(ids, shifted)

    def pad(self, sequences: Sequence[IntArray]) -> tuple[IntArray, BoolArray]:
        """Stack sequences of different lengths.

        Returns:
            Ids and mask (True = real). Shapes ``(batch, seq)``.
        """
        lengths = np.array([len(s) for s in sequences])
        mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
        ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        if len(sequences):
            ids[mask] = np.concatenate(sequences)
        return ids, mask

    def batch(self, sequences: Sequence[Pieces]) -> Batch:
        """Pad sequences and list the words that have a piece."""
        ids, mask = self.pad([s.ids for s in sequences])
        rows = np.repeat(np.arange(len(sequences)), [s.n_words for s in sequences])
        columns = np.concatenate([s.first for s in sequences]) if sequences else rows
        scored = columns >= 0
        return Batch(ids, mask, rows[scored], columns[scored])


def _glues_words(tokenizer: Tokenizer) -> bool:
    """Whether pre-tokenised words would lose the space that byte-level vocabularies expect."""
    pre = json.loads(tokenizer.to_str()).get("pre_tokenizer") or {}
    parts = pre.get("pretokenizers", [pre])
    return any(p.get("type") == "ByteLevel" and not p.get("add_prefix_space") for p in parts)


def _word_bounds(pieces: Pieces, first_position: int, end_position: int) -> IntArray:
    """Start of every word plus the end; a word without pieces starts where the next one does."""
    bounds = np.append(pieces.first, end_position)
    missing = bounds < 0
    bounds[missing] = end_position + 1
    bounds = np.minimum.accumulate(bounds[::-1])[::-1]
    return np.maximum(np.minimum(bounds, end_position), first_position)


def _window_spans(bounds: IntArray, room: int) -> list[tuple[int, int]]:
    """Word spans ``[low, high)`` whose pieces fit ``room``, each new one a quarter back."""
    n_words, spans, low = len(bounds) - 1, [], 0
    while True:
        high = int(np.searchsorted(bounds, bounds[low] + room, side="right")) - 1
        high = min(max(high, low + 1), n_words)
        spans.append((low, high))
        if high >= n_words:
            return spans
        back = int(np.searchsorted(bounds, bounds[high] - room // 4, side="left"))
        low = max(low + 1, min(back, high))


def batches_by_pieces(lengths: Sequence[int], max_batch_pieces: int) -> list[list[int]]:
    """Group sequences of similar length so that a padded batch stays within a piece budget.

    Args:
        lengths: Pieces of each sequence.
        max_batch_pieces: Budget for ``longest * count``; a longer sequence stands alone.

    Returns:
        Indices of each batch, shortest sequences first.

    >>> batches_by_pieces([3, 9, 4, 3], max_batch_pieces=9)
    [[0, 3], [2], [1]]
    """
    groups: list[list[int]] = []
    current: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if current and lengths[index] * (len(current) + 1) > max_batch_pieces:
            groups.append(current)
            current = []
        current.append(index)
    return [*groups, current] if current else groups


def groups_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Group texts so that none is padded to more than about half again its length.

    A description among plain names would otherwise make every name as long as itself.

    >>> groups_by_length([3, 20, 4, 22])
    [[0, 2], [1, 3]]
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups and lengths[index] <= 1.5 * lengths[groups[-1][0]] + 3:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
