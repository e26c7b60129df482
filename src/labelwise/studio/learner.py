"""What a project's model does: learn from accepted texts, suggest, rank, and score itself.

Belongs to one thread. Knows sentences and label names, not the file they are kept in.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelwise.annotation import Mention, Record, Sentence
from labelwise.engine import Engine
from labelwise.instant import FitSettings
from labelwise.labels import LabelSet
from labelwise.metrics import score_mentions
from labelwise.records import above_threshold
from labelwise.session import FitReport, Session
from labelwise.studio.nouns import ScorePoint
from labelwise.studio.state_cache import StateCache
from labelwise.tagger import Tagger

MAX_EACH = 10  # accepted texts that are held back one by one; beyond, fifths
N_FOLDS = 5


@dataclass(frozen=True)
class Example:
    """An accepted text.

    Attributes:
        key: Changes whenever the annotation does.
        sentence: The text and its mentions.
    """

    key: Hashable
    sentence: Sentence


class Learner:
    """A tagger that follows the accepted texts.

    Args:
        tagger: A loaded model; its encoders are shared, all else is the learner's own.
    """

    def __init__(self, tagger: Tagger) -> None:
        """Start without labels."""
        self.generation = 0
        self.fit_s = 0.0
        importlib.import_module("scipy.optimize")  # now, not when the first text is accepted
        self._tagger = _with_cache(tagger)
        self._label_set: LabelSet | None = None
        self._examples: list[Example] = []
        self._report: FitReport | None = None

    @property
    def engine(self) -> Engine:
        """Encodes, once each text."""
        return self._tagger.engine

    def learn(self, label_set: LabelSet, examples: Sequence[Example]) -> bool:
        """Follow the labels and the accepted texts; does as little as it can.

        Args:
            label_set: What is looked for.
            examples: All accepted texts, in order.

        Returns:
            Whether anything has changed.
        """
        old, new = [e.key for e in self._examples], [e.key for e in examples]
        same_labels = self._label_set is not None and self._label_set.digest == label_set.digest
        if same_labels and old == new:
            return False
        started = time.perf_counter()
        if not same_labels or not new or not old:
            self._report = self._tagger.fit([e.sentence for e in examples], _bare(label_set))
        elif new[: len(old)] == old:
            self._report = self._tagger.partial_fit([e.sentence for e in examples[len(old) :]])
        elif new == old[:-1]:
            self._tagger.undo()
        else:
            self._report = self._tagger.fit([e.sentence for e in examples], _bare(label_set))
        self._label_set, self._examples = label_set, list(examples)
        self.fit_s = time.perf_counter() - started
        self.generation += 1
        return True

    def suggest(self, texts: Sequence[str]) -> list[list[Record]]:
        """Find entities in texts, whatever their score."""
        if self._label_set is None:
            return [[] for _ in texts]
        return self._tagger.predict(texts, _bare(self._label_set))

    def most_useful(self, texts: Sequence[str], k: int) -> list[int]:
        """Rank texts by what accepting them would teach; returns up to ``k`` indices."""
        if self._label_set is None:
            return []
        return self._tagger.suggest(texts, k, _bare(self._label_set))

    def encode(self, sentences: Sequence[Sequence[str]]) -> None:
        """Encode sentences that will be asked for."""
        for _ in self.engine.states(sentences):
            pass

    def save(self, folder: Path, label_set: LabelSet) -> None:
        """Write the model as fitted, with the labels and their thresholds."""
        self._tagger.label_set = label_set
        self._tagger.save_pretrained(folder)

    def score(self, label_set: LabelSet) -> Iterator[ScorePoint | None]:
        """Measure the model on accepted texts that it is not shown, part by part.

        Args:
            label_set: The labels with their thresholds.

        Yields:
            None after every part but the last, then the score.
        """
        sentences = [e.sentence for e in self._examples]
        if not sentences or self._label_set is None:
            return
        strength = self._report.strength if self._report else math.inf
        settings = FitSettings(strength=strength if math.isfinite(strength) else None)
        folds = [[i] for i in range(len(sentences))]
        if len(sentences) > MAX_EACH:
            folds = [list(range(f, len(sentences), N_FOLDS)) for f in range(N_FOLDS)]
        gold: list[Sequence[Mention]] = []
        found: list[Sequence[Mention]] = []
        for fold in folds:
            held = set(fold)
            seen = [s for i, s in enumerate(sentences) if i not in held]
            session = Session(self.engine, _bare(label_set), settings)
            session.add(seen)
            session.fit()
            words = [sentences[i].words for i in fold]
            for i, mentions in zip(fold, self.engine.tag(words, session.table), strict=True):
                gold.append(sentences[i].mentions)
                found.append(above_threshold(mentions, label_set, None))
            yield None
        scores = score_mentions(gold, found)
        kind = "each" if len(sentences) <= MAX_EACH else "folds"
        yield ScorePoint(len(sentences), scores.micro_f1, scores.precision, scores.recall, kind)


def _with_cache(tagger: Tagger) -> Tagger:
    """A tagger of its own around the same encoders, that remembers what it has encoded."""
    own = Tagger(tagger.backend, folder=tagger.folder)
    own.engine = StateCache(tagger.backend)
    own.engine.remember(tagger.engine.known_vectors())
    return own


def _bare(label_set: LabelSet) -> LabelSet:
    """The labels without thresholds: suggestions below them are the page's to hide."""
    return LabelSet(tuple(dataclasses.replace(label, threshold=None) for label in label_set))
