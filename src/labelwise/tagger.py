"""``Tagger``: what users hold. Texts and label names in, entities out; examples in, better ones.

Joins the engine with loading, the instant fit and training; has no logic of scoring itself.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from labelwise.annotation import Mention, Record, Sentence
from labelwise.arguments import Labels, check_threshold, resolve_labels
from labelwise.backend import EncoderBackend
from labelwise.config import TrainConfig
from labelwise.encoding import FloatArray
from labelwise.engine import Engine
from labelwise.errors import RequestError, require
from labelwise.fit_report import FitReport, choose_method
from labelwise.instant import FitSettings
from labelwise.labels import LabelSet
from labelwise.loading import load_model, save_model, trainable
from labelwise.records import above_threshold, as_sentences, make_record, records_in, split_text
from labelwise.session import Session, check_labels
from labelwise.suggest import most_instructive
from labelwise.tag_table import TagTable

if TYPE_CHECKING:
    from labelwise.training import Progress


class Tagger:
    """Finds entities of any kinds you name.

    Args:
        backend: Runs the encoders.
        label_set: Labels to use when a call names none.
        folder: Where the model was loaded from; fine-tuning reads its weights there.
        fitted: Tag vectors that an earlier fit of this label set has found.
        label_vectors: Vectors of label texts that need no encoding. Shapes ``(dim,)``.
    """

    def __init__(
        self,
        backend: EncoderBackend,
        *,
        label_set: LabelSet | None = None,
        folder: Path | None = None,
        fitted: TagTable | None = None,
        label_vectors: Mapping[str, FloatArray] | None = None,
    ) -> None:
        """Take the parts as they are."""
        self.engine = Engine(backend)
        self.engine.remember(label_vectors or {})
        self.label_set = label_set
        self.folder = folder
        self._fitted = fitted
        self._session: Session | None = None

    @property
    def backend(self) -> EncoderBackend:
        """What runs the encoders."""
        return self.engine.backend

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        device: str = "cpu",
        engine: str = "auto",
        threads: int = 0,
    ) -> Self:
        """Load a model: the default one, or a saved folder.

        A bare encoder has no labels to predict yet: `labelwise pretrain` makes a model of it.

        Args:
            name_or_path: Folder written by ``save_pretrained``; None for the installed default
                model.
            device: ``"cpu"`` or a torch device.
            engine: ``"auto"``, ``"torch"`` or ``"onnx"``.
            threads: Threads of one ONNX call; 0 means every core.

        Raises:
            CheckpointError: The folder is missing, damaged, of another version or hostile.
            MissingExtraError: No default model is installed, or torch is needed and missing.
        """
        model = load_model(name_or_path, device=device, engine=engine, threads=threads)
        return cls(
            model.backend,
            label_set=model.label_set,
            folder=model.folder,
            fitted=model.fitted,
            label_vectors=model.label_vectors,
        )

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model, its label set and what it was fitted to, whole or not at all."""
        save_model(path, self.backend, self.label_set, fitted=self._own_fit, source=self.folder)

    @property
    def _own_fit(self) -> TagTable | None:
        """Fitted vectors, unless the label set has been changed since."""
        is_own = (
            self._fitted
            and self.label_set
            and (self._fitted.label_set.digest == self.label_set.digest)
        )
        return self._fitted if is_own else None

    @overload
    def predict(
        self, texts: str, labels: Labels | None = ..., *, threshold: float | None = ...
    ) -> list[Record]: ...
    @overload
    def predict(
        self, texts: Iterable[str], labels: Labels | None = ..., *, threshold: float | None = ...
    ) -> list[list[Record]]: ...
    def predict(
        self,
        texts: str | Iterable[str],
        labels: Labels | None = None,
        *,
        threshold: float | None = None,
    ) -> list[Record] | list[list[Record]]:
        """Find entities in one text or many.

        Args:
            texts: A text, or an iterable of texts, of any length.
            labels: Names, ``{name: description}`` or a ``LabelSet``; the model's own by default.
            threshold: Drop entities whose score is lower; a label's own threshold goes before.

        Returns:
            Entities of the text, or a list of them for every text.
        """
        if isinstance(texts, str):
            return next(self.stream([texts], labels, threshold=threshold))
        return list(self.stream(texts, labels, threshold=threshold))

    def stream(
        self,
        texts: Iterable[str],
        labels: Labels | None = None,
        *,
        threshold: float | None = None,
    ) -> Iterator[list[Record]]:
        """Find entities in an endless stream of texts, in order.

        Args:
            texts: Any iterable; it is read a little ahead, never as a whole.
            labels: As for ``predict``.
            threshold: As for ``predict``.

        Yields:
            Entities of each text.
        """
        table, limit = self.table(labels), check_threshold(threshold)
        for_words, for_records = itertools.tee(split_text(t, i) for i, t in enumerate(texts))
        mentions = self.engine.tag((words for _, words, _ in for_words), table)
        for (text, _, offsets), found in zip(for_records, mentions, strict=True):
            yield records_in(text, offsets, above_threshold(found, table.label_set, limit))

    def predict_entities(
        self, text: str, labels: Labels | None = None, threshold: float = 0.5
    ) -> list[Record]:
        """Find entities in one text, with GLiNER's signature and record."""
        return self.predict(text, labels, threshold=threshold)

    @overload
    def predict_words(
        self, words: Sequence[str], labels: Labels | None = ..., *, threshold: float | None = ...
    ) -> list[Record]: ...
    @overload
    def predict_words(
        self,
        words: Sequence[Sequence[str]],
        labels: Labels | None = ...,
        *,
        threshold: float | None = ...,
    ) -> list[list[Record]]: ...
    def predict_words(
        self,
        words: Sequence[str] | Sequence[Sequence[str]],
        labels: Labels | None = None,
        *,
        threshold: float | None = None,
    ) -> list[Record] | list[list[Record]]:
        """Find entities in pre-tokenised sentences; offsets count words.

        Args:
            words: A list of words, or a list of such lists.
            labels: As for ``predict``.
            threshold: As for ``predict``.

        Returns:
            Entities of the sentence, or of every sentence; ``text`` joins words with spaces.
        """
        one, sentences = as_sentences(words)
        tagged = self.tag(sentences, labels, threshold=threshold)
        result = [
            [make_record(" ".join(s[m.start : m.end]), m, m.start, m.end) for m in found]
            for s, found in zip(sentences, tagged, strict=True)
        ]
        return result[0] if one else result

    def tag(
        self,
        sentences: Iterable[Sequence[str]],
        labels: Labels | None = None,
        *,
        threshold: float | None = None,
    ) -> Iterator[list[Mention]]:
        """Find the mentions in pre-tokenised sentences, as a stream.

        Args:
            sentences: Words of each sentence.
            labels: As for ``predict``.
            threshold: As for ``predict``.

        Yields:
            Mentions of each sentence, in words.
        """
        table, limit = self.table(labels), check_threshold(threshold)
        for found in self.engine.tag(sentences, table):
            yield above_threshold(found, table.label_set, limit)

    def fit(
        self,
        examples: Iterable[Sentence],
        labels: Labels | None = None,
        *,
        only: Collection[str] | None = None,
        settings: FitSettings | None = None,
        method: str = "instant",
    ) -> FitReport:
        """Learn from examples in a fraction of a second: only the tag vectors move.

        The vectors of the label words are the centre of a Gaussian prior, so a single example
        already helps; both encoders stay as they are. Starts afresh: see ``partial_fit``.

        Args:
            examples: Annotated sentences; one without mentions says that nothing is in it.
            labels: The label set; by default the model's own, or the labels of the examples.
            only: Labels these examples speak about, if not all of the label set.
            settings: Strength of the prior; chosen from the examples by default.
            method: ``"instant"``; ``"finetune"`` to train both encoders instead; ``"auto"`` for
                whichever suits the number of examples.

        Returns:
            What the fit did.

        Raises:
            LabelError: The examples bear labels that the label set lacks.
            ConfigError: The method does not exist.
            RequestError: ``only`` or ``settings`` are given to the method "finetune".
        """
        given = list(examples)
        label_set = self._label_set(labels, given)
        is_plain = only is None and settings is None
        if choose_method(method, given, is_plain=is_plain) == "finetune":
            progress = self.finetune(given, label_set)
            return FitReport.of_training(given, label_set, progress.elapsed_s)
        session = Session(self.engine, label_set, settings)
        session.add(given, labels=only)
        return self._take(session)

    def partial_fit(
        self, examples: Iterable[Sentence], *, only: Collection[str] | None = None
    ) -> FitReport:
        """Learn from more examples, on top of those of the last ``fit``.

        Args:
            examples: As for ``fit``.
            only: As for ``fit``.

        Returns:
            What the fit did, over all examples.
        """
        if self._session is None:
            self._session = Session(self.engine, self._label_set(None), start=self._own_fit)
        self._session.add(examples, labels=only)
        return self._take(self._session)

    def undo(self) -> Sentence:
        """Take back the last example and fit again; returns it.

        Raises:
            RequestError: There is none.
        """
        if self._session is None:
            raise RequestError("There is no example to take back. Add one with fit().")
        removed = self._session.undo()
        self._fitted = self._session.table
        return removed

    def _take(self, session: Session) -> FitReport:
        report = session.fit()
        self._session, self._fitted = session, session.table
        self.label_set = self._fitted.label_set
        return report

    def suggest(self, texts: Sequence[str], k: int = 5, labels: Labels | None = None) -> list[int]:
        """Rank unlabelled texts by how much annotating them would teach.

        Args:
            texts: Candidates.
            k: How many to pick.
            labels: As for ``predict``.

        Returns:
            Indices of the texts to annotate next: unsure ones that differ from each other.
        """
        words = [split_text(text, i)[1] for i, text in enumerate(texts)]
        return most_instructive(self.engine, self.table(labels), words, k)

    def finetune(
        self,
        examples: Sequence[Sentence],
        labels: Labels | None = None,
        *,
        config: TrainConfig | None = None,
        **options: Any,
    ) -> Progress:
        """Train both towers on annotated examples (the paper's second stage); needs torch.

        Args:
            examples: Annotated sentences.
            labels: The label set; by default the model's own, or the labels of the examples.
            config: Training settings; see ``config.PRESETS``.
            **options: As for ``training.finetune``: ``output_dir``, ``resume``, ``on_progress``.

        Raises:
            LabelError: The examples bear labels that the label set lacks.
            MissingExtraError: torch is not installed.
        """
        require("torch", "train", "Fine-tuning")
        from labelwise.training import finetune  # noqa: PLC0415

        label_set = self._label_set(labels, examples)
        check_labels(examples, label_set)
        self.label_set, self._fitted, self._session = label_set, None, None
        backend = trainable(self.backend, self.folder)
        if backend is not self.backend:
            self.engine = Engine(backend)
        return finetune(backend, examples, label_set, config, **options)

    def _label_set(
        self, labels: Labels | None, examples: Sequence[Sentence] | None = None
    ) -> LabelSet:
        return resolve_labels(labels, self.label_set, examples)

    def table(self, labels: Labels | None = None) -> TagTable:
        """Fitted vectors where the label set is the fitted one, else those of the words."""
        label_set = self._label_set(labels)
        if self._fitted is not None and label_set.digest == self._fitted.label_set.digest:
            found = {x.name: x.threshold for x in self._fitted.label_set if x.threshold is not None}
            return dataclasses.replace(self._fitted, label_set=label_set.limited(found))
        return self.engine.tag_table(label_set)
