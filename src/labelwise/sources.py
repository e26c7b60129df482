"""Annotated corpora to learn from: sentences, what their labels read as, and broader labels."""

from __future__ import annotations

import functools
import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelwise.annotation import Mention, Sentence
from labelwise.data import jsonl_rows, labels_of, read_dataset, read_label_set
from labelwise.errors import DataError
from labelwise.files import read_text
from labelwise.labels import LabelSet
from labelwise.rows import annotation_key, sentences_from_rows
from labelwise.words import split_words

_VARIED = 15  # mentions of a label from which on most make place for others


@dataclass(frozen=True)
class Source:
    """One corpus to learn from.

    Attributes:
        name: For messages and the model card.
        sentences: Annotated sentences.
        label_set: Words and descriptions of its labels.
        alternatives: Other names of a label, drawn at random in training.
        parents: The broader label of a label, such as "person" of "singer".
        weight: Relative number of batches; 0 means by size and number of labels.
    """

    name: str
    sentences: Sequence[Sentence]
    label_set: LabelSet
    alternatives: Mapping[str, Sequence[str]] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    weight: float = 0.0

    @functools.cached_property
    def digest(self) -> str:
        """Hash of all that training reads of it."""
        extras = [sorted(self.alternatives.items()), sorted(self.parents.items())]
        facts = (self.name, self.weight, self.label_set.digest, *extras)
        sha = hashlib.sha256(repr(facts).encode())
        for sentence in self.sentences:
            mentions = [(m.start, m.end, m.label) for m in sentence.mentions]
            sha.update(repr((sentence.words, mentions)).encode())
        return sha.hexdigest()

    @property
    def sampling_weight(self) -> float:
        """Square root of the size times a mild bonus for variety of labels."""
        return self.weight or math.sqrt(len(self.sentences)) * len(self.label_set) ** 0.25


def read_source(path: str | Path, *, split: str = "train", weight: float = 0.0) -> Source:
    """Read a dataset folder as a training source.

    Where lines also carry ``coarse_tags``, these become the parents of the labels; a
    ``type_words.tsv`` (name, alternatives separated by ``;``, definition) gives paraphrases.

    Args:
        path: Folder with ``train.jsonl`` and, if it has one, ``meta.json``.
        split: Split to train on.
        weight: Relative number of batches; 0 means by size and number of labels.

    Raises:
        DataError: A file cannot be read, or a line has ``coarse_tags`` but no ``tokens``.
    """
    folder = Path(path)
    sentences = read_dataset(folder, split)
    alternatives, definitions = _read_type_words(folder / "type_words.tsv")
    parents = _parents(sentences, _read_coarse(folder / f"{split}.jsonl"))
    names = sorted({*labels_of(sentences), *parents.values()})
    label_set = _label_set(names, read_label_set(folder), definitions)
    return Source(folder.name, sentences, label_set, alternatives, parents, weight)


def _parents(fine: Sequence[Sentence], coarse: Mapping[int, Sentence]) -> dict[str, str]:
    """Give every label the coarse label that most of its mentions bear; pairs by position."""
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for i, sentence in coarse.items():
        broader = {(m.start, m.end): m.label for m in sentence.mentions}
        for mention in fine[i].mentions:
            if span_label := broader.get((mention.start, mention.end)):
                votes[mention.label][span_label] += 1
    return {label: counts.most_common(1)[0][0] for label, counts in votes.items()}


def _read_coarse(path: Path) -> dict[int, Sentence]:
    """Sentences of a file by their ``coarse_tags``, those that have any, by position."""
    found = enumerate(jsonl_rows(path) if path.is_file() else ())
    rows = {i: row for i, row in found if "coarse_tags" in row.values}
    for row in rows.values():
        if annotation_key(row.values) != "tags":
            raise DataError(
                f"There are 'coarse_tags' without words and tags ({row.place}). Expected 'tokens' "
                "and 'tags' beside them. Correct the line, or leave 'coarse_tags' out."
            )
    coarse = [
        r._replace(values={**r.values, "tags": r.values["coarse_tags"]}) for r in rows.values()
    ]
    return dict(zip(rows, sentences_from_rows(coarse), strict=True))


def _label_set(
    names: Sequence[str], known: LabelSet | None, definitions: Mapping[str, str]
) -> LabelSet:
    spec = {}
    for name in names:
        if known is not None and name in known:
            spec[name] = {"words": known[name].words, "description": known[name].description}
        else:
            spec[name] = {"description": definitions.get(name)}
    return LabelSet.parse(spec)


def _read_type_words(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    alternatives: dict[str, list[str]] = {}
    definitions: dict[str, str] = {}
    lines = read_text(path).split("\n")[1:] if path.is_file() else []
    for line in lines:
        if line.strip():
            name, others, definition = (*line.rstrip("\r").split("\t"), "", "")[:3]
            alternatives[name] = [o.strip() for o in others.split(";") if o.strip()]
            definitions[name] = definition
    return alternatives, definitions


def resplit(sentence: Sentence) -> Sentence:
    """Split words as raw text is split, so that a model meets both kinds.

    >>> resplit(Sentence(("U.S.-led",), (Mention(0, 1, "x"),))).words
    ('U', '.', 'S', '.', '-', 'led')
    """
    words: list[str] = []
    start_of = [0]
    for word in sentence.words:
        plain = word.isascii() and word.isalnum()
        words.extend([word] if plain else [word[a:b] for a, b in split_words(word)] or [word])
        start_of.append(len(words))
    mentions = tuple(
        Mention(start_of[m.start], start_of[m.end], m.label) for m in sentence.mentions
    )
    return Sentence(tuple(words), mentions, sentence.id)


def with_mentions_replaced(sentences: Sequence[Sentence], draw: random.Random) -> list[Sentence]:
    """Copy sentences with mentions replaced by others of their label (Dai and Adel 2020).

    A model that has seen few mentions learns their contexts by this, and not the mentions by heart.
    The fewer there are of a label, the fewer are replaced: the same few everywhere teach no more.

    Args:
        sentences: Annotated; their own mentions are what there is to choose from.
        draw: Source of chance.

    Returns:
        One copy of each.
    """
    known: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for sentence in sentences:
        for m in sentence.mentions:
            known[m.label].append(tuple(sentence.words[m.start : m.end]))
    copies: list[Sentence] = []
    for sentence in sentences:
        words, mentions, done = list[str](), list[Mention](), 0
        for m in sentence.mentions:
            own = tuple(sentence.words[m.start : m.end])
            others = known[m.label]
            is_replaced = draw.random() < len(others) / (len(others) + _VARIED)
            new = draw.choice(others) if is_replaced else own
            words += sentence.words[done : m.start]
            mentions.append(Mention(len(words), len(words) + len(new), m.label))
            words += new
            done = m.end
        copies.append(
            Sentence((*words, *sentence.words[done:]), tuple(mentions), f"{sentence.id}*")
        )
    return copies
