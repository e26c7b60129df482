"""Scores of words into tags and mentions, vectorised over many sentences at once.

Tags are ids here: 0 is ``O``; label ``l`` with mark ``m`` is ``1 + l * n_marks + m``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelwise.annotation import Mention
from labelwise.schemes import MARKS

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

_CHUNK_SCORES = 1 << 18  # scores per step, so that temporaries stay in the cache


@dataclass(frozen=True, slots=True)
class MarkRules:
    """Which neighbours a scheme allows, one flag a mark in ``schemes.MARKS`` order.

    Attributes:
        continues: Must follow an open mark of the same label.
        is_open: May be followed by a continuing mark.
        is_closed: May be followed by O, a new mention, or the end.
    """

    continues: NDArray[np.bool_]
    is_open: NDArray[np.bool_]
    is_closed: NDArray[np.bool_]


def _rules(continues: str, is_open: str, is_closed: str, marks: Sequence[str]) -> MarkRules:
    return MarkRules(*(np.array([m in f for m in marks]) for f in (continues, is_open, is_closed)))


RULES = {
    "io": _rules("", "I", "I", MARKS["io"]),
    "bio": _rules("I", "BI", "BI", MARKS["bio"]),
    "bioes": _rules("IE", "BI", "ES", MARKS["bioes"]),
}


def best_tags(logits: FloatArray) -> IntArray:
    """Take the best tag of every word by itself (paper, section 2.2).

    Args:
        logits: Shape ``(words, tags)``.

    Returns:
        Tag ids. Shape ``(words,)``.
    """
    return logits.argmax(-1) if len(logits) else np.zeros(0, dtype=np.int64)


def best_valid_tags(
    logits: FloatArray,
    lengths: Sequence[int],
    scheme: str,
    *,
    before: Sequence[int] | None = None,
    open_end: Sequence[bool] | None = None,
) -> IntArray:
    """Find the best tag sequence of each sentence that its scheme allows (Viterbi).

    The work grows linearly with the number of tags: a continuing mark can only follow its own
    label, and everything else follows the best closed state, whichever that is.

    Args:
        logits: Words of all sentences, one after the other. Shape ``(words, tags)``.
        lengths: Words of each sentence.
        scheme: ``"io"``, ``"bio"`` or ``"bioes"``.
        before: Tag id of the word before each sentence, where an earlier part of its text was
            decoded; else 0. What an open mention demands is kept.
        open_end: Whether a later part of the text follows, so that a mention may stay open.

    Returns:
        Tag ids. Shape ``(words,)``.
    """
    rules, n_marks = RULES[scheme], len(MARKS[scheme])
    if not rules.continues.any() or not len(logits):
        return best_tags(logits)
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")  # longest first: those still running come first
    starts, sizes = (np.cumsum(sizes) - sizes)[order], sizes[order]
    previous = np.zeros(len(sizes), np.int64) if before is None else np.array(before)
    may_end_open = np.zeros(len(sizes), bool) if open_end is None else np.array(open_end)
    n_labels = (logits.shape[1] - 1) // n_marks
    score = logits[starts[sizes > 0]].astype(np.float32)
    _forbid_by_tag_before(score, previous[order][: len(score)], n_labels, rules)
    final = np.zeros((len(sizes), logits.shape[1]), dtype=np.float32)
    final[: len(score)] = score
    back: list[tuple[IntArray, IntArray]] = []
    for t in range(1, int(sizes[0])):
        n = int(np.count_nonzero(sizes > t))
        score, pointers = _viterbi_step(score[:n], logits[starts[:n] + t], n_labels, rules)
        back.append(pointers)
        final[:n] = score
    ends_closed = ~may_end_open[order]
    _by_label(final, n_labels, rules)[
        np.ix_(ends_closed, [True] * n_labels, ~rules.is_closed)
    ] = -np.inf
    return _trace_back(final.argmax(1), back, starts, sizes, rules)


def _by_label(score: FloatArray, n_labels: int, rules: MarkRules) -> FloatArray:
    """View ``(n, tags)`` without O as ``(n, labels, marks)``."""
    return score[:, 1:].reshape(len(score), n_labels, len(rules.continues))


def _forbid_by_tag_before(
    score: FloatArray, before: IntArray, n_labels: int, rules: MarkRules
) -> None:
    """Exclude first tags, in place, that the tag before each sentence does not allow."""
    label, mark = np.divmod(before - 1, len(rules.continues))
    inside = before > 0
    view = _by_label(score, n_labels, rules)
    may_continue = np.zeros((len(score), n_labels), dtype=bool)
    is_open = np.flatnonzero(inside & rules.is_open[mark])
    may_continue[is_open, label[is_open]] = True
    view[:] = np.where(may_continue[:, :, None] | ~rules.continues, view, -np.inf)
    must_continue = inside & ~rules.is_closed[mark]
    score[must_continue, 0] = -np.inf
    view[must_continue] = np.where(rules.continues, view[must_continue], -np.inf)


def _viterbi_step(
    previous: FloatArray, emitted: FloatArray, n_labels: int, rules: MarkRules
) -> tuple[FloatArray, tuple[IntArray, IntArray]]:
    """Advance one word; returns scores and, per sentence, the best free and open predecessors."""
    rows = np.arange(len(emitted))
    free = previous.copy()
    _by_label(free, n_labels, rules)[:, :, ~rules.is_closed] = -np.inf
    best_free = free.argmax(1)
    open_marks = np.flatnonzero(rules.is_open)
    opened = _by_label(previous, n_labels, rules)[:, :, open_marks]
    score = emitted.astype(np.float32)
    view = _by_label(score, n_labels, rules)
    score[:, 0] += free[rows, best_free]
    view[:, :, ~rules.continues] += free[rows, best_free][:, None, None]
    view[:, :, rules.continues] += opened.max(2)[:, :, None]
    return score, (best_free, open_marks[opened.argmax(2)])


def _trace_back(
    last: IntArray,
    back: list[tuple[IntArray, IntArray]],
    starts: IntArray,
    sizes: IntArray,
    rules: MarkRules,
) -> IntArray:
    n_marks = len(rules.continues)
    current = last.copy()
    tags = np.zeros(int(sizes.sum()), dtype=np.int64)
    for t in range(int(sizes[0]) - 1, -1, -1):
        n = int(np.count_nonzero(sizes > t))
        tags[starts[:n] + t] = current[:n]
        if t == 0:
            break
        best_free, best_open = back[t - 1]
        label, mark = np.divmod(current[:n] - 1, n_marks)
        follows = (current[:n] > 0) & rules.continues[mark]
        opened = 1 + label * n_marks + best_open[np.arange(n), np.maximum(label, 0)]
        current[:n] = np.where(follows, opened, best_free)
    return tags


def label_probabilities(logits: FloatArray, tags: IntArray, n_marks: int) -> FloatArray:
    """Return the probability that each word bears the label of its tag, whatever the mark.

    Args:
        logits: Shape ``(words, tags)``.
        tags: Tag ids. Shape ``(words,)``.
        n_marks: Marks of the scheme.

    Returns:
        Softmax mass of the label's tags; of O for words tagged O. Shape ``(words,)``.
    """
    result = np.empty(len(tags), dtype=np.float32)
    step = max(1, _CHUNK_SCORES // max(logits.shape[1], 1))
    for low in range(0, len(tags), step):
        part, ids = logits[low : low + step], tags[low : low + step]
        top = part.max(1, keepdims=True)
        mass = np.exp(part - top)
        total = mass.sum(1)
        first = np.maximum(ids - 1, 0) // n_marks * n_marks + 1
        columns = np.where(ids[:, None] > 0, first[:, None] + np.arange(n_marks), 0)
        own = np.take_along_axis(mass, columns, axis=1)
        own = np.where(ids > 0, own.sum(1), own[:, 0])
        result[low : low + step] = own / total
    return result


def mentions_from_tag_ids(
    tags: IntArray,
    probabilities: FloatArray,
    lengths: Sequence[int],
    labels: Sequence[str],
    scheme: str,
) -> list[list[Mention]]:
    """Read mentions off tag ids as conlleval does, many sentences at once.

    Args:
        tags: Tag ids of all sentences, one after the other. Shape ``(words,)``.
        probabilities: Probability of each word's label. Shape ``(words,)``.
        lengths: Words of each sentence.
        labels: Label names in label-set order.
        scheme: Scheme of the ids.

    Returns:
        Mentions of each sentence; the score is the mean probability over the words.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    ends_at = np.cumsum(sizes)
    found: list[list[Mention]] = [[] for _ in lengths]
    if not tags.any():
        return found
    sentence = np.repeat(np.arange(len(sizes)), sizes)
    starts = _mention_starts(tags, sentence, scheme)
    begin = np.flatnonzero(starts)
    inside = tags > 0
    stop = np.append(starts | ~inside, True)
    stop[ends_at] = True
    stops = np.flatnonzero(stop)
    end = stops[np.searchsorted(stops, begin, side="right")]
    totals = np.concatenate([[0.0], np.cumsum(probabilities, dtype=np.float64)])
    scores = (totals[end] - totals[begin]) / (end - begin)
    owner = sentence[begin]
    offset = (ends_at - sizes)[owner]
    label_ids = (tags[begin] - 1) // len(MARKS[scheme])
    columns = (owner, begin - offset, end - offset, label_ids, np.minimum(scores, 1.0))
    for i, low, high, label, score in zip(*(c.tolist() for c in columns), strict=True):
        found[i].append(Mention(low, high, labels[int(label)], score))
    return found


def _mention_starts(tags: IntArray, sentence: IntArray, scheme: str) -> NDArray[np.bool_]:
    marks, rules = MARKS[scheme], RULES[scheme]
    label, mark = np.divmod(tags - 1, len(marks))
    inside = tags > 0
    before_inside = np.append(False, inside[:-1])
    before_label, before_mark = np.append(-1, label[:-1]), np.append(0, mark[:-1])
    same_sentence = np.append(False, sentence[1:] == sentence[:-1])
    opens = ~rules.continues[mark] if scheme != "io" else np.zeros_like(inside)
    ended = ~rules.is_open[before_mark]
    joined = same_sentence & before_inside & (before_label == label) & ~opens & ~ended
    return inside & ~joined
