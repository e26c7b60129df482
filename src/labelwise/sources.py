"""Annotated corpora as a deterministic stream of training batches.

Every batch comes from one source and carries its own label texts, so no label set is global.
What batch number ``n`` holds depends on the seed and ``n`` alone: that is what makes a resumed
run equal an uninterrupted one. Knows no torch.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelwise.annotation import Mention, Sentence
from labelwise.config import ModelConfig, TrainConfig
from labelwise.data import labels_of, read_dataset, read_label_set
from labelwise.encoding import (
    Batch,
    IntArray,
    Pieces,
    PieceTokenizer,
    batches_by_pieces,
    groups_by_length,
    label_text,
    tag_ids,
    tag_texts,
)
from labelwise.errors import DataError
from labelwise.labels import LabelSet
from labelwise.rows import Row, sentences_from_rows
from labelwise.words import split_words

_BUCKET = 1024  # sentences shuffled and sorted together: enough for even lengths, and local


@dataclass(frozen=True)
class Source:
    """One corpus to learn from.

    Attributes:
        name: For messages and the model card.
        sentences: Annotated sentences.
        label_set: Words and descriptions of its labels.
        alternatives: Other names of a label, drawn at random in training.
        weight: Relative number of batches; 0 means by size and number of labels.
    """

    name: str
    sentences: Sequence[Sentence]
    label_set: LabelSet
    alternatives: Mapping[str, Sequence[str]] = field(default_factory=dict)
    weight: float = 0.0

    @property
    def sampling_weight(self) -> float:
        """Square root of the size times a mild bonus for variety of labels."""
        return self.weight or math.sqrt(len(self.sentences)) * len(self.label_set) ** 0.25


def read_source(path: str | Path, *, split: str = "train", weight: float = 0.0) -> list[Source]:
    """Read a dataset folder as training sources.

    A folder whose lines also carry ``coarse_tags`` gives two sources, fine and coarse; a
    ``type_words.tsv`` (name, alternatives separated by ``;``, definition) gives paraphrases.

    Args:
        path: Folder with ``train.jsonl`` and, if it has one, ``meta.json``.
        split: Split to train on.
        weight: Relative number of batches; 0 means by size and number of labels.
    """
    folder = Path(path)
    known = read_label_set(folder)
    alternatives, definitions = _read_type_words(folder / "type_words.tsv")
    levels = {folder.name: read_dataset(folder, split)}
    if coarse := _read_coarse(folder / f"{split}.jsonl"):
        levels[f"{folder.name} (coarse)"] = coarse
    return [
        Source(name, sentences, _label_set(sentences, known, definitions), alternatives, weight)
        for name, sentences in levels.items()
    ]


def _read_coarse(path: Path) -> list[Sentence]:
    """Sentences of a file with their ``coarse_tags``; none where lines have no such field."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        rows = [(n, json.loads(line)) for n, line in enumerate(lines, 1) if '"coarse_tags"' in line]
    return sentences_from_rows(
        [
            Row(values | {"tags": values["coarse_tags"]}, f"{path}:{n}", f"{path.stem}:{n}")
            for n, values in rows
        ]
    )


def _label_set(
    sentences: Sequence[Sentence], known: LabelSet | None, definitions: Mapping[str, str]
) -> LabelSet:
    spec = {}
    for name in labels_of(sentences):
        if known is not None and name in known:
            label = known[name]
            spec[name] = {"words": label.words, "description": label.description}
        else:
            spec[name] = {"description": definitions.get(name)}
    return LabelSet.parse(spec)


