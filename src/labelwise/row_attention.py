"""Attention that reads and writes rows as they lie, for ONNX Runtime.

After ``row_stream`` rows are ordered by text. Ordered by piece, with the texts side by side, three
of four transpositions around each attention can be left to the product behind them: it takes the
batch from the dimensions in the middle (``FusedMatMul``, ``transBatchA`` and ``transBatchB``).

Knows no torch: it reads one graph and writes another.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from labelwise.row_stream import ROWS, dims_of, replace_steps

_CONTRIB = "com.microsoft"
_IDS, _POSITIONS = "input_ids", "positions"
_TEXTS, _PIECES, _PLACES = "n_texts", "n_pieces", "places"
_HEADS_FIRST, _HEADS_FIRST_TURNED = [0, 2, 1, 3], [0, 2, 3, 1]


class _Attention(NamedTuple):
    """The steps of one attention; queries, keys and values stand in this order.

    Attributes:
        views: Make rows ``(texts, pieces, heads, dim)``.
        turned: Put heads first.
        scores: Product of queries and keys.
        scale: Multiplies the scores by a constant.
        context: Product of weights and values.
        back: Puts the pieces of the context first again.
    """

    views: list[NodeProto]
    turned: list[NodeProto]
    scores: NodeProto
    scale: NodeProto
    context: NodeProto
    back: NodeProto


class _OtherStepError(Exception):
    """A step is not as expected."""


def attend_on_rows(data: bytes) -> bytes:
    """Rewrite a graph of ``row_stream``.

    Args:
        data: An ONNX file, in full precision or with int8 products.

    Returns:
        The ONNX file; the same where a step between rows and heads is not as expected.
    """
    model = onnx.load_from_string(data)
    rewriter = _Rewriter(model.graph)
    if not rewriter.understands():
        return data
    rewriter.rewrite()
    if not any(opset.domain == _CONTRIB for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Rewriter:
    """Finds the attentions of a graph, and rewrites them."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {t.name: t for t in graph.initializer}
        self._shapes = {v.name: dims_of(v) for v in graph.value_info}
        self._maker = {output: node for node in graph.node for output in node.output}
        self._users = Counter(name for node in graph.node for name in node.input)
        self._entry: NodeProto | None = None  # the step that makes the first rows
        self._attentions: list[_Attention] = []

    def understands(self) -> bool:
        """Whether every step between rows and another shape is one of an attention."""
        changes = [n for n in self._graph.node if n.op_type == "Reshape"]
        views = [n.output[0] for n in changes if self._is_rows(n.input[0])]
        merges = [n for n in changes if self._is_rows(n.output[0])]
        backs = [self._maker.get(n.input[0]) for n in merges]
        entries = [n for n, b in zip(merges, backs, strict=True) if b is None or not _turns(b)]
        try:
            self._attentions = [self._attention(b) for b in backs if b is not None and _turns(b)]
        except _OtherStepError:
            return False
        known = [view.output[0] for attention in self._attentions for view in attention.views]
        self._entry = entries[0] if len(entries) == 1 else None
        is_batch = self._entry is not None and len(self._shape(self._entry.input[0])) == 3
        return is_batch and bool(known) and sorted(known) == sorted(views)

    def _shape(self, name: str) -> tuple[str | int, ...]:
        return self._shapes.get(name, ())

    def _is_rows(self, name: str) -> bool:
        return self._shape(name)[:1] == (ROWS,)

    def _is_split(self, view: NodeProto) -> bool:
        """Whether it splits the width of rows into heads."""
        *_, heads, dim = 0, 0, *self._shape(view.output[0])
        width = self._shape(view.input[0])[-1:]
        return isinstance(heads, int) and isinstance(dim, int) and (heads * dim,) == width

    def _attention(self, back: NodeProto) -> _Attention:
        context = self._sole_maker(back.input[0], "MatMul")
        softmax = self._sole_maker(context.input[0], "Softmax")
        masked = self._sole_maker(softmax.input[0], "Add")
        scale = self._sole_maker(masked.input[0], "Mul")
        scores = self._sole_maker(scale.input[0], "MatMul")
        turned = [self._sole_maker(n, "Transpose") for n in (*scores.input, context.input[1])]
        views = [self._sole_maker(node.input[0], "Reshape") for node in turned]
        order = [_perm(node) for node in (*turned, back)]
        is_usual = order == [_HEADS_FIRST, _HEADS_FIRST_TURNED, _HEADS_FIRST, _HEADS_FIRST]
        if not is_usual or not all(map(self._is_split, views)) or not self._is_one(scale.input[1]):
            raise _OtherStepError
        return _Attention(views, turned, scores, scale, context, back)

    def _is_one(self, name: str) -> bool:
        """Whether it is a single constant."""
        return name in self._constants and math.prod(self._constants[name].dims) == 1

    def _sole_maker(self, name: str, op: str) -> NodeProto:
        """The step that makes a value which one step reads."""
        node = self._maker.get(name)
        if node is None or node.op_type != op or self._users[name] != 1:
            raise _OtherStepError
        return node

    def rewrite(self) -> None:
        """Replace the nodes of the graph."""
        nodes = self._order()
        new = {old: node for a in self._attentions for old, node in self._steps(a, nodes).items()}
        gone = {a.scale.output[0] for a in self._attentions}
        gone |= {node.output[0] for a in self._attentions for node in a.turned}
        for node in self._graph.node:
            name = node.output[0]
            if node == self._entry:
                turned = f"{node.input[0]}.turned"
                nodes.append(_node("Transpose", [node.input[0]], turned, perm=[1, 0, 2]))
                node.input[0] = turned
            elif node.op_type == "Gather" and node.input[1] == _POSITIONS:
                node.input[1] = _PLACES
            if name not in gone:
                nodes.append(new.get(name, node))
        infos = [v for v in self._graph.value_info if v.name not in gone and v.name not in new]
        replace_steps(self._graph, nodes, infos)

    def _order(self) -> list[NodeProto]:
        """Steps that find the size of a batch, and the place of words in rows ordered by piece."""
        return [
            _node("Shape", [_IDS], _TEXTS, start=0, end=1),
            _node("Shape", [_IDS], _PIECES, start=1, end=2),
            _node("Mod", [_POSITIONS, _PIECES], f"{_PLACES}.piece"),
            _node("Div", [_POSITIONS, _PIECES], f"{_PLACES}.text"),
            _node("Mul", [f"{_PLACES}.piece", _TEXTS], f"{_PLACES}.first"),
            _node("Add", [f"{_PLACES}.first", f"{_PLACES}.text"], _PLACES),
        ]

    def _steps(self, attention: _Attention, nodes: list[NodeProto]) -> dict[str, NodeProto]:
        """New steps by what the old ones make; what they need besides is added to the nodes."""
        query, key, value = (view.output[0] for view in attention.views)
        shapes = [self._heads(view.output[0], nodes) for view in attention.views]
        views = [
            _node("Reshape", [view.input[0], shape], view.output[0])
            for view, shape in zip(attention.views, shapes, strict=True)
        ]
        scale = numpy_helper.to_array(self._constants[attention.scale.input[1]]).item()
        scores, context = attention.scores.output[0], attention.context
        product = partial(_node, "FusedMatMul", domain=_CONTRIB, transBatchB=1)
        return {view.output[0]: view for view in views} | {
            scores: product(
                [query, key], attention.scale.output[0], transBatchA=1, transB=1, alpha=scale
            ),
            context.output[0]: product([context.input[0], value], context.output[0]),
            attention.back.output[0]: _node(
                "Transpose", [context.output[0]], attention.back.output[0], perm=[2, 0, 1, 3]
            ),
        }

    def _heads(self, view: str, nodes: list[NodeProto]) -> str:
        """Name of the shape ``(pieces, texts, heads, dim)``."""
        sizes = [int(n) for n in self._shapes[view][2:]]
        name = "heads.{}.{}".format(*sizes)
        if name not in self._constants:
            constant = numpy_helper.from_array(np.array(sizes, np.int64), name)
            self._constants[name] = constant
            self._graph.initializer.append(constant)
            nodes.append(_node("Concat", [_PIECES, _TEXTS, name], f"{name}.shape", axis=0))
        return f"{name}.shape"


def _node(op: str, inputs: list[str], output: str, **options: Any) -> NodeProto:
    return helper.make_node(op, inputs, [output], **options)


def _turns(node: NodeProto) -> bool:
    return node.op_type == "Transpose" and len(_perm(node)) == 4


def _perm(node: NodeProto) -> list[int]:
    return [i for a in node.attribute if a.name == "perm" for i in a.ints]
