"""Checks of labels, and of examples that bear them, against the labels that are learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labelwise.annotation import Sentence
from labelwise.data import labels_of
from labelwise.errors import LabelError, did_you_mean, some_of
from labelwise.label import Label
from labelwise.labels import LabelSet
from labelwise.subset import first_place


def check_same(labels: LabelSet, known: LabelSet) -> None:
    """Refuse other words, or another description, for labels that are known.

    Args:
        labels: What somebody names.
        known: Labels of which something may have been learned.

    Raises:
        LabelError: A label of both is not the same.
    """
    for own in (x for x in known if x.name in labels):
        label = labels[own.name]
        if (label.words, label.description) != (own.words, own.description):
            raise LabelError(
                f"Label '{label.name}' reads as {_reading(label)}, but as {_reading(own)} in what "
                "was learned so far. Expected the same words and description. Give the other one a "
                "name of its own, or start afresh with fit()."
            )


def _reading(label: Label) -> str:
    return f"'{label.words}'" + (f" ('{label.description}')" if label.description else "")


def check_spoken(sentences: Iterable[Sentence], spoken: frozenset[str] | None) -> None:
    """Refuse marks of labels that examples are said not to speak about.

    Args:
        sentences: Annotated sentences.
        spoken: The labels they speak about; None means all.

    Raises:
        LabelError: A mention has another label.
    """
    if spoken is not None and (other := sorted({*labels_of(sentences)} - spoken)):
        raise LabelError(
            f"The examples mark {some_of(other)}, but are said to speak about "
            f"{some_of(sorted(spoken)) + ' only' if spoken else 'no label'}. Expected all labels "
            "that they mark. Name them, or drop those marks."
        )


def check_labels(
    sentences: Sequence[Sentence], label_set: LabelSet, also: Iterable[str] = ()
) -> None:
    """Refuse examples whose labels a label set lacks.

    Args:
        sentences: Annotated sentences.
        label_set: The labels that are looked for.
        also: More names that must be in it.

    Raises:
        LabelError: A label is not in the label set.
    """
    unknown = [n for n in sorted({*labels_of(sentences), *also}) if n not in label_set]
    if unknown:
        place = first_place(unknown[0], sentences)
        raise LabelError(
            f"The examples bear labels that are not in the label set: {some_of(unknown)}"
            f"{place and f' (the first in {place})'}. Expected {some_of(label_set.names)}."
            f"{did_you_mean(unknown[0], label_set.names)} Add them to the labels, or leave their "
            "mentions out with labelwise.keep_labels."
        )
