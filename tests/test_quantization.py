"""Int8 products: near the exact ones, whoever shares the batch, however loud a unit is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from labelwise.data import read_dataset, read_label_set
from labelwise.engine import Engine
from labelwise.loading import load_model
from labelwise.metrics import score_mentions
from labelwise.onnx_backend import open_session
from labelwise.quantization import quantize_products
from labelwise.torch_backend import TorchBackend

N_PIECES, WIDTH, HIDDEN = 40, 32, 96
NODES = (
    ("Gather", ["table", "input_ids"], "words"),
    ("LayerNormalization", ["words", "gain", "shift"], "normal"),
    ("MatMul", ["normal", "value"], "mixed"),
    ("MatMul", ["normal", "up"], "wide"),
    ("Add", ["wide", "bias"], "biased"),
    ("Gelu", ["biased"], "hidden"),
    ("MatMul", ["hidden", "down"], "narrow"),
    ("Add", ["narrow", "mixed"], "sum"),
    ("Tanh", ["sum"], "bent"),
    ("MatMul", ["bent", "out"], "states"),
)
N_ALONE = 200
IDS = st.lists(st.integers(0, N_PIECES - 1), min_size=1, max_size=12)


def graph(loudness: float = 1.0, activation: str = "Gelu") -> bytes:
    """A small encoder layer; one hidden unit and one channel may be far above the rest."""
    rng = np.random.default_rng(0)
    shapes = {
        "table": (N_PIECES, WIDTH), "gain": (WIDTH,), "shift": (WIDTH,), "value": (WIDTH, WIDTH),
        "up": (WIDTH, HIDDEN), "bias": (HIDDEN,), "down": (HIDDEN, WIDTH), "out": (WIDTH, WIDTH),
    }  # fmt: skip
    weights = {name: rng.normal(scale=0.3, size=shape) for name, shape in shapes.items()}
    weights["up"][:, 7] *= loudness
    weights["down"][7] *= loudness
    weights["gain"][3] *= np.sqrt(loudness)
    nodes = [
        helper.make_node(activation if kind == "Gelu" else kind, inputs, [output])
        for kind, inputs, output in NODES
    ]
    made = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "seq"])],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", "seq", WIDTH])],
        [numpy_helper.from_array(w.astype("f4"), name) for name, w in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


def run(data: bytes, ids: list[list[int]] | np.ndarray) -> np.ndarray:
    [states] = open_session(data).run(None, {"input_ids": np.array(ids, dtype=np.int64)})
    return np.asarray(states)


def int8(data: bytes) -> bytes:
    ids = np.random.default_rng(1).integers(N_PIECES, size=(4, 16))
    return quantize_products(data, [{"input_ids": row[None]} for row in ids])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


LOUD = int8(graph(30.0))


@pytest.mark.parametrize(("activation", "limit"), [("Gelu", 0.015), ("Relu", 0.04), ("Tanh", 0.04)])
@pytest.mark.parametrize("loudness", [1.0, 6.0, 30.0])
def test_int8_products_are_near_the_exact_ones(
    loudness: float, activation: str, limit: float
) -> None:
    data = graph(loudness, activation)
    ids = np.arange(N_PIECES).reshape(4, -1)
    assert 0 < distance(run(int8(data), ids), run(data, ids)) < limit


@given(st.lists(IDS, min_size=1, max_size=5))
@settings(max_examples=15)
def test_a_row_is_the_same_alone_and_in_any_batch(rows: list[list[int]]) -> None:
    longest = max(map(len, rows))
    together = run(LOUD, [row + [0] * (longest - len(row)) for row in rows])
    for row, states in zip(rows, together, strict=True):
        np.testing.assert_allclose(run(LOUD, [row])[0], states[: len(row)], atol=1e-5)


def test_every_weight_of_a_product_and_the_table_are_bytes() -> None:
    made = onnx.load_from_string(int8(graph())).graph
    assert [n.op_type for n in made.node].count("MatMulIntegerToFloat") == 4
    sizes = {t.name: np.prod(t.dims) for t in made.initializer if t.data_type != TensorProto.INT8}
    assert max(sizes.values()) <= HIDDEN


def test_inputs_that_were_all_alike_make_no_trouble() -> None:
    alike = quantize_products(graph(), [{"input_ids": np.full((2, 3), 5)}])
    np.testing.assert_allclose(run(alike, [[5, 5]]), run(graph(), [[5, 5]]), atol=0.05)
    assert np.isfinite(run(alike, [[1, 2, 3]])).all()


def test_only_what_no_layer_norm_made_has_scales_that_are_found_as_it_runs() -> None:
    made = onnx.load_from_string(int8(graph())).graph
    kinds = [n.op_type for n in made.node]
    assert kinds.count("QuantizeLinear") == 3
    assert [n.input[0] for n in made.node if n.op_type == "ReduceMax"] == [
        "hidden.rows",
        "bent.sizes",
    ]
    [up] = [n for n in made.node if n.op_type == "MatMulIntegerToFloat" and "up.q" in n.input]
    assert list(up.output) == ["biased"], "the bias comes with the product"


def test_only_units_far_above_the_rest_stay_exact() -> None:
    kinds = [
        [n.op_type for n in onnx.load_from_string(d).graph.node] for d in (LOUD, int8(graph()))
    ]
    assert [k.count("MatMul") for k in kinds] == [2, 0]
    assert [k.count("Gelu") for k in kinds] == [2, 1]


def test_the_largest_sums_do_not_overflow_on_any_processor() -> None:
    made = helper.make_graph(
        [
            helper.make_node(
                "MatMulIntegerToFloat",
                ["bytes", "weights", "one", "one", "zero"],
                ["sums"],
                domain="com.microsoft",
            )
        ],
        "product",
        [helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["rows", WIDTH])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["rows", WIDTH])],
        [
            numpy_helper.from_array(np.full((WIDTH, WIDTH), 127, dtype="i1"), "weights"),
            numpy_helper.from_array(np.float32(1), "one"),
            numpy_helper.from_array(np.uint8(128), "zero"),
        ],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    rows = np.full((3, WIDTH), 255, dtype=np.uint8)
    [sums] = open_session(model.SerializeToString()).run(None, {"bytes": rows})
    assert np.asarray(sums).tolist() == [[127.0 * 127 * WIDTH] * WIDTH] * 3


@pytest.mark.slow
def test_the_default_model_finds_the_same_in_int8(shared_data: Path) -> None:
    pytest.importorskip("labelwise_mini_en", reason="The default model is not installed.")
    exact = load_model(engine="torch").backend
    assert isinstance(exact, TorchBackend)
    folder = shared_data / "target" / "wnut17"
    sentences, labels = read_dataset(folder, "dev"), read_label_set(folder)
    assert labels is not None
    rounded = load_model(engine="onnx").backend
    words = [s.words for s in sentences]
    found = [
        list(engine.tag(words, engine.tag_table(labels)))
        for engine in (Engine(exact), Engine(rounded))
    ]
    assert np.mean([a == b for a, b in zip(*found, strict=True)]) >= 0.98
    engine = Engine(rounded)
    table = engine.tag_table(labels)
    alone = [next(engine.tag([w], table)) for w in words[:N_ALONE]]
    assert alone == found[1][:N_ALONE], "no entity depends on what shares its batch"
    gold = [s.mentions for s in sentences]
    before, after = (score_mentions(gold, f, labels.names).micro_f1 for f in found)
    assert abs(after - before) <= 0.005
