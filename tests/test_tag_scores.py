"""The product of states and tag vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.tag_scores import GRAPH, tag_scores


@given(st.integers(0, 40), st.integers(1, 20), st.integers(1, 20), st.integers(0, 999))
def test_scores_are_the_product_and_the_bias(n: int, tags: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    states, vectors, bias = (rng.normal(size=s) for s in ((n, dim), (tags, dim), (tags,)))
    scores = tag_scores(states, vectors, bias)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, states @ vectors.T + bias, atol=1e-4)


def test_the_graph_is_the_one_that_is_described() -> None:
    helper = pytest.importorskip("onnx", reason="comes with labelwise[train]").helper
    shapes = {"states": 2, "vectors": 2, "bias": 1, "scores": 2}
    infos = {n: helper.make_tensor_value_info(n, 1, [None] * rank) for n, rank in shapes.items()}
    step = helper.make_node("Gemm", ["states", "vectors", "bias"], ["scores"], transB=1)
    *inputs, output = infos.values()
    graph = helper.make_graph([step], "scores", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    assert model.SerializeToString() == GRAPH
