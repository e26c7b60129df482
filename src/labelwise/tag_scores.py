"""Scores of many words against many tags: one product, by ONNX Runtime.

Its kernels know more processors than those that numpy comes with: on one with AVX-512 that is not
Intel's they take half the time. With a thousand labels this product is most of what labels cost.
"""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime

from labelwise.arrays import FloatArray

# An ONNX file of one step, scores = states @ vectors.T + bias (``Gemm`` with ``transB``); the test
# of this module makes the same bytes with the onnx package, which the base install does without.
GRAPH = (
    b'\x08\x08:\x93\x01\n4\n\x06states\n\x07vectors\n\x04bias\x12\x06scores"\x04Gemm*\r\n'
    b"\x06transB\x18\x01\xa0\x01\x02\x12\x06scoresZ\x14\n\x06states\x12\n\n\x08\x08\x01\x12\x04\n\x00"
    b"\n\x00Z\x15\n\x07vectors\x12\n\n\x08\x08\x01\x12\x04\n\x00\n\x00Z\x10\n\x04bias\x12\x08\n\x06\x08\x01"
    b"\x12\x02\n\x00b\x14\n\x06scores\x12\n\n\x08\x08\x01\x12\x04\n\x00\n\x00B\x04\n\x00\x10\x11"
)


def tag_scores(states: FloatArray, vectors: FloatArray, bias: FloatArray) -> FloatArray:
    """Multiply states with tag vectors, in the caller's thread, and add the biases.

    Args:
        states: Shape ``(words, dim)``.
        vectors: Shape ``(tags, dim)``.
        bias: Shape ``(tags,)``.

    Returns:
        Shape ``(words, tags)``.

    >>> tag_scores(np.eye(2), np.array([[1, 2], [3, 4], [5, 6]]), np.array([0, 0, 10])).tolist()
    [[1.0, 3.0, 15.0], [2.0, 4.0, 16.0]]
    """
    given = {"states": states, "vectors": vectors, "bias": bias}
    feeds = {name: np.ascontiguousarray(array, np.float32) for name, array in given.items()}
    (scores,) = _session().run(None, feeds)
    return np.asarray(scores)


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])
