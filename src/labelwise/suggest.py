"""Which texts are worth annotating next: unsure ones, and not five of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from labelwise.arrays import FloatArray, IntArray
from labelwise.engine import Engine
from labelwise.tag_table import TagTable

_N_WORST = 3  # words of a sentence that say how unsure it is
_SPREAD = 0.5  # weight of being unlike the texts picked before, 0 to 1


def most_instructive(
    engine: Engine, table: TagTable, texts: Iterable[Iterable[Sequence[str]]], k: int
) -> list[int]:
    """Pick the texts whose annotation would teach most.

    Args:
        engine: Encodes the words.
        table: What is looked for.
        texts: Sentences of each candidate, at least one, each as its words.
        k: How many to pick.

    Returns:
        Indices: unsure texts that differ from each other, best first; those with no word that
        the encoder can read come last.
    """
    candidates = [list(sentences) for sentences in texts]
    found = engine.states(words for sentences in candidates for words in sentences)
    scores, means = [], []
    for sentences in candidates:
        states = np.concatenate([next(found) for _ in sentences])
        scores.append(uncertainty(table.logits(states, [len(words) for words in sentences])))
        means.append(states.mean(0) if len(states) else np.zeros(engine.backend.dim, np.float32))
    if not scores:
        return []
    vectors = np.stack(means)
    told = vectors.any(1)
    readable, blank = np.flatnonzero(told), np.flatnonzero(~told)
    ranked = rank_diverse(np.array(scores)[readable], vectors[readable], k)
    return [*readable[ranked].tolist(), *blank.tolist()][:k]


def uncertainty(logits: FloatArray) -> float:
    """Rate how unsure a sentence's tags are, by the margin between the two best tags.

    A mean over all words would bury one doubtful name under nine sure O words, so only the
    least sure words count.

    Args:
        logits: Shape ``(words, tags)``.

    Returns:
        0 where every word is sure, 1 where the worst are tied.
    """
    if not len(logits):
        return 0.0
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    top = np.partition(shifted / shifted.sum(1, keepdims=True), -2, axis=1)[:, -2:]
    margins = np.sort(top[:, 1] - top[:, 0])[:_N_WORST]
    return float(1 - margins.mean())


def rank_diverse(scores: FloatArray, vectors: FloatArray, k: int) -> IntArray:
    """Pick high scores whose vectors differ (maximal marginal relevance).

    Args:
        scores: One a text. Shape ``(batch,)``.
        vectors: One a text, any length. Shape ``(batch, dim)``.
        k: How many to pick.

    Returns:
        Indices of the picked texts, best first. Shape ``(batch,)``.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, 1e-9)
    closest = np.zeros(len(scores))
    left = np.ones(len(scores), dtype=bool)
    picked: list[int] = []
    for _ in range(min(k, len(scores))):
        value = np.where(left, (1 - _SPREAD) * scores - _SPREAD * closest, -np.inf)
        best = int(value.argmax())
        picked.append(best)
        left[best] = False
        closest = np.maximum(closest, unit @ unit[best])
    return np.array(picked, dtype=np.int64)
