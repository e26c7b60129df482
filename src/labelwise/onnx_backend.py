"""The towers run by ONNX Runtime: prediction and the instant fit without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.config import ModelConfig
from labelwise.encoding import Batch, PieceTokenizer
from labelwise.errors import CheckpointError
from labelwise.precision import Processor, usable_cores

RUNTIME = f"onnxruntime {onnxruntime.__version__}"

_SLOWER = ["SkipLayerNormFusion"]  # its kernel takes ten times as long as the parts it joins
_EXACT_INT8 = "session.x64quantprecision"  # two thirds of the speed where sums are exact anyway
_EXTERNAL_DATA = b"\x0a\x08location\x12"  # protobuf: an entry whose key is "location"


class OnnxBackend:
    """Runs exported towers for the engine; see ``backend.EncoderBackend``.

    A batch runs in the thread that asks for it: threads that share one wait for each other at
    every layer, batches side by side do not.

    Args:
        graphs: ONNX file of each tower: ``"text"``, and ``"label"`` if it has its own.
        tokenizer: Piece tokenizer of both.
        config: How labels become vectors.
        facts: ``dim``, ``scale``, ``bias`` and ``max_positions``, as written by the export, and
            ``frozen`` where the label tower was left out.
        digest: Identifies the weights.
        threads: Cores that may be used in a call, a batch on each; 0 means all.
    """

    def __init__(
        self,
        graphs: Mapping[str, bytes],
        tokenizer: PieceTokenizer,
        config: ModelConfig,
        facts: Mapping[str, Any],
        *,
        digest: str,
        threads: int = 0,
    ) -> None:
        """Open the graphs."""
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
        self._text = open_session(graphs["text"])
        self._label = open_session(graphs["label"]) if "label" in graphs else self._text
        for session in (self._text, self._label):
            _check_width(session, self.dim)

    def word_states(self, batch: Batch) -> FloatArray:
        """Encode a batch; one row a word in ``batch.rows``. Shape ``(words, dim)``."""
        positions = batch.rows * batch.ids.shape[1] + batch.columns
        return _run(self._text, batch.ids, batch.mask, positions)

    def encode_labels(self, ids: IntArray, mask: BoolArray) -> FloatArray:
        """Encode label texts, padded ``(labels, pieces)``. Shape ``(labels, dim)``."""
        if self.config.pooling == "cls":
            return _run(self._label, ids, mask, np.arange(len(ids)) * ids.shape[1])
        states = _run(self._label, ids, mask, np.flatnonzero(mask))
        lengths = mask.sum(1)
        totals = np.add.reduceat(states, np.cumsum(lengths) - lengths, axis=0)
        return totals / lengths[:, None].astype(np.float32)


def _check_width(session: onnxruntime.InferenceSession, dim: int) -> None:
    found = session.get_outputs()[0].shape[-1]
    if isinstance(found, int) and found != dim:
        raise CheckpointError(
            f"A graph gives states of width {found}. Expected {dim}, as 'facts' in config.json "
            "says. Export the model again."
        )


def open_session(data: bytes) -> onnxruntime.InferenceSession:
    """Open one graph, to run in its caller's thread; one that points at other files is refused.

    Args:
        data: Content of the ONNX file.

    Raises:
        CheckpointError: The graph names external data, or is no ONNX graph.
    """
    if _EXTERNAL_DATA in data:
        raise CheckpointError(
            "The model's ONNX file keeps its weights in other files. Expected one self-contained "
            "file. Export it with `labelwise export`."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not Processor.here().multiplies_bytes:  # sums of products of bytes overflow there
        options.add_session_config_entry(_EXACT_INT8, "1")
    try:
        return onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER
        )
    except Exception as err:  # onnxruntime raises its own types, without a common root
        raise CheckpointError(
            f"ONNX Runtime cannot read the model's graph: {str(err).splitlines()[0]}. "
            "Export the model again with `labelwise export`."
        ) from err


def _run(
    session: onnxruntime.InferenceSession,
    ids: IntArray,
    mask: BoolArray,
    positions: IntArray,
) -> FloatArray:
    """States at flat positions of a padded batch. Shape ``(words, dim)``."""
    feeds = {
        "input_ids": ids,
        "attention_mask": mask.astype(np.int64),
        "positions": positions.astype(np.int64),
    }
    (states,) = session.run(None, feeds)
    return np.asarray(states, dtype=np.float32)
