"""Texts in, mentions out: segments, windows, batches, label vectors.

The engine knows an encoder only through ``backend.EncoderBackend`` and never loads one.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, SupportsIndex, TypeVar

import numpy as np

from labelwise.ahead import map_ahead, map_parts_ahead, map_side_by_side
from labelwise.annotation import Mention
from labelwise.arrays import FloatArray
from labelwise.backend import EncoderBackend
from labelwise.encoding import Window, batches_by_pieces
from labelwise.errors import CopyError, LabelError, some_of
from labelwise.label import Label
from labelwise.label_reading import read_in_part
from labelwise.labels import LabelSet
from labelwise.segments import Segment, chunks, segments_of
from labelwise.sentences import moved
from labelwise.tag_table import Decoder, TagTable
from labelwise.tags import compose_tags, tag_texts, text_layout

CACHED_TEXTS = 65_536
_MIN_BATCH_PIECES = 64  # less is not worth a thread

Found = TypeVar("Found")
Part = TypeVar("Part")


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
        whole = (p[0] if len(p) == 1 else np.concatenate(p) for p in parts)
        known = dict(zip(self.texts, whole, strict=True))
        return [known[s.words][s.start : s.end] for s in self.segments]


class Engine:
    """Scores words against labels.

    Args:
        backend: Runs the encoders.
        batch_pieces: Pieces in a batch at most, padding included; the backend's by default.
    """

    def __init__(self, backend: EncoderBackend, *, batch_pieces: int | None = None) -> None:
        """Start with an empty label cache."""
        self.backend = backend
        self.batch_pieces = batch_pieces or backend.batch_pieces
        self.cached_texts = CACHED_TEXTS
        self.trained_names: tuple[str, ...] = ()  # what an output layer stands for, where known
        self._vectors: OrderedDict[tuple[str, str], FloatArray] = OrderedDict()
        self._met: set[Label] = set()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse pickles and deep copies, which a session of ONNX Runtime does not allow.

        Raises:
            CopyError: Always.
        """
        raise CopyError(
            "A loaded model is being pickled or copied deeply. Expected it to stay in its process. "
            "Write it with save_pretrained and load it from there in each process; threads and "
            "forked processes may share one."
        )

    def encode_labels(self, texts: Sequence[str]) -> FloatArray:
        """Encode label texts, each once; similar lengths share a batch.

        Args:
            texts: Such as ``"begin person"``.

        Returns:
            One row a text. Shape ``(labels, dim)``.

        Raises:
            LabelError: The model is frozen, and a text is none of its labels'.
        """
        digest, config = self.backend.digest, self.backend.config
        missing = [t for t in dict.fromkeys(texts) if (digest, t) not in self._vectors]
        if missing and self.backend.frozen:
            raise LabelError(
                f"This model is frozen and has no vectors of {some_of(missing)}. Expected labels "
                "in the words that it was exported with. Export the model that it came from with "
                "these labels, or without --frozen."
            )
        pieces = self.backend.tokenizer.encode_texts(missing, config.max_label_pieces)

        def encode(group: list[int]) -> FloatArray:
            return self.backend.encode_labels(
                *self.backend.tokenizer.pad([pieces[i] for i in group])
            )

        fresh: dict[str, FloatArray] = {}
        groups = self._groups([len(p) for p in pieces])
        for group, rows in zip(groups, self._side_by_side(encode, groups), strict=True):
            fresh.update(zip((missing[i] for i in group), rows, strict=True))
        known = fresh | {t: v for t in texts if (v := self._vectors.get((digest, t))) is not None}
        self.remember(fresh)
        return np.stack([known[t] for t in texts])

    def known_vectors(self) -> dict[str, FloatArray]:
        """Label texts that need no encoding now, with their vectors, each ``(dim,)``."""
        digest = self.backend.digest
        known = list(self._vectors.items())  # at once: another thread may be adding some
        return {text: vector for (model, text), vector in known if model == digest}

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

    def read_in_part(self, label_set: LabelSet) -> str:
        """Say which labels this model reads in part only, of each label once; empty if none."""
        fresh = [label for label in label_set if label not in self._met]
        if not fresh:
            return ""
        if len(self._met) >= self.cached_texts:
            self._met = set()  # not clear(): another thread may be looking
        self._met.update(fresh)
        return read_in_part(fresh, self.backend.tokenizer, self.backend.config)

    def _fixed_matrix(self, label_set: LabelSet) -> FloatArray:
        """Tag rows of a model whose output layer fixes them. Shape ``(tags, dim)``."""
        if self.trained_names and label_set.names != self.trained_names:
            raise LabelError(
                f"The labels are {some_of(label_set.names)}. The output layer of this model "
                f"expects those it was trained on, in their order: {some_of(self.trained_names)}. "
                "Fine-tune it on the new labels, or use a dual encoder, which takes any."
            )
        config, n_tags = self.backend.config, len(label_set.tags(self.backend.config.scheme))
        texts = tag_texts([x.words for x in label_set], config)
        pieces = self.backend.tokenizer.encode_texts(texts, config.max_pieces)  # as in training
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
        for chunk, found in self._encoded(sentences):
            for segment, states in zip(chunk.segments, found, strict=True):
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
        for chunk, found in self._encoded(sentences):
            yield from decoder.decode(chunk.segments, found)

    def tag_by_sentence(
        self, texts: Iterable[Iterable[Sequence[str]]], table: TagTable
    ) -> Iterator[list[Mention]]:
        """Find the mentions in texts, reading them sentence by sentence.

        Args:
            texts: Sentences of each text, at least one, each as its words.
            table: Labels to look for.

        Yields:
            Mentions of each text, counted in the words of all its sentences.
        """
        places: deque[tuple[int, bool]] = deque()
        mentions: list[Mention] = []
        for found in self.tag(_one_by_one(texts, places), table):
            low, is_last = places.popleft()
            mentions += moved(found, low)
            if is_last:
                yield mentions
                mentions = []

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

    def _encoded(
        self, sentences: Iterable[Sequence[str]]
    ) -> Iterator[tuple[Chunk, list[FloatArray]]]:
        """Chunks with the states of their segments; the next is made while one is used."""
        tokenized = map_ahead(self.tokenize, chunks(segments_of(sentences)))
        batched = ((chunk, *self._batches(chunk.windows)) for chunk in tokenized)
        work = (((chunk, groups), batches) for chunk, groups, batches in batched)
        encoded = map_parts_ahead(self._run_batch, work, self.backend.n_workers)
        for (chunk, groups), found in encoded:
            yield chunk, chunk.segment_states(_in_order(groups, found))

    def tokenize(self, segments: list[Segment]) -> Chunk:
        """Cut the texts of some segments into windows; equal texts are read once."""
        tokenizer = self.backend.tokenizer
        limit = min(self.backend.config.max_pieces, self.backend.max_positions)
        texts = list(dict.fromkeys(segment.words for segment in segments))
        encoded = tokenizer.encode_words(texts)
        windows = [w for i, p in enumerate(encoded) for w in tokenizer.windows(i, p, limit)]
        return Chunk(segments, texts, windows)

    def run_windows(self, windows: Sequence[Window]) -> list[FloatArray]:
        """States of each window's own words, in the order given. Shapes ``(words, dim)``."""
        groups, batches = self._batches(windows)
        return _in_order(groups, [*self._side_by_side(self._run_batch, batches)])

    def _side_by_side(
        self, work: Callable[[Part], Found], parts: Sequence[Part]
    ) -> Iterator[Found]:
        return map_side_by_side(work, parts, self.backend.n_workers)

    def _batches(self, windows: Sequence[Window]) -> tuple[list[list[int]], list[list[Window]]]:
        """Batches of windows of similar length: their indices, and they themselves."""
        groups = self._groups([len(w.pieces.ids) for w in windows])
        return groups, [[windows[i] for i in group] for group in groups]

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Group sequences of similar length into batches, as even as there are workers for."""
        n_workers, budget = self.backend.n_workers, self.batch_pieces
        if n_workers > 1:
            turns = math.ceil(sum(lengths) / (budget * n_workers))
            even = math.ceil(sum(lengths) / max(1, turns * n_workers))  # so that none waits long
            budget = min(budget, max(even, _MIN_BATCH_PIECES))
        return batches_by_pieces(lengths, budget)

    def _run_batch(self, windows: Sequence[Window]) -> list[FloatArray]:
        """States of the own words of some windows, padded to the longest."""
        rows = self.backend.word_states(self.backend.tokenizer.batch([w.pieces for w in windows]))
        result: list[FloatArray] = []
        low = 0
        for window in windows:
            scored = window.pieces.first >= 0
            high = low + int(np.count_nonzero(scored))
            states = rows[low:high]
            if len(states) < len(scored):  # some words have no piece
                states = np.zeros((len(scored), self.backend.dim), dtype=np.float32)
                states[scored] = rows[low:high]
            result.append(states[window.start - window.word_start : window.end - window.word_start])
            low = high
        return result


def _in_order(
    groups: Sequence[Sequence[int]], found: Sequence[Sequence[FloatArray]]
) -> list[FloatArray]:
    """Put the states of batches in the order of their windows."""
    by_window = {
        i: states
        for group, rows in zip(groups, found, strict=True)
        for i, states in zip(group, rows, strict=True)
    }
    return [by_window[i] for i in range(len(by_window))]


def _one_by_one(
    texts: Iterable[Iterable[Sequence[str]]], places: deque[tuple[int, bool]]
) -> Iterator[Sequence[str]]:
    """Hand out the sentences of texts; note the words before each, and whether it is the last."""
    for sentences in texts:
        low, rest = 0, iter(sentences)
        words = next(rest)
        for following in rest:
            places.append((low, False))
            yield words
            low, words = low + len(words), following
        places.append((low, True))
        yield words
