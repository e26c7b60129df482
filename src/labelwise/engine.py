"""Texts in, mentions out: segments, windows, batches, label vectors, decoding.

The engine knows an encoder only through ``backend.EncoderBackend`` and never loads one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labelwise.ahead import map_ahead
from labelwise.annotation import Mention
from labelwise.backend import EncoderBackend
from labelwise.calibration import IDENTITY, ScoreCurve
from labelwise.config import ModelConfig
from labelwise.decode import (
    Costs,
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
from labelwise.segments import Segment, chunks, segments_of
from labelwise.tag_params import add_neighbours
from labelwise.tags import compose_tags, tag_texts, text_layout

CACHED_TEXTS = 65_536


@dataclass(frozen=True)
class TagTable:
    """A label set as vectors, ready to score.

    Attributes:
        label_set: The labels, in the order of the rows.
        matrix: One row a tag, O first, the model's scale included. Shape ``(tags, dim)``; three
            times as wide where a fit also reads a word's neighbours.
        bias: Added to the scores. Shape ``(tags,)``.
        curve: Turns the mean probability of a mention's words into how often it is right.
    """

    label_set: LabelSet
    matrix: FloatArray
    bias: FloatArray
    curve: ScoreCurve = IDENTITY

    def logits(self, states: FloatArray, lengths: Sequence[int]) -> FloatArray:
        """Score the words of some sentences, one after the other.

        Args:
            states: Shape ``(words, dim)``.
            lengths: Words of each sentence; neighbours are looked for within it.

        Returns:
            Shape ``(words, tags)``.
        """
        if self.matrix.shape[1] != states.shape[1]:
            states = add_neighbours(states, np.repeat(np.arange(len(lengths)), lengths))
        return states @ self.matrix.T + self.bias


@dataclass(frozen=True, slots=True)
class Chunk:
    """Segments to encode together, their texts without duplicates, and the windows of these."""

    segments: list[Segment]
    texts: list[tuple[str, ...]]
    windows: list[Window]

    def segment_states(self, found: Sequence[FloatArray]) -> list[FloatArray]:
        """States of the segments from those of the windows. Shapes ``(words, dim)``."""
        parts: list[list[FloatArray]] = [[] for _ in self.texts]
        for window, states in zip(self.windows, found, strict=True):
            parts[window.text_index].append(states)
        known = dict(zip(self.texts, (np.concatenate(p) for p in parts), strict=True))
        return [known[s.words][s.start : s.end] for s in self.segments]


class Engine:
    """Scores words against labels.

    Args:
        backend: Runs the encoders.
        batch_pieces: Pieces in a batch, padding included.
        tokenize_ahead: Tokenize what comes next in a thread while the encoder runs.
    """

    def __init__(
        self, backend: EncoderBackend, *, batch_pieces: int = 2048, tokenize_ahead: bool = True
    ) -> None:
        """Start with an empty label cache."""
        self.backend = backend
        self.batch_pieces = batch_pieces
        self.cached_texts = CACHED_TEXTS
        self.tokenize_ahead = tokenize_ahead
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
        self.remember(fresh)
        return np.stack([known[t] for t in texts])

    def known_vectors(self) -> dict[str, FloatArray]:
        """Label texts that need no encoding now, with their vectors, each ``(dim,)``."""
        digest = self.backend.digest
        return {text: vector for (model, text), vector in self._vectors.items() if model == digest}

    def remember(self, vectors: Mapping[str, FloatArray]) -> None:
        """Take label vectors that this model made before, each ``(dim,)``, by text."""
        digest = self.backend.digest if vectors else ""
        self._vectors.update({(digest, text): vector for text, vector in vectors.items()})
        while len(self._vectors) > self.cached_texts:
            self._vectors.popitem(last=False)

    def tag_table(self, label_set: LabelSet) -> TagTable:
        """Turn a label set into vectors; cached by words and model."""
        config = self.backend.config
        if config.architecture == "double_town":
            matrix = self._fixed_matrix(label_set)
        else:
            matrix = compose_tags(self.label_rows(label_set), config) * self.backend.scale
        bias = np.zeros(len(matrix), dtype=np.float32)
        known = self.backend.bias[: len(bias)]
        bias[: len(known)] = known
        return TagTable(label_set, matrix.astype(np.float32), bias)

    def label_rows(self, label_set: LabelSet) -> FloatArray:
        """Encode ``tags.tag_texts`` of a label set.

        A label with a description lies halfway between its words and its description: either
        alone is often misread, and what they share is what was meant.

        Args:
            label_set: The labels.

        Returns:
            One row a text. Shape ``(labels, dim)``.
        """
        config = self.backend.config
        rows = self.encode_labels(tag_texts([x.words for x in label_set], config)).copy()
        described = [i for i, x in enumerate(label_set) if x.description]
        if described:
            texts = [str(label_set.labels[i].description) for i in described]
            n_shared, n_own = text_layout(config)
            own = n_shared + np.add.outer(np.multiply(described, n_own), np.arange(n_own)).ravel()
            rows[own] = (rows[own] + self.encode_labels(tag_texts(texts, config))[n_shared:]) / 2
        return rows

    def _fixed_matrix(self, label_set: LabelSet) -> FloatArray:
        """Tag rows of a model whose output layer fixes them. Shape ``(tags, dim)``."""
        config, n_tags = self.backend.config, len(label_set.tags(self.backend.config.scheme))
        texts = tag_texts([x.words for x in label_set], config)
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
        for chunk in self._tokenized(sentences):
            for segment, states in zip(chunk.segments, self._encode(chunk), strict=True):
                parts.append(states)
                if segment.is_last:
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
        decoder = Decoder(self.backend.config, table)
        for chunk in self._tokenized(sentences):
            yield from decoder.decode(chunk.segments, self._encode(chunk))

    def tag_states(self, states: Sequence[FloatArray], table: TagTable) -> list[list[Mention]]:
        """Find the mentions in sentences encoded before: another table costs no encoding.

        Args:
            states: As ``states()`` gave them. Shapes ``(words, dim)``.
            table: Labels to look for.

        Returns:
            Mentions of each sentence, as ``tag`` finds them in texts of one segment.
        """
        whole = [Segment((), 0, len(s), True, True) for s in states]
        return Decoder(self.backend.config, table).decode(whole, states)

    def _tokenized(self, sentences: Iterable[Sequence[str]]) -> Iterator[Chunk]:
        groups = chunks(segments_of(sentences))
        return (map_ahead if self.tokenize_ahead else map)(self.tokenize, groups)

    def tokenize(self, segments: list[Segment]) -> Chunk:
        """Cut the texts of some segments into windows; equal texts are read once."""
        tokenizer = self.backend.tokenizer
        limit = min(self.backend.config.max_pieces, self.backend.max_positions)
        texts = list(dict.fromkeys(segment.words for segment in segments))
        encoded = tokenizer.encode_words(texts)
        windows = [w for i, p in enumerate(encoded) for w in tokenizer.windows(i, p, limit)]
        return Chunk(segments, texts, windows)

    def _encode(self, chunk: Chunk) -> list[FloatArray]:
        return chunk.segment_states(self.run_windows(chunk.windows))

    def run_windows(self, windows: Sequence[Window]) -> list[FloatArray]:
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


def decode_tags(
    config: ModelConfig,
    logits: FloatArray,
    lengths: Sequence[int],
    *,
    before: Sequence[int] | None = None,
    open_end: Sequence[bool] | None = None,
) -> IntArray:
    """Decode as a model is set to: every word by itself, or the best valid sequence.

    Args:
        config: Its ``decode``, ``scheme`` and costs matter.
        logits: Words of all sentences, one after the other. Shape ``(words, tags)``.
        lengths: Words of each sentence.
        before: As for ``best_valid_tags``.
        open_end: As for ``best_valid_tags``.

    Returns:
        Tag ids. Shape ``(words,)``.
    """
    if config.decode == "argmax":
        return best_tags(logits)
    costs = Costs(config.boundary_cost, config.switch_cost)
    return best_valid_tags(
        logits, lengths, config.scheme, before=before, open_end=open_end, costs=costs
    )


class Decoder:
    """States to mentions, segment by segment; remembers the text that is not finished."""

    def __init__(self, config: ModelConfig, table: TagTable) -> None:
        """Start with no text begun."""
        self._config, self._table = config, table
        self._tags: list[IntArray] = []
        self._probabilities: list[FloatArray] = []
        self._lengths: list[int] = []

    def decode(
        self, segments: Sequence[Segment], states: Sequence[FloatArray]
    ) -> list[list[Mention]]:
        """Mentions of the texts that end here, from states. Shapes ``(words, dim)``."""
        for low, high in _groups(segments, states, len(self._table.bias)):
            part, lengths = segments[low:high], [len(s) for s in states[low:high]]
            joined = np.concatenate(states[low:high])
            logits = self._table.logits(joined, lengths)
            logits[~joined.any(1)] = np.where(np.arange(logits.shape[1]) == 0, 0.0, -1e4)
            tags = self._best_tags(logits, part, lengths)
            n_marks = len(MARKS[self._config.scheme])
            self._tags.append(tags)
            self._probabilities.append(label_probabilities(logits, tags, n_marks))
            self._count(part, lengths)
        return self._finish() if segments and segments[-1].is_last else []

    def _best_tags(
        self, logits: FloatArray, segments: Sequence[Segment], lengths: Sequence[int]
    ) -> IntArray:
        continues = not segments[0].is_first and bool(self._tags)
        last_tag = next((int(t[-1]) for t in reversed(self._tags) if len(t)), 0) if continues else 0
        return decode_tags(
            self._config,
            logits,
            lengths,
            before=[last_tag] + [0] * (len(segments) - 1),
            open_end=[not s.is_last for s in segments],
        )

    def _count(self, segments: Sequence[Segment], lengths: Sequence[int]) -> None:
        for segment, length in zip(segments, lengths, strict=True):
            if segment.is_first:
                self._lengths.append(length)
            else:
                self._lengths[-1] += length

    def _finish(self) -> list[list[Mention]]:
        found = mentions_from_tag_ids(
            np.concatenate(self._tags),
            np.concatenate(self._probabilities),
            self._lengths,
            self._table.label_set.names,
            self._config.scheme,
            self._table.curve,
        )
        self._tags, self._probabilities, self._lengths = [], [], []
        return found


def _groups(
    segments: Sequence[Segment], states: Sequence[FloatArray], n_tags: int
) -> Iterator[tuple[int, int]]:
    """Runs of segments whose scores stay small; one that goes on with a text begins a run."""
    limit, low, words = max(1, (1 << 20) // n_tags), 0, 0
    for i, (segment, part) in enumerate(zip(segments, states, strict=True)):
        if i > low and (not segment.is_first or words + len(part) > limit):
            yield low, i
            low, words = i, 0
        words += len(part)
    if segments:
        yield low, len(segments)