def _read_type_words(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    alternatives: dict[str, list[str]] = {}
    definitions: dict[str, str] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            name, others, definition = (*line.split("\t"), "", "")[:3]
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
    mentions = tuple(Mention(start_of[m.start], start_of[m.end], m.label) for m in sentence.mentions)
    return Sentence(tuple(words), mentions, sentence.id)


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """One update's worth of one source.

    Attributes:
        source: Its name.
        batch: Padded pieces and the words to score.
        targets: Tag id of every scored word, in the batch's own label order; -1 = not counted.
            Shape ``(words,)``.
        lengths: Scored words of each sentence.
        label_groups: Padded ids and mask of the label texts, similar lengths together. Shapes
            ``(labels, pieces)``.
        label_order: Row of every label text among the groups' rows. Shape ``(labels,)``.
        labels: Names of the labels scored, in order.
    """

    source: str
    batch: Batch
    targets: IntArray
    lengths: list[int]
    label_groups: list[tuple[IntArray, NDArray[np.bool_]]]
    label_order: IntArray
    labels: list[str]

    @property
    def n_pieces(self) -> int:
        """Real pieces of text, padding and labels left out."""
        return int(self.batch.mask.sum())


@dataclass(frozen=True, slots=True)
class _Prepared:
    pieces: Pieces
    mentions: tuple[Mention, ...]


class BatchStream:
    """Training batches by number.

    Args:
        sources: Corpora to mix; each step draws one by weight.
        tokenizer: Piece tokenizer of both towers.
        model: Scheme and composition of the tags.
        config: Sizes, probabilities and the seed.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        tokenizer: PieceTokenizer,
        model: ModelConfig,
        config: TrainConfig,
    ) -> None:
        """Encode all sentences once."""
        self.sources = [s for s in sources if s.sentences]
        if not self.sources:
            raise DataError(
                "No sentences to train on: every source is empty. Give annotated sentences."
            )
        self._tokenizer, self._model, self._config = tokenizer, model, config
        self._prepared = [self._prepare(i, s) for i, s in enumerate(self.sources)]
        self._plans: dict[tuple[int, int], list[list[int]]] = {}
        self._positions = [[0, 0] for _ in self.sources]  # epoch and batch of each source
        self._step = 0

    @property
    def state(self) -> dict[str, object]:
        """Position in the stream, JSON-able."""
        return {"step": self._step, "positions": [list(p) for p in self._positions]}

    def restore(self, state: Mapping[str, object]) -> None:
        """Continue where ``state`` was taken."""
        self._step = int(state["step"])  # type: ignore[call-overload]
        self._positions = [list(p) for p in state["positions"]]  # type: ignore[attr-defined]

    @property
    def batches_per_epoch(self) -> int:
        """Batches that hold every sentence of every source once."""
        return sum(len(self._plan(i, 0)) for i in range(len(self.sources)))

    def __iter__(self) -> BatchStream:
        """Iterate without end."""
        return self

    def __next__(self) -> TrainBatch:
        """Build the next batch."""
        draw = self._rng("step", self._step)
        weights = [s.sampling_weight for s in self.sources]
        index = draw.choices(range(len(self.sources)), weights)[0]
        members = self._members(index)
        self._step += 1
        return self._build(index, members, draw)

    def _rng(self, *key: object) -> random.Random:
        return random.Random("/".join(map(str, (self._config.seed, *key))))

    def _prepare(self, index: int, source: Source) -> list[_Prepared]:
        draw = self._rng("resplit", index)
        sentences = [
            resplit(s) if draw.random() < self._config.resplit_prob else s
            for s in source.sentences
        ]
        encoded = self._tokenizer.encode_words([s.words for s in sentences])
        return [
            _Prepared(window.pieces, _inside(sentence.mentions, window.word_start, window.pieces))
            for sentence, pieces in zip(sentences, encoded, strict=True)
            for window in self._tokenizer.windows(0, pieces, self._model.max_pieces)
            if window.pieces.n_words
        ]

    def _plan(self, index: int, epoch: int) -> list[list[int]]:
        """Batches of one pass over one source, in a shuffled order."""
        if (index, epoch) not in self._plans:
            for old in [k for k in self._plans if k[0] == index and k[1] < epoch]:
                del self._plans[old]
            self._plans[index, epoch] = self._make_plan(index, self._rng("plan", index, epoch))
        return self._plans[index, epoch]

    def _make_plan(self, index: int, draw: random.Random) -> list[list[int]]:
        prepared = self._prepared[index]
        order = list(range(len(prepared)))
        draw.shuffle(order)
        limit = self._config.batch_sentences or len(order)
        plan: list[list[int]] = []
        for low in range(0, len(order), _BUCKET):
            bucket = order[low : low + _BUCKET]
            lengths = [len(prepared[i].pieces.ids) for i in bucket]
            for group in batches_by_pieces(lengths, self._config.batch_pieces):
                members = [bucket[g] for g in group]
                plan += [members[i : i + limit] for i in range(0, len(members), limit)]
        draw.shuffle(plan)
        return plan

    def _members(self, index: int) -> list[int]:
        epoch, offset = self._positions[index]
        plan = self._plan(index, epoch)
        self._positions[index] = [epoch, offset + 1] if offset + 1 < len(plan) else [epoch + 1, 0]
        return plan[offset]

    def _build(self, index: int, members: Sequence[int], draw: random.Random) -> TrainBatch:
        source = self.sources[index]
        items = [self._prepared[index][i] for i in members]
        labels = self._choose_labels(source, items, draw)
        texts = [self._read_as(source, name, draw) for name in labels]
        one_text = self._model.architecture == "double_town"
        limit = self._model.max_pieces if one_text else self._model.max_label_pieces
        encoded = self._tokenizer.encode_texts(tag_texts(texts, self._model), limit)
        groups = groups_by_length([len(e) for e in encoded])
        batch = self._tokenizer.batch([item.pieces for item in items])
        tag_of = {name: i for i, name in enumerate(labels)}
        per_item = [self._targets(item, tag_of) for item in items]
        return TrainBatch(
            source=source.name,
            batch=batch,
            targets=np.concatenate(per_item),
            lengths=[len(t) for t in per_item],
            label_groups=[self._tokenizer.pad([encoded[i] for i in g]) for g in groups],
            label_order=np.argsort([i for g in groups for i in g]),
            labels=labels,
        )

    def _choose_labels(
        self, source: Source, items: Sequence[_Prepared], draw: random.Random
    ) -> list[str]:
        """Labels present in the batch, then absent ones of the source up to ``max_labels``."""
        if self._model.architecture == "double_town":  # its output layer fixes labels and order
            return source.label_set.names
        limit = self._config.max_labels
        present = sorted({m.label for item in items for m in item.mentions})
        draw.shuffle(present)
        chosen = present[:limit]
        if not chosen or draw.random() < self._config.negatives:
            names = source.label_set.names
            extra = draw.sample(names, min(len(names), limit))
            taken = set(present)
            chosen += [n for n in extra if n not in taken][: limit - len(chosen)]
        draw.shuffle(chosen)
        return chosen

    def _read_as(self, source: Source, name: str, draw: random.Random) -> str:
        label, chance = source.label_set[name], draw.random()
        others = source.alternatives.get(name)
        if others and chance < self._config.paraphrase_prob:
            return draw.choice(list(others))
        if label.description and chance > 1 - self._config.description_prob:
            alone = draw.random() < 0.3
            return label.description if alone else label_text(label.words, label.description)
        return label.words

    def _targets(self, item: _Prepared, tag_of: Mapping[str, int]) -> IntArray:
        """Tag ids of the words that have a piece; -1 inside mentions whose label is left out."""
        kept = [m for m in item.mentions if m.label in tag_of]
        tags = tag_ids(item.pieces.n_words, kept, tag_of, self._model.scheme)
        for mention in item.mentions:
            if mention.label not in tag_of:
                tags[mention.start : mention.end] = -1
        return tags[item.pieces.first >= 0]


def _inside(mentions: Sequence[Mention], word_start: int, pieces: Pieces) -> tuple[Mention, ...]:
    """Mentions of a window, cut at its borders, counted from its first word."""
    end = word_start + pieces.n_words
    return tuple(
        Mention(max(m.start, word_start) - word_start, min(m.end, end) - word_start, m.label)
        for m in mentions
        if m.start < end and m.end > word_start
    )


