"""What runtime.py measures beside the engine: other libraries, and the processor's own limit."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from labelwise.encoders import find_encoder
from labelwise.precision import usable_cores

Seconds = tuple[float, float]  # wall clock, processor


def timed(run: Callable[[], object]) -> Seconds:
    """Run something once; return its seconds."""
    started, cpu_started = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started, time.process_time() - cpu_started


def pipeline_run(
    encoder: str, n_labels: int, texts: list[str], batch_size: int
) -> Callable[[], object]:
    """Return a run of the token-classification pipeline with a linear output layer."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer, logging, pipeline

    logging.set_verbosity_error()
    folder = find_encoder(encoder)
    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=2 * n_labels + 1)
    run = pipeline(
        "token-classification",
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        aggregation_strategy="simple",
        device="cpu",
    )
    return lambda: run(texts, batch_size=batch_size)


class Library:
    """Another library in a process of its own, as it needs other versions of what it builds on.

    Args:
        name: ``"gliner"`` (0.2.29) or ``"span_marker"`` (1.8.1).
        python: Interpreter of an environment that has it.
        encoder: Name of the encoder.
        texts: Texts by their pieces.
        labels: Names of the labels; a run takes the first of them.
    """

    def __init__(
        self, name: str, python: str, encoder: str, texts: dict[int, list[str]], labels: list[str]
    ) -> None:
        """Start the process."""
        script = Path(__file__).with_name("library_process.py")
        self._process = subprocess.Popen(
            [python, str(script), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        task = {
            "encoder": str(find_encoder(encoder)),
            "texts": texts,
            "labels": labels,
            "batch": 8,
            "threads": usable_cores(),
        }
        self._send(json.dumps(task))

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def seconds(self, kind: str, n_labels: int, pieces: int) -> Seconds:
        """Run ``"joint"``, ``"bi"`` or ``"spans"`` once over the texts of so many pieces."""
        assert self._process.stdout is not None
        self._send(f"{kind} {n_labels} {pieces}")
        answer = json.loads(self._process.stdout.readline())
        return answer["wall"], answer["cpu"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def product_run(kind: str) -> tuple[Callable[[], object], float]:
    """Return a run of matrix products as the encoder has them, and its number of operations.

    Args:
        kind: ``"int8"`` or ``"fp32"``.
    """
    rows, width, hidden, repeats = 2048, 384, 1536, 12
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, size=(width, hidden)).astype(np.int8)
    if kind == "int8":
        given = rng.integers(256, size=(rows, width)).astype(np.uint8)
        node, types = "MatMulInteger", (TensorProto.UINT8, TensorProto.INT32)
    else:
        given, weight = rng.normal(size=(rows, width)).astype("f4"), weight.astype("f4")
        node, types = "MatMul", (TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        [helper.make_node(node, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", types[0], [rows, width])],
        [helper.make_tensor_value_info("y", types[1], [rows, hidden])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def run() -> None:
        for _ in range(repeats):
            session.run(None, {"x": given})

    return run, 2.0 * rows * width * hidden * repeats


def encoder_operations(config: dict[str, Any], n_pieces: int) -> float:
    """Operations that one piece costs in a BERT encoder, in texts of so many pieces."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    layers = config["num_hidden_layers"]
    return layers * (2.0 * (4 * width**2 + 2 * width * inner) + 4 * n_pieces * width)
