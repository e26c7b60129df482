"""The two towers in torch: word states, label vectors, and the scores between them.

Nothing here reads files or trains; see ``torch_backend`` and ``training``.
"""

from __future__ import annotations

import contextlib
import copy
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from labelwise.config import ModelConfig
from labelwise.errors import ShapeError
from labelwise.schemes import MARKS


def score_tags(word_states: Tensor, tag_vectors: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Score every word against every tag by dot product (paper, section 2.2).

    Args:
        word_states: First piece of each word. Shape ``(words, dim)``.
        tag_vectors: One row a verbalized tag. Shape ``(tags, dim)``.
        scale: Factor on the product; 1 in the paper.

    Returns:
        Logits. Shape ``(words, tags)``.

    Raises:
        ShapeError: The two ``dim`` differ.
    """
    if word_states.shape[-1] != tag_vectors.shape[-1]:
        raise ShapeError(
            f"word_states {tuple(word_states.shape)} and tag_vectors {tuple(tag_vectors.shape)} "
            "differ in dim. Expected (words, dim) and (tags, dim). Load both towers from one model."
        )
    return (word_states @ tag_vectors.T) * scale


def compose_sum(vectors: Tensor, scheme: str) -> Tensor:
    """Add mark vectors to label vectors: row ``B-person`` is ``v(person) + v(begin)``.

    Args:
        vectors: Rows of O, of the scheme's marks, then of the labels. Shape ``(pieces, dim)``.
        scheme: Tag scheme.

    Returns:
        Rows in tag-set order, O first. Shape ``(tags, dim)``.
    """
    n_marks = len(MARKS[scheme])
    marks, labels = vectors[1 : 1 + n_marks], vectors[1 + n_marks :]
    rows = labels.unsqueeze(1) + marks.unsqueeze(0)  # (labels, marks, dim)
    return torch.cat([vectors[:1], rows.reshape(-1, vectors.shape[1])])


class DualEncoder(nn.Module):
    """A text tower and a label tower of the BERT family; no parameter depends on the labels.

    Args:
        text_tower: Encoder whose output has ``last_hidden_state``.
        label_tower: A second encoder, or None when the text tower reads labels too.
        config: How labels become vectors.

    Attributes:
        has_drawn_layer: Whether a layer is drawn at random for the labels. It and the encoder fit
            each other as trained only, so no run may move them back to where it started.
    """

    has_drawn_layer: ClassVar[bool] = False

    def __init__(
        self, text_tower: nn.Module, label_tower: nn.Module | None, config: ModelConfig
    ) -> None:
        """Take the towers as they are."""
        super().__init__()
        self.config = config
        self.text_tower = text_tower
        self.label_tower = label_tower
        self.dim = int(text_tower.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.static_table = (
            nn.Parameter(static_table(text_tower)) if config.label_encoder == "static" else None
        )
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=config.temperature)
        self.tag_bias = nn.Parameter(torch.zeros(1), requires_grad=config.temperature)  # of O

    @property
    def scale(self) -> Tensor:
        """Factor on the dot product: 1, or learned around ``1/sqrt(dim)``. Shape ``()``."""
        base = 1 / math.sqrt(self.dim) if self.config.temperature else 1.0
        return self.log_scale.exp() * base

    def word_states(self, ids: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Encode a batch and pick the first piece of every word.

        Args:
            ids: Piece ids. Shape ``(batch, seq)``.
            mask: True on real pieces. Shape ``(batch, seq)``.
            rows: Sequence of each word. Shape ``(words,)``.
            columns: Position of its first piece. Shape ``(words,)``.

        Returns:
            Float32 states. Shape ``(words, dim)``.
        """
        states = self.text_tower(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states[rows, columns].float()

    def encode_labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode label texts; [CLS] in the paper, mean or max pooling as options.

        Args:
            ids: Piece ids. Shape ``(labels, pieces)``.
            mask: True on real pieces. Shape ``(labels, pieces)``.

        Returns:
            Float32 vectors. Shape ``(labels, dim)``.
        """
        if self.static_table is not None:
            return self._static_vectors(ids, mask)
        tower = self.text_tower if self.label_tower is None else self.label_tower
        states = tower(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return pool(states, mask, self.config.pooling).float()

    def _static_vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Max over the words' own embeddings, special pieces left out (paper, section 3.5)."""
        inner = mask.clone()
        inner[:, 0] = False
        inner[torch.arange(len(ids)), mask.sum(1) - 1] = False
        inner |= mask & ~inner.any(1, keepdim=True)  # a text without pieces of its own
        rows = nn.functional.embedding(ids, self.static_table)  # type: ignore[arg-type]
        return rows.masked_fill(~inner.unsqueeze(-1), -torch.inf).amax(1).float()

    def tag_vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode the label texts of a label set into one vector a tag.

        Args:
            ids: Pieces of ``tags.tag_texts``. Shape ``(labels, pieces)``.
            mask: True on real pieces. Shape ``(labels, pieces)``.

        Returns:
            Shape ``(tags, dim)``.
        """
        return self.compose(self.encode_labels(ids, mask))

    def compose(self, rows: Tensor, order: Tensor | None = None) -> Tensor:
        """Turn the vectors of label texts into one vector a tag.

        Args:
            rows: As ``encode_labels`` returns them. Shape ``(labels, dim)``.
            order: Row of every label text, if they were encoded in groups. Shape ``(labels,)``.

        Returns:
            Shape ``(tags, dim)``.
        """
        vectors = rows if order is None else rows[order]
        if self.config.composition == "sum":
            return compose_sum(vectors, self.config.scheme)
        if self.config.composition == "names":
            n_marks = len(MARKS[self.config.scheme])
            return torch.cat([vectors[:1], vectors[1:].repeat_interleave(n_marks, 0)])
        return vectors

    def logits(self, word_states: Tensor, tag_vectors: Tensor) -> Tensor:
        """Score words against tags, O first.

        Args:
            word_states: Shape ``(words, dim)``.
            tag_vectors: Shape ``(tags, dim)``.

        Returns:
            Shape ``(words, tags)``.
        """
        missing = tag_vectors.shape[0] - len(self.tag_bias)
        bias = nn.functional.pad(self.tag_bias, (0, missing))
        return score_tags(word_states, tag_vectors, self.scale) + bias

    def training_logits(self, word_states: Tensor, tag_vectors: Tensor, targets: Tensor) -> Tensor:
        """Score the words of a training batch; a rival may need to know their tags.

        Args:
            word_states: Shape ``(words, dim)``.
            tag_vectors: Shape ``(tags, dim)``.
            targets: Tag ids, -1 for words that are not counted. Shape ``(words,)``.

        Returns:
            Shape ``(words, tags)``.
        """
        return self.logits(word_states, tag_vectors)

    def set_dropout(self, probability: float) -> None:
        """Set every dropout of both towers."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability

    def freeze_word_embeddings(self, frozen: bool) -> None:
        """Exclude the word-embedding tables of both towers from training, or include them."""
        for tower in (self.text_tower, self.label_tower):
            if tower is not None:
                word_table(tower).requires_grad_(not frozen)


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Reduce each sequence to one vector.

    Args:
        states: Shape ``(batch, seq, dim)``.
        mask: True on real pieces. Shape ``(batch, seq)``.
        pooling: ``"cls"`` or ``"mean"``.

    Returns:
        Shape ``(batch, dim)``.
    """
    if pooling == "cls":
        return states[:, 0]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def word_table(tower: nn.Module) -> nn.Parameter:
    """Return the word-embedding weight of an encoder. Shape ``(pieces, dim)``."""
    return tower.get_input_embeddings().weight  # type: ignore[operator, union-attr, return-value]


def static_table(tower: nn.Module) -> Tensor:
    """Copy the word embeddings, scaled to the length of the states that they will be compared with.

    Embeddings are several times shorter than states; at a small learning rate they stay so, and
    with them every score. Shape ``(pieces, dim)``.
    """
    table = word_table(tower).detach().clone()
    if table.is_meta:  # a model whose weights are still to be loaded
        return table
    return table * (_state_length(tower) / table.norm(dim=1).mean().clamp(min=1e-6))


@torch.no_grad()
def _state_length(tower: nn.Module) -> float:
    """Mean length of an encoder's states, over pieces from all over its vocabulary."""
    table, was_training = word_table(tower), tower.training
    ids = torch.linspace(0, len(table) - 1, 64, device=table.device).long().reshape(4, 16)
    states = tower.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    tower.train(was_training)
    return float(states.norm(dim=-1).mean())


def encoder_from_config(values: dict[str, Any]) -> nn.Module:
    """Build an encoder with fresh weights from a checked ``config.json``."""
    values = dict(values)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    return without_pooler(AutoModel.from_config(config))


def without_pooler(encoder: nn.Module) -> nn.Module:
    """Drop the layer over [CLS] that some encoders end with; states are read below it."""
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # type: ignore[assignment]
    return encoder


def dual_encoder(text_tower: nn.Module, config: ModelConfig) -> DualEncoder:
    """Build the model around one pre-trained encoder; separate towers start as equals."""
    separate = config.label_encoder == "separate"
    return DualEncoder(text_tower, copy.deepcopy(text_tower) if separate else None, config)


@contextlib.contextmanager
def precision_context(precision: str, device: torch.device):  # noqa: ANN201
    """Run under bf16 autocast, or plainly for fp32."""
    if precision == "bf16":
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield
    else:
        yield
