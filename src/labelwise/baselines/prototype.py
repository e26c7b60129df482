"""Prototypical network: every word takes the tag whose mean support word is nearest.

Squared Euclidean distance on IO tags (Snell et al., 2017; for NER as in the paper's ProtoNet).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from labelwise.annotation import Mention, Sentence
from labelwise.baselines.nnshot import (
    mentions_by_sentence,
    squared_distances,
    support_words,
    to_unit_length,
)
from labelwise.encoding import FloatArray
from labelwise.labels import LabelSet


class ProtoNet:
    """Nearest class mean; call ``fit``, then ``tag``.

    Args:
        unit_vectors: Bring states to length 1 before they are averaged and compared.
    """

    def __init__(self, *, unit_vectors: bool = False) -> None:
        """Keep the setting."""
        self._unit_vectors = unit_vectors

    def fit(
        self, states: Sequence[FloatArray], sentences: Sequence[Sentence], label_set: LabelSet
    ) -> Self:
        """Average the support words of every tag that occurs. Shapes ``(words, dim)``."""
        joined, tags = support_words(states, sentences, label_set)
        joined = to_unit_length(joined) if self._unit_vectors else joined
        self.label_set, self._tags = label_set, np.unique(tags)
        self._means = np.stack([joined[tags == t].mean(0) for t in self._tags])
        return self

    def tag(self, states: Sequence[FloatArray]) -> list[list[Mention]]:
        """Find the mentions in encoded sentences. Shapes ``(words, dim)``."""
        if not len(states):
            return []
        joined = np.concatenate(states)
        joined = to_unit_length(joined) if self._unit_vectors else joined
        tags = self._tags[squared_distances(joined, self._means).argmin(1)]
        tags[~joined.any(1)] = 0
        return mentions_by_sentence(tags, [len(s) for s in states], self.label_set)
