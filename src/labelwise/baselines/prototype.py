"""Prototypical network: every word takes the tag whose mean support word is nearest.

Squared Euclidean distance on IO tags (Snell et al., 2017), or the dot product, an option of the
code of Few-NERD (Ding et al., 2021). Its encoder is trained in episodes; see ``episodes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from labelwise.annotation import Mention, Sentence
from labelwise.arrays import FloatArray
from labelwise.baselines.nnshot import Likeness, mentions_by_sentence, support_words
from labelwise.labels import LabelSet


class ProtoNet:
    """Nearest class mean; call ``fit``, then ``tag``.

    Args:
        likeness: How words are compared; states of length 1 are so before they are averaged.
    """

    def __init__(self, likeness: Likeness | None = None) -> None:
        """Keep the setting."""
        self._likeness = likeness or Likeness(unit_vectors=False)

    def fit(
        self, states: Sequence[FloatArray], sentences: Sequence[Sentence], label_set: LabelSet
    ) -> Self:
        """Average the support words of every tag that occurs. Shapes ``(words, dim)``."""
        joined, tags = support_words(states, sentences, label_set)
        joined = self._likeness.prepare(joined)
        self.label_set, self._tags = label_set, np.unique(tags)
        self._means = np.stack([joined[tags == t].mean(0) for t in self._tags])
        return self

    def tag(self, states: Sequence[FloatArray]) -> list[list[Mention]]:
        """Find the mentions in encoded sentences. Shapes ``(words, dim)``."""
        if not len(states):
            return []
        joined = np.concatenate(states)
        joined = self._likeness.prepare(joined)
        tags = self._tags[self._likeness.scores(joined, self._means).argmax(1)]
        tags[~joined.any(1)] = 0
        return mentions_by_sentence(tags, [len(s) for s in states], self.label_set)
