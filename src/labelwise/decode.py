"""Scores of words into tags and mentions, vectorised over many sentences at once.

Tags are ids here: 0 is ``O``; label ``l`` with mark ``m`` is ``1 + l * n_marks + m``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelwise.annotation import Mention
from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.schemes import MARKS, SCHEMES, SHAPES

_CHUNK_SCORES = 1 << 16  # scores per step, so that temporaries stay in the cache


@dataclass(frozen=True, slots=True)
class MarkRules:
    """``schemes.Shape`` as arrays: which neighbours a scheme allows, one flag a mark.

    Attributes:
        starts: May begin a mention. Shape ``(marks,)``, as the others, in ``schemes.MARKS`` order.
        extends: May follow an open mark of the same label.
        is_open: May be followed by a mark that extends it.
        is_closed: May be followed by O, a new mention, or the end.
    """

    starts: BoolArray
    extends: BoolArray
    is_open: BoolArray
    is_closed: BoolArray


def _rules(scheme: str) -> MarkRules:
    shape = SHAPES[scheme]
    marks_by_rule = (shape.starts, shape.extends, shape.is_open, shape.is_closed)
    return MarkRules(*(np.array([m in marks for m in MARKS[scheme]]) for marks in marks_by_rule))


RULES = {scheme: _rules(scheme) for scheme in SCHEMES}


class Costs(NamedTuple):
    """What a change between neighbouring words costs, in logits, whatever the labels.

    Attributes:
        boundary: Of going from O into a mention, or from a mention to O.
        switch: Of going from one mention straight into another.
    """

    boundary: float = 0.0
    switch: float = 0.0


NO_COSTS = Costs()


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
    costs: Costs = NO_COSTS,
) -> IntArray:
    """Find the best tag sequence of each sentence that its scheme allows (Viterbi).

    The work grows linearly with the number of tags: a mark either extends its own label, or
    follows O or the best closed mention, whichever that is.

    Args:
        logits: Words of all sentences, one after the other. Shape ``(words, tags)``.
        lengths: Words of each sentence.
        scheme: ``"io"``, ``"bio"`` or ``"bioes"``.
        before: Tag id of the word before each sentence, where an earlier part of its text was
            decoded; else 0. What an open mention demands is kept.
        open_end: Whether a later part of the text follows, so that a mention may stay open.
        costs: Of changes between neighbouring words.

    Returns:
        Tag ids. Shape ``(words,)``.
    """
    rules = RULES[scheme]
    if not len(logits) or (scheme == "io" and not any(costs)):
        return best_tags(logits)
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")  # longest first: those still running come first
    starts, sizes = (np.cumsum(sizes) - sizes)[order], sizes[order]
    n_labels = (logits.shape[1] - 1) // len(MARKS[scheme])
    score = np.full((len(sizes), logits.shape[1]), -np.inf, dtype=np.float32)
    score[np.arange(len(sizes)), 0 if before is None else np.asarray(before)[order]] = 0
    rows, back = logits.astype(np.float32, copy=False), list[_Step]()
    for t in range(int(sizes[0])):
        n = int(np.count_nonzero(sizes > t))
        emitted = rows[starts[:n] + t]
        if len(rules.starts) == 1:
            back.append(_io_step(score[:n], emitted, costs))
        else:
            back.append(_viterbi_step(score[:n], emitted, n_labels, rules, costs))
    if open_end is None or not all(open_end):
        closed = np.ones(len(sizes), bool) if open_end is None else ~np.asarray(open_end)[order]
        view = _by_label(score, n_labels, rules)
        view[np.broadcast_to(closed[:, None, None] & ~rules.is_closed, view.shape)] = -np.inf
    return _trace_back(score.argmax(1), back, starts, sizes)


def _by_label(score: FloatArray, n_labels: int, rules: MarkRules) -> FloatArray:
    """View ``(n, tags)`` without O as ``(n, labels, marks)``."""
    return score[:, 1:].reshape(len(score), n_labels, len(rules.starts))


@dataclass(frozen=True, slots=True)
class _Step:
    """Where the best path to every tag of one word came from.

    Attributes:
        to_other: Tag before O. Shape ``(n,)``.
        to_new: Tag before a new mention. Shape ``(n,)``.
        to_same: Tag before a mark that extends its label. Shape ``(n, labels)``.
        extends: Whether each mark does. Shape ``(n, labels, marks)``.
    """

    to_other: IntArray
    to_new: IntArray
    to_same: IntArray
    extends: BoolArray

    def before(self, tags: IntArray) -> IntArray:
        """Return the tag before each of the last tags. Shape ``(n,)``."""
        n, _, n_marks = self.extends.shape
        label, mark = np.divmod(np.maximum(tags - 1, 0), n_marks)
        rows = np.arange(n)
        inside = np.where(self.extends[rows, label, mark], self.to_same[rows, label], self.to_new)
        return np.where(tags > 0, inside, self.to_other)


def _io_step(score: FloatArray, emitted: FloatArray, costs: Costs) -> _Step:
    """Advance one word of IO, whose only mark may begin, extend and end a mention.

    ``score`` of every tag is updated in place. With many labels the time goes into reading these
    arrays, so each is passed over as seldom as can be.
    """
    other, inside = score[:, 0].copy(), score[:, 1:]
    ended = inside.argmax(1)
    end = inside[np.arange(len(score)), ended]
    new_after_other, new_after_end = other - costs.boundary, end - costs.switch
    new = np.maximum(new_after_other, new_after_end)[:, None]
    extends = inside >= new
    np.maximum(inside, new, out=inside)
    score[:, 0] = np.maximum(other, end - costs.boundary)
    score += emitted
    return _Step(
        to_other=np.where(other >= end - costs.boundary, 0, 1 + ended),
        to_new=np.where(new_after_other >= new_after_end, 0, 1 + ended),
        to_same=np.broadcast_to(np.arange(1, score.shape[1]), extends.shape),
        extends=extends[:, :, None],
    )


def _viterbi_step(
    score: FloatArray, emitted: FloatArray, n_labels: int, rules: MarkRules, costs: Costs
) -> _Step:
    """Advance one word: ``score`` of every tag is updated in place, ``emitted`` overwritten."""
    rows, n_marks = np.arange(len(score)), len(rules.starts)
    inside = _by_label(score, n_labels, rules)
    closed = np.where(rules.is_closed, inside, -np.inf).reshape(len(rows), -1)
    ended = closed.argmax(1)
    other, end = score[:, 0], closed[rows, ended]
    to_other = np.where(other >= end - costs.boundary, 0, 1 + ended)
    new = np.maximum(other - costs.boundary, end - costs.switch)
    to_new = np.where(other - costs.boundary >= end - costs.switch, 0, 1 + ended)
    opened = np.where(rules.is_open, inside, -np.inf)
    same = opened.max(2)
    to_same = 1 + np.arange(n_labels) * n_marks + opened.argmax(2)
    extends = rules.extends & (~rules.starts | (same >= new[:, None])[:, :, None])
    emitted[:, 0] += np.maximum(other, end - costs.boundary)
    view = _by_label(emitted, n_labels, rules)
    view += np.where(extends, same[:, :, None], new[:, None, None])
    score[:] = emitted
    return _Step(to_other, to_new, to_same, extends)


def _trace_back(
    last: IntArray, back: Sequence[_Step], starts: IntArray, sizes: IntArray
) -> IntArray:
    current = last.copy()
    tags = np.zeros(int(sizes.sum()), dtype=np.int64)
    for t in range(int(sizes[0]) - 1, -1, -1):
        n = int(np.count_nonzero(sizes > t))
        tags[starts[:n] + t] = current[:n]
        current[:n] = back[t].before(current[:n])
    return tags


def label_probabilities(
    logits: FloatArray, tags: IntArray, n_marks: int, words: IntArray | None = None
) -> FloatArray:
    """Return the probability that words bear the labels of their tags, whatever the marks.

    Args:
        logits: Shape ``(words, tags)``.
        tags: Tag ids. Shape ``(words,)``.
        n_marks: Marks of the scheme.
        words: Indices of those asked for; all by default. Shape ``(n,)``.

    Returns:
        Softmax mass of the label's tags; of O for words tagged O. Shape ``(n,)``.
    """
    words = np.arange(len(tags)) if words is None else words
    result = np.empty(len(words), dtype=np.float32)
    step = max(1, _CHUNK_SCORES // max(logits.shape[1], 1))
    for low in range(0, len(words), step):
        rows = words[low : low + step]
        mass, ids = logits[rows], tags[rows]
        mass -= mass.max(1, keepdims=True)
        np.exp(mass, out=mass)
        first = np.maximum(ids - 1, 0) // n_marks * n_marks + 1
        columns = np.where(ids[:, None] > 0, first[:, None] + np.arange(n_marks), 0)
        own = np.take_along_axis(mass, columns, axis=1)
        own = np.where(ids > 0, own.sum(1), own[:, 0])
        result[low : low + step] = own / mass.sum(1)
    return result


def mentions_from_tag_ids(
    tags: IntArray,
    probabilities: FloatArray,
    lengths: Sequence[int],
    labels: Sequence[str],
    scheme: str,
    curve: Callable[[FloatArray], FloatArray] | None = None,
) -> list[list[Mention]]:
    """Read mentions off tag ids as conlleval does, many sentences at once.

    Args:
        tags: Tag ids of all sentences, one after the other. Shape ``(words,)``.
        probabilities: Probability of each word's label. Shape ``(words,)``.
        lengths: Words of each sentence.
        labels: Label names in label-set order.
        scheme: Scheme of the ids.
        curve: Turns all scores into others, such as calibrated ones.

    Returns:
        Mentions of each sentence; the score is the mean probability over the words, or what the
        curve makes of it.
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
    if curve is not None:
        scores = curve(scores.astype(np.float32))
    owner = sentence[begin]
    offset = (ends_at - sizes)[owner]
    label_ids = (tags[begin] - 1) // len(MARKS[scheme])
    columns = (owner, begin - offset, end - offset, label_ids, np.minimum(scores, 1.0))
    for i, low, high, label, score in zip(*(c.tolist() for c in columns), strict=True):
        found[i].append(Mention(low, high, labels[int(label)], score))
    return found


def _mention_starts(tags: IntArray, sentence: IntArray, scheme: str) -> BoolArray:
    marks, rules = MARKS[scheme], RULES[scheme]
    label, mark = np.divmod(tags - 1, len(marks))
    inside = tags > 0
    before_inside = np.append(False, inside[:-1])
    before_label, before_mark = np.append(-1, label[:-1]), np.append(0, mark[:-1])
    same_sentence = np.append(False, sentence[1:] == sentence[:-1])
    opens = ~rules.extends[mark]
    ended = ~rules.is_open[before_mark]
    joined = same_sentence & before_inside & (before_label == label) & ~opens & ~ended
    return inside & ~joined
