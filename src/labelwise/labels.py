"""Labels in words: what the label encoder reads for every tag.

A label set maps each label to plain words; a tag reads as the word of its mark and the words of
its label (``B-PER`` -> "begin person"). This module encodes nothing.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

from labelwise.documents import read_document
from labelwise.errors import LabelError, did_you_mean, some_of
from labelwise.label import Label, all_labels, checked_name, is_bare, thresholds_of
from labelwise.naming import words_from_name
from labelwise.schemes import split_tag, tag_names

MARK_WORDS = {"B": "begin", "I": "inside", "E": "end", "S": "single", "O": "other"}
"""The words of the marks: B, I from the paper (section 2.2); E, S and O are ours."""

_BILOU_MARKS = {"L": "E", "U": "S"}
_LABEL_KEYS = ("words", "description", "threshold")
_BESIDE_LABELS = ("labels", "tags", "scheme")  # as `labelwise labels --json` prints them


@dataclass(frozen=True)
class LabelSet:
    """Labels in a fixed order, each name once, at least one.

    Any number is allowed. Two labels may read as the same words; ``same_words`` lists them.

    >>> label_set = LabelSet.parse(["PER", "cell_line"])
    >>> [label.words for label in label_set]
    ['person', 'cell line']
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        """Refuse an empty set, duplicates, and what is no label yet."""
        object.__setattr__(self, "labels", all_labels(self.labels))
        if not self.labels:
            raise LabelError("No labels are given. Expected at least one, such as ['person'].")
        if len(self._positions) < len(self.labels):
            counts = Counter(label.name for label in self.labels)
            doubled = [name for name, count in counts.items() if count > 1]
            raise LabelError(
                f"Label names {some_of(doubled)} are given more than once. "
                "Expected every name once. Remove the duplicates."
            )

    @classmethod
    def parse(cls, spec: object) -> Self:
        """Build a label set from what a user gives.

        Args:
            spec: A label set; names or ``Label`` values, a set of them sorted; a mapping of names
                to descriptions; or a mapping of names to mappings with any of ``words``,
                ``description``, ``threshold``.

        Raises:
            LabelError: The spec is of another form, or a label is empty, doubled or misspelt.
        """
        if isinstance(spec, cls):
            return spec
        if isinstance(spec, Mapping):
            entries = cast("Mapping[object, object]", spec)
            return cls(tuple(_label(name, value) for name, value in entries.items()))
        if isinstance(spec, Iterable) and not isinstance(spec, str | bytes | Label):
            names = cast("Iterable[object]", spec)
            if isinstance(spec, set | frozenset):  # in an order that no run repeats
                names = sorted(names, key=lambda x: x.name if isinstance(x, Label) else str(x))
            return cls(tuple(x if isinstance(x, Label) else _label(x, None) for x in names))
        found = f"the string {spec[:60]!r}" if isinstance(spec, str) else type(spec).__name__
        raise LabelError(
            f"Labels are given as {found}. Expected a list of names, or a mapping of names to "
            "descriptions. For names with commas between them use LabelSet.parse_names, "
            "for a file LabelSet.read."
        )

    @classmethod
    def parse_names(cls, text: str) -> Self:
        """Build a label set from names with commas between them, as on a command line.

        >>> LabelSet.parse_names("person, city").names
        ('person', 'city')
        """
        return cls.parse([name for name in text.split(",") if name.strip()])

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a label set from a file or a dataset folder.

        Args:
            path: A JSON or TOML file that holds any form of ``parse``, at the top or under the
                key ``labels``; a dataset's ``meta.json`` (known by its key ``label_words``); or
                the folder of such a file.

        Raises:
            DataError: The file is missing or is not JSON or TOML.
            LabelError: What it holds is not a label set, or not only one.
        """
        file = Path(path)
        if file.is_dir():
            file = file / "meta.json"
        return cls.from_document(read_document(file), file)

    @classmethod
    def from_document(cls, document: object, file: Path) -> Self:
        """Build a label set from what ``read`` finds in a file; errors name it."""
        try:
            return cls.parse(_unwrapped(document))
        except LabelError as err:
            raise LabelError(f"{file}: {err}") from err

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {label.name: i for i, label in enumerate(self.labels)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that changes label vectors: names, words, descriptions and their order."""
        content = [[label.name, label.words, label.description] for label in self.labels]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def __len__(self) -> int:
        """Count the labels."""
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        """Walk the labels in order."""
        return iter(self.labels)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a label of that name."""
        return name in self._positions

    def __getitem__(self, name: str) -> Label:
        """Return the label of that name, or raise LabelError."""
        return self.labels[self.index(name)]

    def index(self, name: str) -> int:
        """Return the position of a label.

        Raises:
            LabelError: There is no label of that name.
        """
        if not isinstance(name, str):
            raise LabelError(
                f"A label is asked for by {name!r}. Expected a name of [{some_of(self.names)}]. "
                "For one by position, use label_set.labels."
            )
        try:
            return self._positions[name]
        except KeyError:
            raise LabelError(
                f"Label '{name}' is not in the label set [{some_of(self.names)}]."
                f"{did_you_mean(name, self.names)}"
            ) from None

    def tags(self, scheme: str) -> tuple[str, ...]:
        """List the tags of a scheme, ``"O"`` first.

        >>> LabelSet.parse(["PER"]).tags("bio")
        ('O', 'B-PER', 'I-PER')
        """
        return tag_names(self.names, scheme)

    def same_words(self) -> list[tuple[str, ...]]:
        """List groups of names that read alike (case aside), which no model can tell apart."""
        groups: dict[str, list[str]] = {}
        for label in self.labels:
            groups.setdefault(label.words.casefold(), []).append(label.name)
        return [tuple(names) for names in groups.values() if len(names) > 1]

    def renamed(self, words: Mapping[str, str]) -> Self:
        """Return a copy in which the labels given read as other words; all else is kept."""
        changed = {self.index(name): text for name, text in words.items()}
        return type(self)(
            tuple(
                replace(label, words=changed.get(i, label.words))
                for i, label in enumerate(self.labels)
            )
        )

    def limited(self, thresholds: Mapping[str, float]) -> Self:
        """Return a copy with these thresholds, by name, where a label has none of its own."""
        return type(self)(
            tuple(
                replace(x, threshold=thresholds.get(x.name)) if x.threshold is None else x
                for x in self.labels
            )
        )

    def with_known(self, known: LabelSet | None) -> Self:
        """Return a copy in which a bare name of another set means the label there.

        >>> known = LabelSet.parse({"name": {"words": "restaurant name", "threshold": 0.9}})
        >>> LabelSet.parse(["name"]).with_known(known) == known
        True

        Args:
            known: Labels with their words, descriptions and thresholds; a threshold beside the
                bare name goes before. None knows no label.
        """
        if known is None:
            return self
        found = (known[x.name] if x.name in known and is_bare(x) else x for x in self.labels)
        limits = thresholds_of(self.labels)
        return type(self)(
            tuple(replace(x, threshold=limits.get(x.name, x.threshold)) for x in found)
        )

    def subset(self, names: Iterable[str]) -> Self:
        """Return the labels of these names, in the order given."""
        return type(self)(tuple(self[name] for name in names))

    def to_dict(self) -> dict[str, dict[str, str | float | None]]:
        """Return what ``parse`` reads back to an equal label set, ready for JSON."""
        return {
            label.name: {key: getattr(label, key) for key in _LABEL_KEYS} for label in self.labels
        }


Labels = LabelSet | Iterable[str | Label] | Mapping[str, Any]
"""What ``LabelSet.parse`` reads."""


def verbalize(tag: str, label_set: LabelSet) -> str:
    """Return the words that a tag reads as.

    >>> verbalize("B-PER", LabelSet.parse(["PER"]))
    'begin person'
    """
    if tag == "O":
        return MARK_WORDS["O"]
    mark, name = split_tag(tag)
    return f"{MARK_WORDS[_BILOU_MARKS.get(mark, mark)]} {label_set[name].words}"


def meaningless(label_set: LabelSet) -> LabelSet:
    """Replace all words by "label 1", "label 2", ... and drop descriptions (an ablation)."""
    return LabelSet(
        tuple(
            replace(label, words=f"label {i}", description=None)
            for i, label in enumerate(label_set, start=1)
        )
    )


def swapped(label_set: LabelSet, seed: int) -> LabelSet:
    """Give every label the words and description of another (an ablation).

    Raises:
        LabelError: There is only one label.
    """
    if len(label_set) < 2:
        raise LabelError("One label has no other to swap words with. Expected two or more labels.")
    order = list(range(len(label_set)))
    rng = random.Random(seed)
    for i in range(len(order) - 1, 0, -1):  # Sattolo: one cycle, so nothing stays in place
        j = rng.randrange(i)
        order[i], order[j] = order[j], order[i]
    givers = [label_set.labels[i] for i in order]
    return LabelSet(
        tuple(
            replace(label, words=giver.words, description=giver.description)
            for label, giver in zip(label_set, givers, strict=True)
        )
    )


def _label(name: object, value: object) -> Label:
    name = checked_name(name)
    if value is None or isinstance(value, str):
        return Label(name, words_from_name(name), value)
    if not isinstance(value, Mapping):
        raise LabelError(
            f"Label '{name}' is given as {type(value).__name__} {value!r}. "
            f"Expected a description or a mapping with {some_of(_LABEL_KEYS)}."
        )
    fields = cast("Mapping[str, Any]", value)
    unknown = [key for key in fields if key not in _LABEL_KEYS]
    if unknown:
        raise LabelError(
            f"Label '{name}' has the unknown key '{unknown[0]}'. Expected {some_of(_LABEL_KEYS)}."
            f"{did_you_mean(str(unknown[0]), _LABEL_KEYS)}"
        )
    words = fields.get("words")
    words = words_from_name(name) if words is None else words
    return Label(name, words, fields.get("description"), fields.get("threshold"))


def _unwrapped(document: object) -> object:
    """Find what ``parse`` reads in a file: at the top, under ``labels``, or in a meta.json."""
    if not isinstance(document, dict):
        return document
    fields = cast("dict[str, Any]", document)
    if _wraps(fields, "label_words"):
        words: Any = fields["label_words"]
        descriptions: Any = fields.get("label_descriptions", {})
        if not isinstance(words, dict) or not isinstance(descriptions, dict):
            raise LabelError(
                "'label_words' and 'label_descriptions' are not both mappings. "
                "Expected label names with strings. Correct the file."
            )
        return _joined(cast("dict[str, str]", words), cast("dict[str, str]", descriptions))
    return _labels_alone(fields) if _wraps(fields, "labels") else fields


def _labels_alone(fields: dict[str, Any]) -> object:
    """Return what is under ``labels``, refusing what would be left out."""
    if unknown := [key for key in fields if key not in _BESIDE_LABELS]:
        raise LabelError(
            f"There is {some_of(unknown)} beside 'labels'. Expected every label, with its words, "
            "description and threshold, under 'labels', and nothing beside it. Move or remove it."
        )
    return fields["labels"]


def _wraps(fields: dict[str, Any], key: str) -> bool:
    """Tell whether a key wraps labels, rather than being a label that ``to_dict`` wrote."""
    value: Any = fields.get(key)
    keys = set(cast("dict[str, Any]", value)) if isinstance(value, dict) else set[str]()
    return key in fields and keys != set(_LABEL_KEYS)


def _joined(
    words: Mapping[str, str | None], descriptions: Mapping[str, str | None]
) -> dict[str, dict[str, str | None]]:
    return {
        name: {"words": words.get(name), "description": descriptions.get(name)}
        for name in {**words, **descriptions}
    }
