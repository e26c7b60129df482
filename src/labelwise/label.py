"""One label: a name, the words it reads as, and what users may add to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from labelwise.errors import LabelError
from labelwise.naming import words_from_name
from labelwise.numeric import is_number

_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Label:
    """One kind of entity.

    Attributes:
        name: As in the data and in results, such as ``"PER"``.
        words: What the label encoder reads, such as ``"person"``.
        description: A sentence that says what is meant, if there is one.
        threshold: Lowest score of a reported mention, where it differs from the overall one.
    """

    name: str
    words: str
    description: str | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Normalise white space and refuse what no encoder or file could hold."""
        name = checked_name(self.name)
        words = _checked_text(self.words, f"words of label '{name}'")
        if not words:
            raise LabelError(
                f"The words of label '{name}' are empty. Expected words such as 'person'. "
                "Leave them out to derive them from the name."
            )
        description = self.description
        if description is not None:
            description = _checked_text(description, f"description of label '{name}'")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "description", description or None)
        object.__setattr__(self, "threshold", _checked_threshold(self.threshold, name))


def checked_name(name: object) -> str:
    """Return a label name without white space around it.

    Raises:
        LabelError: It is not a string, or empty, or unprintable, or the tag ``"O"``.
    """
    if not isinstance(name, str):
        raise LabelError(
            f"Label name {name!r} is of type '{type(name).__name__}'. Expected a string. Quote it."
        )
    stripped = name.strip()
    if not stripped:
        raise LabelError("A label name is empty. Expected a name such as 'person'. Remove it.")
    if _UNREADABLE.search(stripped):
        raise LabelError(
            f"Label name {name!r} holds a control character or half a surrogate pair. "
            "Expected printable text. Remove it."
        )
    if stripped == "O":
        raise LabelError(
            "A label is named 'O', the tag of words outside all mentions. Expected another name. "
            "Remove it: every label set has 'O' already."
        )
    return stripped


def label_names(labels: Iterable[str | Label]) -> tuple[str, ...]:
    """Return the names of labels.

    Args:
        labels: A label set, or names; never a single string.

    Raises:
        LabelError: It is one string, or holds something else than names.
    """
    given = cast("object", labels)
    if isinstance(given, str):
        raise LabelError(
            f"Labels are given as the string '{given}'. Expected a label set or a list of names. "
            f"Write ['{given}']."
        )
    items = list(cast("Iterable[object]", given)) if isinstance(given, Iterable) else [None]
    names = [item.name if isinstance(item, Label) else item for item in items]
    if not all(isinstance(name, str) for name in names):
        raise LabelError(f"Labels are given as {given!r}. Expected a label set or a list of names.")
    return tuple(cast("list[str]", names))


def thresholds_of(labels: Iterable[Label]) -> dict[str, float]:
    """Return the thresholds of the labels that have one, by name."""
    return {x.name: x.threshold for x in labels if x.threshold is not None}


def _checked_text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise LabelError(
            f"Found {text!r} as {what}. Expected a string, not '{type(text).__name__}'. Quote it."
        )
    collapsed = " ".join(text.split())
    if _UNREADABLE.search(collapsed):
        raise LabelError(
            f"Found a control character or half a surrogate pair in the {what}: {text!r}. "
            "Expected printable text. Remove it."
        )
    return collapsed


def is_bare(label: Label) -> bool:
    """Tell whether a label is a name only: its words are made of it, and nothing describes it."""
    return label.description is None and label.words == words_from_name(label.name)


def all_labels(given: object) -> tuple[Label, ...]:
    """Check that all that a label set is given are labels.

    Raises:
        LabelError: One is not.
    """
    items = tuple(cast("Iterable[object]", given)) if isinstance(given, Iterable) else (given,)
    if other := [item for item in items if not isinstance(item, Label)]:
        raise LabelError(
            f"LabelSet() is given {other[0]!r:.60} of type '{type(other[0]).__name__}'. Expected "
            "Label values. For names, with descriptions or without, use LabelSet.parse."
        )
    return cast("tuple[Label, ...]", items)


def _checked_threshold(threshold: object, name: str) -> float | None:
    if threshold is None:
        return None
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise LabelError(
            f"Label '{name}' has threshold {threshold!r}. Expected a number from 0 to 1, or none."
        )
    return float(threshold)
