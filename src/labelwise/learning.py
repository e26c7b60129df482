"""The learning half of a tagger: examples in, tag vectors or trained encoders out.

Keeps the label set, what was fitted to it, and the session of examples; predicts nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labelwise.annotation import Sentence
from labelwise.arguments import Labels, check_texts, resolve_labels, warn_if_alike
from labelwise.backend import EncoderBackend
from labelwise.config import TrainConfig
from labelwise.data import labels_of
from labelwise.engine import Engine
from labelwise.errors import RequestError, require
from labelwise.fit_report import FitReport, choose_method
from labelwise.fit_settings import FitSettings
from labelwise.label import Label, label_names
from labelwise.labels import LabelSet
from labelwise.loading import can_train, trainable
from labelwise.numeric import check_whole
from labelwise.records import split_text
from labelwise.remarks import Earlier, remarks_on, slips
from labelwise.rows import Example, to_sentences
from labelwise.sentences import words_by_sentence
from labelwise.session import Session, check_labels
from labelwise.suggest import most_instructive
from labelwise.tag_table import TagTable
from labelwise.training import OnProgress, Progress, prepare_finetune


@dataclass(frozen=True)
class _Known:
    """What a tagger knows of its labels."""

    label_set: LabelSet | None
    inferred: LabelSet | None = None  # the label set, where examples have given it
    fitted: TagTable | None = None
    session: Session | None = None
    before: _Known | None = None  # what was known before examples last brought labels

    @classmethod
    def of(cls, session: Session, *, inferred: bool, before: _Known | None = None) -> _Known:
        """Take over what a session has fitted."""
        label_set = session.label_set  # without thresholds that the fit has chosen
        return cls(label_set, label_set if inferred else None, session.fitted, session, before)

    @property
    def n_examples(self) -> int:
        return len(self.session.examples) if self.session else 0


class Learning:
    """What a tagger knows of its labels, and how it learns more.

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
        self.engine = engine
        self.folder = folder
        own = None if label_set is None else LabelSet.parse(label_set)
        self._known = _Known(own, fitted=fitted)
        self.engine.trained_names = self.labels

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
        """Look for other labels, in any form of ``LabelSet.parse``; what was fitted stays."""
        own = None if label_set is None else resolve_labels(label_set, None)
        self._known = replace(self._known, label_set=own)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels in the label set."""
        return self.label_set.names if self.label_set else ()

    @property
    def _is_fitted(self) -> bool:
        """Whether any label of the label set has been fitted."""
        fitted, label_set = self._known.fitted, self.label_set
        return bool(fitted and label_set and (fitted.positions(label_set) >= 0).any())

    @property
    def fitted(self) -> TagTable | None:
        """Fitted vectors of the label set, beside those of the words of its new labels."""
        return self.table() if self._is_fitted else None

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
        given = to_sentences(examples)
        label_set, inferred = self._label_set(labels, given), self._infers(labels)
        is_plain = only is None and settings is None
        may_train = can_train(self.backend, self.folder)
        if choose_method(method, given, is_plain=is_plain, can_train=may_train) == "finetune":
            progress = self.finetune(given, None if labels is None else label_set)
            return FitReport.of_training(given, label_set, progress.elapsed_s)
        remarks = self._remark(given, labels)
        session = Session(self.engine, label_set, settings)
        session.add(given, labels=only)
        report = session.fit()
        self._known = _Known.of(session, inferred=inferred)
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
            labels: Labels to look for beside those of the last fit, whose examples say nothing
                about them. Where examples have given the label set, new labels in these do too.
            only: As for ``fit``.

        Returns:
            What the fit did, over all examples.
        """
        given = to_sentences(examples)
        named, inferred = self._label_set(labels, given), self._infers(labels)
        known, before = self._known, self._known.before
        narrow = known.session or Session(self.engine, self.label_set or named, start=self.fitted)
        session = narrow.widened(named)
        about = frozenset(session.label_set.names if only is None else label_names(only))
        earlier = [*zip(session.examples, (x & about for x in session.spoken), strict=True)]
        remarks = self._remark(given, labels, earlier)
        warn_if_alike(session.label_set, narrow.label_set.names, stacklevel=3)
        session.add(given, labels=about if only is not None else None)
        report = session.fit()
        if session.label_set.names != self.labels:
            before = known if given else None
        self._known = _Known.of(session, inferred=inferred, before=before)
        _warn(report.remarks)
        return replace(report, remarks=(*remarks, *report.remarks))

    def undo(self) -> Sentence:
        """Take back the last example, and fit again; returns it.

        Labels that it brought go too if it was the only example of its call.

        Raises:
            RequestError: There is none.
        """
        session, before = self._known.session, self._known.before
        if session is None:
            raise RequestError("There is no example to take back. Add one with fit().")
        if before and before.n_examples == self._known.n_examples - 1:
            self._known = before
            return session.examples[-1]
        inferred = self._infers(None)
        removed = session.undo()
        self._known = _Known.of(session, inferred=inferred, before=before)
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
        return most_instructive(self.engine, self.table(labels), sentences, k)

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
        require("torch", "train", "Fine-tuning")
        given = to_sentences(examples)
        label_set, inferred = self._label_set(labels, given), self._infers(labels)
        check_labels(given, label_set)
        self._remark(given, labels)
        backend = trainable(self.backend, self.folder)
        run = prepare_finetune(
            backend, given, label_set, config, output_dir=output_dir, resume=resume
        )
        self._known = _Known(label_set, label_set if inferred else None)
        if backend is not self.backend:
            self.engine = Engine(backend)
        self.engine.trained_names = self.labels
        return run.train(evaluate, on_progress)

    def _remark(
        self, examples: Sequence[Sentence], labels: Labels | None, earlier: Sequence[Earlier] = ()
    ) -> list[str]:
        """Warn the caller's caller of likely mistakes; of labels that somebody named, of none."""
        remarks = remarks_on(examples, self.backend.config.scheme, earlier=earlier)
        if self._infers(labels):
            slip = slips(examples, (sentence for sentence, _ in earlier))
            remarks += [slip] if slip else []
        _warn(remarks, stacklevel=4)
        return remarks

    def _infers(self, labels: Labels | None) -> bool:
        """Tell whether it is for the examples to give the label set, as nobody else has."""
        return labels is None and self.label_set is self._known.inferred

    def _label_set(
        self, labels: Labels | None, examples: Sequence[Sentence] | None = None
    ) -> LabelSet:
        is_given = not (examples and self._infers(labels) and labels_of(examples))
        label_set = resolve_labels(labels, self.label_set if is_given else None, examples)
        if remark := self.engine.read_in_part(label_set):
            warnings.warn(remark, stacklevel=3)
        return label_set

    def table(self, labels: Labels | None = None) -> TagTable:
        """Fitted vectors of the labels that were fitted, those of their words for all others.

        A label was fitted if its name and words are the same, or it is a bare name; order and
        company are free.
        """
        label_set = self._label_set(labels)
        fitted = self._known.fitted
        if fitted is None:
            return self.engine.tag_table(label_set)
        return fitted.for_labels(label_set, self.engine.tag_table)


def _warn(remarks: Iterable[str], stacklevel: int = 3) -> None:
    for remark in remarks:
        warnings.warn(remark, stacklevel=stacklevel)
