"""The linear-head tagger (the paper's TransferBERT): an encoder and one linear layer over tags.

Every tag has a free row of its own, found by the tag's text but not computed from it. On several
sources a batch scores the rows of its own source's labels only, so that what one source does not
annotate is not taught as O. For the target the rows start afresh: nothing but the encoder stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.annotation import Mention, Sentence
from labelwise.config import ModelConfig, TrainConfig
from labelwise.engine import Engine
from labelwise.errors import LabelError
from labelwise.labels import LabelSet
from labelwise.modeling import DualEncoder
from labelwise.sources import Source
from labelwise.tags import tag_texts
from labelwise.torch_backend import TorchBackend
from labelwise.training import pretrain

Key = tuple[int, ...]
_KEPT = ("scheme", "decode", "boundary_cost", "switch_cost", "max_pieces", "max_label_pieces")
PLAIN_LABELS: dict[str, Any] = {"paraphrase_prob": 0.0, "description_prob": 0.0}


class LinearHead(DualEncoder):
    """An encoder with one free row a tag text.

    Args:
        tower: The encoder.
        config: Scheme, decoding and sizes matter.
        keys: Pieces of each tag text; their rows are drawn at random.
        seed: Of that draw.
    """

    has_drawn_layer = True

    def __init__(
        self, tower: nn.Module, config: ModelConfig, keys: Sequence[Key], seed: int = 0
    ) -> None:
        """Draw the rows as BERT draws a new layer."""
        super().__init__(tower, None, config)
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(len(keys), self.dim, generator=draw) * 0.02)
        self._rows = {key: i for i, key in enumerate(keys)}

    def encode_labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Look up the rows of tag texts.

        Args:
            ids: Piece ids. Shape ``(labels, pieces)``.
            mask: True on real pieces. Shape ``(labels, pieces)``.

        Returns:
            Shape ``(labels, dim)``.

        Raises:
            LabelError: A text has no row.
        """
        keys = [tuple(row[keep].tolist()) for row, keep in zip(ids, mask, strict=True)]
        if any(key not in self._rows for key in keys):
            raise LabelError(
                "A tag has no row in this linear layer. Expected the labels it was made for. "
                "Train a new layer on the new labels."
            )
        return self.weight[[self._rows[key] for key in keys]]


def with_new_layer(
    backend: TorchBackend, label_sets: Sequence[LabelSet], seed: int = 0
) -> TorchBackend:
    """Put a fresh linear layer on the text tower of a model; the tower is shared, not copied.

    Args:
        backend: Any model.
        label_sets: Labels that the layer has rows for; equal words share a row.
        seed: Of its random weights.
    """
    kept = {name: getattr(backend.config, name) for name in _KEPT}
    config = ModelConfig(label_encoder="shared").replace(**kept)
    words = [label.words for label_set in label_sets for label in label_set]
    pieces = backend.tokenizer.encode_texts(tag_texts(words, config), config.max_label_pieces)
    keys = list(dict.fromkeys(tuple(p) for p in pieces))
    return backend.with_model(LinearHead(backend.model.text_tower, config, keys, seed))


def encoder_only(backend: TorchBackend) -> TorchBackend:
    """Drop the linear layer: a model without labels that can be saved, and encodes alike."""
    return backend.with_model(DualEncoder(backend.model.text_tower, None, backend.config))


def plain_sources(sources: Sequence[Source]) -> list[Source]:
    """Drop what only a model that reads labels can use: broader labels and other names."""
    return [dataclasses.replace(s, parents={}, alternatives={}) for s in sources]


def train_on_sources(
    backend: TorchBackend, sources: Sequence[Source], config: TrainConfig, **options: Any
) -> TorchBackend:
    """Run the source stage; the tower of ``backend`` is trained in place.

    Args:
        backend: Any model.
        sources: Corpora.
        config: Training settings.
        **options: As for ``pretrain``.

    Returns:
        The encoder without its layer.
    """
    plain = plain_sources(sources)
    tagger = with_new_layer(backend, [s.label_set for s in plain], config.seed)
    pretrain(tagger, plain, config.replace(**PLAIN_LABELS), **options)
    return encoder_only(tagger)


class LinearTagger:
    """A linear layer on a trained encoder, both fine-tuned on the support set.

    Args:
        backend: The encoder; trained in place.
        config: Training settings of the target stage.
    """

    def __init__(self, backend: TorchBackend, config: TrainConfig) -> None:
        """Keep the parts."""
        self._backend, self._config = backend, config

    def fit(self, sentences: Sequence[Sentence], label_set: LabelSet) -> LinearTagger:
        """Train a new layer and the encoder."""
        # Numbered, so that labels of equal words have rows of their own.
        labels = label_set.renamed({x.name: f"{i} {x.words}" for i, x in enumerate(label_set)})
        labels = LabelSet(tuple(dataclasses.replace(x, description=None) for x in labels))
        self._backend = with_new_layer(self._backend, [labels], self._config.seed)
        source = Source("target", sentences, labels)
        pretrain(self._backend, [source], self._config.replace(**PLAIN_LABELS))
        engine = Engine(self._backend)
        self._engine, self._table = engine, engine.tag_table(labels)
        return self

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[Mention]]:
        """Find the mentions in sentences, given as words."""
        return list(self._engine.tag(sentences, self._table))
