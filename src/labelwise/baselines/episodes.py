"""Training an encoder in episodes, so that words lie near those of their tag.

Every batch is an episode: each word is left out once and compared with the mean (Snell et al.,
2017; ProtoNet) or the nearest (NNShot, StructShot) of the other words of every IO tag. The words
of labels are never read. Used on the sources, and on a support set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.baselines.linear_head import PLAIN_LABELS, encoder_only, plain_sources
from labelwise.baselines.nnshot import ABSENT, Likeness
from labelwise.config import ModelConfig, TrainConfig
from labelwise.modeling import DualEncoder
from labelwise.sources import Source
from labelwise.torch_backend import TorchBackend
from labelwise.training import pretrain


def train_in_episodes(
    backend: TorchBackend,
    sources: Sequence[Source],
    config: TrainConfig,
    *,
    likeness: Likeness,
    nearest: bool,
    **options: Any,
) -> TorchBackend:
    """Train the text tower of a model in place.

    Args:
        backend: Any model.
        sources: Corpora, or the support set as one.
        config: Training settings.
        likeness: How words are compared.
        nearest: Compare with the nearest word of a tag, not with the mean of its words.
        **options: As for ``pretrain``.

    Returns:
        The encoder alone.
    """
    own = ModelConfig(label_encoder="shared", scheme="io", max_pieces=backend.config.max_pieces)
    model = EpisodeEncoder(backend.model.text_tower, own, likeness, nearest=nearest)
    learner = backend.with_model(model)
    plain = config.replace(**PLAIN_LABELS, negatives=0.0)
    pretrain(learner, plain_sources(sources), plain, **options)
    return encoder_only(learner)


class EpisodeEncoder(DualEncoder):
    """An encoder whose tags are what the other words of a batch make them.

    Args:
        tower: The encoder.
        config: Scheme and sizes matter.
        likeness: How words are compared.
        nearest: See ``train_in_episodes``.
    """

    def __init__(
        self, tower: nn.Module, config: ModelConfig, likeness: Likeness, *, nearest: bool
    ) -> None:
        """Take the parts as they are."""
        super().__init__(tower, None, config)
        self._likeness, self._nearest = likeness, nearest

    def encode_labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return zeros: labels are not read.

        Args:
            ids: Piece ids. Shape ``(labels, pieces)``.
            mask: True on real pieces. Shape ``(labels, pieces)``.

        Returns:
            Shape ``(labels, dim)``.
        """
        return self.log_scale.new_zeros(len(ids), self.dim)

    def training_logits(self, word_states: Tensor, tag_vectors: Tensor, targets: Tensor) -> Tensor:
        """Score every word of an episode against the others.

        Args:
            word_states: Shape ``(words, dim)``.
            tag_vectors: Only their number matters. Shape ``(tags, dim)``.
            targets: Tag ids, -1 for words that are not counted. Shape ``(words,)``.

        Returns:
            Shape ``(words, tags)``.
        """
        if self._likeness.unit_vectors:
            word_states = nn.functional.normalize(word_states, dim=-1)
        score = _to_nearest if self._nearest else _to_means
        members = targets.unsqueeze(1) == torch.arange(len(tag_vectors), device=targets.device)
        logits = score(word_states, members, dot_product=self._likeness.dot_product)
        others = members.sum(0) - members.long()  # (words, tags)
        logits = logits.masked_fill(others == 0, ABSENT)
        alone = ~(members & (others > 0)).any(1, keepdim=True)
        return logits.masked_fill(alone, 0.0)  # nothing to learn from


def _to_means(states: Tensor, members: Tensor, *, dot_product: bool) -> Tensor:
    """Score words against the mean of the others of every tag. Shape ``(words, tags)``."""
    belongs = members.to(states.dtype)
    sums, counts = belongs.T @ states, belongs.sum(0)  # (tags, dim), (tags,)
    scores = _scores(states, sums / counts.clamp(min=1).unsqueeze(1), dot_product=dot_product)
    own = belongs @ sums - states
    own = own / (belongs @ counts - 1).clamp(min=1).unsqueeze(1)  # means without the word itself
    to_own = (states * own).sum(1) if dot_product else -((states - own) ** 2).sum(1)
    return torch.where(members, to_own.unsqueeze(1), scores)


def _to_nearest(states: Tensor, members: Tensor, *, dot_product: bool) -> Tensor:
    """Score words against the nearest of the others of every tag. Shape ``(words, tags)``."""
    itself = torch.eye(len(states), dtype=torch.bool, device=states.device)
    scores = _scores(states, states, dot_product=dot_product).masked_fill(itself, ABSENT)
    columns = [scores.masked_fill(~has, ABSENT).amax(1) for has in members.T]
    return torch.stack(columns, 1)


def _scores(a: Tensor, b: Tensor, *, dot_product: bool) -> Tensor:
    if dot_product:
        return a @ b.T
    return 2 * a @ b.T - (a**2).sum(1, keepdim=True) - (b**2).sum(1)
