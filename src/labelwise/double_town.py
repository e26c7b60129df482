"""The blog variant ``DoubleTownNER``: one BERT, an elementwise product, a fully connected layer.

A baseline behind the interface of ``modeling.DualEncoder``. Its output layer fixes the number of
labels, so it cannot do zero-shot; see ``docs/method.md`` for what follows from its form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelwise.config import ModelConfig
from labelwise.modeling import DualEncoder, pool


def sinusoidal_positions(n: int, dim: int) -> Tensor:
    """Return the sine and cosine position embedding of the Transformer.

    Args:
        n: Number of positions.
        dim: Size of a vector.

    Returns:
        Shape ``(seq, dim)``.
    """
    position = torch.arange(n, dtype=torch.float32).unsqueeze(1)
    rate = 10_000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    table = torch.zeros(n, dim)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: dim // 2])
    return table


class DoubleTown(DualEncoder):
    """One encoder for text and for all label words together, and a linear layer over tags.

    Args:
        tower: The encoder.
        config: ``pooling`` of the label text and ``positions`` matter.
        n_tags: Rows of the output layer; 0 until a label set is known.
    """

    has_drawn_layer = True

    def __init__(self, tower: nn.Module, config: ModelConfig, n_tags: int = 0) -> None:
        """Start with an output layer for ``n_tags`` tags."""
        super().__init__(tower, None, config)
        self.weight = nn.Parameter(torch.empty(0, self.dim))
        self.tag_bias = nn.Parameter(torch.zeros(0))
        self.resize(n_tags)

    def resize(self, n_tags: int) -> None:
        """Give the model a new output layer, unless it already has that many tags."""
        if n_tags != len(self.tag_bias):
            layer = nn.Linear(self.dim, n_tags)
            device = self.weight.device
            self.weight = nn.Parameter(layer.weight.detach().to(device))
            self.tag_bias = nn.Parameter(layer.bias.detach().to(device))

    def word_states(self, ids: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Encode a batch, merge positions, and pick the first piece of every word.

        Args:
            ids: Piece ids. Shape ``(batch, seq)``.
            mask: True on real pieces. Shape ``(batch, seq)``.
            rows: Sequence of each word. Shape ``(words,)``.
            columns: Position of its first piece. Shape ``(words,)``.

        Returns:
            Float32 states. Shape ``(words, dim)``.
        """
        states = super().word_states(ids, mask, rows, columns)
        if self.config.positions == "none":
            return states
        positions = sinusoidal_positions(ids.shape[1], self.dim).to(states.device)[columns]
        if self.config.positions == "add":
            return states + positions
        return states * (positions + 1) if self.config.positions == "mul" else positions

    def encode_labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Fold the vector of all label words into the output layer: ``W (h * v) = (W v) h``.

        Args:
            ids: Pieces of the one label text. Shape ``(1, pieces)``.
            mask: True on real pieces. Shape ``(1, pieces)``.

        Returns:
            One row a tag. Shape ``(tags, dim)``.
        """
        states = self.text_tower(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return self.weight * pool(states, mask, self.config.pooling).float()

    def compose(self, rows: Tensor, order: Tensor | None = None) -> Tensor:
        """Return the rows, which are one a tag already. Shape ``(tags, dim)``."""
        return rows
