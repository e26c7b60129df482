"""Labels in words: what the label encoder reads for every tag.

A label set maps each label to plain words; a tag reads as the word of its mark and the words of
its label (``B-PER`` -> "begin person"). This module encodes nothing.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

from labelwise.errors import DataError, LabelError, did_you_mean, some_of
from labelwise.naming import LABEL_TABLES, label_table, words_from_name
from labelwise.schemes import split_tag, tag_names

MARK_WORDS = {"B": "begin", "I": "inside", "E": "end", "S": "single", "O": "other"}
"""The words of the marks: B, I from the paper (section 2.2); E, S and O are ours."""

_LABEL_KEYS = ("words", "description", "threshold")
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
        name = _checked_name(self.name)
        words = _checked_text(self.words, f"The words of label '{name}'")
        if not words:
            raise LabelError(f"The words of label '{name}' are empty. Expected plain words.")
        description = _checked_text(self.description or "", f"The description of label '{name}'")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "description", description or None)
        object.__setattr__(self, "threshold", _checked_threshold(self.threshold, name))


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise LabelError(
            f"Label name {name!r} is of type '{type(name).__name__}'. Expected a string. Quote it."
        )
    stripped = name.strip()
    if not stripped:
        raise LabelError("A label name is empty. Expected a name such as 'person'. Remove it.")
    if _UNREADABLE.search(stripped):
        raise LabelError(f"Label name {name!r} holds a control character. Remove it.")
    if stripped == "O":
        raise LabelError(
            "A label is named 'O', the tag of words outside all mentions. Expected another name. "
            "Remove it: every label set has 'O' already."
        )
    return stripped


def _checked_text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise LabelError(
            f"{what} are given as {type(text).__name__} {text!r}. Expected a string. Quote it."
        )
    collapsed = " ".join(text.split())
    if _UNREADABLE.search(collapsed):
        raise LabelError(f"{what} ({text!r}) hold a control character. Remove it.")
    return collapsed


def _checked_threshold(threshold: object, name: str) -> float | None:
    if threshold is None:
        return None
    is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not is_number or not 0 <= cast("float", threshold) <= 1:
        raise LabelError(
            f"Label '{name}' has threshold {threshold!r}. Expected a number from 0 to 1, or none."
        )
    return float(cast("float", threshold))


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
        """Refuse an empty set and duplicates."""
        object.__setattr__(self, "labels", tuple(self.labels))
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
            spec: A label set; a list of names; a mapping of names to descriptions; or a mapping
                of names to mappings with any of ``words``, ``description``, ``threshold``.

        Raises:
            LabelError: The spec is of another form, or a label is empty, doubled or misspelt.
        """
        if isinstance(spec, cls):
            return spec
        if isinstance(spec, Mapping):
            entries = cast("Mapping[object, object]", spec)
            return cls(tuple(_label(name, value) for name, value in entries.items()))
        if isinstance(spec, (list, tuple)):
            names = cast("list[object]", spec)
            return cls(tuple(_label(name, None) for name in names))
        hint = f" Write [{spec!r}]." if isinstance(spec, str) else ""
        raise LabelError(
            f"Labels are given as {type(spec).__name__}. "
            f"Expected a list of names or a mapping of names to descriptions.{hint}"
        )

    @classmethod
    def parse_names(cls, text: str) -> Self:
        """Build a label set from names with commas between them, as on a command line.

        >>> LabelSet.parse_names("person, city").names
        ('person', 'city')
        """
        return cls.parse([name for name in text.split(",") if name.strip()])

    @classmethod
    def from_words(
        cls, words: Mapping[str, str | None], descriptions: Mapping[str, str | None] | None = None
    ) -> Self:
        """Build a label set from names and their words, such as a table or a meta.json.

        >>> len(LabelSet.from_words(label_table("ontonotes")))
        18
        """
        descriptions = descriptions or {}
        return cls.parse(
            {
                name: {"words": words.get(name), "description": descriptions.get(name)}
                for name in {**words, **descriptions}
            }
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a label set from a file or a dataset folder.

        Args:
            path: A JSON or TOML file that holds any form of ``parse``, at the top or under the
                key ``labels``; a dataset's ``meta.json`` (known by its key ``label_words``); or
                the folder of such a file.

        Raises:
            DataError: The file is missing or is not JSON or TOML.
            LabelError: What it holds is not a label set.
        """
        file = Path(path)
        if file.is_dir():
            file = file / "meta.json"
        data = _load(file)
        try:
            if isinstance(data, dict) and _holds(data, "label_words"):
                return cls._from_meta(data)
            if isinstance(data, dict) and _holds(data, "labels"):
                data = data["labels"]
            return cls.parse(data)
        except LabelError as err:
            raise LabelError(f"{file}: {err}") from err

    @classmethod
    def _from_meta(cls, meta: dict[str, Any]) -> Self:
        words, descriptions = meta["label_words"], meta.get("label_descriptions") or {}
        if not isinstance(words, dict) or not isinstance(descriptions, dict):
            raise LabelError(
                "'label_words' and 'label_descriptions' are not both mappings. "
                "Expected label names with strings. Correct the file."
            )
        return cls.from_words(words, descriptions)

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

    def subset(self, names: list[str] | tuple[str, ...]) -> Self:
        """Return the labels of these names, in the order given."""
        return type(self)(tuple(self[name] for name in names))

    def to_dict(self) -> dict[str, dict[str, str | float | None]]:
        """Return what ``parse`` reads back to an equal label set, ready for JSON."""
        return {
            label.name: {key: getattr(label, key) for key in _LABEL_KEYS} for label in self.labels
        }


def verbalize(tag: str, label_set: LabelSet) -> str:
    """Return the words that a tag reads as.

    >>> verbalize("B-PER", LabelSet.parse(["PER"]))
    'begin person'
    """
    if tag == "O":
        return MARK_WORDS["O"]
    mark, name = split_tag(tag)
    return f"{MARK_WORDS[mark]} {label_set[name].words}"


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
    name = _checked_name(name)
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


def _holds(data: dict[str, Any], key: str) -> bool:
    """Tell whether a key wraps labels, rather than being a label that ``to_dict`` wrote."""
    value = data.get(key)
    is_label = isinstance(value, dict) and bool(value) and set(value) <= set(_LABEL_KEYS)
    return key in data and not is_label


def _load(file: Path) -> Any:
    try:
        text = file.read_text("utf-8-sig")
        return tomllib.loads(text) if file.suffix == ".toml" else _loads_json(text)
    except OSError as err:
        raise DataError(
            f"Cannot read labels from '{file}': {err.strerror}. "
            "Expected a JSON or TOML file, or a dataset folder with a meta.json."
        ) from err
    except json.JSONDecodeError as err:
        raise DataError(f"{file}:{err.lineno}: not JSON: {err.msg}. Correct the file.") from err
    except tomllib.TOMLDecodeError as err:
        line = re.search(r"at line (\d+)", str(err))
        where = f"{file}:{line[1]}" if line else str(file)
        raise DataError(f"{where}: not TOML: {err}. Correct the file.") from err
    except UnicodeDecodeError as err:
        raise DataError(f"{file}: not UTF-8 text (byte {err.start}). Save it as UTF-8.") from err
    except RecursionError as err:
        raise DataError(f"{file}: nested too deeply. Expected a label set.") from err


def _loads_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if doubled:
            raise LabelError(f"Keys {some_of(doubled)} are given twice. Remove the duplicates.")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)
