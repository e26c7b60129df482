"""What users may ask with: labels in several forms, and thresholds."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike

from labelwise.annotation import Sentence
from labelwise.data import labels_of
from labelwise.errors import RequestError, some_of
from labelwise.labels import Labels, LabelSet
from labelwise.numeric import is_number


def resolve_labels(
    given: Labels | None, own: LabelSet | None, examples: Sequence[Sentence] | None = None
) -> LabelSet:
    """Find the label set of a call.

    Args:
        given: What the call names; a bare name of ``own`` means the label there.
        own: The label set of the model, which serves where nothing is named.
        examples: Annotated sentences, whose labels serve where neither is there.

    Raises:
        RequestError: There are none of the three.
    """
    if given is not None:
        return _told_apart(LabelSet.parse(given).with_known(own))
    if own is not None:
        return own
    if examples is not None:
        return _told_apart(LabelSet.parse(labels_of(examples)))
    raise RequestError(
        "No labels given, and this model has no label set of its own. "
        "Name what to look for: labels=['person', 'city']."
    )


def _told_apart(label_set: LabelSet) -> LabelSet:
    warn_if_alike(label_set, stacklevel=3)
    return label_set


def warn_if_alike(label_set: LabelSet, known: Iterable[str] = (), *, stacklevel: int = 2) -> None:
    """Warn of labels that read alike; Python's filters show a warning of one text once.

    Args:
        label_set: The labels.
        known: Names of which the others are new: only what reads like one of them is told of.
        stacklevel: As for ``warnings.warn``; 2 is where this is called.
    """
    old = frozenset(known)
    for names in label_set.same_words():
        is_new = not old or not (old.isdisjoint(names) or old.issuperset(names))
        if is_new and len({label_set[name].description for name in names}) < len(names):
            warnings.warn(
                f"Labels {some_of(names)} read as the same words, '{label_set[names[0]].words}', "
                "so that no model can tell them apart, and they share their scores. Expected "
                "different words. Keep one, or give each words or a description of its own.",
                stacklevel=stacklevel,
            )


def check_threshold(threshold: float | None) -> float | None:
    """Return a threshold that scores can be compared with.

    Raises:
        RequestError: It is no number from 0 to 1.
    """
    if threshold is None:
        return None
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise RequestError(
            f"'threshold' is {threshold!r}. Expected a number from 0 to 1, or None. Scores are "
            "probabilities: 0.5 keeps entities that are as likely right as wrong."
        )
    return float(threshold)


def check_flat(flat_ner: object, multi_label: object) -> None:
    """Refuse what GLiNER's calls may ask for and no model here can do.

    Raises:
        RequestError: Nested entities, or several labels of one, are asked for.
    """
    if flat_ner is not True or multi_label is not False:
        raise RequestError(
            f"'flat_ner' is {flat_ner!r} and 'multi_label' {multi_label!r}. Expected True and "
            "False: entities neither nest nor share words. Predict one label set after the other, "
            "and name the threshold: threshold=0.5."
        )


def check_texts(texts: Iterable[str]) -> Iterable[str]:
    """Return an iterable of texts, not yet read.

    Raises:
        RequestError: It is one text, or no iterable, or one whose items are no texts of a list.
    """
    is_other = isinstance(texts, str | bytes | Mapping | PathLike)
    if is_other or not isinstance(texts, Iterable):
        raise RequestError(
            f"Texts are given as {type(texts).__name__} {str(texts)[:60]!r}. Expected an iterable "
            "of texts, such as a list. Put a single text into a list; read a file first."
        )
    return texts
