"""A temperature and thresholds from held-out predictions, where there are enough of them.

Arrays in, numbers out; decodes nothing and fits no vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

MIN_MENTIONS_FOR_TEMPERATURE = 20
MIN_MENTIONS_FOR_THRESHOLD = 5


def choose_temperature(logits: FloatArray, tag_ids: IntArray, n_mentions: int) -> float | None:
    """Find the divisor of the logits under which held-out tags are likeliest.

    Args:
        logits: Held out; -inf where a tag was not allowed. Shape ``(words, tags)``.
        tag_ids: Gold tags. Shape ``(words,)``.
        n_mentions: Gold mentions among the words.

    Returns:
        A temperature in [0.25, 4], or None with fewer than 20 mentions.
    """
    if n_mentions < MIN_MENTIONS_FOR_TEMPERATURE:
        return None
    from scipy.optimize import minimize_scalar  # noqa: PLC0415  # as in the solve: prediction needs no scipy

    words = np.arange(len(logits))
    shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    gold = shifted[words, tag_ids]

    def mean_loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(np.mean(np.log(np.exp(shifted * inverse).sum(axis=1)) - gold * inverse))

    found = minimize_scalar(mean_loss, bounds=(-np.log(4), np.log(4)), method="bounded")
    return float(np.exp(found.x))


def choose_thresholds(
    scores: FloatArray, label_ids: IntArray, is_correct: BoolArray, n_gold: IntArray
) -> list[float | None]:
    """Find for every label the score below which dropping its mentions pays in F1.

    Args:
        scores: Of held-out predicted mentions. Shape ``(mentions,)``.
        label_ids: Shape ``(mentions,)``.
        is_correct: Whether a gold mention has the same span and label. Shape ``(mentions,)``.
        n_gold: Gold mentions by label. Shape ``(labels,)``.

    Returns:
        A threshold a label; None with fewer than 5 gold mentions, or where every drop costs.

    >>> scores, labels = np.array([0.9, 0.8, 0.3, 0.2]), np.zeros(4, int)
    >>> correct = np.array([True, True, False, False])
    >>> choose_thresholds(scores, labels, correct, np.array([5]))
    [0.55]
    """
    return [
        _best_threshold(scores[label_ids == label], is_correct[label_ids == label], int(gold))
        for label, gold in enumerate(n_gold)
    ]


def _best_threshold(scores: FloatArray, is_correct: BoolArray, n_gold: int) -> float | None:
    if n_gold < MIN_MENTIONS_FOR_THRESHOLD or not is_correct.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    n_kept = np.arange(1, len(ranked) + 1)
    f1 = 2 * np.cumsum(is_correct[order]) / (n_kept + n_gold)
    is_cut = np.append(ranked[:-1] > ranked[1:], True)  # equal scores are kept or dropped together
    last = len(ranked) - 1 - int(np.argmax(np.where(is_cut, f1, -1.0)[::-1]))
    return None if last == len(ranked) - 1 else round(float(ranked[last : last + 2].mean()), 6)
