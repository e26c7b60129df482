"""Products with weights in int8, every row of the activations by a scale of its own.

ONNX Runtime's dynamic quantisation has one scale a tensor. One loud word then costs all others
their precision, and a text's result depends on the texts beside it. Here each row and each column
has its own scale, and three things keep the rounding small:

- The channels of a normalised input are evened out first, by factors that the weights take back.
- Hidden units that fire far above the rest, as for separators, stay in full precision.
- The word table has a scale a row.

Knows no torch: it reads one graph and writes another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]

_CONTRIB = "com.microsoft"
_LEVELS = 127  # of an int8, either side of zero
_GELU_FLOOR = 0.17004  # below zero, no GELU goes deeper
_GELU_ZERO = 24  # of 255 levels, those that a GELU's small negative values get
_LOUD = 5.0  # times the median peak: a unit that fires so far above the rest stays exact
_EVENING = (0.5, 0.6, 0.7, 0.8, 0.9)  # how much of a channel's size the weights take over
_SEEN_ROWS = 512


@dataclass(frozen=True)
class _Seen:
    """What an input of products looked like.

    Attributes:
        peaks: Largest size of every channel. Shape ``(channels,)``.
        rows: Some of its rows. Shape ``(rows, channels)``.
    """

    peaks: Array
    rows: Array


def quantize_products(data: bytes, feeds: Iterable[Mapping[str, Array]]) -> bytes:
    """Put the products with constant weights, and the word table, into int8.

    Args:
        data: An ONNX file with one output, in full precision.
        feeds: Inputs such as the graph will meet, to see how large its values get. Other inputs
            lose no more than some precision. Shapes ``(...)``, as the graph wants them.

    Returns:
        The ONNX file.
    """
    model = onnx.load_from_string(data)
    rewriter = _Rewriter(model.graph)
    rewriter.look(_observe(model, rewriter.inputs, feeds))
    rewriter.rewrite()
    model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _observe(
    model: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Mapping[str, Array]]
) -> dict[str, _Seen]:
    """Run a graph and look at some of its values."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names
    )
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    seen: dict[str, list[Array]] = {name: [] for name in names}
    for feed in feeds:
        values = map(np.asarray, session.run(list(names), dict(feed)))
        for name, value in zip(names, values, strict=True):
            seen[name].append(value.reshape(-1, value.shape[-1]))
    return {name: _summary(np.concatenate(values)) for name, values in seen.items()}


def _summary(rows: Array) -> _Seen:
    some = np.linspace(0, len(rows) - 1, min(_SEEN_ROWS, len(rows))).astype(int)
    return _Seen(np.abs(rows).max(0), rows[some])


