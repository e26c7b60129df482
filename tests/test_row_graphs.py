"""Graphs on rows: the same states as torch, and less work for pieces that begin no word."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from builders import tiny_backend, tiny_vocabulary_size
from labelwise.config import ModelConfig
from labelwise.onnx_backend import open_session
from labelwise.onnx_export import export_towers
from labelwise.row_attention import attend_on_rows
from labelwise.row_stream import ROWS, WORDS, dims_of, stream_rows
from labelwise.torch_backend import TorchBackend

N_LAYERS = 2


@functools.cache
def exported() -> tuple[TorchBackend, dict[str, bytes]]:
    backend = tiny_backend(ModelConfig(max_pieces=64), layers=N_LAYERS)
    return backend, export_towers(backend, "auto")


def text_graph(name: str = "text.fp32.onnx") -> onnx.ModelProto:
    return onnx.load_from_string(exported()[1][name])


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_states_at_any_positions_are_those_of_torch(data: st.DataObject) -> None:
    n_texts, n_pieces = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 9))
    lengths = data.draw(st.lists(st.integers(1, n_pieces), min_size=n_texts, max_size=n_texts))
    mask = np.arange(n_pieces) < np.array(lengths)[:, None]
    real = st.sampled_from(np.flatnonzero(mask).tolist())
    positions = np.array(data.draw(st.lists(real, min_size=1, max_size=12)))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    ids = rng.integers(1, tiny_vocabulary_size(), size=mask.shape)
    backend, graphs = exported()
    with torch.inference_mode():
        found = backend.model.text_tower(torch.tensor(ids), attention_mask=torch.tensor(mask * 1))
    expected = found.last_hidden_state.reshape(-1, backend.dim).numpy()[positions]
    feeds = {"input_ids": ids, "attention_mask": mask * 1, "positions": positions}
    (states,) = open_session(graphs["text.fp32.onnx"]).run(None, feeds)
    np.testing.assert_allclose(np.asarray(states), expected, atol=1e-4)


def test_the_last_layer_computes_words_alone() -> None:
    shapes = {v.name: dims_of(v) for v in text_graph().graph.value_info}
    hidden = [shapes[n.output[0]] for n in text_graph().graph.node if n.op_type == "Gelu"]
    assert hidden == [(ROWS, 64)] * (N_LAYERS - 1) + [(WORDS, 64)]


@pytest.mark.parametrize("name", ["text.onnx", "text.fp32.onnx"])
def test_an_attention_has_one_transposition(name: str) -> None:
    kinds = Counter(node.op_type for node in text_graph(name).graph.node)
    assert kinds["Transpose"] == N_LAYERS + 1  # the rows are ordered by piece once
    assert kinds["FusedMatMul"] == 2 * N_LAYERS
    assert kinds["Softmax"] == N_LAYERS


@pytest.mark.parametrize("name", ["text.onnx", "text.fp32.onnx", "text.graph.onnx"])
def test_a_graph_names_no_file_of_the_machine_that_exported_it(name: str) -> None:
    data = exported()[1][name]
    assert b"site-packages" not in data
    assert b"onnx_export.py" not in data


def test_the_graph_without_weights_has_standard_steps() -> None:
    graph = text_graph("text.graph.onnx").graph
    assert {node.domain for node in graph.node} == {""}


def small_graph(*, reads_whole: bool) -> bytes:
    """A layer norm whose states are picked at the end; a step may read them as a batch too."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("LayerNormalization", ["x", "factors"], ["normal"], axis=-1),
        helper.make_node("Reshape", ["normal", "flat"], ["all"]),
        helper.make_node("Unsqueeze", ["positions", "last"], ["places"]),
        helper.make_node("GatherND", ["all", "places"], ["states"]),
    ]
    if reads_whole:
        nodes.append(helper.make_node("ReduceMean", ["normal"], ["mean"]))
    outputs = [info("states", TensorProto.FLOAT, ["words", 4])]
    outputs += [info("mean", TensorProto.FLOAT, None)] * reads_whole
    values = {"factors": np.ones(4, "f4"), "flat": np.array([-1, 4]), "last": np.array([-1])}
    graph = helper.make_graph(
        nodes,
        "small",
        [
            info("x", TensorProto.FLOAT, ["batch", "seq", 4]),
            info("positions", TensorProto.INT64, ["words"]),
        ],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in values.items()],
        value_info=[
            info("normal", TensorProto.FLOAT, ["batch", "seq", 4]),
            info("x", TensorProto.FLOAT, ["batch", "seq", 4]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model.SerializeToString()


def run_small(data: bytes) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f4")
    found = open_session(data).run(["states"], {"x": x, "positions": np.array([4, 0])})
    return np.asarray(found[0])


def test_states_that_nothing_else_reads_are_picked_before_they_are_made() -> None:
    data = small_graph(reads_whole=False)
    rewritten = stream_rows(data)
    kinds = [node.op_type for node in onnx.load_from_string(rewritten).graph.node]
    assert kinds == ["Reshape", "Gather", "LayerNormalization"]
    np.testing.assert_allclose(run_small(rewritten), run_small(data), atol=1e-6)


def test_states_that_a_step_reads_as_a_batch_stay_as_they_are() -> None:
    data = small_graph(reads_whole=True)
    assert stream_rows(data) == data


def test_a_graph_without_heads_keeps_its_order() -> None:
    rows = stream_rows(small_graph(reads_whole=False))
    assert attend_on_rows(rows) == rows


def attention_graph(
    *,
    softmax: str = "Softmax",
    perm: tuple[int, ...] = (0, 2, 3, 1),
    scale: tuple[float, ...] = (0.5,),
    heads: int = 2,
    extra: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """One attention on rows, as ``stream_rows`` leaves it; queries, keys and values are the rows.

    Args:
        softmax: Step that weighs the values.
        perm: How keys are turned.
        scale: What multiplies the scores.
        heads: What the shape of queries is said to be.
        extra: Step that reads the queries too, if any.
    """
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("Reshape", ["x", "flat"], ["x.rows"]),
        *(node("Mul", ["x.rows", f"w{n}"], [n]) for n in "qkv"),
        node("Shape", ["input_ids"], ["outer"]),
        node("Concat", ["outer", "two"], ["split"], axis=0),
        *(node("Reshape", [n, "split"], [f"{n}.view"]) for n in "qkv"),
        *(node("Transpose", [f"{n}.view"], [f"{n}.heads"], perm=(0, 2, 1, 3)) for n in "qv"),
        node("Transpose", ["k.view"], ["k.heads"], perm=perm),
        node("MatMul", ["q.heads", "k.heads"], ["scores"]),
        node("Mul", ["scores", "scale"], ["scaled"]),
        node("Add", ["scaled", "mask"], ["masked"]),
        node(softmax, ["masked"], ["weights"], axis=-1),
        node("MatMul", ["weights", "v.heads"], ["context"]),
        node("Transpose", ["context"], ["back"], perm=(0, 2, 1, 3)),
        node("Reshape", ["back", "flat"], ["merged"]),
        *(node(op, ["q", "flat"], ["other"]) for op in extra),
        node("Gather", ["merged", "positions"], ["states"], axis=0),
    ]
    rng = np.random.default_rng(0)
    values = {f"w{n}": rng.normal(size=4).astype("f4") for n in "qkv"} | {
        "flat": np.array([-1, 4]),
        "two": np.array([2, 2]),
        "scale": np.array(scale, "f4"),
        "mask": np.zeros(1, "f4"),
    }
    shapes = {n: [ROWS, 4] for n in ("x.rows", "q", "k", "v", "merged")}
    shapes |= {f"{n}.view": ["batch", "seq", heads, 2] for n in "qkv"}
    shapes |= {"x": ["batch", "seq", 4]}
    inputs = [info("x", TensorProto.FLOAT, ["batch", "seq", 4])]
    inputs += [info("input_ids", TensorProto.INT64, ["batch", "seq"])]
    inputs += [info("positions", TensorProto.INT64, ["words"])]
    outputs = [info("states", TensorProto.FLOAT, ["words", 4])]
    outputs += [info("other", TensorProto.FLOAT, None) for _ in extra]
    graph = helper.make_graph(
        nodes,
        "attention",
        inputs,
        outputs,
        [numpy_helper.from_array(array, name) for name, array in values.items()],
        value_info=[info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


def test_an_attention_says_the_same_by_piece() -> None:
    data = attention_graph().SerializeToString()
    rewritten = attend_on_rows(data)
    assert sum(n.op_type == "Transpose" for n in onnx.load_from_string(rewritten).graph.node) == 2
    x = np.random.default_rng(1).normal(size=(3, 5, 4)).astype("f4")
    feeds = {"x": x, "input_ids": np.zeros((3, 5), "i8"), "positions": np.array([14, 0, 6])}
    before, after = (open_session(d).run(["states"], feeds)[0] for d in (data, rewritten))
    np.testing.assert_allclose(np.asarray(after), np.asarray(before), atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"softmax": "LogSoftmax"},
        {"perm": (0, 2, 1, 3)},
        {"scale": (0.5, 1.0)},
        {"heads": 3},
        {"extra": ("Reshape",)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_attention_of_another_form_keeps_its_order(changes: dict[str, Any]) -> None:
    data = attention_graph(**changes).SerializeToString()
    assert attend_on_rows(data) == data
