"""The towers run by ONNX Runtime: prediction and the instant fit without torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import onnxruntime

from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.config import ModelConfig
from labelwise.encoding import PieceTokenizer
from labelwise.errors import CheckpointError
from labelwise.graph_backend import GraphBackend, check_self_contained
from labelwise.precision import Processor

RUNTIME = f"onnxruntime {onnxruntime.__version__}"

_SLOWER = ["SkipLayerNormFusion"]  # its kernel takes ten times as long as the parts it joins
_EXACT_INT8 = "session.x64quantprecision"  # two thirds of the speed where sums are exact anyway


class OnnxBackend(GraphBackend):
    """Runs exported towers by ONNX Runtime; other arguments as for ``GraphBackend``.

    Args:
        graphs: ONNX file of each tower: ``"text"``, and ``"label"`` if it has its own.
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
        sessions = {tower: open_session(data) for tower, data in graphs.items()}
        towers = {tower: partial(_run, session) for tower, session in sessions.items()}
        super().__init__(towers, tokenizer, config, facts, digest=digest, threads=threads)
        for session in sessions.values():
            _check_width(session, self.dim)


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
    check_self_contained(data)
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
