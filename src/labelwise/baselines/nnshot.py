"""NNShot: every word takes the tag of the nearest support word (Yang and Katiyar, 2020).

IO tags and squared Euclidean distance, on the states of an encoder trained on the sources. The
published code brings all states to length 1 first, so this is the default; that of Few-NERD (Ding
et al., 2021) leaves them as they are, and has the dot product as an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from labelwise.annotation import Mention, Sentence
from labelwise.arrays import FloatArray, IntArray
from labelwise.decode import mentions_from_tag_ids
from labelwise.errors import RequestError, ShapeError
from labelwise.labels import LabelSet
from labelwise.tags import tag_ids

ABSENT = -100_000.0  # score of a tag that no support word bears
_CHUNK = 1 << 22  # distances held at a time


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How two words are compared.

    Attributes:
        unit_vectors: Bring states to length 1 first.
        dot_product: Take the dot product, not the squared Euclidean distance.
    """

    unit_vectors: bool = True
    dot_product: bool = False

    def prepare(self, states: FloatArray) -> FloatArray:
        """Bring states to length 1, if that is set. Shape ``(words, dim)``."""
        return to_unit_length(states) if self.unit_vectors else states

    def scores(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Compare every prepared row of one array with every one of another, higher is nearer.

        Args:
            a: Shape ``(words, dim)``.
            b: Shape ``(support, dim)``.

        Returns:
            Shape ``(words, support)``.
        """
        return _products(a, b) if self.dot_product else -squared_distances(a, b)


def io_tags(sentences: Sequence[Sentence], label_set: LabelSet) -> IntArray:
    """Number the IO tags of sentences, one after the other. Shape ``(words,)``."""
    ids = {name: i for i, name in enumerate(label_set.names)}
    rows = [tag_ids(len(s.words), s.mentions, ids, "io") for s in sentences]
    return np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)


def support_words(
    states: Sequence[FloatArray], sentences: Sequence[Sentence], label_set: LabelSet
) -> tuple[FloatArray, IntArray]:
    """Join the support set; words without pieces, whose states are zeros, are left out.

    Args:
        states: Word states of each sentence. Shapes ``(words, dim)``.
        sentences: The support set.
        label_set: The labels.

    Returns:
        States and IO tags. Shapes ``(words, dim)`` and ``(words,)``.

    Raises:
        RequestError: The support set is empty.
        ShapeError: States and sentences do not belong together.
    """
    if not sentences:
        raise RequestError("The support set is empty. Expected annotated sentences. Draw some.")
    if [len(s) for s in states] != [len(s.words) for s in sentences]:
        raise ShapeError(
            "The states are not those of the support sentences: their numbers of words differ. "
            "Expected one row a word. Encode the sentences that are given."
        )
    joined, tags = np.concatenate(states), io_tags(sentences, label_set)
    has_pieces = joined.any(1)
    return joined[has_pieces], tags[has_pieces]


def squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """Measure every row of one array against every row of another.

    Args:
        a: Shape ``(words, dim)``.
        b: Shape ``(support, dim)``.

    Returns:
        Shape ``(words, support)``.
    """
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    lengths = (a64**2).sum(1)[:, None] + (b64**2).sum(1)
    return np.maximum(lengths - 2 * _products(a, b), 0.0)


def _products(a: FloatArray, b: FloatArray) -> Any:
    return a.astype(np.float64) @ b.astype(np.float64).T


def mentions_by_sentence(
    tags: IntArray, lengths: Sequence[int], label_set: LabelSet
) -> list[list[Mention]]:
    """Read IO tags as mentions; these methods give no probability, so every score is 1.

    Args:
        tags: Of all sentences, one after the other. Shape ``(words,)``.
        lengths: Words of each sentence.
        label_set: The labels.
    """
    ones = np.ones(len(tags), dtype=np.float32)
    return mentions_from_tag_ids(tags, ones, lengths, label_set.names, "io")


def to_unit_length(states: FloatArray) -> FloatArray:
    """Divide rows by their lengths; zeros stay zeros. Shape ``(words, dim)``."""
    lengths = np.linalg.norm(states.astype(np.float64), axis=1, keepdims=True)
    return np.divide(states, np.where(lengths > 0, lengths, 1.0))


class NNShot:
    """Nearest support word; call ``fit``, then ``tag``.

    Args:
        likeness: How words are compared.
    """

    def __init__(self, likeness: Likeness | None = None) -> None:
        """Keep the setting."""
        self._likeness = likeness or Likeness()

    def fit(
        self, states: Sequence[FloatArray], sentences: Sequence[Sentence], label_set: LabelSet
    ) -> Self:
        """Remember the support words. Shapes ``(words, dim)``."""
        self.label_set = label_set
        joined, self._tags = support_words(states, sentences, label_set)
        self._states = self._likeness.prepare(joined)
        return self

    def emissions(self, states: FloatArray) -> FloatArray:
        """Score words by the nearest support word of every tag.

        Args:
            states: Shape ``(words, dim)``.

        Returns:
            How near it is; ``ABSENT`` for tags without support, and O alone for words without
            pieces. Shape ``(words, tags)``.
        """
        states = self._likeness.prepare(states)
        scores = np.full((len(states), 1 + len(self.label_set)), ABSENT)
        size = max(1, _CHUNK // max(len(self._states), 1))
        members = [(t, self._tags == t) for t in np.unique(self._tags)]
        for low in range(0, len(states), size):
            near = self._likeness.scores(states[low : low + size], self._states)
            for tag, is_member in members:
                scores[low : low + size, tag] = near[:, is_member].max(1)
        scores[~states.any(1)] = ABSENT
        scores[~states.any(1), 0] = 0.0
        return scores

    def tag(self, states: Sequence[FloatArray]) -> list[list[Mention]]:
        """Find the mentions in encoded sentences. Shapes ``(words, dim)``."""
        if not len(states):
            return []
        tags = self.emissions(np.concatenate(states)).argmax(1)
        return mentions_by_sentence(tags, [len(s) for s in states], self.label_set)
