"""Scores that are probabilities, and thresholds, from held-out mentions where there are enough.

Mentions in, numbers out; decodes nothing and fits no vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from labelwise.annotation import Mention
from labelwise.arrays import BoolArray, FloatArray, IntArray

_MIN_MENTIONS_FOR_CURVE = 10
_MIN_MENTIONS_FOR_THRESHOLD = 5
_EDGE = 1e-4  # scores nearer to 0 or 1 are as good as these


class ScoreCurve(NamedTuple):
    """How often mentions of a score are right: ``logistic(slope * logit(score) + shift)``.

    Attributes:
        slope: Above 0, so that the order of scores stays.
        shift: Below 0 where scores promise too much.
    """

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Turn scores into probabilities of being right. Shapes ``(mentions,)``."""
        if self == IDENTITY:
            return scores
        clipped = np.clip(scores, _EDGE, 1 - _EDGE)
        logits = self.slope * np.log(clipped / (1 - clipped)) + self.shift
        return (1 / (1 + np.exp(-logits))).astype(np.float32)


IDENTITY = ScoreCurve()
USUAL = ScoreCurve(0.6, -1.0)  # of fits, before held-out mentions tell (docs/experiments.md)


@dataclass(frozen=True)
class RatedMentions:
    """Predicted mentions, and which of them are right.

    Attributes:
        scores: Shape ``(mentions,)``.
        label_ids: Shape ``(mentions,)``.
        is_correct: Whether a gold mention has the same span and label. Shape ``(mentions,)``.
        n_gold: Gold mentions by label. Shape ``(labels,)``.
    """

    scores: FloatArray
    label_ids: IntArray
    is_correct: BoolArray
    n_gold: IntArray

    @classmethod
    def of(
        cls,
        predicted: Sequence[Sequence[Mention]],
        gold: Sequence[Sequence[Mention]],
        labels: Sequence[str],
    ) -> Self:
        """Compare the predicted mentions of sentences with the gold ones.

        Args:
            predicted: Of every sentence.
            gold: Of the same sentences.
            labels: Names of the labels, in the order of their ids.
        """
        index = {name: i for i, name in enumerate(labels)}
        pairs = [(m, m in wanted) for row, wanted in zip(predicted, gold, strict=True) for m in row]
        return cls(
            np.array([m.score for m, _ in pairs], np.float32),
            np.array([index[m.label] for m, _ in pairs], np.int64),
            np.array([is_correct for _, is_correct in pairs], np.bool_),
            np.bincount([index[m.label] for row in gold for m in row], None, len(labels)),
        )


def fit_score_curve(
    scores: FloatArray, is_correct: BoolArray, known: ScoreCurve = IDENTITY
) -> ScoreCurve:
    """Find the curve under which it is likeliest that just these mentions are right.

    Platt's scaling of the scores' logits, with a Gaussian prior of standard deviation 1 at the
    usual curve of fits.

    Args:
        scores: Of held-out predicted mentions. Shape ``(mentions,)``.
        is_correct: Whether a gold mention has the same span and label. Shape ``(mentions,)``.
        known: The curve to keep with fewer than 10 mentions.
    """
    if len(scores) < _MIN_MENTIONS_FOR_CURVE:
        return known
    from scipy.optimize import minimize  # noqa: PLC0415  # as in the solve: prediction needs no scipy

    clipped = np.clip(np.asarray(scores, np.float64), _EDGE, 1 - _EDGE)
    logits = np.log(clipped / (1 - clipped))
    signs = np.where(is_correct, -1.0, 1.0)

    def loss(curve: NDArray[np.float64]) -> float:
        misses = np.logaddexp(0, signs * (curve[0] * logits + curve[1])).sum()
        return float(misses + ((curve - USUAL) ** 2).sum() / 2)

    slope, shift = minimize(loss, USUAL, bounds=[(_MIN_SLOPE, None), (None, None)]).x
    return ScoreCurve(float(slope), float(shift))


_MIN_SLOPE = 0.2  # flatter, and all scores would be alike


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
    if n_gold < _MIN_MENTIONS_FOR_THRESHOLD or not is_correct.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    n_kept = np.arange(1, len(ranked) + 1)
    f1 = 2 * np.cumsum(is_correct[order]) / (n_kept + n_gold)
    is_cut = np.append(ranked[:-1] > ranked[1:], True)  # equal scores are kept or dropped together
    last = len(ranked) - 1 - int(np.argmax(np.where(is_cut, f1, -1.0)[::-1]))
    return None if last == len(ranked) - 1 else round(float(ranked[last : last + 2].mean()), 6)
