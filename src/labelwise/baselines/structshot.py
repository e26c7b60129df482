"""StructShot: NNShot's scores and a Viterbi step (Yang and Katiyar, 2020).

Transitions between O, "a mention" and "a mention of another label" are counted on the sources,
shared out evenly over the target's labels, raised to ``tau`` and normalised again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from labelwise.annotation import Mention, Sentence
from labelwise.arrays import FloatArray, IntArray
from labelwise.baselines.nnshot import Likeness, NNShot, mentions_by_sentence
from labelwise.labels import LabelSet

_FLOOR = 1e-6


@dataclass(frozen=True)
class AbstractTransitions:
    """Probabilities of what follows what.

    Attributes:
        start: Of O and of a mention at the start of a sentence.
        outside: Of O and of a mention after O.
        inside: Of O, of the same label, and of another label after a word of a mention.
    """

    start: tuple[float, float]
    outside: tuple[float, float]
    inside: tuple[float, float, float]

    @classmethod
    def count(cls, sentences: Iterable[Sentence]) -> Self:
        """Estimate them from annotated source sentences, read as IO tags."""
        found: Counter[str] = Counter()
        for sentence in sentences:
            tags: list[str | None] = [None] * len(sentence.words)
            for mention in sentence.mentions:
                tags[mention.start : mention.end] = [mention.label] * (mention.end - mention.start)
            if tags:
                found["start I" if tags[0] else "start O"] += 1
            found.update(_step(a, b) for a, b in itertools.pairwise(tags))
        return cls(
            start=_shares(found, "start O", "start I"),  # type: ignore[arg-type]
            outside=_shares(found, "O O", "O I"),  # type: ignore[arg-type]
            inside=_shares(found, "I O", "I I", "I other"),  # type: ignore[arg-type]
        )


def _step(before: str | None, after: str | None) -> str:
    if before is None:
        return "O O" if after is None else "O I"
    if after is None:
        return "I O"
    return "I I" if before == after else "I other"


def _shares(found: Counter[str], *keys: str) -> tuple[float, ...]:
    total = sum(found[k] for k in keys)
    return tuple(found[k] / total if total else 1 / len(keys) for k in keys)


def log_transitions(
    abstract: AbstractTransitions, n_labels: int, tau: float
) -> tuple[FloatArray, FloatArray]:
    """Project abstract transitions on a label set.

    Args:
        abstract: Counted on the sources.
        n_labels: Labels of the target.
        tau: Exponent; below 1 it flattens the distribution.

    Returns:
        Log probabilities at the start and from tag to tag. Shapes ``(tags,)``, ``(tags, tags)``.
    """
    start = np.array([abstract.start[0]] + [abstract.start[1] / n_labels] * n_labels)
    table = np.full((1 + n_labels, 1 + n_labels), abstract.inside[2] / max(n_labels - 1, 1))
    np.fill_diagonal(table, abstract.inside[1])
    table[1:, 0] = abstract.inside[0]
    table[0, 0], table[0, 1:] = abstract.outside[0], abstract.outside[1] / n_labels
    return _tempered(start[None], tau)[0], _tempered(table, tau)


def _tempered(rows: FloatArray, tau: float) -> FloatArray:
    powered = np.where(rows > 0, rows, 0.0) ** tau * (rows > 0)
    return np.log(np.maximum(powered / powered.sum(1, keepdims=True), _FLOOR))


def best_path(emissions: FloatArray, start: FloatArray, table: FloatArray) -> IntArray:
    """Find the tags of one sentence with the highest sum of scores (Viterbi).

    Args:
        emissions: Log scores. Shape ``(words, tags)``.
        start: Shape ``(tags,)``.
        table: From tag (row) to tag (column). Shape ``(tags, tags)``.

    Returns:
        Tag ids. Shape ``(words,)``.
    """
    tags = np.zeros(len(emissions), dtype=np.int64)
    if not len(emissions):
        return tags
    score, back = start + emissions[0], []
    for row in emissions[1:]:
        paths = score[:, None] + table
        back.append(paths.argmax(0))
        score = paths.max(0) + row
    tags[-1] = score.argmax()
    for i in range(len(back) - 1, -1, -1):
        tags[i] = back[i][tags[i + 1]]
    return tags


class StructShot:
    """NNShot with transitions.

    Args:
        abstract: Counted on the sources.
        tau: See ``log_transitions``.
        likeness: See ``NNShot``.
    """

    def __init__(
        self, abstract: AbstractTransitions, *, tau: float = 0.1, likeness: Likeness | None = None
    ) -> None:
        """Keep the settings."""
        self._abstract, self._tau, self._likeness = abstract, tau, likeness

    def fit(
        self, states: Sequence[FloatArray], sentences: Sequence[Sentence], label_set: LabelSet
    ) -> Self:
        """Remember the support words. Shapes ``(words, dim)``."""
        self._nearest = NNShot(self._likeness).fit(states, sentences, label_set)
        return self

    def tag(self, states: Sequence[FloatArray]) -> list[list[Mention]]:
        """Find the mentions in encoded sentences. Shapes ``(words, dim)``."""
        labels = self._nearest.label_set
        start, table = log_transitions(self._abstract, len(labels), self._tau)
        if not len(states):
            return []
        lengths = [len(s) for s in states]
        scores = log_softmax(self._nearest.emissions(np.concatenate(states)))
        cuts = np.cumsum(lengths)[:-1]
        paths = [best_path(part, start, table) for part in np.split(scores, cuts)]
        return mentions_by_sentence(np.concatenate(paths), lengths, labels)


def log_softmax(scores: FloatArray) -> FloatArray:
    """Turn scores into log probabilities, word by word. Shape ``(words, tags)``."""
    shifted = scores - scores.max(1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    return np.log(np.maximum(probabilities, _FLOOR**4))
