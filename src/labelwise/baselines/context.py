"""Label vectors from context sentences (paper, appendix E), as an ablation of the towers.

The words of a label are put into a support sentence in place of a mention of it, the sentence is
encoded by the label tower, and the pieces of these words are averaged: over one random sentence
at every update, over all kept ones when tagging.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labelwise.annotation import Sentence
from labelwise.errors import ConfigError
from labelwise.labels import LabelSet
from labelwise.modeling import DualEncoder
from labelwise.tags import tag_texts, text_layout
from labelwise.torch_backend import TorchBackend

Key = tuple[int, ...]
MAX_CONTEXTS = 10  # of a label when tagging, as in the paper


@dataclass(frozen=True, slots=True)
class Context:
    """A sentence with the words of a label in it.

    Attributes:
        ids: Its pieces.
        start: First piece of the label's words.
        end: Piece after their last.
    """

    ids: list[int]
    start: int
    end: int


class ContextEncoder(DualEncoder):
    """Two towers whose labels are read in context; its weights are those of another model.

    Args:
        model: The towers, shared and not copied.
        contexts: Sentences by the pieces of a tag text; texts without any are read alone.
    """

    def __init__(self, model: DualEncoder, contexts: Mapping[Key, Sequence[Context]]) -> None:
        """Take the parts as they are."""
        super().__init__(model.text_tower, model.label_tower, model.config)
        self.log_scale, self.tag_bias = model.log_scale, model.tag_bias
        self._contexts = dict(contexts)

    def encode_labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode label texts in their contexts.

        Args:
            ids: Piece ids. Shape ``(labels, pieces)``.
            mask: True on real pieces. Shape ``(labels, pieces)``.

        Returns:
            Float32 vectors. Shape ``(labels, dim)``.
        """
        alone = super().encode_labels(ids, mask)
        keys = [tuple(row[keep].tolist()) for row, keep in zip(ids, mask, strict=True)]
        found = [(i, c) for i, key in enumerate(keys) for c in self._choose(key)]
        if not found:
            return alone
        vectors = self._in_context([c for _, c in found])
        rows = [i for i, _ in found]
        means = [
            vectors[[j for j, row in enumerate(rows) if row == i]].mean(0) if i in rows else own
            for i, own in enumerate(alone)
        ]
        return torch.stack(means)

    def _choose(self, key: Key) -> Sequence[Context]:
        known = self._contexts.get(key, ())
        if not known or not self.training:
            return known
        return [known[int(torch.randint(len(known), ()))]]

    def _in_context(self, contexts: Sequence[Context]) -> Tensor:
        """Average the label's pieces of each context. Shape ``(contexts, dim)``."""
        device = self.log_scale.device
        lengths = torch.tensor([len(c.ids) for c in contexts], device=device)
        ids = nn.utils.rnn.pad_sequence(
            [torch.tensor(c.ids, device=device) for c in contexts], batch_first=True
        )
        places = torch.arange(ids.shape[1], device=device)
        mask = places < lengths[:, None]  # (contexts, seq)
        tower = self.text_tower if self.label_tower is None else self.label_tower
        states = tower(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        ends = torch.tensor([[c.start, c.end] for c in contexts], device=device)
        inside = ((places >= ends[:, :1]) & (places < ends[:, 1:])).unsqueeze(-1).float()
        return (states * inside).sum(1) / inside.sum(1)


def in_context(
    backend: TorchBackend, support: Sequence[Sentence], label_set: LabelSet, seed: int
) -> TorchBackend:
    """Let a model read its labels in the sentences of a support set.

    Args:
        backend: A dual encoder whose label tower is a BERT.
        support: Annotated sentences; labels without a mention in them are read alone.
        label_set: The labels.
        seed: Of the choice of sentences.

    Raises:
        ConfigError: The labels of this model are word embeddings, which have no context.
    """
    if backend.config.label_encoder == "static":
        raise ConfigError(
            "A static label encoder reads words one by one. Expected an encoder of sentences for "
            "labels in context. Use label_encoder 'separate' or 'shared'."
        )
    found: defaultdict[Key, list[Context]] = defaultdict(list)
    n_shared, n_own = text_layout(backend.config)
    texts = tag_texts([label.words for label in label_set], backend.config)[n_shared:]
    keys = backend.tokenizer.encode_texts(texts, backend.config.max_label_pieces)
    for i, label in enumerate(label_set):
        mentions = [(s, m) for s in support for m in s.mentions if m.label == label.name]
        random.Random(f"{seed}/{label.name}").shuffle(mentions)
        for text, key in zip(texts[i * n_own :], keys[i * n_own : (i + 1) * n_own], strict=False):
            contexts = [_context(backend, s.words, m.start, m.end, text) for s, m in mentions]
            found[tuple(key)] += [c for c in contexts if c is not None][:MAX_CONTEXTS]
    return backend.with_model(ContextEncoder(backend.model, found))


def _context(
    backend: TorchBackend, words: Sequence[str], start: int, end: int, text: str
) -> Context | None:
    """Put a label's words in place of a mention; None if the sentence is too long to read whole."""
    label_words = text.split()
    (pieces,) = backend.tokenizer.encode_words([[*words[:start], *label_words, *words[end:]]])
    if len(pieces.ids) > backend.config.max_pieces:
        return None
    first = pieces.first[start]
    after = [int(f) for f in pieces.first[start + len(label_words) :] if f >= 0]
    stop = after[0] if after else len(pieces.ids) - 1  # before the closing piece
    return Context([int(i) for i in pieces.ids], int(first), stop) if first >= 0 else None
