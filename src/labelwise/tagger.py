"""``Tagger``: what users hold. Texts and label names in, entities out; examples in, better ones.

Joins loading and prediction to what is learned; has no logic of scoring itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self, overload

from labelwise.annotation import Mention, Record, Sentence
from labelwise.arguments import Labels, check_flat, check_texts, check_threshold
from labelwise.arrays import FloatArray
from labelwise.backend import EncoderBackend
from labelwise.engine import Engine
from labelwise.errors import some_of
from labelwise.learning import Learning
from labelwise.loading import LoadedModel, load_model, save_model
from labelwise.records import (
    above_threshold,
    as_sentences,
    check_read_texts,
    check_sentences,
    make_record,
    records_in,
    split_text,
)
from labelwise.sentences import parts_of, words_by_sentence
from labelwise.tag_table import TagTable


class Tagger(Learning):
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
        label_set: Labels | None = None,
        folder: Path | None = None,
        fitted: TagTable | None = None,
        label_vectors: Mapping[str, FloatArray] | None = None,
    ) -> None:
        """Take the parts as they are."""
        super().__init__(Engine(backend), label_set, folder, fitted)
        self.engine.remember(label_vectors or {})

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
            engine: ``"auto"``, ``"onnx"``, ``"torch"``, or ``"openvino"``, which is faster and
                more exact on processors that multiply bf16 (AMX); see docs/runtime.md.
            threads: Cores that ONNX Runtime or OpenVINO may use in a call; 0 means all.

        Raises:
            CheckpointError: The folder is missing, damaged, of another version or hostile.
            MissingExtraError: No default model is installed, or the engine is missing.
            RequestError: ``threads`` is no whole number from 0 on.
        """
        return cls.of(load_model(name_or_path, device=device, engine=engine, threads=threads))

    @classmethod
    def of(cls, model: LoadedModel) -> Self:
        """Take a model that is loaded."""
        return cls(
            model.backend,
            label_set=model.label_set,
            folder=model.folder,
            fitted=model.fitted,
            label_vectors=model.label_vectors,
        )

    def __repr__(self) -> str:
        """Say which model it is, what runs it and what it looks for."""
        known = self._known
        names = some_of(known.names) or "none of its own"
        fitted = ", fitted" if known.is_fitted else ""
        backend = type(known.engine.backend).__name__
        return f"<Tagger '{self.folder or 'unsaved'}' on {backend}, labels: {names}{fitted}>"

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model, its label set and what it was fitted to, whole or not at all."""
        known = self._known
        backend = known.engine.backend
        save_model(path, backend, known.label_set, fitted=known.fitted, source=self.folder)

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
                A bare name of one of its own means that label, its words and threshold included.
            threshold: Drop entities whose score is lower; a label's own threshold goes before.

        Returns:
            Entities of the text, or a list of them for every text.
        """
        one = isinstance(texts, str)
        found = list(self._records([texts] if one else texts, labels, threshold))
        return found[0] if one else found

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
        yield from self._records(texts, labels, threshold)

    def _records(
        self, texts: Iterable[str], labels: Labels | None, threshold: float | None
    ) -> Iterator[list[Record]]:
        (engine, table), limit = self._now(labels), check_threshold(threshold)
        numbered = enumerate(check_texts(texts))
        for_words, for_records = itertools.tee(split_text(t, i) for i, t in numbered)
        sentences = (words_by_sentence(*read) for read in for_words)
        mentions = engine.tag_by_sentence(sentences, table)
        for (text, _, offsets), found in zip(for_records, mentions, strict=True):
            yield records_in(text, offsets, above_threshold(found, table.label_set, limit))

    def predict_entities(
        self,
        text: str,
        labels: Labels | None = None,
        flat_ner: bool = True,
        threshold: float = 0.5,
        multi_label: bool = False,
    ) -> list[Record]:
        """Find entities in one text, with GLiNER's signature and record.

        Args:
            text: The text.
            labels: As for ``predict``.
            flat_ner: True: entities neither nest nor overlap.
            threshold: As for ``predict``.
            multi_label: False: an entity has one label.
        """
        check_flat(flat_ner, multi_label)
        return self.predict(text, labels, threshold=threshold)

    def batch_predict_entities(
        self,
        texts: Iterable[str],
        labels: Labels | None = None,
        flat_ner: bool = True,
        threshold: float = 0.5,
        multi_label: bool = False,
    ) -> list[list[Record]]:
        """Find entities in many texts, as ``predict_entities`` does in one."""
        check_flat(flat_ner, multi_label)
        return self.predict(check_texts(texts), labels, threshold=threshold)

    def inference(
        self,
        texts: Iterable[str],
        labels: Labels | None = None,
        flat_ner: bool = True,
        threshold: float = 0.5,
        multi_label: bool = False,
        batch_size: int = 8,
    ) -> list[list[Record]]:
        """Find entities in many texts, by GLiNER's later name of ``batch_predict_entities``.

        Args:
            texts: As for ``batch_predict_entities``.
            labels: As for ``predict``.
            flat_ner: As for ``predict_entities``.
            threshold: As for ``predict``.
            multi_label: As for ``predict_entities``.
            batch_size: Not used: batches are as large as suits the machine.
        """
        return self.batch_predict_entities(texts, labels, flat_ner, threshold, multi_label)

    @overload
    def predict_words(
        self, words: Iterable[str], labels: Labels | None = ..., *, threshold: float | None = ...
    ) -> list[Record]: ...
    @overload
    def predict_words(
        self,
        words: Iterable[Sequence[str]],
        labels: Labels | None = ...,
        *,
        threshold: float | None = ...,
    ) -> list[list[Record]]: ...
    def predict_words(
        self,
        words: Iterable[str] | Iterable[Sequence[str]],
        labels: Labels | None = None,
        *,
        threshold: float | None = None,
    ) -> list[Record] | list[list[Record]]:
        """Find entities in pre-tokenised sentences; offsets count words.

        Args:
            words: The words of a sentence, or of many: an iterable of words, or of such lists.
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
        """Find the mentions in pre-tokenised sentences, as a stream; each is read as one.

        Args:
            sentences: Words of each sentence.
            labels: As for ``predict``.
            threshold: As for ``predict``.

        Yields:
            Mentions of each sentence, in words.
        """
        (engine, table), limit = self._now(labels), check_threshold(threshold)
        for found in engine.tag(check_sentences(sentences), table):
            yield above_threshold(found, table.label_set, limit)

    def tag_texts(
        self,
        sentences: Iterable[Sentence],
        labels: Labels | None = None,
        *,
        threshold: float | None = None,
    ) -> Iterator[list[Mention]]:
        """Find the mentions in texts that were split into words before, as ``predict`` would.

        Args:
            sentences: Texts with their words; a text of several sentences is read one by one.
                Words without a text are read as one sentence.
            labels: As for ``predict``.
            threshold: As for ``predict``.

        Yields:
            Mentions of each text, in words.

        Raises:
            RequestError: One is no ``Sentence``.
        """
        (engine, table), limit = self._now(labels), check_threshold(threshold)
        parts = map(parts_of, check_read_texts(sentences))
        for found in engine.tag_by_sentence(parts, table):
            yield above_threshold(found, table.label_set, limit)
