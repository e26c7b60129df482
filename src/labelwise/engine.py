"""Texts in, mentions out: segments, windows, batches, label vectors, decoding.

The engine knows an encoder only through ``backend.EncoderBackend`` and never loads one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labelwise.annotation import Mention
from labelwise.backend import EncoderBackend
from labelwise.decode import (
    best_tags,
    best_valid_tags,
    label_probabilities,
    mentions_from_tag_ids,
)
from labelwise.encoding import (
    FloatArray,
    IntArray,
    Window,
    batches_by_pieces,
)
from labelwise.errors import LabelError
from labelwise.labels import LabelSet
from labelwise.schemes import MARKS
from labelwise.tags import compose_tags, label_text, tag_texts

SEGMENT_WORDS = 2048
SEGMENT_CONTEXT = 64
CHUNK_WORDS = 8192
CACHED_TEXTS = 65_536


@dataclass(frozen=True)
class TagTable:
    """A label set as vectors, ready to score.

    Attributes:
        label_set: The labels, in the order of the rows.
        matrix: One row a tag, O first, the model's scale included. Shape ``(tags, dim)``.
        bias: Added to the scores. Shape ``(tags,)``.
    """

    label_set: LabelSet
    matrix: FloatArray
    bias: FloatArray

    def logits(self, states: FloatArray) -> FloatArray:
        """Score words. Shapes ``(words, dim)`` to ``(words, tags)``."""
        return states @ self.matrix.T + self.bias


@dataclass(slots=True)
class _Open:
    """A text of which some windows are still to come."""

    n_words: int
    tags: list[IntArray] = field(default_factory=list)
    probabilities: list[FloatArray] = field(default_factory=list)

    @property
    def last_tag(self) -> int:
        """Tag id of the last word so far; 0 at the start of a text."""
        return next((int(t[-1]) for t in reversed(self.tags) if len(t)), 0)


@dataclass(frozen=True, slots=True)
class _Segment:
    text_index: int
    words: tuple[str, ...]
    start: int
    end: int
    is_last: bool


class Engine:
    """Scores words against labels.

    Args:
        backend: Runs the encoders.
        batch_pieces: Pieces in a batch, padding included.
    """

    def __init__(self, backend: EncoderBackend, *, batch_pieces: int = 2048) -> None:
        """Start with an empty label cache."""
        self.backend = backend
        self.batch_pieces = batch_pieces
        self._vectors: OrderedDict[tuple[str, str], FloatArray] = OrderedDict()

    def encode_labels(self, texts: Sequence[str]) -> FloatArray:
        """Encode label texts, each once; similar lengths share a batch.

        Args:
            texts: Such as ``"begin person"``.

        Returns:
            One row a text. Shape ``(labels, dim)``.
        """
        digest, config = self.backend.digest, self.backend.config
        missing = [t for t in dict.fromkeys(texts) if (digest, t) not in self._vectors]
        pieces = self.backend.tokenizer.encode_texts(missing, config.max_label_pieces)
        fresh: dict[str, FloatArray] = {}
        for group in batches_by_pieces([len(p) for p in pieces], self.batch_pieces):
            ids, mask = self.backend.tokenizer.pad([pieces[i] for i in group])
            rows = self.backend.encode_labels(ids, mask)
            fresh.update(zip((missing[i] for i in group), rows, strict=True))
        known = fresh | {t: v for t in texts if (v := self._vectors.get((digest, t))) is not None}
        self._remember(digest, fresh)
        return np.stack([known[t] for t in texts])

    def _remember(self, digest: str, fresh: dict[str, FloatArray]) -> None:
        for text, vector in fresh.items():
            self._vectors[digest, text] = vector
        while len(self._vectors) > CACHED_TEXTS:
            self._vectors.popitem(last=False)

    def tag_table(self, label_set: LabelSet) -> TagTable:
        """Turn a label set into vectors; cached by words and model."""
        config = self.backend.config
        texts = tag_texts([label_text(x.words, x.description) for x in label_set], config)
        if config.architecture == "double_town":
            matrix = self._fixed_matrix(texts, len(label_set.tags(config.scheme)))
        else:
            matrix = compose_tags(self.encode_labels(texts), config) * self.backend.scale
        bias = np.zeros(len(matrix), dtype=np.float32)
        known = self.backend.bias[: len(bias)]
        bias[: len(known)] = known
        return TagTable(label_set, matrix.astype(np.float32), bias)

    def _fixed_matrix(self, texts: Sequence[str], n_tags: int) -> FloatArray:
        """Tag rows of a model whose output layer fixes them. Shape ``(tags, dim)``."""
        pieces = self.backend.tokenizer.encode_texts(texts, self.backend.max_positions)
        matrix = self.backend.encode_labels(*self.backend.tokenizer.pad(pieces))
        if len(matrix) != n_tags:
            raise LabelError(
                f"The label set has {n_tags} tags, the output layer of this model {len(matrix)}. "
                "Expected the labels it was trained on. Fine-tune it on the new labels, or use a "
                "dual encoder, which takes any."
            )
        return matrix

    def states(self, sentences: Iterable[Sequence[str]]) -> Iterator[FloatArray]:
        """Encode words.

        Args:
            sentences: Words of each sentence, any length.

        Yields:
            One array a sentence; zeros for words without pieces. Shape ``(words, dim)``.
        """
        parts: list[FloatArray] = []
        for chunk in _chunks(_segments(sentences)):
            for window, states in zip(*self._encode(chunk), strict=True):
                parts.append(states)
                if window.is_last:
                    yield np.concatenate(parts) if len(parts) > 1 else parts[0]
                    parts = []

    def tag(self, sentences: Iterable[Sequence[str]], table: TagTable) -> Iterator[list[Mention]]:
        """Find the mentions in sentences, in order, in memory independent of their number.

        Args:
            sentences: Words of each sentence, any length.
            table: Labels to look for.

        Yields:
            Mentions of each sentence, sorted by start.
        """
        labels, scheme = table.label_set.names, self.backend.config.scheme
        waiting = _Open(0)
        for chunk in _chunks(_segments(sentences)):
            windows, states = self._encode(chunk)
            tags, probabilities = self._decode(windows, states, table, waiting.last_tag)
            lengths: list[int] = []
            done: list[_Open] = []
            low = 0
            for window in windows:
                high = low + window.end - window.start
                waiting.n_words += high - low
                waiting.tags.append(tags[low:high])
                waiting.probabilities.append(probabilities[low:high])
                low = high
                if window.is_last:
                    lengths.append(waiting.n_words)
                    done.append(waiting)
                    waiting = _Open(0)
            if done:
                yield from mentions_from_tag_ids(
                    np.concatenate([t for d in done for t in d.tags]),
                    np.concatenate([p for d in done for p in d.probabilities]),
                    lengths,
                    labels,
                    scheme,
                )

    def _encode(self, chunk: Sequence[_Segment]) -> tuple[list[Window], list[FloatArray]]:
        """Encode the windows of some segments; equal windows are computed once."""
        tokenizer, config = self.backend.tokenizer, self.backend.config
        unique = {s.words: i for i, s in reversed(list(enumerate(chunk)))}
        order = sorted(unique.values())
        encoded = tokenizer.encode_words([chunk[i].words for i in order])
        limit = min(config.max_pieces, self.backend.max_positions)
        cut = {i: list(tokenizer.windows(i, p, limit)) for i, p in zip(order, encoded, strict=True)}
        flat = [w for i in order for w in cut[i]]
        rows = dict(zip(((w.text_index, w.start) for w in flat), self._run(flat), strict=True))
        windows, states = [], []
        for segment in chunk:
            for window in cut[unique[segment.words]]:
                own = rows[window.text_index, window.start]
                clipped, kept = _clip(window, segment, own)
                windows.append(clipped)
                states.append(kept)
        return windows, states

    def _run(self, windows: Sequence[Window]) -> list[FloatArray]:
        """States of each window's own words, in the order given. Shapes ``(words, dim)``."""
        result: list[FloatArray] = [np.zeros((0, self.backend.dim), np.float32)] * len(windows)
        lengths = [len(w.pieces.ids) for w in windows]
        for group in batches_by_pieces(lengths, self.batch_pieces):
            batch = self.backend.tokenizer.batch([windows[i].pieces for i in group])
            found = self.backend.word_states(batch)
            low = 0
            for i in group:
                window = windows[i]
                scored = window.pieces.first >= 0
                high = low + int(scored.sum())
                states = np.zeros((len(scored), self.backend.dim), dtype=np.float32)
                states[scored] = found[low:high]
                result[i] = states[
                    window.start - window.word_start : window.end - window.word_start
                ]
                low = high
        return result

    def _decode(
        self,
        windows: Sequence[Window],
        states: Sequence[FloatArray],
        table: TagTable,
        last_tag: int,
    ) -> tuple[IntArray, FloatArray]:
        """Tag ids and label probabilities of all words of a chunk. Shapes ``(words,)``."""
        n_marks = len(MARKS[self.backend.config.scheme])
        tags, probabilities = [], []
        for low, high in _score_groups(states, len(table.bias)):
            joined = np.concatenate(states[low:high])
            logits = table.logits(joined)
            logits[~joined.any(1)] = np.where(np.arange(logits.shape[1]) == 0, 0.0, -1e4)
            found = self._best_tags(logits, windows[low:high], last_tag)
            last_tag = int(found[-1]) if len(found) else last_tag
            last_tag = 0 if windows[high - 1].is_last else last_tag
            tags.append(found)
            probabilities.append(label_probabilities(logits, found, n_marks))
        return np.concatenate(tags), np.concatenate(probabilities)

    def _best_tags(self, logits: FloatArray, windows: Sequence[Window], last_tag: int) -> IntArray:
        """Decode some windows; a mention may cross from one to the next. Shape ``(words,)``."""
        config = self.backend.config
        if config.decode == "argmax":
            return best_tags(logits)
        sizes = [w.end - w.start for w in windows]
        begins = np.flatnonzero(_decodes_apart(logits, sizes, [w.is_last for w in windows]))
        others = len(begins) - 1
        return best_valid_tags(
            logits,
            np.add.reduceat(sizes, begins).tolist(),
            config.scheme,
            before=[last_tag] + [0] * others,
            open_end=[False] * others + [not windows[-1].is_last],
        )


