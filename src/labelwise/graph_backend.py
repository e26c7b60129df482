"""A model whose towers are graphs: what the engine needs of it, whichever library runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.config import ModelConfig
from labelwise.encoding import Batch, PieceTokenizer
from labelwise.errors import CheckpointError
from labelwise.precision import usable_cores

Run = Callable[[IntArray, BoolArray, IntArray], FloatArray]
"""Ids and mask of a padded batch, ``(texts, pieces)``, and flat positions ``(words,)`` in it;
returns the states there. Shape ``(words, dim)``."""

_EXTERNAL_DATA = b"\x0a\x08location\x12"  # protobuf: an entry whose key is "location"


class GraphBackend:
    """Runs exported towers for the engine; see ``backend.EncoderBackend``.

    A batch runs on one core: those that share one wait for each other at every layer, batches
    side by side do not.

    Args:
        towers: What runs each tower: ``"text"``, and ``"label"`` if it has its own.
        tokenizer: Piece tokenizer of both.
        config: How labels become vectors.
        facts: ``dim``, ``scale``, ``bias`` and ``max_positions``, as written by the export, and
            ``frozen`` where the label tower was left out.
        digest: Identifies the weights.
        threads: Cores that may be used in a call, a batch on each; 0 means all.
    """

    def __init__(
        self,
        towers: Mapping[str, Run],
        tokenizer: PieceTokenizer,
        config: ModelConfig,
        facts: Mapping[str, Any],
        *,
        digest: str,
        threads: int = 0,
    ) -> None:
        """Keep the parts."""
        self.config = config
        self.tokenizer = tokenizer
        self.digest = digest
        self.dim = int(facts["dim"])
        self.scale = float(facts["scale"])
        self.bias: FloatArray = np.array(facts["bias"], dtype=np.float32)
        self.max_positions = int(facts["max_positions"])
        self.frozen = bool(facts.get("frozen"))
        self.threads = threads
        self.n_workers = threads or usable_cores()
        self.batch_pieces = 256  # its values stay in a core's own cache
        self._text = towers["text"]
        self._label = towers.get("label", self._text)

    def word_states(self, batch: Batch) -> FloatArray:
        """Encode a batch; one row a word in ``batch.rows``. Shape ``(words, dim)``."""
        return self._text(batch.ids, batch.mask, batch.rows * batch.ids.shape[1] + batch.columns)

    def encode_labels(self, ids: IntArray, mask: BoolArray) -> FloatArray:
        """Encode label texts, padded ``(labels, pieces)``. Shape ``(labels, dim)``."""
        if self.config.pooling == "cls":
            return self._label(ids, mask, np.arange(len(ids)) * ids.shape[1])
        states = self._label(ids, mask, np.flatnonzero(mask))
        lengths = mask.sum(1)
        totals = np.add.reduceat(states, np.cumsum(lengths) - lengths, axis=0)
        return totals / lengths[:, None].astype(np.float32)


def check_self_contained(data: bytes) -> None:
    """Refuse an ONNX file that points at other files.

    Raises:
        CheckpointError: It does.
    """
    if _EXTERNAL_DATA in data:
        raise CheckpointError(
            "The model's ONNX file keeps its weights in other files. Expected one self-contained "
            "file. Export it with `labelwise export`."
        )
