"""Annotation with some of its labels left out, and whether those seem to be left out on purpose.

Trains and scores nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from labelwise.annotation import Sentence
from labelwise.errors import LabelError, some_of
from labelwise.label import Label, label_names
from labelwise.labels import LabelSet
from labelwise.naming import words_from_name
from labelwise.remarks import likely_slips
from labelwise.rows import Example, to_sentences


def keep_labels(examples: Iterable[Example], labels: Iterable[str | Label]) -> list[Sentence]:
    """Leave out the mentions of all labels but some: their words are outside of every mention.

    Args:
        examples: Annotated sentences, in any form of ``to_sentences``.
        labels: The labels to keep, as a label set or names.

    Returns:
        All the sentences, also those that have no mention left.

    Raises:
        LabelError: ``labels`` is one string, or holds something else than names, or a name that no
            mention bears and that looks like a slip of one that would be left out.

    >>> [s] = keep_labels(["[Ada](person) left [Oslo](city)."], ["person"])
    >>> s.words, [m.label for m in s.mentions]
    (('Ada', 'left', 'Oslo', '.'), ['person'])
    """
    names, sentences = dict.fromkeys(label_names(labels)), to_sentences(examples)
    counts = Counter(m.label for s in sentences for m in s.mentions)
    for name in (n for n in names if n not in counts):
        if meant := likely_slips(name, counts, [n for n in counts if n not in names]):
            raise LabelError(
                f"No mention bears '{name}', but {counts[meant[0]]:,} bear '{meant[0]}' "
                f"({first_place(meant[0], sentences)}), which would be left out. Expected labels "
                "as the examples have them. Correct the name, or leave it out."
            )
    return [
        replace(s, mentions=tuple(m for m in s.mentions if m.label in names)) for s in sentences
    ]


def count_left_out(sentences: Sequence[Sentence], label_set: LabelSet) -> Counter[str]:
    """Count the mentions by label that ``keep_labels`` would leave out.

    Args:
        sentences: Annotated sentences.
        label_set: The labels to keep.

    Raises:
        LabelError: A label to leave out seems to be one of the others under another name, or no
            mention would be left.
    """
    counts = Counter(m.label for s in sentences for m in s.mentions)
    others = Counter({name: n for name, n in counts.items() if name not in label_set})
    if meant := _first_meant(sorted(others), label_set, counts):
        name, like = meant
        raise LabelError(
            f"Label '{name}' ({first_place(name, sentences)}) is not among the labels asked for, "
            f"but looks like '{like}', which is: {others[name]:,} of {counts.total():,} mentions "
            "would be left out. Expected one name a label. Correct it in the data or the labels; "
            "where both are meant, name both, or write data without it with labelwise.keep_labels."
        )
    if others and len(others) == len(counts):
        raise LabelError(
            f"No mention bears a label that is asked for, {some_of(label_set.names)}. The "
            f"{counts.total():,} mentions bear {some_of(sorted(others))}. Expected at least one "
            "label in common. Check the names."
        )
    return others


def first_place(name: str, sentences: Iterable[Sentence], given: str = "examples") -> str:
    """Say where a label stands first; empty if nowhere.

    Args:
        name: The label.
        sentences: Annotated sentences.
        given: What they are called where they have no ids.

    >>> first_place("city", to_sentences(["[Ada](person) left [Oslo](city)."]))
    'examples[0], words 2-3'
    """
    for i, sentence in enumerate(sentences):
        for mention in sentence.mentions:
            if mention.label == name:
                where = sentence.id or f"{given}[{i}]"
                return f"{where}, words {mention.start}-{mention.end}"
    return ""


def _first_meant(
    left_out: Sequence[str], label_set: LabelSet, counts: Counter[str]
) -> tuple[str, str] | None:
    """Find a name to leave out that reads like a label to keep, or nearly, and that label."""
    reads_as: dict[str, str] = {}
    for label in label_set:
        for text in (label.words, label.name):
            reads_as.setdefault(text.casefold(), label.name)
    slips_of: dict[str, str] = {}  # labels to keep that may be slips of one to leave out
    for kept in label_set.names:
        for name in likely_slips(kept, counts, left_out):
            slips_of.setdefault(name, kept)
    for name in left_out:
        alike = reads_as.get(words_from_name(name).casefold())
        near = likely_slips(name, counts, label_set.names)
        first = next((kept for kept in label_set.names if kept in near), None) if near else None
        if meant := alike or first or slips_of.get(name):
            return name, meant
    return None
