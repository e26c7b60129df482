"""Export of the towers to ONNX, in full precision or with int8 weights; needs torch and onnx."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from labelwise.errors import RequestError
from labelwise.torch_backend import TorchBackend

_OUTPUT = "states"


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
        precision: ``"fp32"``, or ``"int8"`` for weights quantised by channel and activations
            quantised on the fly.

    Returns:
        One self-contained ONNX file a tower, by file name (``text.onnx``, ``label.onnx``).

    Raises:
        RequestError: The architecture has no export.
    """
    if backend.config.architecture != "dual_encoder" or backend.config.label_encoder == "static":
        raise RequestError(
            f"A '{backend.config.architecture}' model with a '{backend.config.label_encoder}' "
            "label encoder has no ONNX export. Expected a dual encoder with a separate or shared "
            "label tower. Run it with engine='torch'."
        )
    towers = {"text": backend.model.text_tower, "label": backend.model.label_tower}
    return {
        f"{name}.onnx": _export(tower, precision)
        for name, tower in towers.items()
        if tower is not None
    }


def _export(tower: nn.Module, precision: str) -> bytes:
    was_training = tower.training
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tower.onnx"
        _export_fp32(_StatesAt(tower).eval(), path)
        tower.train(was_training)
        if precision == "int8":
            path = _quantize(path)
        return path.read_bytes()


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


def _quantize(path: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    target = path.with_name("tower.int8.onnx")
    logging.disable(logging.WARNING)  # it advises a preprocessing step that changes nothing here
    try:
        quantize_dynamic(
            str(path),
            str(target),
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    return target