class _Rewriter:
    """Rewrites one graph; every node is replaced by none, one or some."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {t.name: t for t in graph.initializer}
        self._maker = {output: node for node in graph.node for output in node.output}
        self._products = {n.output[0]: n for n in graph.node if self._is_product(n)}
        self.inputs = list(dict.fromkeys(n.input[0] for n in self._products.values()))
        self._seen: dict[str, _Seen] = {}
        self._loud: dict[str, Array] = {}  # by name of the hidden layer
        self._silenced: dict[str, str] = {}  # hidden layer by products and biases that lead to it
        self._factors: dict[str, Array] = {}
        self._nodes: list[NodeProto] = []

    def _is_product(self, node: NodeProto) -> bool:
        weight = self._constants.get(node.input[1]) if node.op_type == "MatMul" else None
        return weight is not None and len(weight.dims) == 2

    def look(self, seen: dict[str, _Seen]) -> None:
        """Take what was observed, and find the loud units of hidden layers."""
        self._seen = seen
        for name in self.inputs:
            peaks = seen[name].peaks
            units = np.flatnonzero(peaks > _LOUD * np.median(peaks))
            chain = self._chain_to(name) if len(units) else None
            if chain is not None:
                self._loud[name] = units
                self._silenced.update(dict.fromkeys(chain, name))

    def _chain_to(self, name: str) -> tuple[str, str] | None:
        """Product and bias before a GELU, if ``name`` is one."""
        if not self._is_gelu(name):
            return None
        bias = self._maker[self._maker[name].input[0]]
        if bias.op_type != "Add" or bias.input[1] not in self._constants:
            return None
        return (bias.input[0], bias.output[0]) if bias.input[0] in self._products else None

    def _is_gelu(self, name: str) -> bool:
        return name in self._maker and self._maker[name].op_type == "Gelu"

    def rewrite(self) -> None:
        """Replace the nodes of the graph."""
        for node in self._graph.node:
            if node.output[0] in self._products:
                self._product(node)
            elif node.op_type == "Gather" and node.input[1] == "input_ids":
                self._table(node)
            elif node.output[0] in self._silenced:
                self._bias_and_loud_units(node)
            else:
                self._nodes.append(node)
        used = {name for node in self._nodes for name in node.input}
        kept = [t for t in self._constants.values() if t.name in used]
        del self._graph.node[:], self._graph.initializer[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(kept)

    def _value(self, name: str) -> Array:
        return numpy_helper.to_array(self._constants[name])

    def _constant(self, name: str, value: Any, dtype: str = "float32") -> str:
        if name not in self._constants:
            array = np.ascontiguousarray(value, dtype=dtype)
            self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def _node(self, op: str, inputs: Sequence[str], output: str, **options: Any) -> str:
        self._nodes.append(helper.make_node(op, inputs, [output], **options))
        return output

    def _table(self, node: NodeProto) -> None:
        """Look words up in an int8 table with a scale a row."""
        (table, ids), out = node.input, node.output[0]
        values, scale = _rounded(self._value(table), axis=1)
        rows = self._node("Gather", [self._constant(f"{table}.q", values, "int8"), ids], f"{out}.q")
        scales = self._node("Gather", [self._constant(f"{table}.s", scale), ids], f"{out}.s")
        rows = self._node("Cast", [rows], f"{out}.f", to=TensorProto.FLOAT)
        self._node("Mul", [rows, scales], out)

    def _product(self, node: NodeProto) -> None:
        (x, name), out = node.input, node.output[0]
        if x not in self._factors:
            self._factors[x] = self._evening(x)
            self._quantize_rows(x)
        weight = self._value(name).astype(np.float64)
        if out in self._silenced:
            weight[:, self._loud[self._silenced[out]]] = 0
        loud = self._loud.get(x)
        if loud is not None:
            weight[loud] = 0
        values, scale = _rounded(weight * self._factors[x][:, None], axis=0)
        whole = self._node(
            "MatMulIntegerToFloat",
            [
                f"{x}.q",
                self._constant(f"{name}.q", values, "int8"),
                self._constant("quantized.one", 1.0),
                self._constant(f"{name}.s", scale[0]),
                self._zero(x),
            ],
            f"{out}.p",
            domain=_CONTRIB,
        )
        if loud is None:
            self._node("Mul", [whole, f"{x}.s"], out)
            return
        scaled = self._node("Mul", [whole, f"{x}.s"], f"{out}.scaled")
        rest = self._constant(f"{name}.loud", self._value(name)[loud])
        exact = self._node("MatMul", [f"{x}.loud", rest], f"{out}.loud")
        self._node("Add", [scaled, exact], out)

    def _bias_and_loud_units(self, node: NodeProto) -> None:
        """Add the bias of a hidden layer, and compute its loud units beside it."""
        hidden = self._silenced[node.output[0]]
        units, (before, bias) = self._loud[hidden], node.input
        product, values = self._products[before], self._value(bias).copy()
        own = self._constant(f"{bias}.loud", values[units])
        values[units] = 0
        self._node("Add", [before, self._constant(f"{bias}.quiet", values)], node.output[0])
        columns = self._value(product.input[1])[:, units]
        weight = self._constant(f"{product.input[1]}.loud", columns)
        exact = self._node("MatMul", [product.input[0], weight], f"{hidden}.loud.p")
        exact = self._node("Add", [exact, own], f"{hidden}.loud.b")
        gelu = self._maker[hidden]
        self._nodes.append(helper.make_node("Gelu", [exact], [f"{hidden}.loud"]))
        self._nodes[-1].attribute.extend(gelu.attribute)

    def _zero(self, x: str) -> str:
        zero = _GELU_ZERO if self._is_gelu(x) else _LEVELS + 1
        return self._constant(f"quantized.{zero}", zero, "uint8")

    def _quantize_rows(self, x: str) -> None:
        """Make ``x.q``, unsigned bytes around a fixed zero, and ``x.s``, a scale a row."""
        value = x
        if self._is_gelu(x):
            top, least = 255 - _GELU_ZERO, _GELU_FLOOR * (255 - _GELU_ZERO) / _GELU_ZERO
        else:
            top, least = _LEVELS, 1e-6
            factors = self._factors[x]
            if (factors != 1).any():
                even = self._constant(f"{x}.even", 1 / factors)
                value = self._node("Mul", [x, even], f"{x}.evened")
        sizes = value if self._is_gelu(x) else self._node("Abs", [value], f"{x}.sizes")
        axes = self._constant("quantized.axes", [-1], "int64")
        peak = self._node("ReduceMax", [sizes, axes], f"{x}.peak", keepdims=1)
        peak = self._node("Max", [peak, self._constant(f"quantized.least.{top}", least)], f"{x}.m")
        levels = self._constant(f"quantized.levels.{top}", top)
        step = self._node("Div", [levels, peak], f"{x}.step")
        self._node("Div", [peak, levels], f"{x}.s")
        scaled = self._node("Mul", [value, step], f"{x}.levels")
        one = self._constant("quantized.one", 1.0)
        self._node("QuantizeLinear", [scaled, one, self._zero(x)], f"{x}.q")

    def _evening(self, x: str) -> Array:
        """Factor of every channel that the weights take over. Shape ``(channels,)``."""
        seen = self._seen[x]
        plain = np.ones(len(seen.peaks))
        if x not in self._maker or self._maker[x].op_type != "LayerNormalization":
            return plain
        weights = np.concatenate(
            [self._value(n.input[1]) for n in self._products.values() if n.input[0] == x], axis=1
        )
        peaks, tops = (np.maximum(a, 1e-4) for a in (seen.peaks, np.abs(weights).max(1)))
        candidates = [plain, *(peaks**share / tops ** (1 - share) for share in _EVENING)]
        return min(candidates, key=lambda f: _rounding_error(seen.rows, weights, f))


def _rounded(values: Array, axis: int) -> tuple[Array, Array]:
    """Round to whole steps of one scale a slice; returns steps and scales."""
    scale = np.abs(values).max(axis, keepdims=True) / _LEVELS
    scale[scale == 0] = 1
    return np.round(values / scale), scale


def _rounding_error(rows: Array, weights: Array, factors: Array) -> float:
    """Squared error of a product whose two sides are rounded after evening."""
    steps, scale = _rounded(rows / factors, axis=1)
    levels, scales = _rounded(weights * factors[:, None], axis=0)
    return float(np.square((steps * scale) @ (levels * scales) - rows @ weights).sum())
