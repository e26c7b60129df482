"""What the engine asks of an encoder, whichever library runs it, and a fake one for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.config import ModelConfig
from labelwise.encoder_config import MAX_POSITIONS, MAX_WIDTH
from labelwise.encoding import Batch, PieceTokenizer


class EncoderBackend(Protocol):
    """Runs the two towers of one model."""

    @property
    def config(self) -> ModelConfig:
        """How the model turns labels into vectors."""
        ...

    @property
    def tokenizer(self) -> PieceTokenizer:
        """Its piece tokenizer."""
        ...

    @property
    def dim(self) -> int:
        """Size of a vector."""
        ...

    @property
    def digest(self) -> str:
        """Identifies the weights; label vectors are cached under it."""
        ...

    @property
    def frozen(self) -> bool:
        """Whether it cannot encode labels, so that those saved with it are all there are."""
        ...

    @property
    def scale(self) -> float:
        """Factor on the dot product."""
        ...

    @property
    def bias(self) -> FloatArray:
        """Added to the scores of the first tags, O first; the rest get none. Shape ``(tags,)``."""
        ...

    @property
    def max_positions(self) -> int:
        """Longest sequence the encoder can read, in pieces."""
        ...

    @property
    def threads(self) -> int:
        """Cores that may be used in a call; 0 means all."""
        ...

    @property
    def n_workers(self) -> int:
        """Batches of one call that run at a time, each in a thread of its own."""
        ...

    @property
    def batch_pieces(self) -> int:
        """Pieces of a batch, padding included, that it runs at its best."""
        ...

    def word_states(self, batch: Batch) -> FloatArray:
        """Encode a batch; one row a word in ``batch.rows``. Shape ``(words, dim)``."""
        ...

    def encode_labels(self, ids: IntArray, mask: BoolArray) -> FloatArray:
        """Encode label texts, padded ``(labels, pieces)``. Shape ``(labels, dim)``."""
        ...


def facts_of(backend: EncoderBackend) -> dict[str, Any]:
    """Return what the engine needs to know of a model beside its graphs, as JSON can say it."""
    return {
        "dim": backend.dim,
        "scale": backend.scale,
        "bias": [float(b) for b in backend.bias],
        "max_positions": backend.max_positions,
    }


def checked_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Read what ``facts_of`` gave; refuse what no model has, before memory is asked for by it.

    Raises:
        ValueError: A number is out of range.
        KeyError: One is missing.
    """
    result: dict[str, Any] = {
        "dim": int(facts["dim"]),
        "scale": float(facts["scale"]),
        "bias": [float(b) for b in facts["bias"]],
        "max_positions": int(facts["max_positions"]),
        "frozen": facts.get("frozen") is True,
    }
    limits = {"dim": MAX_WIDTH, "max_positions": MAX_POSITIONS}
    for name, limit in limits.items():
        if not 1 <= result[name] <= limit:
            raise ValueError(f"'{name}' is {result[name]}, not from 1 to {limit}")
    if not np.isfinite([result["scale"], *result["bias"]]).all():
        raise ValueError("'scale' or 'bias' is not finite")
    return result


class FakeBackend:
    """A backend without a network: a piece has a fixed vector, a text their mean.

    Args:
        tokenizer: Any piece tokenizer.
        vectors: Vector of chosen piece ids, each of shape ``(dim,)``; other pieces get
            pseudo-random ones.
        config: Model settings; pooling is always the mean.
        dim: Size of a vector.
    """

    def __init__(
        self,
        tokenizer: PieceTokenizer,
        vectors: Mapping[int, Sequence[float]] | None = None,
        config: ModelConfig | None = None,
        dim: int = 8,
    ) -> None:
        """Keep the vectors."""
        self.config = config or ModelConfig()
        self.tokenizer = tokenizer
        self.dim = dim
        self.digest = hashlib.sha256(repr(sorted((vectors or {}).items())).encode()).hexdigest()
        self.frozen = False
        self.threads, self.n_workers, self.batch_pieces = 0, 1, 1024
        self.scale = 1.0
        self.bias = np.zeros(1, dtype=np.float32)
        self.max_positions = 512
        self._vectors = {k: np.asarray(v, dtype=np.float32) for k, v in (vectors or {}).items()}

    def _vector(self, piece: int) -> FloatArray:
        if piece not in self._vectors:
            self._vectors[piece] = np.random.default_rng(piece).normal(size=self.dim).astype("f4")
        return self._vectors[piece]

    def word_states(self, batch: Batch) -> FloatArray:
        """Return the vector of each word's first piece. Shape ``(words, dim)``."""
        pieces = batch.ids[batch.rows, batch.columns]
        return np.array([self._vector(int(p)) for p in pieces], dtype=np.float32).reshape(
            -1, self.dim
        )

    def encode_labels(self, ids: IntArray, mask: BoolArray) -> FloatArray:
        """Return the mean of each text's inner pieces. Shape ``(labels, dim)``."""
        texts = [row[keep][1:-1] for row, keep in zip(ids, mask, strict=True)]
        rows = [[self._vector(int(p)) for p in text] for text in texts]
        return np.array([np.mean(r, axis=0) for r in rows], dtype=np.float32).reshape(-1, self.dim)
