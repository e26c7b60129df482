"""A graph without its weights, which stay in the checkpoint beside it: each becomes an input.

So a model folder can offer its towers in full precision at the cost of some hundred kilobytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from labelwise.tensors import Tensors

_FEW = 256  # constants of fewer numbers stay in the graph


def without_weights(data: bytes, tensors: Tensors) -> bytes:
    """Replace the constants of a graph by inputs that are named as in the checkpoint.

    Args:
        data: An ONNX file in full precision.
        tensors: What the checkpoint holds, by name. Shapes ``(...)``, any.

    Returns:
        The ONNX file, with one more input for each tensor that it uses.
    """
    model = onnx.load_from_string(data)
    known = _by_content(tensors)
    kept: list[TensorProto] = []
    moved: list[NodeProto] = []
    for constant in model.graph.initializer:
        name, is_turned = known.get(_content(constant), ("", False))
        if not name:
            kept.append(constant)
            continue
        op = "Transpose" if is_turned else "Identity"
        moved.append(helper.make_node(op, [name], [constant.name]))
    nodes = [*moved, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:], model.graph.value_info[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    model.graph.input.extend(_inputs(dict.fromkeys(n.input[0] for n in moved), tensors))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _inputs(names: Iterable[str], tensors: Tensors) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, tensors[name].shape)
        for name in names
    ]


def _by_content(tensors: Tensors) -> Mapping[tuple[tuple[int, ...], bytes], tuple[str, bool]]:
    """Name of each tensor by shape and bytes, also as it is when turned."""
    known = dict[tuple[tuple[int, ...], bytes], tuple[str, bool]]()
    for name, tensor in tensors.items():
        array = np.asarray(tensor, dtype=np.float32)
        if array.ndim == 2:  # the rows and columns of a product
            known.setdefault((array.T.shape, array.T.tobytes()), (name, True))
        known[array.shape, array.tobytes()] = (name, False)
    return known


def _content(constant: TensorProto) -> tuple[tuple[int, ...], bytes]:
    array = numpy_helper.to_array(constant)
    is_weight = array.dtype == np.float32 and array.size >= _FEW
    return (array.shape, array.tobytes()) if is_weight else ((), b"")
