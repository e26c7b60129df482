"""The learning half of a tagger: examples in, tag vectors or trained encoders out.

Keeps the label set, what was fitted to it, and the session of examples; predicts nothing.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.annotation import Sentence
from labelwise.arguments import Labels, check_texts, resolve_labels, warn_if_alike
from labelwise.backend import EncoderBackend
from labelwise.config import TrainConfig
from labelwise.data import labels_of
from labelwise.engine import Engine
from labelwise.errors import require
from labelwise.fit_report import FitReport, choose_method
from labelwise.fit_settings import FitSettings
from labelwise.known import Known, joined
from labelwise.label import Label, label_names
from labelwise.label_checks import check_labels
from labelwise.labels import LabelSet
from labelwise.loading import can_train, trainable
from labelwise.numeric import check_whole
from labelwise.records import split_text
from labelwise.remarks import Earlier, remarks_on, slips
from labelwise.rows import Example, to_sentences
from labelwise.sentences import words_by_sentence
from labelwise.session import Session
from labelwise.suggest import most_instructive
from labelwise.tag_table import TagTable
from labelwise.training import OnProgress, Progress, prepare_finetune

if TYPE_CHECKING:
    from labelwise.training_run import Run


class Learning:
    """What a tagger knows of its labels, and how it learns more.

    What learns, or sets the labels, does so one call at a time, whatever thread it is called in.
    Prediction does not wait for it, and goes by what was known when it began.

    Args:
        engine: Encodes words and labels.
        label_set: Labels to use when a call names none.
        folder: Where the model was loaded from; fine-tuning reads its weights there.
        fitted: Tag vectors that an earlier fit of this label set has found.
    """

    def __init__(
        self,
        engine: Engine,
        label_set: Labels | None = None,
        folder: Path | None = None,
        fitted: TagTable | None = None,
    ) -> None:
        """Start from what an earlier fit has found, if there was one."""
        self.folder = folder
        own = None if label_set is None else LabelSet.parse(label_set)
        self._known = Known(engine, own, vectors=fitted)
        self._lock = threading.RLock()  # after the engine, which tells why it is not pickled
        self.engine.trained_names = self.labels

    @property
    def engine(self) -> Engine:
        """What encodes words and labels."""
        return self._known.engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        """Encode with another engine of the same model."""
        with self._lock:
            self._known = replace(self._known, engine=engine)

    @property
    def backend(self) -> EncoderBackend:
        """What runs the encoders."""
        return self.engine.backend

    @property
    def label_set(self) -> LabelSet | None:
        """The labels that are looked for when a call names none."""
        return self._known.label_set

    @label_set.setter
    def label_set(self, label_set: Labels | None) -> None:
        """Look for other labels, or with other thresholds; what was fitted stays.

        Takes any form of ``LabelSet.parse``. ``partial_fit`` goes on with these labels, and refuses
        other words for those that were fitted. A bare name of such a label keeps its threshold; 0
        takes it off.
        """
        own = None if label_set is None else resolve_labels(label_set, None)
        with self._lock:
            self._known = replace(self._known, label_set=own, is_inferred=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels in the label set."""
        return self._known.names

    @property
    def fitted(self) -> TagTable | None:
        """Fitted vectors of the label set, beside those of the words of its new labels."""
        return self._known.fitted

    def fit(
        self,
        examples: Iterable[Example],
        labels: Labels | None = None,
        *,
        only: Iterable[str | Label] | None = None,
        settings: FitSettings | None = None,
        method: str = "instant",
    ) -> FitReport:
        """Learn from examples in a fraction of a second: only the tag vectors move.

        The vectors of the label words are the centre of a Gaussian prior, so a single example
        already helps; both encoders stay as they are. Starts afresh, and without examples goes
        back to the label words: see ``partial_fit``.

        Args:
            examples: In any form of ``to_sentences``, such as "[Ada](person) left." or a
                ``Sentence``; one without mentions says that nothing is in it.
            labels: The label set; by default the model's own, or the labels of the examples if it
                has none that was given to it.
            only: Labels these examples speak about, as a label set or names, if not all.
            settings: Strength of the prior; chosen from the examples by default.
            method: ``"instant"``; ``"finetune"`` to train both encoders instead; ``"auto"`` for
                whichever suits the number of examples and a model with weights or without.

        Returns:
            What the fit did.

        Raises:
            LabelError: The examples bear labels that the label set lacks.
            ConfigError: The method does not exist.
            RequestError: ``only`` or ``settings`` are given to the method "finetune".
        """
        given, labels, only = _read(examples, labels, only)
        is_plain = only is None and settings is None
        with self._lock:
            label_set, inferred = self._known.resolve(labels, given), self._known.infers(labels)
            may_train = can_train(self.backend, self.folder)
            chosen = choose_method(method, given, is_plain=is_plain, can_train=may_train)
            remarks = self._remark(given, inferred=inferred)
            if chosen == "finetune":
                progress = self._begun(given, label_set, inferred=inferred).train(None, None)
                report = FitReport.of_training(given, label_set, progress.elapsed_s)
                return replace(report, remarks=tuple(remarks))
            session = Session(self.engine, label_set, settings)
            session.add(given, labels=only)
            report = session.fit()
            brought = frozenset(labels_of(given) if inferred else ())
            fitted = session.fitted
            self._known = Known(self.engine, label_set, inferred, fitted, session, brought)
        _warn(report.remarks)
        return replace(report, remarks=(*remarks, *report.remarks))

    def partial_fit(
        self,
        examples: Iterable[Example],
        labels: Labels | None = None,
        *,
        only: Iterable[str | Label] | None = None,
    ) -> FitReport:
        """Learn from more examples, on top of those of the last ``fit``.

        Args:
            examples: As for ``fit``.
            labels: Labels to look for beside the present ones; earlier examples say nothing about
                those that are new. A known one may have another threshold. Where examples have
                given the label set, new labels in these do too.
            only: As for ``fit``; by default the labels that are looked for, and those marked.

        Returns:
            What the fit did, over all examples.

        Raises:
            LabelError: The examples bear labels that are not known, or a known label is given
                other words or another description.
        """
        given, labels, only = _read(examples, labels, only)
        with self._lock:
            known, inferred = self._known, self._known.infers(labels)
            named = known.resolve(labels, given)
            start = known.label_set or named
            narrow = known.session or Session(known.engine, start, start=known.fitted)
            named = named.with_known(narrow.label_set)
            own = (known.label_set or narrow.label_set).with_known(narrow.label_set)
            label_set = joined(own, named)
            session = narrow.widened(label_set)
            about = frozenset((*label_set.names, *labels_of(given)) if only is None else only)
            earlier = [*zip(session.examples, (x & about for x in session.spoken), strict=True)]
            remarks = self._remark(given, earlier, inferred=inferred)
            warn_if_alike(session.label_set, narrow.label_set.names, stacklevel=3)
            session.add(given, labels=None if about == {*session.label_set.names} else about)
            report = session.fit()
            self._known = known.after_more(
                session, label_set, is_inferred=inferred, has_examples=bool(given)
            )
        _warn(report.remarks)
        return replace(report, remarks=(*remarks, *report.remarks))

    def undo(self) -> Sentence:
        """Take back the last example, and fit again; returns it.

        Labels that examples have given go when no example is left that marks them; labels that
        were named with examples go with the first of these; all others stay.

        Raises:
            RequestError: There is none.
        """
        with self._lock:
            self._known, removed = self._known.without_last()
        return removed

    def suggest(self, texts: Iterable[str], k: int = 5, labels: Labels | None = None) -> list[int]:
        """Rank unlabelled texts by how much annotating them would teach.

        Args:
            texts: Candidates.
            k: How many to pick.
            labels: As for ``predict``.

        Returns:
            Indices of the texts to annotate next: unsure ones that differ from each other.

        Raises:
            RequestError: ``k`` is no whole number from 0 on.
        """
        k = check_whole(k, "k", "Say how many texts to pick, such as 5.")
        read = (split_text(text, i) for i, text in enumerate(check_texts(texts)))
        sentences = (words_by_sentence(*text) for text in read)
        return most_instructive(*self._now(labels), sentences, k)

    def finetune(
        self,
        examples: Iterable[Example],
        labels: Labels | None = None,
        *,
        config: TrainConfig | None = None,
        output_dir: str | Path | None = None,
        resume: bool = False,
        evaluate: Callable[[], float] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Progress:
        """Train both towers on annotated examples (the paper's second stage); needs torch.

        What was fitted before is dropped when the training begins; a call that is refused
        changes nothing.

        Args:
            examples: As for ``fit``.
            labels: The label set; by default the model's own, or the labels of the examples.
            config: Training settings; see ``config.PRESETS``.
            output_dir: Where checkpoints go; none are written without it.
            resume: Continue from the newest checkpoint in ``output_dir``.
            evaluate: Returns dev micro-F1; called with every checkpoint.
            on_progress: Called after every update.

        Raises:
            DataError: There are no examples.
            LabelError: The examples bear labels that the label set lacks.
            CheckpointError: ``output_dir`` cannot take this run's checkpoints.
            MissingExtraError: torch is not installed.
        """
        given, labels, _ = _read(examples, labels)
        with self._lock:
            label_set, inferred = self._known.resolve(labels, given), self._known.infers(labels)
            self._remark(given, inferred=inferred)
            run = self._begun(
                given, label_set, config, inferred=inferred, output_dir=output_dir, resume=resume
            )
            return run.train(evaluate, on_progress)

    def _begun(
        self,
        given: Sequence[Sentence],
        label_set: LabelSet,
        config: TrainConfig | None = None,
        *,
        inferred: bool,
        output_dir: str | Path | None = None,
        resume: bool = False,
    ) -> Run:
        """Prepare a training and, if it is not refused, drop what was fitted."""
        require("torch", "train", "Fine-tuning")
        check_labels(given, label_set)
        backend = trainable(self.backend, self.folder)
        run = prepare_finetune(
            backend, given, label_set, config, output_dir=output_dir, resume=resume
        )
        engine = self.engine if backend is self.backend else Engine(backend)
        engine.trained_names = label_set.names
        self._known = Known(engine, label_set, inferred)
        return run

    def _remark(
        self, examples: Sequence[Sentence], earlier: Sequence[Earlier] = (), *, inferred: bool
    ) -> list[str]:
        """Warn the caller's caller of likely mistakes; of labels that somebody named, of none."""
        remarks = remarks_on(examples, self.backend.config.scheme, earlier=earlier)
        if inferred:
            slip = slips(examples, (sentence for sentence, _ in earlier))
            remarks += [slip] if slip else []
        _warn(remarks, stacklevel=4)
        return remarks

    def table(self, labels: Labels | None = None) -> TagTable:
        """Fitted vectors of the labels that were fitted, those of their words for all others.

        A label was fitted if its name and words are the same, or it is a bare name; order and
        company are free.
        """
        return self._known.table(labels)

    def _now(self, labels: Labels | None) -> tuple[Engine, TagTable]:
        """The engine and a table for it: another thread may be learning."""
        known = self._known
        return known.engine, known.table(labels)


def _read(
    examples: Iterable[Example], labels: Labels | None, only: Iterable[str | Label] | None = None
) -> tuple[list[Sentence], LabelSet | None, tuple[str, ...] | None]:
    """Read what a caller gives, each iterable once, while no other call waits for it."""
    return (
        to_sentences(examples),
        None if labels is None else LabelSet.parse(labels),
        None if only is None else label_names(only),
    )


def _warn(remarks: Iterable[str], stacklevel: int = 3) -> None:
    for remark in remarks:
        warnings.warn(remark, stacklevel=stacklevel)
