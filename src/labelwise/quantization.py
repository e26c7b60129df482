"""Products with weights in int8, such that no text's result depends on the texts beside it.

ONNX Runtime's dynamic quantisation has one scale a tensor, found in each batch. One loud word then
costs all others their precision. Here each column of weights has its own scale, and the inputs of
the products have either

- one fixed scale, where a layer norm made them: its channels are centred and evened out first, by
  middles and factors that the bias and the weights take back, after which all rows are much alike;
- or a scale a row, found as the graph runs: the context of attention, and hidden layers.

Hidden units that fire far above the rest, as for separators, stay in full precision. The word table
has a scale a row.

Knows no torch: it reads one graph and writes another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from labelwise.fixed_scale import FixedScale, fixed_scale
from labelwise.rounding import LEVELS, Array, rounded, rounded_for

_CONTRIB = "com.microsoft"
_IDS, _MASK = "input_ids", "attention_mask"
_GELU_FLOOR = 0.17004  # below zero, no GELU goes deeper
_GELU_ZERO = 24  # of 255 levels, those that a GELU's small negative values get
_LOUD = 5.0  # times the median peak: a unit that fires so far above the rest stays exact


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
) -> dict[str, Array]:
    """Run a graph and keep some of its values, those of real pieces. Shape ``(rows, channels)``."""
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
        real = np.asarray(feed.get(_MASK, np.ones_like(feed[_IDS]))).reshape(-1) > 0
        values = map(np.asarray, session.run(list(names), dict(feed)))
        for name, value in zip(names, values, strict=True):
            rows = value.reshape(-1, value.shape[-1])
            seen[name].append(rows[real] if len(rows) == len(real) else rows)  # of words: all real
    return {name: np.concatenate(values) for name, values in seen.items()}


class _Rewriter:
    """Rewrites one graph; every node is replaced by none, one or some."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {t.name: t for t in graph.initializer}
        self._maker = {output: node for node in graph.node for output in node.output}
        shapes = {v.name: v.type.tensor_type.shape.dim for v in graph.value_info}
        self._n_rows = {n: dims[0].dim_param for n, dims in shapes.items() if len(dims) == 2}
        self._products = {n.output[0]: n for n in graph.node if self._is_product(n)}
        self.inputs = list(dict.fromkeys(n.input[0] for n in self._products.values()))
        uses = Counter(name for node in graph.node for name in node.input)
        self._biases = {n.input[0]: n for n in graph.node if self._is_bias(n, uses)}
        self._loud: dict[str, Array] = {}  # by name of the hidden layer
        self._silenced: dict[str, str] = {}  # hidden layer by products and biases that lead to it
        self._fixed: dict[str, FixedScale] = {}  # by name of the input
        self._rows: dict[str, Array] = {}  # seen of an input, as its bytes are made of them
        self._made: set[str] = set()  # inputs whose bytes are there, and zeros
        self._nodes: list[NodeProto] = []

    def _is_product(self, node: NodeProto) -> bool:
        weight = self._constants.get(node.input[1]) if node.op_type == "MatMul" else None
        return weight is not None and len(weight.dims) == 2

    def _is_bias(self, node: NodeProto, uses: Mapping[str, int]) -> bool:
        """Whether it adds constants to a product that nothing else reads."""
        return (
            node.op_type == "Add"
            and node.input[0] in self._products
            and node.input[1] in self._constants
            and uses[node.input[0]] == 1
        )

    def look(self, seen: Mapping[str, Array]) -> None:
        """Take what was observed: find the loud units of hidden layers, and the fixed scales."""
        for name in self.inputs:
            rows = seen[name]
            if self._made_by(name) == "LayerNormalization":
                fixed = self._fixed[name] = fixed_scale(rows, self._weights_on(name))
                rows = (rows - fixed.middles) / fixed.factors
            else:
                rows = self._without_loud_units(name, rows)
            self._rows[name] = rows

    def _without_loud_units(self, name: str, rows: Array) -> Array:
        """Find them; returns the rows with zeros in their place. Shape ``(rows, channels)``."""
        peaks = np.abs(rows).max(0)
        is_loud = peaks > _LOUD * np.median(peaks)
        chain = self._chain_to(name) if is_loud.any() else None
        if chain is None:
            return rows
        self._loud[name] = np.flatnonzero(is_loud)
        self._silenced.update(dict.fromkeys(chain, name))
        return np.where(is_loud, 0, rows)

    def _made_by(self, name: str) -> str:
        return self._maker[name].op_type if name in self._maker else ""

    def _weights_on(self, name: str) -> Array:
        """Those of all products with an input. Shape ``(channels, columns)``."""
        products = [n for n in self._products.values() if n.input[0] == name]
        return np.concatenate([self._value(n.input[1]) for n in products], axis=1)

    def _chain_to(self, name: str) -> tuple[str, str] | None:
        """Product and bias before a GELU, if ``name`` is one."""
        if self._made_by(name) != "Gelu":
            return None
        bias = self._maker[self._maker[name].input[0]]
        return (bias.input[0], bias.output[0]) if bias.input[0] in self._biases else None

    def rewrite(self) -> None:
        """Replace the nodes of the graph."""
        for node in self._graph.node:
            if node.output[0] in self._products:
                self._product(node)
            elif node.op_type == "Gather" and node.input[1] == _IDS:
                self._table(node)
            elif self._biases.get(node.input[0] if node.input else "") is node:
                self._bias(node)
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
        values, scale = rounded(self._value(table), axis=1)
        rows = self._node("Gather", [self._constant(f"{table}.q", values, "int8"), ids], f"{out}.q")
        scales = self._node("Gather", [self._constant(f"{table}.s", scale), ids], f"{out}.s")
        rows = self._node("Cast", [rows], f"{out}.f", to=TensorProto.FLOAT)
        self._node("Mul", [rows, scales], out)

    def _product(self, node: NodeProto) -> None:
        """Replace a product; one with a fixed scale comes with its bias, if it has one."""
        x, out = node.input[0], node.output[0]
        if x not in self._made:
            self._made.add(x)
            (self._quantize_fixed if x in self._fixed else self._quantize_rows)(x)
        if x not in self._fixed:
            self._product_by_rows(node)
        elif out not in self._biases:
            self._fixed_product(node, np.zeros(1), out)

    def _bias(self, node: NodeProto) -> None:
        """Replace the bias of a product."""
        (before, name), out = node.input, node.output[0]
        product, values, hidden = self._products[before], self._value(name), self._silenced.get(out)
        if hidden is not None:
            units, values = self._loud[hidden], values.copy()
            self._loud_units(hidden, product, self._constant(f"{name}.loud", values[units]))
            values[units] = 0
        if product.input[0] in self._fixed:
            self._fixed_product(product, values, out)
        elif hidden is None:
            self._nodes.append(node)
        else:
            self._node("Add", [before, self._constant(f"{name}.quiet", values)], out)

    def _fixed_product(self, node: NodeProto, bias: Array, output: str) -> None:
        x, name = node.input
        fixed, weight = self._fixed[x], self._quiet_weight(node)
        whole = self._constant(f"{name}.bias", bias + fixed.middles @ weight)
        weight *= fixed.factors[:, None]
        self._bytes_product(node, weight, [f"{x}.q", f"{x}.s", self._zero(x)], output, whole)

    def _product_by_rows(self, node: NodeProto) -> None:
        (x, name), out = node.input, node.output[0]
        loud, one = self._loud.get(x), self._constant("quantized.one", 1.0)
        weight = self._quiet_weight(node)
        whole = self._bytes_product(node, weight, [f"{x}.q", one, self._zero(x)], f"{out}.p")
        quiet = out if loud is None else f"{out}.quiet"
        if x in self._n_rows:
            whole = self._node("Mul", [whole, f"{x}.s"], quiet)
        else:
            whole = self._node("Mul", [whole, f"{x}.s"], f"{out}.rows")
            whole = self._node("Reshape", [whole, f"{x}.shape"], quiet)
        if loud is not None:
            rest = self._constant(f"{name}.loud", self._value(name)[loud])
            exact = self._node("MatMul", [f"{x}.loud", rest], f"{out}.exact")
            self._node("Add", [whole, exact], out)

    def _quiet_weight(self, node: NodeProto) -> Array:
        """Weights of a product without those of loud units. Shape ``(channels, columns)``."""
        weight = self._value(node.input[1]).astype(np.float64)
        if node.output[0] in self._silenced:
            weight[:, self._loud[self._silenced[node.output[0]]]] = 0
        if node.input[0] in self._loud:
            weight[self._loud[node.input[0]]] = 0
        return weight

    def _bytes_product(
        self, node: NodeProto, weight: Array, inputs: Sequence[str], output: str, bias: str = ""
    ) -> str:
        """Product of bytes, their scale and their zero with weights that are rounded here."""
        (data, scale, zero), name = inputs, node.input[1]
        levels, scales = rounded_for(weight, self._rows[node.input[0]])
        levels = self._constant(f"{name}.q", levels, "int8")
        scales = self._constant(f"{name}.s", scales[0])
        given = [data, levels, scale, scales, zero, "", bias]
        return self._node("MatMulIntegerToFloat", given, output, domain=_CONTRIB)

    def _loud_units(self, hidden: str, product: NodeProto, bias: str) -> None:
        """Compute the loud units of a hidden layer in full precision."""
        columns = self._value(product.input[1])[:, self._loud[hidden]]
        weight = self._constant(f"{product.input[1]}.loud", columns)
        exact = self._node("MatMul", [product.input[0], weight], f"{hidden}.loud.p")
        exact = self._node("Add", [exact, bias], f"{hidden}.loud.b")
        self._node("Gelu", [exact], f"{hidden}.loud")
        self._nodes[-1].attribute.extend(self._maker[hidden].attribute)

    def _zero(self, x: str) -> str:
        zero = _GELU_ZERO if self._made_by(x) == "Gelu" else LEVELS + 1
        return self._constant(f"quantized.{zero}", zero, "uint8")

    def _quantize_fixed(self, x: str) -> None:
        """Make ``x.q``, unsigned bytes around a fixed zero, and ``x.s``, their scale."""
        fixed = self._fixed[x]
        middles = self._constant(f"{x}.middles", fixed.middles)
        value = self._node("Sub", [x, middles], f"{x}.centred")
        even = self._constant(f"{x}.even", 1 / fixed.factors)
        value = self._node("Mul", [value, even], f"{x}.evened")
        scale = self._constant(f"{x}.s", fixed.scale)
        self._node("QuantizeLinear", [value, scale, self._zero(x)], f"{x}.q")

    def _quantize_rows(self, x: str) -> None:
        """Make ``x.q``, bytes as ``(rows, channels)``, and ``x.s``, their scales."""
        is_gelu = self._made_by(x) == "Gelu"
        top = 255 - _GELU_ZERO if is_gelu else LEVELS
        least = _GELU_FLOOR * top / _GELU_ZERO if is_gelu else 1e-6
        rest = self._constant("quantized.rest", [-1], "int64")
        rows = x if x in self._n_rows else self._flat(x, rest)
        sizes = rows if is_gelu else self._node("Abs", [rows], f"{x}.sizes")
        peak = self._node("ReduceMax", [sizes, rest], f"{x}.peak", keepdims=0)
        peak = self._node("Max", [peak, self._constant(f"quantized.least.{top}", least)], f"{x}.m")
        step = self._node(
            "Div", [peak, self._constant(f"quantized.levels.{top}", top)], f"{x}.step"
        )
        self._node("QuantizeLinear", [rows, step, self._zeros(x)], f"{x}.q", axis=0)
        self._node("Unsqueeze", [step, rest], f"{x}.s")

    def _flat(self, x: str, rest: str) -> str:
        """Make ``x.rows``, a row a piece, and ``x.shape``, which turns rows back."""
        columns = self._node("Shape", [x], f"{x}.columns", start=-1)
        flat = self._node("Concat", [rest, columns], f"{x}.flat", axis=0)
        outer = self._node("Shape", [x], f"{x}.outer", end=-1)
        self._node("Concat", [outer, rest], f"{x}.shape", axis=0)
        return self._node("Reshape", [x, flat], f"{x}.rows")

    def _zeros(self, x: str) -> str:
        """The zero of an input's bytes, once a row; values of as many rows share it."""
        zero = self._zero(x)
        name = f"{zero}.{self._n_rows.get(x) or x}"
        if name not in self._made:
            self._made.add(name)
            count = self._node("Shape", [f"{x}.step"], f"{name}.count")
            self._node("Expand", [zero, count], name)
        return name
