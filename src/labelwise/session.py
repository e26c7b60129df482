"""A learning session: examples in one at a time, tag vectors that follow at once.

Both encoders stay as they are; the states of every example are kept, so one more example costs
one more sentence's encoding and a warm-started solve. Runs wherever prediction runs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from labelwise.annotation import Mention, Sentence
from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.calibration import (
    IDENTITY,
    USUAL,
    RatedMentions,
    choose_thresholds,
    fit_score_curve,
)
from labelwise.data import labels_of
from labelwise.decode import label_probabilities, mentions_from_tag_ids
from labelwise.engine import Engine
from labelwise.errors import RequestError
from labelwise.fit_report import FitReport
from labelwise.fit_settings import FitSettings
from labelwise.instant import FitResult, fit_tag_vectors, unmarked_runs
from labelwise.label import Label, label_names, thresholds_of
from labelwise.label_checks import check_labels, check_same, check_spoken
from labelwise.labels import LabelSet
from labelwise.map_problem import load_minimize
from labelwise.remarks import never_marked
from labelwise.schemes import MARKS
from labelwise.sentences import parts_of
from labelwise.tag_params import WITH_NEIGHBOURS, TagParams, add_neighbours
from labelwise.tag_table import TagTable, decode_tags
from labelwise.tags import tag_ids


@dataclass(frozen=True, slots=True, eq=False)
class _EncodedExample:
    sentence: Sentence
    spoken: frozenset[str] | None
    states: FloatArray
    tags: IntArray
    places: IntArray  # of the words that the states are of


class Session:
    """Examples of one label set, and the tag vectors fitted to them.

    Args:
        engine: Encodes words and labels.
        label_set: What is looked for.
        settings: Of the fit.
        start: Tag vectors of an earlier fit, whose examples are gone; they become the centre of
            the prior in place of the label words.
    """

    def __init__(
        self,
        engine: Engine,
        label_set: LabelSet,
        settings: FitSettings | None = None,
        *,
        start: TagTable | None = None,
    ) -> None:
        """Start from the vectors of the label words, or of an earlier fit."""
        self.label_set = label_set
        self.settings = settings or FitSettings()
        self._engine = engine
        self._label_ids = {name: i for i, name in enumerate(label_set.names)}
        self._examples: list[_EncodedExample] = []
        prior = self._word_vectors() if start is None else self._from_table(start)
        self._prior = prior.padded(
            WITH_NEIGHBOURS * engine.backend.dim
        )  # label words read the first part
        self._params = self._prior
        self._last = self._prior  # where the next solve starts
        self._start = start
        self._forget_scores()

    def _forget_scores(self) -> None:
        """Go back to what the start says about scores."""
        start = self._start
        self._curve = start.curve if start else IDENTITY
        self._limits = thresholds_of(start.label_set) if start else {}

    @property
    def examples(self) -> list[Sentence]:
        """The examples, in the order they were given."""
        return [e.sentence for e in self._examples]

    @property
    def spoken(self) -> list[frozenset[str]]:
        """The labels that each example speaks about."""
        every = frozenset(self.label_set.names)
        return [every if e.spoken is None else e.spoken for e in self._examples]

    @property
    def digest(self) -> str:
        """Hash over the examples: words, where their sentences end, mentions, labels spoken of."""
        sha = hashlib.sha256()
        for e in self._examples:
            x, spoken = e.sentence, None if e.spoken is None else sorted(e.spoken)
            facts = (x.words, x.mentions, x.text, x.offsets, spoken)
            sha.update(repr(facts).encode("utf-8", "replace"))
        return sha.hexdigest()

    @property
    def table(self) -> TagTable:
        """The fitted tag vectors, ready to score."""
        params = self._params
        return TagTable(
            self.label_set.limited(self._limits),
            (params.tag_vectors * params.scale).astype(np.float32),
            params.tag_biases.astype(np.float32),
            self._curve,
        )

    @property
    def fitted(self) -> TagTable | None:
        """The table, where words of examples have moved it; else the start, or None without one."""
        return self.table if any(len(e.tags) for e in self._examples) else self._start

    def add(
        self, examples: Iterable[Sentence], *, labels: Iterable[str | Label] | None = None
    ) -> None:
        """Add examples without fitting yet.

        Args:
            examples: Annotated sentences; one without mentions says that nothing is in it.
            labels: The only labels these examples speak about. Other labels may well occur in
                them unmarked, and are not counted as absent. A label set or names; None means all.

        Raises:
            LabelError: An example, or ``labels``, names a label that the label set lacks, or an
                example marks one that is not in ``labels``.
        """
        sentences = list(examples)
        spoken = None if labels is None else frozenset(label_names(labels))
        check_labels(sentences, self.label_set, spoken or ())
        check_spoken(sentences, spoken)
        texts = [list(parts_of(sentence)) for sentence in sentences]
        found = self._engine.states([part for parts in texts for part in parts])
        for sentence, parts in zip(sentences, texts, strict=True):
            tags = self._tags_of(sentence)
            states = np.concatenate([next(found) for _ in parts])
            read = np.flatnonzero(states.any(1))
            wide = add_neighbours(states, np.repeat(np.arange(len(parts)), [len(p) for p in parts]))
            self._examples.append(_EncodedExample(sentence, spoken, wide[read], tags[read], read))

    def widened(self, labels: LabelSet) -> Session:
        """Look for more labels, about which the examples so far say nothing.

        Args:
            labels: What to look for as well. Bare names of labels that are looked for mean these;
                thresholds change nothing here.

        Returns:
            Another session with these examples, or this one where no label is new.

        Raises:
            LabelError: A label that is looked for is given other words, or another description.
        """
        labels = labels.with_known(self.label_set)
        check_same(labels, self.label_set)
        more = [x for x in labels if x.name not in self.label_set]
        return self._with_labels(LabelSet((*self.label_set, *more))) if more else self

    def narrowed(self, names: Iterable[str]) -> Session:
        """Return another session with these examples, for some of its labels.

        Args:
            names: Those labels, all that the examples mark among them.
        """
        return self._with_labels(self.label_set.subset(names))

    def _with_labels(self, label_set: LabelSet) -> Session:
        """Return a session of other labels; of those that are new the examples say nothing."""
        old = frozenset(self.label_set.names)
        every = None if old.issuperset(label_set.names) else old
        start = self._start and self._start.for_labels(label_set, self._engine.tag_table)
        other = Session(self._engine, label_set, self.settings, start=start)
        other._curve, other._limits = self._curve, self._limits
        other._examples = [
            dataclasses.replace(
                e,
                spoken=every if e.spoken is None else e.spoken,
                tags=other._tags_of(e.sentence)[e.places],
            )
            for e in self._examples
        ]
        return other

    def _tags_of(self, sentence: Sentence) -> IntArray:
        """Gold tags of a sentence. Shape ``(words,)``."""
        scheme = self._engine.backend.config.scheme
        return tag_ids(len(sentence.words), sentence.mentions, self._label_ids, scheme)

    def undo(self) -> Sentence:
        """Take the last example back and fit again; errors as of ``take_back``."""
        removed = self.take_back()
        self.fit()
        return removed

    def take_back(self) -> Sentence:
        """Take the last example back without fitting yet.

        Raises:
            RequestError: There is no example left.
        """
        if not self._examples:
            raise RequestError("There is no example to take back. Add one with fit().")
        return self._examples.pop().sentence

    def fit(self) -> FitReport:
        """Move the tag vectors to where all examples pull them; without any, back to the start.

        A fit of a given strength holds nothing out, and keeps what an earlier one has found out
        about scores. So does one with too few held-out mentions of what it started from.
        """
        load_minimize()
        started = time.perf_counter()
        self._params, strength, remark = self._prior, float("inf"), ""
        examples = [e for e in self._examples if len(e.tags)]
        if not examples or self.settings.strength is None:
            self._forget_scores()
        if examples:
            self._curve = USUAL if self._curve == IDENTITY else self._curve
            result = self._solve(examples)
            strength, remark = result.strength, self._never_marked(examples, result.centre_tags)
        present = {m.label for s in self.examples for m in s.mentions}
        return FitReport(
            n_examples=len(self._examples),
            n_mentions=sum(len(s.mentions) for s in self.examples),
            strength=strength,
            curve=self._curve,
            seconds=time.perf_counter() - started,
            missing=tuple(n for n in self.label_set.names if n not in present),
            remarks=(remark,) if remark else (),
        )

    def _solve(self, examples: Sequence[_EncodedExample]) -> FitResult:
        """Move the tag vectors, and learn about scores from what was held out."""
        tags, owner = _joined(examples)
        result = fit_tag_vectors(
            np.concatenate([e.states for e in examples]),
            tags,
            owner,
            self._prior,
            self.settings,
            start=self._last,
            allowed=self._allowed(examples),
            n_workers=self._engine.backend.n_workers,
        )
        self._params = self._last = result.params
        if held_out := result.held_out:
            rows = held_out.rows
            self._calibrate(self._rated(held_out.logits, tags[rows], owner[rows]))
        return result

    def _never_marked(self, examples: Sequence[_EncodedExample], found: IntArray) -> str:
        """Tell of labels that the start finds in the examples, and that none of these marks."""
        tags, owner = _joined(examples)
        n_marks = len(MARKS[self._engine.backend.config.scheme])
        label_ids, starts, ends = unmarked_runs(found, tags, owner, n_marks)
        if not len(label_ids):
            return ""
        names = self.label_set.names
        i = int(owner[starts[0]])
        example, n_before = examples[i], np.searchsorted(owner, i)
        first, last = example.places[[starts[0] - n_before, ends[0] - 1 - n_before]].tolist()
        return never_marked(
            [names[i] for i in np.unique(label_ids)],
            sorted(labels_of(e.sentence for e in examples)),
            example.sentence,
            Mention(first, last + 1, names[label_ids[0]]),
            f"examples[{self._examples.index(example)}]",
        )

    def _calibrate(self, found: RatedMentions) -> None:
        """Learn from held-out mentions how often those of a score are right."""
        self._curve = fit_score_curve(found.scores, found.is_correct, self._curve)
        if self.settings.thresholds:
            scores = self._curve(found.scores)
            limits = choose_thresholds(scores, found.label_ids, found.is_correct, found.n_gold)
            names = self.label_set.names
            self._limits |= {n: x for n, x in zip(names, limits, strict=True) if x is not None}

    def _rated(self, logits: FloatArray, gold_tags: IntArray, owner: IntArray) -> RatedMentions:
        """Decode the words of some examples, and compare with what is marked in them."""
        config, names = self._engine.backend.config, self.label_set.names
        lengths = np.unique(owner, return_counts=True)[1].tolist()
        tags = decode_tags(config, logits, lengths)
        sure = label_probabilities(logits, tags, len(MARKS[config.scheme]))
        found, gold = (
            mentions_from_tag_ids(ids, sure, lengths, names, config.scheme)
            for ids in (tags, gold_tags)
        )
        return RatedMentions.of(found, gold, names)

    def _allowed(self, examples: Sequence[_EncodedExample]) -> BoolArray | None:
        """Labels each word speaks about; None if all do. Shape ``(words, labels)``."""
        if all(e.spoken is None for e in examples):
            return None
        names = self.label_set.names
        rows = [[e.spoken is None or n in e.spoken for n in names] for e in examples]
        return np.repeat(np.array(rows), [len(e.tags) for e in examples], axis=0)

    def _word_vectors(self) -> TagParams:
        """The centre of the prior: what the label words alone say."""
        backend = self._engine.backend
        config, scale = backend.config, backend.scale
        bias = float(backend.bias[0]) if len(backend.bias) else 0.0
        if config.composition != "sum":
            matrix = self._engine.tag_table(self.label_set).matrix / scale
            n_marks = len(MARKS[config.scheme])
            return TagParams.independent(matrix, n_marks, other_bias=bias, scale=scale)
        vectors = self._engine.label_rows(self.label_set)
        first_label = 1 + len(MARKS[config.scheme])
        return TagParams.summed(
            vectors[0], vectors[1:first_label], vectors[first_label:], other_bias=bias, scale=scale
        )

    def _from_table(self, table: TagTable) -> TagParams:
        scale, n_marks = self._engine.backend.scale, len(MARKS[self._engine.backend.config.scheme])
        params = TagParams.independent(table.matrix / scale, n_marks, scale=scale)
        return dataclasses.replace(params, biases=table.bias)


def _joined(examples: Sequence[_EncodedExample]) -> tuple[IntArray, IntArray]:
    """Tags of the words of all examples, and which example each is of. Shapes ``(words,)``."""
    owner = np.repeat(np.arange(len(examples)), [len(e.tags) for e in examples])
    return np.concatenate([e.tags for e in examples]), owner
