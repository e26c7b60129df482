"""The towers run by OpenVINO: in bf16 where the processor multiplies that, else in fp32."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino
from openvino import opset15 as operations

from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.config import ModelConfig
from labelwise.encoding import PieceTokenizer
from labelwise.errors import CheckpointError, RequestError
from labelwise.graph_backend import GraphBackend, check_self_contained
from labelwise.precision import Processor, usable_cores
from labelwise.tensors import Tensors

_INPUTS = ("input_ids", "attention_mask", "positions")


class OpenVinoBackend(GraphBackend):
    """Runs towers by OpenVINO; other arguments as for ``GraphBackend``.

    Args:
        graphs: Of each tower, as ``skeleton.without_weights`` made it: ``"text"``, and
            ``"label"`` if it has its own.
        tensors: What the checkpoint holds, by name. Shapes ``(...)``, any.
    """

    def __init__(
        self,
        graphs: Mapping[str, bytes],
        tensors: Tensors,
        tokenizer: PieceTokenizer,
        config: ModelConfig,
        facts: Mapping[str, Any],
        *,
        digest: str,
        threads: int = 0,
    ) -> None:
        """Compile the graphs."""
        n_streams = max(threads, usable_cores())  # callers may have threads of their own
        towers = {t: CompiledGraph(data, tensors, n_streams).run for t, data in graphs.items()}
        super().__init__(towers, tokenizer, config, facts, digest=digest, threads=threads)
        self.batch_pieces = 768
        if not threads:
            self.n_workers *= 2  # beside each batch that runs, one waits: no core waits for Python


class CompiledGraph:
    """One tower, compiled to run some batches at a time.

    Args:
        data: The graph, as ``skeleton.without_weights`` made it.
        tensors: Its weights, by name. Shapes ``(...)``, as the graph wants them.
        n_streams: Batches that run side by side, each on a core; more wait for each other.

    Raises:
        CheckpointError: The graph is none, or names other files or other weights.
    """

    def __init__(self, data: bytes, tensors: Tensors, n_streams: int) -> None:
        """Compile."""
        check_self_contained(data)
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if Processor.here().multiplies_bf16 else "f32",
            "NUM_STREAMS": n_streams,
            "ENABLE_CPU_PINNING": False,  # two processes would sit on the same cores
            "INFERENCE_NUM_THREADS": n_streams,
        }
        try:
            core = openvino.Core()
            model = core.read_model(io.BytesIO(data))
            _put_weights(model, tensors)
            compiled = core.compile_model(model, "CPU", options)
        except (RuntimeError, ValueError) as err:  # what openvino raises
            raise CheckpointError(
                f"OpenVINO cannot read the model's graph: {str(err).splitlines()[0]}. "
                "Export the model again with `labelwise export`."
            ) from err
        self._process = os.getpid()
        self._free: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(2 * n_streams):  # half of them wait for their turn
            self._free.put(compiled.create_infer_request())

    def run(self, ids: IntArray, mask: BoolArray, positions: IntArray) -> FloatArray:
        """States at flat positions of a padded batch. Shape ``(words, dim)``.

        Raises:
            RequestError: The process was forked since.
        """
        if os.getpid() != self._process:
            raise RequestError(
                "This process was forked from the one that loaded the model, and OpenVINO's "
                "threads were not. Expected one that loaded it itself. Load it in each process, "
                "or use engine='onnx'."
            )
        request = self._free.get()
        try:
            values = (ids, mask.astype(np.int64), positions.astype(np.int64))
            request.infer(dict(zip(_INPUTS, values, strict=True)))
            return np.array(request.get_output_tensor(0).data, dtype=np.float32)
        finally:
            self._free.put(request)


def _put_weights(model: openvino.Model, tensors: Tensors) -> None:
    """Make constants of the inputs that are weights.

    Raises:
        ValueError: The graph wants a weight that is not there.
    """
    for parameter in model.get_parameters():
        name = parameter.get_friendly_name()
        if name in _INPUTS:
            continue
        if name not in tensors:
            raise ValueError(f"there is no weight '{name}'")
        constant = operations.constant(tensors[name])
        for use in parameter.output(0).get_target_inputs():
            use.replace_source_output(constant.output(0))
        model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
