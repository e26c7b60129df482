"""A label set as vectors, and what they make of words' states: scores, tags, mentions.

Knows no encoder: states come from wherever they come.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from labelwise.annotation import Mention
from labelwise.arrays import FloatArray, IntArray
from labelwise.calibration import IDENTITY, ScoreCurve
from labelwise.config import ModelConfig
from labelwise.decode import (
    Costs,
    best_tags,
    best_valid_tags,
    label_probabilities,
    mentions_from_tag_ids,
)
from labelwise.label import Label, is_bare, thresholds_of
from labelwise.labels import LabelSet
from labelwise.schemes import MARKS
from labelwise.segments import Segment
from labelwise.tag_params import add_neighbours
from labelwise.tag_scores import tag_scores

_GROUP_SCORES = 1 << 22  # at once: some 16 MB, and many sentences a step of the decoder


@dataclass(frozen=True)
class TagTable:
    """A label set as vectors, ready to score.

    Attributes:
        label_set: The labels, in the order of the rows.
        matrix: One row a tag, O first, the model's scale included. Shape ``(tags, dim)``; three
            times as wide where a fit also reads a word's neighbours.
        bias: Added to the scores. Shape ``(tags,)``.
        curve: Turns the mean probability of a mention's words into how often it is right.
    """

    label_set: LabelSet
    matrix: FloatArray
    bias: FloatArray
    curve: ScoreCurve = IDENTITY

    def positions(self, label_set: LabelSet) -> IntArray:
        """Find the labels of another set here, by name; -1 where one is not or reads otherwise.

        A bare name means the label here, whatever its words. A description has had its say in
        these vectors, so beside the same words another one makes no other label.

        Args:
            label_set: The labels to find.

        Returns:
            Shape ``(labels,)``.
        """
        return np.array([self._position(label) for label in label_set], np.int64)

    def _position(self, label: Label) -> int:
        if label.name not in self.label_set:
            return -1
        own = self.label_set[label.name]
        is_same = label.words == own.words or is_bare(label)
        return self.label_set.index(label.name) if is_same else -1

    def for_labels(
        self, label_set: LabelSet, words_table: Callable[[LabelSet], TagTable]
    ) -> TagTable:
        """Take the labels of another set from here, and those that are new from their words.

        Args:
            label_set: The labels, in any order.
            words_table: Makes the table of a label set's words.

        Returns:
            A row a tag, beside the O of this table; the table of the words if no label is here.
        """
        if label_set.digest == self.label_set.digest:
            return dataclasses.replace(
                self, label_set=label_set.limited(thresholds_of(self.label_set))
            )
        found = self.positions(label_set)
        is_new = found < 0
        if is_new.all():
            return words_table(label_set)
        n_marks = (len(self.bias) - 1) // len(self.label_set)
        rows = 1 + np.add.outer(n_marks * found, np.arange(n_marks))  # (labels, marks)
        rows[is_new] = 0
        rows = np.append(0, rows)
        matrix, bias = self.matrix[rows], self.bias[rows]
        if is_new.any():
            words, fresh = words_table(label_set), np.append(False, np.repeat(is_new, n_marks))
            matrix[fresh] = 0
            matrix[fresh, : words.matrix.shape[1]] = words.matrix[fresh]
            bias[fresh] = words.bias[fresh]
        limits = thresholds_of(self.label_set.labels[i] for i in found[~is_new])
        return TagTable(label_set.limited(limits), matrix, bias, self.curve)

    def logits(self, states: FloatArray, lengths: Sequence[int]) -> FloatArray:
        """Score the words of some sentences, one after the other.

        Args:
            states: Shape ``(words, dim)``.
            lengths: Words of each sentence; neighbours are looked for within it.

        Returns:
            Shape ``(words, tags)``.
        """
        if self.matrix.shape[1] != states.shape[1]:
            states = add_neighbours(states, np.repeat(np.arange(len(lengths)), lengths))
        return tag_scores(states, self.matrix, self.bias)


def decode_tags(
    config: ModelConfig,
    logits: FloatArray,
    lengths: Sequence[int],
    *,
    before: Sequence[int] | None = None,
    open_end: Sequence[bool] | None = None,
) -> IntArray:
    """Decode as a model is set to: every word by itself, or the best valid sequence.

    Args:
        config: Its ``decode``, ``scheme`` and costs matter.
        logits: Words of all sentences, one after the other. Shape ``(words, tags)``.
        lengths: Words of each sentence.
        before: As for ``best_valid_tags``.
        open_end: As for ``best_valid_tags``.

    Returns:
        Tag ids. Shape ``(words,)``.
    """
    if config.decode == "argmax":
        return best_tags(logits)
    costs = Costs(config.boundary_cost, config.switch_cost)
    return best_valid_tags(
        logits, lengths, config.scheme, before=before, open_end=open_end, costs=costs
    )


class Decoder:
    """States to mentions, segment by segment.

    Of a text that is not finished it keeps the mentions, and the tags from the last O on.
    """

    def __init__(self, config: ModelConfig, table: TagTable) -> None:
        """Start with no text begun."""
        self._config, self._table = config, table
        self._tags: list[IntArray] = []
        self._probabilities: list[FloatArray] = []
        self._lengths: list[int] = []
        self._begun: list[Mention] = []  # of the text that is not finished
        self._n_begun = 0  # its words whose tags are no longer kept

    def decode(
        self, segments: Sequence[Segment], states: Sequence[FloatArray]
    ) -> list[list[Mention]]:
        """Mentions of the texts that end here, from states. Shapes ``(words, dim)``."""
        for low, high in _groups(segments, states, len(self._table.bias)):
            part, lengths = segments[low:high], [len(s) for s in states[low:high]]
            joined = np.concatenate(states[low:high])
            logits = self._table.logits(joined, lengths)
            logits[~joined.any(1)] = np.where(np.arange(logits.shape[1]) == 0, 0.0, -1e4)
            tags = self._best_tags(logits, part, lengths)
            self._tags.append(tags)
            self._probabilities.append(self._label_probabilities(logits, tags))
            self._count(part, lengths)
        return self._found(is_open=not segments[-1].is_last) if segments else []

    def _best_tags(
        self, logits: FloatArray, segments: Sequence[Segment], lengths: Sequence[int]
    ) -> IntArray:
        has_begun = not segments[0].is_first and bool(self._lengths) and self._lengths[-1] > 0
        last_tag = next(int(t[-1]) for t in reversed(self._tags) if len(t)) if has_begun else 0
        return decode_tags(
            self._config,
            logits,
            lengths,
            before=[last_tag] + [0] * (len(segments) - 1),
            open_end=[not s.is_last for s in segments],
        )

    def _label_probabilities(self, logits: FloatArray, tags: IntArray) -> FloatArray:
        """Probability of each word's label; zero for O, which no mention asks for."""
        result = np.zeros(len(tags), dtype=np.float32)
        inside = np.flatnonzero(tags)
        n_marks = len(MARKS[self._config.scheme])
        result[inside] = label_probabilities(logits, tags, n_marks, inside)
        return result

    def _count(self, segments: Sequence[Segment], lengths: Sequence[int]) -> None:
        for segment, length in zip(segments, lengths, strict=True):
            if segment.is_first:
                self._lengths.append(length)
            else:
                self._lengths[-1] += length

    def _found(self, *, is_open: bool) -> list[list[Mention]]:
        """Mentions of the texts that have ended; those of an open one, up to its last O, wait."""
        tags, probabilities = np.concatenate(self._tags), np.concatenate(self._probabilities)
        n_kept = _n_after_other(tags[len(tags) - self._lengths[-1] :]) if is_open else 0
        done = len(tags) - n_kept
        self._lengths[-1] -= n_kept
        found = mentions_from_tag_ids(
            tags[:done],
            probabilities[:done],
            self._lengths,
            self._table.label_set.names,
            self._config.scheme,
            self._table.curve,
        )
        n_begun = self._n_begun
        later = (Mention(m.start + n_begun, m.end + n_begun, m.label, m.score) for m in found[0])
        found[0] = [*self._begun, *later]
        self._begun, self._n_begun = [], 0
        if is_open:
            self._n_begun = self._lengths[-1] + (n_begun if len(found) == 1 else 0)
            self._begun = found.pop()
        self._tags, self._probabilities = [tags[done:]], [probabilities[done:]]
        self._lengths = [n_kept] if is_open else []
        return found


def _n_after_other(tags: IntArray) -> int:
    """Count the tags after the last O."""
    others = np.flatnonzero(tags == 0)
    return len(tags) - 1 - int(others[-1]) if len(others) else len(tags)


def _groups(
    segments: Sequence[Segment], states: Sequence[FloatArray], n_tags: int
) -> Iterator[tuple[int, int]]:
    """Runs of segments whose scores stay small; one that goes on with a text begins a run."""
    limit, low, words = max(1, _GROUP_SCORES // n_tags), 0, 0
    for i, (segment, part) in enumerate(zip(segments, states, strict=True)):
        if i > low and (not segment.is_first or words + len(part) > limit):
            yield low, i
            low, words = i, 0
        words += len(part)
    if segments:
        yield low, len(segments)
