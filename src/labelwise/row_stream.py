"""A tower's graph on rows, one a piece, of which the last steps compute only those asked for.

A tower is exported as it is written: its states are ``(texts, pieces, dim)`` throughout, and those
of words are picked at the end. Between two attentions each piece is on its own. There the graph
written here has states as ``(pieces, dim)``, which needs no shapes found as it runs, and after the
last attention it has those of words alone: the states stay the same, and three quarters of a layer
are saved for every piece that begins no word.

Knows no torch: it reads one graph and writes another.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

ROWS, WORDS = "rows", "words"  # first dimension of the states of all pieces, and of words

_PLAIN = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Gelu",
    "Erf",
    "Tanh",
    "Sigmoid",
    "Relu",
    "LayerNormalization",
)


class _Tail(NamedTuple):
    """How an exported graph ends: the states of all pieces, and the place of those of words."""

    states: str
    positions: str
    nodes: tuple[NodeProto, ...]


def stream_rows(data: bytes) -> bytes:
    """Rewrite a graph whose last step picks states by their flat positions.

    Args:
        data: An ONNX file in full precision.

    Returns:
        The ONNX file; the same where the graph ends otherwise, or the shapes in it are not known.
    """
    model = onnx.load_from_string(data)
    stream = _Stream(model.graph)
    if stream.tail is None or stream.tail.states not in stream.rows:
        return data
    stream.rewrite(stream.tail)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Stream:
    """Finds the steps that treat every piece by itself, and rewrites them.

    Attributes:
        tail: The end of the graph, if it is as expected.
        rows: Names of the values that become rows.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {t.name: len(t.dims) for t in graph.initializer}
        self._shapes = {v.name: dims_of(v) for v in graph.value_info}
        self._maker = {output: node for node in graph.node for output in node.output}
        self._users: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._users[name].append(node)
        self.tail = self._find_tail()
        self._outer = self._shapes.get(self.tail.states, ())[:2] if self.tail else ()
        self.rows = self._find_rows() if len(self._outer) == 2 else set()
        self._nodes: list[NodeProto] = []
        self._made: dict[str, onnx.ValueInfoProto] = {}  # rows of values that are none

    def _find_tail(self) -> _Tail | None:
        picked = self._maker.get(self._graph.output[0].name)
        if picked is None or picked.op_type != "GatherND":
            return None
        flat, places = (self._maker.get(name) for name in picked.input)
        if flat is None or places is None:
            return None
        if (flat.op_type, places.op_type) != ("Reshape", "Unsqueeze"):
            return None
        return _Tail(flat.input[0], places.input[0], (flat, places, picked))

    def _is_state(self, name: str) -> bool:
        shape = self._shapes.get(name, ())
        return len(shape) == 3 and shape[:2] == self._outer and isinstance(shape[2], int)

    def _is_row_wise(self, node: NodeProto) -> bool:
        first, *others = node.input
        if not self._is_state(node.output[0]) or not self._is_state(first):
            return False
        if node.op_type == "MatMul":
            return self._constants.get(others[0]) == 2
        if any(a.name == "axis" and a.i not in (-1, 2) for a in node.attribute):
            return False
        alike = (self._is_state(x) or self._constants.get(x, 9) <= 1 or not x for x in others)
        return node.op_type in _PLAIN and all(alike)

    def _find_rows(self) -> set[str]:
        """Values that only steps on rows, or steps that give them another shape, read."""
        steps = [node for node in self._graph.node if self._is_row_wise(node)]
        rows = {node.output[0] for node in steps}
        end = self.tail.nodes if self.tail else ()
        for node in reversed(steps):
            users = self._users[node.output[0]]
            if not all(u.output[0] in rows or u.op_type == "Reshape" or u in end for u in users):
                rows.discard(node.output[0])
        return rows

    def _find_picked(self, tail: _Tail) -> set[str]:
        """Rows that nothing but the end of the graph needs."""
        picked = set[str]()
        for node in reversed(self._graph.node):
            name = node.output[0]
            users = self._users[name]
            if name in self.rows and all(u.output[0] in picked or u in tail.nodes for u in users):
                picked.add(name)
        return picked

    def rewrite(self, tail: _Tail) -> None:
        """Replace the nodes of the graph."""
        picked = self._find_picked(tail)
        for node in self._graph.node:
            name = node.output[0]
            for i, given in enumerate(node.input if name in self.rows else ()):
                if self._is_state(given):
                    node.input[i] = self._as_rows(given)
                    if name in picked and given not in picked:
                        node.input[i] = self._picked(given, node.input[i], tail.positions)
            if node not in tail.nodes:
                self._nodes.append(node)
        self._end(tail, self._graph.output[0].name, tail.states in picked)
        nodes = _used(self._nodes, self._graph.output[0].name)
        infos = [v for v in self._graph.value_info if v.name not in self.rows]
        for name in sorted(self.rows):
            infos.append(_info(name, WORDS if name in picked else ROWS, self._shapes[name][2]))
        infos += self._made.values()
        replace_steps(self._graph, nodes, infos)

    def _as_rows(self, name: str) -> str:
        """Name of a value that is, or is made, rows."""
        if name in self.rows:
            return name
        rows, width = f"{name}.{ROWS}", int(self._shapes[name][2])
        if rows not in self._made:
            self._made[rows] = _info(rows, ROWS, width)
            shape = numpy_helper.from_array(np.array([-1, width]), f"{ROWS}.{width}")
            if shape.name not in self._constants:
                self._constants[shape.name] = 1
                self._graph.initializer.append(shape)
            given = [self._before_merge(name), shape.name]
            self._nodes.append(helper.make_node("Reshape", given, [rows]))
        return rows

    def _before_merge(self, name: str) -> str:
        """Name of the heads that a value was put together from, if it was; else its own."""
        maker = self._maker.get(name)
        if maker is None or maker.op_type != "Reshape":
            return name
        return maker.input[0] if len(self._shapes.get(maker.input[0], ())) == 4 else name

    def _picked(self, name: str, rows: str, positions: str) -> str:
        """Name of those rows of a value that words have."""
        found = f"{name}.{WORDS}"
        if found not in self._made:
            self._made[found] = _info(found, WORDS, self._shapes[name][2])
            self._nodes.append(helper.make_node("Gather", [rows, positions], [found], axis=0))
        return found

    def _end(self, tail: _Tail, output: str, is_picked: bool) -> None:
        """Name the states of words as the graph's output."""
        if not is_picked:
            given = [tail.states, tail.positions]
            self._nodes.append(helper.make_node("Gather", given, [output], axis=0))
            return
        for node in self._nodes:
            if node.output[0] == tail.states:
                node.output[0] = output


def _used(nodes: list[NodeProto], output: str) -> list[NodeProto]:
    """Leave out the nodes that nothing reads."""
    read, kept = {output}, list[NodeProto]()
    for node in reversed(nodes):
        if read.intersection(node.output):
            read.update(node.input)
            kept.append(node)
    return kept[::-1]


def replace_steps(
    graph: onnx.GraphProto, nodes: list[NodeProto], infos: list[onnx.ValueInfoProto]
) -> None:
    """Give a graph other steps and shapes, and drop the constants that none of them reads."""
    read = {name for node in nodes for name in node.input}
    constants = [t for t in graph.initializer if t.name in read]
    del graph.node[:], graph.value_info[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.value_info.extend(infos)
    graph.initializer.extend(constants)


def dims_of(info: onnx.ValueInfoProto) -> tuple[str | int, ...]:
    """Return the shape of a value, with names of dimensions that inputs decide."""
    dims = info.type.tensor_type.shape.dim
    return tuple(d.dim_param or d.dim_value for d in dims)


def _info(name: str, rows: str, width: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width])
