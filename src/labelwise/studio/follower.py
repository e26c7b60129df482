"""The model of a project, in a thread of its own: it follows what is accepted, and answers.

Called from any thread. Reads the project's file; writes scores only.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from labelwise.errors import LabelwiseError, RequestError
from labelwise.labels import LabelSet
from labelwise.records import split_text
from labelwise.sentences import words_by_sentence
from labelwise.studio.exports import sentence_of
from labelwise.studio.label_store import ProjectLabels, read_labels
from labelwise.studio.learner import AcceptedText, Learner
from labelwise.studio.nouns import OPEN, Suggestion
from labelwise.studio.score_store import add_score
from labelwise.studio.store import Store
from labelwise.studio.worker import Worker
from labelwise.tagger import Tagger

T = TypeVar("T")
Load = Callable[[str | None], Tagger]
MAX_CANDIDATES = 500  # texts that are ranked at once
MAX_USEFUL = 50  # of them are put before the others
WAIT_S = 120.0  # for the model, which may have to be loaded first
_WARM = 8  # texts encoded in one step


@dataclass(frozen=True)
class Suggested:
    """What the model says about some texts.

    Attributes:
        generation: Counts the refits; larger is newer.
        suggestions: By the id of the text.
        fit_s: Seconds of the last refit.
    """

    generation: int
    suggestions: Mapping[int, Sequence[Suggestion]]
    fit_s: float


class Follower:
    """Keeps a model up to date with a project.

    Args:
        store: The project.
        load: Loads a model folder, or the model of the start for None; called by the worker.
        start: The model of the start where somebody named it; outranks one that was adopted.
    """

    def __init__(self, store: Store, load: Load, start: str | None = None) -> None:
        """Start the worker, which loads the model before anybody asks."""
        self.problem: str | None = None
        self._store, self._load = store, load
        self._is_overruled = start is not None and not self._is_adopted(start)
        self._worker = Worker()
        self._learner: Learner | None = None
        self._scored = 0
        self._shown: dict[int, Sequence[Suggestion]] = {}
        self._encoded: set[int] = set()
        self._examples: dict[tuple[int, int], AcceptedText] = {}
        self._names: Mapping[int, str] = {}
        self.warm()

    def close(self) -> None:
        """Stop the worker."""
        self._worker.close()

    @property
    def model_folder(self) -> str | None:
        """Folder of the fine-tuned model in use; None for the model of the start."""
        return None if self._is_overruled else self.adopted_folder

    @property
    def adopted_folder(self) -> str | None:
        """Folder of the fine-tuned model that the project goes on with; None if there is none."""
        name = self._store.setting("model")
        return None if name is None else str(self._home / name)

    def _is_adopted(self, folder: str) -> bool:
        adopted = self.adopted_folder
        return adopted is not None and Path(adopted).resolve() == Path(folder).resolve()

    def loaded_folder(self) -> str | None:
        """Return the folder of the model that is in use, whichever that is.

        Raises:
            LabelwiseError: No model can be loaded.
        """
        folder = self._wait(lambda: self._ready().folder)
        return None if folder is None else os.path.abspath(folder)

    @property
    def _home(self) -> Path:
        return self._store.path.resolve().parent

    @property
    def generation(self) -> int:
        """Counts the refits."""
        return self._learner.generation if self._learner else 0

    @property
    def is_scored(self) -> bool:
        """Whether the last score is of the present generation, or none is to be had."""
        return self.is_missing if self._learner is None else self._scored == self.generation

    @property
    def is_missing(self) -> bool:
        """Whether there is no model, and ``problem`` says why."""
        return self._learner is None and self.problem is not None

    def read_in_part(self, label_set: LabelSet | None) -> str:
        """Say which labels the model reads in part only; empty if none, or none is loaded."""
        learner = self._learner
        return learner.read_in_part(label_set) if learner and label_set else ""

    def shown(self, text_id: int) -> Sequence[Suggestion] | None:
        """What the model last said about a text."""
        return self._shown.get(text_id)

    def follow(self) -> None:
        """Catch up with the project soon; does not wait."""
        self._worker.call(self._follow)

    def warm(self) -> None:
        """Encode open texts while nobody waits, so that they answer at once later."""
        self._worker.steps(self._warm())

    def suggestions(self, ids: Sequence[int]) -> Suggested:
        """Ask the model, as it is after all that was saved, about some texts.

        Args:
            ids: Of the texts.

        Raises:
            LabelwiseError: No model can be loaded.
        """
        return self._wait(lambda: self._suggest(ids))

    def ranked(self, ids: Sequence[int]) -> list[int]:
        """Put those texts first that would teach most.

        Args:
            ids: Of the texts.

        Returns:
            All of the ids.

        Raises:
            LabelwiseError: No model can be loaded.
        """
        return self._wait(lambda: self._ranked(ids))

    def use_model(self, folder: str | None) -> None:
        """Go on with another model; it learns from the accepted texts at once.

        Args:
            folder: Its folder, or None for the model of the start.

        Raises:
            LabelwiseError: It cannot be loaded.
        """

        def change() -> None:
            generation = self.generation
            self._learner = Learner(self._load(folder))
            self._learner.generation = generation
            self._encoded = set()
            self._scored, self.problem, self._is_overruled = 0, None, False
            self._store.set_setting("model", folder and os.path.relpath(folder, self._home))
            self._follow()

        self._wait(change)
        self.warm()

    def export(self, target: Path) -> None:
        """Write the model folder, as fitted to all accepted texts, as a zip file.

        Args:
            target: The file.

        Raises:
            RequestError: The project has no labels.
            LabelwiseError: No model can be loaded.
        """

        def write() -> None:
            learner, label_set = self._follow()
            if label_set is None:
                raise RequestError("The project has no labels yet. Name what to look for first.")
            with tempfile.TemporaryDirectory(prefix="labelwise-") as scratch:
                folder = Path(scratch, "model")
                learner.save(folder, label_set)
                with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
                    for file in sorted(folder.iterdir()):
                        archive.write(file, f"model/{file.name}")

        self._wait(write)

    def score_again(self) -> None:
        """Score with other thresholds soon."""
        if self._learner is not None:
            self._worker.steps(self._score(self._learner))

    def _wait(self, function: Callable[[], T]) -> T:
        try:
            return self._worker.call(function).result(WAIT_S)
        except (TimeoutError, CancelledError) as err:
            raise RequestError("The model did not answer in time. Try again in a moment.") from err

    # In the worker

    def _ready(self) -> Learner:
        if self._learner is None:
            self._learner = Learner(self._loaded(self.model_folder))
        return self._learner

    def _loaded(self, folder: str | None) -> Tagger:
        """Load a model; where a fine-tuned one is gone, the one that it came from."""
        try:
            tagger = self._load(folder)
            self.problem = None
        except LabelwiseError as err:
            self.problem = str(err)
            if folder is None:
                raise
            tagger = self._load(None)
            self.problem += " The model of before the fine-tuning is used instead."
        return tagger

    def _follow(self) -> tuple[Learner, LabelSet | None]:
        learner = self._ready()
        labels = read_labels(self._store)
        label_set = labels.label_set
        if label_set is None:
            return learner, None
        examples = self._accepted(labels)
        if learner.learn(label_set, examples):
            self._worker.steps(self._score(learner))
        return learner, label_set

    def _accepted(self, labels: ProjectLabels) -> list[AcceptedText]:
        if self._names != labels.names:
            self._names, self._examples = labels.names, {}
        keys = self._store.accepted_versions()
        missing = [key[0] for key in keys if key not in self._examples]
        for text in self._store.texts(missing):
            sentence = sentence_of(text.text, text.marks, self._names, str(text.id))
            self._examples[text.id, text.version] = AcceptedText((text.id, text.version), sentence)
        return [self._examples[key] for key in keys if key in self._examples]

    def _suggest(self, ids: Sequence[int]) -> Suggested:
        learner, _ = self._follow()
        label_ids = read_labels(self._store).ids
        texts = self._store.texts(ids)
        found: dict[int, Sequence[Suggestion]] = {}
        for text, records in zip(texts, learner.suggest([t.text for t in texts]), strict=True):
            found[text.id] = [
                Suggestion(r["start"], r["end"], label_ids[r["label"]], r["score"])
                for r in records
                if r["label"] in label_ids
            ]
        self._shown.update(found)
        self._encoded.update(found)
        return Suggested(learner.generation, found, learner.fit_s)

    def _ranked(self, ids: Sequence[int]) -> list[int]:
        learner, _ = self._follow()
        known = [i for i in ids if i in self._encoded]
        candidates = _spread(known, MAX_CANDIDATES) if len(known) > MAX_USEFUL else ids[:MAX_USEFUL]
        texts = [t for t in self._store.texts(candidates) if t.state in OPEN]
        best = learner.most_useful([t.text for t in texts], MAX_USEFUL)
        first = [texts[i].id for i in best]
        chosen = set(first)
        return first + [i for i in ids if i not in chosen]

    def _score(self, learner: Learner) -> Iterator[None]:
        generation = learner.generation
        label_set = read_labels(self._store).label_set
        if label_set is None:
            return
        for score in learner.score(label_set):
            if learner is not self._learner or learner.generation != generation:
                return
            if score is not None:
                add_score(self._store, score)
            yield
        self._scored = generation

    def _warm(self) -> Iterator[None]:
        try:
            learner, _ = self._follow()
        except LabelwiseError:  # is told when somebody asks
            return
        ids = iter(self._store.ids(OPEN))
        while part := list(itertools.islice(ids, _WARM)):
            if learner is not self._learner:
                return
            part = [i for i in part if i not in self._encoded]
            texts = [t.text for t in self._store.texts(part)]
            read = (split_text(text, i) for i, text in enumerate(texts))
            learner.encode([words for text in read for words in words_by_sentence(*text)])
            self._encoded.update(part)
            yield


def _spread(ids: Sequence[int], limit: int) -> list[int]:
    """At most ``limit`` ids, evenly from the whole list."""
    step = max(1, -(-len(ids) // limit))
    return list(ids[::step])
