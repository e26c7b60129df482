"""Training batches: a deterministic stream over one or many sources.

Every batch comes from one source and carries its own label texts, so no label set is global.
What batch number ``n`` holds depends on the seed and ``n`` alone: that is what makes a resumed
run equal an uninterrupted one. Knows no torch.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labelwise.annotation import Mention
from labelwise.arrays import BoolArray, IntArray
from labelwise.config import ModelConfig, TrainConfig
from labelwise.encoding import (
    Batch,
    Pieces,
    PieceTokenizer,
    batches_by_pieces,
    groups_by_length,
)
from labelwise.errors import DataError
from labelwise.sources import Source, resplit, with_mentions_replaced
from labelwise.tags import label_text, tag_ids, tag_texts

_BUCKET = 1024  # sentences shuffled and sorted together: enough for even lengths, and local


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
    label_groups: list[tuple[IntArray, BoolArray]]
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
        self.sources = [s for s in sources if any(x.words for x in s.sentences)]
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
        sentences, replace = list(source.sentences), self._rng("replace", index)
        for _ in range(self._config.replaced_copies):
            sentences += with_mentions_replaced(source.sentences, replace)
        draw = self._rng("resplit", index)
        sentences = [
            resplit(s) if draw.random() < self._config.resplit_prob else s for s in sentences
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
        size = self._config.batch_sentences or _BUCKET  # batches of a given size mix lengths
        plan: list[list[int]] = []
        for low in range(0, len(order), size):
            bucket = order[low : low + size]
            lengths = [len(prepared[i].pieces.ids) for i in bucket]
            groups = batches_by_pieces(lengths, self._config.batch_pieces)
            plan += [[bucket[g] for g in group] for group in groups]
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
        broader = self._broader(source, items, draw)
        labels = self._choose_labels(source, items, broader, draw)
        texts = [self._read_as(source, name, draw) for name in labels]
        one_text = self._model.architecture == "double_town"
        limit = self._model.max_pieces if one_text else self._model.max_label_pieces
        encoded = self._tokenizer.encode_texts(tag_texts(texts, self._model), limit)
        groups = groups_by_length([len(e) for e in encoded])
        batch = self._tokenizer.batch([item.pieces for item in items])
        tag_of = {name: i for i, name in enumerate(labels)}
        tag_of |= {fine: tag_of[parent] for fine, parent in broader.items() if parent in tag_of}
        asked = {source.parents.get(name, name) for name in labels}
        foreign = {n for n, parent in source.parents.items() if parent not in asked}
        per_item = [self._targets(item, tag_of, foreign) for item in items]
        return TrainBatch(
            source=source.name,
            batch=batch,
            targets=np.concatenate(per_item),
            lengths=[len(t) for t in per_item],
            label_groups=[self._tokenizer.pad([encoded[i] for i in g]) for g in groups],
            label_order=np.argsort([i for g in groups for i in g]),
            labels=labels,
        )

    def _broader(
        self, source: Source, items: Sequence[_Prepared], draw: random.Random
    ) -> dict[str, str]:
        """Labels that read as their parents in this batch: none, about half of them, or all.

        With half of them, a batch may hold "politician" beside "person", so that a model learns
        that the narrower label wins where both are asked for.
        """
        if not source.parents or draw.random() >= self._config.parent_prob:
            return {}
        share = draw.choice((0.5, 0.5, 1.0))
        known = [n for n in _labels_in(items) if n in source.parents]
        return {n: source.parents[n] for n in known if draw.random() < share}

    def _choose_labels(
        self,
        source: Source,
        items: Sequence[_Prepared],
        broader: Mapping[str, str],
        draw: random.Random,
    ) -> list[str]:
        """Labels present in the batch, then absent ones of the source up to ``max_labels``."""
        if self._model.architecture == "double_town":  # its output layer fixes labels and order
            return list(source.label_set.names)
        limit, in_text = self._config.max_labels, _labels_in(items)
        present = sorted({broader.get(n, n) for n in in_text})
        draw.shuffle(present)
        chosen = present[:limit]
        if not chosen or draw.random() < self._config.negatives:
            extra = _sample(source.label_set.names, limit, draw)
            if broader:
                extra = _sample(sorted(set(source.parents.values())), limit // 2, draw) + extra
            taken = {*present, *in_text}
            fresh = [n for n in dict.fromkeys(extra) if n not in taken]
            chosen += fresh[: limit - len(chosen)]
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

    def _targets(
        self, item: _Prepared, tag_of: Mapping[str, int], foreign: Collection[str]
    ) -> IntArray:
        """Tag ids of the words that have a piece.

        Mentions whose label is left out are not counted (-1), as a broader or similar label may
        be among those scored; where nothing of their kind is asked for, they are O.
        """
        kept = [m for m in item.mentions if m.label in tag_of]
        tags = tag_ids(item.pieces.n_words, kept, tag_of, self._model.scheme)
        for mention in item.mentions:
            if mention.label not in tag_of and mention.label not in foreign:
                tags[mention.start : mention.end] = -1
        return tags[item.pieces.first >= 0]


def _labels_in(items: Sequence[_Prepared]) -> list[str]:
    return sorted({m.label for item in items for m in item.mentions})


def _sample(names: Sequence[str], n: int, draw: random.Random) -> list[str]:
    return draw.sample(names, min(n, len(names)))


def _inside(mentions: Sequence[Mention], word_start: int, pieces: Pieces) -> tuple[Mention, ...]:
    """Mentions of a window, cut at its borders, counted from its first word."""
    end = word_start + pieces.n_words
    return tuple(
        Mention(max(m.start, word_start) - word_start, min(m.end, end) - word_start, m.label)
        for m in mentions
        if m.start < end and m.end > word_start
    )
