"""Label vectors kept with a model, so that its own labels need no encoding when it is loaded.

A file holds, under the digest of the weights that made them, one vector a text. Under another
digest nothing is found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from labelwise.arrays import FloatArray
from labelwise.backend import EncoderBackend
from labelwise.engine import Engine
from labelwise.errors import CheckpointError
from labelwise.labels import LabelSet
from labelwise.tensors import Tensors

_VECTORS, _TEXTS = "vectors", "texts"


def label_tensors(
    backend: EncoderBackend, label_set: LabelSet, known: Mapping[str, FloatArray] | None = None
) -> Tensors:
    """Encode everything that a label set needs.

    Args:
        backend: What will run the model.
        label_set: The labels.
        known: Vectors by text that need no encoding. Shapes ``(dim,)``.

    Returns:
        Arrays to save, named by the model's digest; none where an output layer fixes the tags.
    """
    if backend.config.architecture != "dual_encoder":
        return {}
    engine = Engine(backend)
    engine.remember(known or {})
    engine.tag_table(label_set)
    vectors = engine.known_vectors()
    texts = np.frombuffer(json.dumps(list(vectors)).encode(), dtype=np.uint8)
    return {
        f"{backend.digest}.{_VECTORS}": np.stack(list(vectors.values())).astype(np.float32),
        f"{backend.digest}.{_TEXTS}": texts,
    }


def vectors_by_text(
    tensors: Tensors, backend: EncoderBackend, place: str
) -> Mapping[str, FloatArray]:
    """Find the vectors that a model made, if it did.

    Args:
        tensors: As ``label_tensors`` gave them.
        backend: The model.
        place: Where they come from, for messages.

    Returns:
        A vector a text, each of shape ``(dim,)``. Shapes ``(dim,)``.

    Raises:
        CheckpointError: They are damaged.
    """
    vectors = tensors.get(f"{backend.digest}.{_VECTORS}")
    encoded = tensors.get(f"{backend.digest}.{_TEXTS}")
    if vectors is None or encoded is None:
        return {}
    try:
        texts = json.loads(encoded.tobytes())
    except ValueError:
        texts = None
    if not isinstance(texts, list) or vectors.shape != (len(texts), backend.dim):
        raise CheckpointError(
            f"'{place}' holds vectors of shape {vectors.shape} that do not fit its texts. Expected "
            f"one of {backend.dim} numbers a text. Save the model again with save_pretrained()."
        )
    return {str(t): v for t, v in zip(texts, vectors.astype(np.float32), strict=True)}
