"""A tagger measured on annotated sentences: scores, kinds of errors, and speed.

Reads no files and loads no models.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labelwise.annotation import Mention, Sentence
from labelwise.arguments import Labels
from labelwise.data import labels_of
from labelwise.errors import DataError, LabelError, RequestError, did_you_mean, some_of
from labelwise.exports import onnx_backends
from labelwise.labels import LabelSet
from labelwise.metrics import ErrorBreakdown, Scores, error_breakdown, score_mentions
from labelwise.rows import Example, to_sentences
from labelwise.spans import tidy_mentions
from labelwise.subset import first_place
from labelwise.tagger import Tagger
from labelwise.words import split_words

if TYPE_CHECKING:
    from labelwise.tag_table import TagTable
    from labelwise.torch_backend import TorchBackend

MAX_EXPORT_LOSS = 0.005
"""F1 that an export may lose, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a tagger did on some sentences.

    Attributes:
        scores: Over exact mentions, in total and by label.
        errors: Wrong and missing mentions by kind.
        n_sentences: Sentences tagged.
        n_words: Words in them, as they were tagged.
        seconds: What tagging took, label vectors included.
    """

    scores: Scores
    errors: ErrorBreakdown
    n_sentences: int
    n_words: int
    seconds: float

    @property
    def words_per_s(self) -> float:
        """Words tagged a second."""
        return self.n_words / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        """Lay the scores out as a table, a line a label."""
        total, labels = self.scores, self.scores.per_label
        rows = [(name, s.precision, s.recall, s.f1, s.n_gold) for name, s in labels.items()]
        rows.append(("all", total.precision, total.recall, total.micro_f1, total.n_gold))
        width = max(len("label"), *(len(name) for name, *_ in rows))
        lines = [f"{'label':{width}}  precision  recall      F1  mentions"]
        lines += [f"{n:{width}}  {p:9.1%}  {r:6.1%}  {f:6.1%}  {g:8,}" for n, p, r, f, g in rows]
        errors = dataclasses.asdict(self.errors)
        kinds = ", ".join(f"{kind.replace('_', ' ')} {count:,}" for kind, count in errors.items())
        speed = f"{self.n_words:,} words in {self.n_sentences:,} sentences, {self.words_per_s:,.0f}"
        return "\n".join([*lines, f"errors: {kinds}", f"{speed} words a second"])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return self.scores.to_dict() | {
            "errors": dataclasses.asdict(self.errors),
            "n_sentences": self.n_sentences,
            "n_words": self.n_words,
            "seconds": round(self.seconds, 3),
            "words_per_s": round(self.words_per_s, 1),
        }


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """Micro-F1 of a model and of its export, from 0 to 1."""

    before: float
    after: float

    @property
    def is_passed(self) -> bool:
        """Whether the export loses no more than ``MAX_EXPORT_LOSS``."""
        return self.after >= self.before - MAX_EXPORT_LOSS


def check_export(
    backend: TorchBackend,
    graphs: Mapping[str, bytes],
    sentences: Iterable[Example],
    labels: Labels,
    *,
    fitted: TagTable | None = None,
) -> ExportCheck:
    """Score a model and its export on the same sentences.

    Args:
        backend: The model.
        graphs: Its export, as for ``onnx_backends``; of two precisions, int8 is scored.
        sentences: Annotated sentences, as for ``evaluate``.
        labels: What to look for.
        fitted: Tag vectors of the model that a fit has found, and that its export will have too.
    """
    sentences = to_sentences(sentences)
    exported = onnx_backends(graphs, backend)[0]
    taggers = (Tagger(b, fitted=fitted) for b in (backend, exported))
    return ExportCheck(*(evaluate(t, sentences, labels).scores.micro_f1 for t in taggers))


def evaluate(
    tagger: Tagger,
    sentences: Iterable[Example],
    labels: Labels | None = None,
    *,
    threshold: float | None = None,
) -> Evaluation:
    """Tag sentences and compare with their annotation.

    A text is split into words as ``Tagger.predict`` does, wherever the annotation has its borders:
    an entity that begins or ends inside a word counts as not found.

    Args:
        tagger: The model.
        sentences: Annotated sentences, such as a test split, in any form of ``to_sentences``.
        labels: What to look for; by default the tagger's own label set, or else the labels of
            the sentences.
        threshold: Drop predicted mentions whose score is lower.

    Returns:
        Scores of every label looked for, errors and speed.

    Raises:
        RequestError: The model is given as a path.
        DataError: There are no sentences.
        LabelError: A sentence bears a label that is not looked for.
    """
    if isinstance(tagger, str | os.PathLike):
        raise RequestError(
            f"The model is given as the path '{tagger}'. Expected a Tagger. Load it with "
            "Tagger.from_pretrained first."
        )
    sentences = to_sentences(sentences)
    if not sentences:
        raise DataError("No sentences to evaluate on. Expected annotated sentences.")
    if labels is None:
        labels = tagger.label_set if tagger.label_set is not None else labels_of(sentences)
    label_set = LabelSet.parse(labels)
    _check_gold(sentences, label_set)
    read = [_as_predicted(s) for s in sentences]
    started = time.perf_counter()
    tagged = list(tagger.tag_texts(read, label_set, threshold=threshold))
    seconds = time.perf_counter() - started
    predicted = [_placed(s, _in_text(s, found)) for s, found in zip(read, tagged, strict=True)]
    gold = [_placed(s, s.mentions) for s in sentences]
    return Evaluation(
        scores=score_mentions(gold, predicted, label_set.names),
        errors=error_breakdown(gold, predicted),
        n_sentences=len(sentences),
        n_words=sum(len(s.words) for s in read),
        seconds=seconds,
    )


def _as_predicted(sentence: Sentence) -> Sentence:
    """Split a text anew: words that were cut where mentions end would give these away."""
    if sentence.text is None:
        return sentence
    offsets = tuple(split_words(sentence.text))
    words = tuple(sentence.text[start:end] for start, end in offsets)
    return Sentence(words, (), sentence.id, sentence.text, offsets)


def _placed(sentence: Sentence, mentions: Iterable[Mention]) -> list[Mention]:
    """Count mentions in code points of the text, or in words where there is none."""
    places = ((m, *sentence.place(m)) for m in mentions)
    return [dataclasses.replace(m, start=start, end=end) for m, start, end in places]


def _in_text(sentence: Sentence, found: list[Mention]) -> list[Mention]:
    """Tidy up the mentions of a text, as those of predictions are."""
    if sentence.text is None or sentence.offsets is None:
        return found
    return tidy_mentions(sentence.text, sentence.offsets, found)


def _check_gold(sentences: Sequence[Sentence], label_set: LabelSet) -> None:
    """Refuse gold labels outside the label set: to drop them unsaid would flatter the scores."""
    unknown = (m.label for s in sentences for m in s.mentions if m.label not in label_set)
    for name in unknown:
        raise LabelError(
            f"Label '{name}' ({first_place(name, sentences, 'sentences')}) is not in the label set "
            f"[{some_of(label_set.names)}].{did_you_mean(name, label_set.names)} "
            "Add it to the labels, or leave its mentions out with labelwise.keep_labels."
        )
