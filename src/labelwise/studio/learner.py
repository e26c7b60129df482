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
from labelwise.fit_report import FitReport
from labelwise.fit_settings import FitSettings
from labelwise.label_reading import read_in_part
from labelwise.labels import LabelSet
from labelwise.metrics import score_mentions
from labelwise.records import above_threshold
from labelwise.sentences import parts_of
from labelwise.session import Session
from labelwise.studio.nouns import ScorePoint
from labelwise.studio.state_cache import StateCache
from labelwise.tagger import Tagger

MAX_EACH = 10  # accepted texts that are held back one by one; beyond, fifths
N_FOLDS = 5
MAX_LEARNED = 1_000  # the last accepted texts; fine-tuning takes all
STEP = 100  # texts that are left behind at once, as the fit after that starts anew
MAX_CHOICE = 100  # texts up to which the strength of the prior is chosen anew now and then
GROWTH = 1.5  # of the texts since the last choice


@dataclass(frozen=True)
class AcceptedText:
    """An accepted text.

    Attributes:
        key: Changes whenever the annotation does.
        sentence: The text and its mentions.
    """

    key: Hashable
    sentence: Sentence


class Learner:
    """A model that follows the accepted texts.

    Args:
        tagger: A loaded model; its encoders are shared, all else is the learner's own.
    """

    def __init__(self, tagger: Tagger) -> None:
        """Start without labels."""
        importlib.import_module("scipy.optimize")  # now, not when the first text is accepted
        self.generation = 0
        self.fit_s = 0.0
        self._base = tagger
        self._engine = StateCache(tagger.backend)
        self._engine.remember(tagger.engine.known_vectors())
        self._engine.trained_names = tagger.engine.trained_names
        self._session: Session | None = None
        self._examples: list[AcceptedText] = []
        self._chosen: FitReport | None = None  # of the last fit that chose the strength

    def read_in_part(self, label_set: LabelSet) -> str:
        """Say which labels the model reads in part only; empty if none. From any thread."""
        backend = self._engine.backend
        return read_in_part(label_set, backend.tokenizer, backend.config)

    def learn(self, label_set: LabelSet, examples: Sequence[AcceptedText]) -> bool:
        """Follow the labels and the accepted texts; does as little as it can.

        Args:
            label_set: What is looked for.
            examples: All accepted texts, in order.

        Returns:
            Whether anything has changed.
        """
        n_over = max(0, len(examples) - MAX_LEARNED)
        examples = examples[-(-n_over // STEP) * STEP :]
        old, new = [e.key for e in self._examples], [e.key for e in examples]
        session = self._session
        if session is not None and session.label_set.digest == label_set.digest:
            if old == new:
                return False
        else:
            session = None
        started = time.perf_counter()
        if session is not None and old and new[: len(old)] == old:
            session.add([e.sentence for e in examples[len(old) :]])
            self._fit(session)
        elif session is not None and new == old[:-1]:
            session.undo()
        else:
            session, self._chosen = Session(self._engine, _bare(label_set)), None
            session.add([e.sentence for e in examples])
            self._fit(session)
        self._session, self._examples = session, list(examples)
        self.fit_s = time.perf_counter() - started
        self.generation += 1
        return True

    def _fit(self, session: Session) -> None:
        """Fit; choose the strength of the prior when there is enough more to choose it from."""
        sentences = session.examples
        strength = self._strength(len(sentences), sum(len(s.mentions) for s in sentences))
        session.settings = FitSettings(strength=strength)
        report = session.fit()
        if strength is None:
            self._chosen = report

    def _strength(self, n_examples: int, n_mentions: int) -> float | None:
        """None to choose, else the last choice, which falls as the mentions grow."""
        chosen = self._chosen
        if chosen is None or not math.isfinite(chosen.strength) or not n_mentions:
            return None
        if n_examples <= MAX_CHOICE and n_examples >= GROWTH * chosen.n_examples:
            return None
        return chosen.strength * max(chosen.n_mentions, 1) / n_mentions

    @property
    def folder(self) -> Path | None:
        """Where the model was loaded from, if anywhere."""
        return self._base.folder

    @property
    def _tagger(self) -> Tagger:
        """The model as fitted."""
        label_set = self._session.label_set if self._session else None
        fitted = self._session.fitted if self._session else None
        tagger = Tagger(
            self._base.backend, label_set=label_set, folder=self._base.folder, fitted=fitted
        )
        tagger.engine = self._engine
        return tagger

    def suggest(self, texts: Sequence[str]) -> list[list[Record]]:
        """Find entities in texts, whatever their score."""
        return [[] for _ in texts] if self._session is None else self._tagger.predict(texts)

    def most_useful(self, texts: Sequence[str], k: int) -> list[int]:
        """Rank texts by what accepting them would teach; returns up to ``k`` indices."""
        return [] if self._session is None else self._tagger.suggest(texts, k)

    def encode(self, sentences: Sequence[Sequence[str]]) -> None:
        """Encode sentences that will be asked for."""
        for _ in self._engine.states(sentences):
            pass

    def save(self, folder: Path, label_set: LabelSet) -> None:
        """Write the model as fitted, with the labels and their thresholds."""
        tagger = self._tagger
        tagger.label_set = label_set
        tagger.save_pretrained(folder)

    def score(self, label_set: LabelSet) -> Iterator[ScorePoint | None]:
        """Measure the model on accepted texts that it is not shown, part by part.

        Args:
            label_set: The labels with their thresholds.

        Yields:
            None after every part but the last, then the score.
        """
        sentences = [e.sentence for e in self._examples]
        if not sentences:
            return
        settings = FitSettings(strength=self._strength(0, sum(len(s.mentions) for s in sentences)))
        folds = [[i] for i in range(len(sentences))]
        if len(sentences) > MAX_EACH:
            folds = [list(range(f, len(sentences), N_FOLDS)) for f in range(N_FOLDS)]
        gold: list[Sequence[Mention]] = []
        found: list[Sequence[Mention]] = []
        for fold in folds:
            held = set(fold)
            seen = [s for i, s in enumerate(sentences) if i not in held]
            session = Session(self._engine, _bare(label_set), settings)
            session.add(seen)
            session.fit()
            texts = [parts_of(sentences[i]) for i in fold]
            tagged = self._engine.tag_by_sentence(texts, session.table)
            for i, mentions in zip(fold, tagged, strict=True):
                gold.append(sentences[i].mentions)
                found.append(above_threshold(mentions, label_set, None))
            yield None
        scores = score_mentions(gold, found)
        kind = "each" if len(sentences) <= MAX_EACH else "folds"
        yield ScorePoint(len(sentences), scores.micro_f1, scores.precision, scores.recall, kind)


def _bare(label_set: LabelSet) -> LabelSet:
    """The labels without thresholds: suggestions below them are the page's to hide."""
    return LabelSet(tuple(dataclasses.replace(label, threshold=None) for label in label_set))
