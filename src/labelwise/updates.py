"""The parts of one training update: precision, loss, what it got right, and the optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.batches import TrainBatch
from labelwise.config import TrainConfig
from labelwise.decode import best_tags, mentions_from_tag_ids
from labelwise.metrics import score_mentions
from labelwise.modeling import DualEncoder, precision_context

_CALIBRATION = ("log_scale", "tag_bias")


def supports_bf16() -> bool:
    """Whether this processor multiplies bf16 natively."""
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool((has and has()) or (amx and amx()))


def precision_for(config: TrainConfig, device: torch.device) -> str:
    """Resolve precision "auto" for a device."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if supports_bf16() else "fp32"


def batch_loss(
    model: DualEncoder,
    batch: TrainBatch,
    precision: str,
    device: torch.device,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Score one batch and compare with its tags.

    Args:
        model: The towers.
        batch: Text and labels of one source.
        precision: ``"fp32"`` or ``"bf16"``.
        device: Where the model is.
        smoothing: Share of every word's tag that all tags divide.

    Returns:
        Mean cross-entropy over the counted words, and logits. Shapes ``()``, ``(words, tags)``.
    """

    def tensor(array: Any) -> Tensor:
        return torch.from_numpy(array).to(device)

    text = batch.batch
    with precision_context(precision, device):
        states = model.word_states(*map(tensor, (text.ids, text.mask, text.rows, text.columns)))
        rows = [model.encode_labels(*map(tensor, group)) for group in batch.label_groups]
    tags = model.compose(torch.cat(rows), tensor(batch.label_order))
    targets = tensor(batch.targets)
    logits = model.training_logits(states, tags, targets)
    loss = nn.functional.cross_entropy(
        logits, targets, ignore_index=-1, reduction="sum", label_smoothing=smoothing
    )
    return loss / max(int((batch.targets >= 0).sum()), 1), logits


def count_mentions(batch: TrainBatch, logits: Tensor, scheme: str) -> Any:
    """Correct, predicted and gold mentions of a batch. Shape ``(3,)``."""
    predicted = best_tags(logits.detach().float().cpu().numpy())
    counted = batch.targets >= 0
    ones = np.ones(len(predicted), dtype=np.float32)
    gold, found = (
        mentions_from_tag_ids(np.where(counted, t, 0), ones, batch.lengths, batch.labels, scheme)
        for t in (batch.targets, predicted)
    )
    scores = score_mentions(gold, found)
    return np.array([scores.n_correct, scores.n_predicted, scores.n_gold], dtype=np.float64)


def make_optimizer(
    model: DualEncoder, config: TrainConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Build AdamW over what is trainable; scale and bias of O learn ten times as fast."""
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    calibration = [p for n, p in trainable if n in _CALIBRATION]
    towers = [p for n, p in trainable if n not in _CALIBRATION]
    groups = [
        {"params": [p for p in towers if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in towers if p.ndim <= 1], "weight_decay": 0.0},
        {"params": calibration, "weight_decay": 0.0, "rate": 10.0},  # few numbers, far to go
    ]
    fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(
        [{"rate": 1.0} | g for g in groups if g["params"]], lr=config.learning_rate, fused=fused
    )