def _decodes_apart(
    logits: FloatArray, sizes: Sequence[int], is_last: Sequence[bool]
) -> NDArray[np.bool_]:
    """Windows that begin a text, or at a border that no mention crosses: many decode at once."""
    borders = np.cumsum(sizes)[:-1]
    inner = np.clip(borders, 1, max(len(logits) - 1, 1))
    is_outside = logits.argmax(1) == 0 if len(logits) > 1 else np.zeros(2, bool)
    apart = (inner == borders) & is_outside[inner - 1] & is_outside[inner]
    return np.concatenate([[True], apart | np.array(is_last[:-1], dtype=bool)])


def _score_groups(states: Sequence[FloatArray], n_tags: int) -> Iterator[tuple[int, int]]:
    """Runs of windows whose scores stay small enough for the cache."""
    limit, low, words = max(1, (1 << 20) // n_tags), 0, 0
    for i, part in enumerate(states):
        if words and words + len(part) > limit:
            yield low, i
            low, words = i, 0
        words += len(part)
    if states:
        yield low, len(states)


def _segments(sentences: Iterable[Sequence[str]]) -> Iterator[_Segment]:
    """Cut endless sentences, with context on both sides, so that memory stays bounded."""
    for index, words in enumerate(sentences):
        n = len(words)
        if n <= SEGMENT_WORDS + SEGMENT_CONTEXT:
            yield _Segment(index, tuple(words), 0, n, True)
            continue
        for low in range(0, n, SEGMENT_WORDS):
            high = min(low + SEGMENT_WORDS, n)
            before = max(0, low - SEGMENT_CONTEXT)
            context = tuple(words[before : high + SEGMENT_CONTEXT])
            yield _Segment(index, context, low - before, high - before, high == n)


def _chunks(segments: Iterator[_Segment]) -> Iterator[list[_Segment]]:
    chunk: list[_Segment] = []
    words = 0
    for segment in segments:
        chunk.append(segment)
        words += len(segment.words) + 1
        if words >= CHUNK_WORDS:
            yield chunk
            chunk, words = [], 0
    if chunk:
        yield chunk


def _clip(window: Window, segment: _Segment, states: FloatArray) -> tuple[Window, FloatArray]:
    """Keep only the words that belong to the segment itself."""
    low, high = max(window.start, segment.start), min(window.end, segment.end)
    high = max(low, high)
    is_last = segment.is_last and window.is_last
    clipped = Window(segment.text_index, window.pieces, window.word_start, low, high, is_last)
    return clipped, states[low - window.start : high - window.start]
