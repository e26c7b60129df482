"""Export of the towers to ONNX, in full precision or with int8 weights; needs torch and onnx."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from labelwise.arrays import IntArray
from labelwise.data import read_dataset
from labelwise.encoding import batches_by_pieces
from labelwise.errors import RequestError
from labelwise.precision import BARE, EXACT, LABEL_GRAPH, TEXT_GRAPH
from labelwise.quantization import quantize_products
from labelwise.row_attention import attend_on_rows
from labelwise.row_stream import stream_rows
from labelwise.sample_data import SAMPLES
from labelwise.skeleton import without_weights
from labelwise.torch_backend import TorchBackend

_OUTPUT = "states"
_CORPORA = ("support", "incidents", "contracts")
_FEED_PIECES = 1024


class _StatesAt(nn.Module):
    """A tower that returns only the states asked for, so that only those are copied out."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        states = self.tower(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states.reshape(-1, states.shape[-1])[positions]


def export_towers(backend: TorchBackend, precision: str) -> dict[str, bytes]:
    """Export a model's encoders.

    Args:
        backend: The model.
        precision: ``"fp32"``, ``"int8"`` (see ``quantization``), or ``"auto"`` for both.

    Returns:
        One self-contained ONNX file a tower, by file name (``text.onnx``, ``label.onnx``); for
        both, those in full precision beside them as ``text.fp32.onnx`` and ``label.fp32.onnx``;
        and each without its weights, for engines that read these from the checkpoint
        (``text.graph.onnx``, ``label.graph.onnx``).

    Raises:
        RequestError: The architecture has no export.
    """
    if backend.config.architecture != "dual_encoder" or backend.config.label_encoder == "static":
        raise RequestError(
            f"A '{backend.config.architecture}' model with a '{backend.config.label_encoder}' "
            "label encoder has no ONNX export. Expected a dual encoder with a separate or shared "
            "label tower. Run it with engine='torch'."
        )
    towers = {TEXT_GRAPH: backend.model.text_tower, LABEL_GRAPH: backend.model.label_tower}
    graphs = {name: _export(t) for name, t in towers.items() if t is not None}
    tensors = backend.tensors()
    bare = {BARE[name]: without_weights(data, tensors) for name, data in graphs.items()}
    if precision == "fp32":
        return {name: attend_on_rows(data) for name, data in graphs.items()} | bare
    feeds = _sample_feeds(backend)
    rounded = {n: attend_on_rows(quantize_products(g, feeds)) for n, g in graphs.items()}
    kept = graphs if precision == "auto" else {}
    exact = {EXACT[name]: attend_on_rows(data) for name, data in kept.items()}
    return rounded | exact | bare


def _sample_feeds(backend: TorchBackend) -> list[dict[str, IntArray]]:
    """Batches of the sample corpora, as a graph reads them."""
    words = [s.words for name in _CORPORA for s in read_dataset(SAMPLES / name, "train")]
    limit = min(backend.config.max_pieces, backend.max_positions)
    pieces = [p for p in backend.tokenizer.encode_words(words) if len(p.ids) <= limit]
    groups = batches_by_pieces([len(p.ids) for p in pieces], _FEED_PIECES)
    batches = (backend.tokenizer.batch([pieces[i] for i in group]) for group in groups)
    return [
        {
            "input_ids": batch.ids,
            "attention_mask": batch.mask.astype(np.int64),
            "positions": np.flatnonzero(batch.mask),
        }
        for batch in batches
    ]


def _export(tower: Any) -> bytes:
    was_training, attention = tower.training, tower.config._attn_implementation
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tower.onnx"
        tower.set_attn_implementation("eager")  # the others guard against rows without any piece
        _export_fp32(_StatesAt(tower).eval(), path)
        tower.set_attn_implementation(attention)
        tower.train(was_training)
        return stream_rows(_without_traces(path.read_bytes()))


def _without_traces(data: bytes) -> bytes:
    """Drop what the exporter notes of each step: lines of code, with the paths of this machine."""
    model = onnx.load_from_string(data)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
    for part in (model.graph, *model.graph.node):
        part.ClearField("doc_string")
    return model.SerializeToString()


def _export_fp32(module: nn.Module, path: Path) -> None:
    ids = torch.ones((3, 11), dtype=torch.int64)
    example = (ids, torch.ones_like(ids), torch.arange(20))
    batch, seq = torch.export.Dim("batch", min=1), torch.export.Dim("seq", min=2)
    shapes = {
        "input_ids": {0: batch, 1: seq},
        "attention_mask": {0: batch, 1: seq},
        "positions": {0: torch.export.Dim("words", min=1)},
    }
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.cpu(),
            example,
            str(path),
            input_names=list(shapes),
            output_names=[_OUTPUT],
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
