"""Source stages of a benchmark: each is trained once and kept in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from labelwise.benchmark.spec import Spec, base_method
from labelwise.config import ModelConfig
from labelwise.loading import load_model, new_model, save_model
from labelwise.sources import Source

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend

_ON_LINEAR = ("linear_head", "double_town", "prototype", "nnshot", "structshot")
UNTRAINED, LINEAR = "untrained", "linear"


class SourceStages:
    """Models that the methods start from.

    Args:
        spec: Settings.
        sources: Corpora.
        folder: Where trained models are kept.
        device: A torch device.
    """

    def __init__(
        self, spec: Spec, sources: Sequence[Source], folder: Path, device: str = "cpu"
    ) -> None:
        """Train nothing yet."""
        self._spec, self._sources, self._folder, self._device = spec, sources, folder, device

    def of_method(self, method: str) -> str:
        """Name the source stage of a method: a kind of label encoder, or one of the constants."""
        base = base_method(method)
        if base in _ON_LINEAR:
            return LINEAR
        if base == "towers_no_source":
            return UNTRAINED
        own = base.removeprefix("towers_")
        return own if own in ("separate", "shared", "static") else self._spec.model.label_encoder

    def config(self, stage: str) -> ModelConfig:
        """Return the settings of the model that a stage trains."""
        if stage == UNTRAINED:
            return self._spec.model
        return self._spec.model.replace(label_encoder="shared" if stage == LINEAR else stage)

    def prepare(self, stage: str) -> None:
        """Train a stage, unless that was done."""
        path = self._folder / stage
        if stage == UNTRAINED or (path / "manifest.json").exists():
            return
        from labelwise.baselines.linear_head import train_on_sources  # noqa: PLC0415
        from labelwise.training import pretrain  # noqa: PLC0415

        backend = new_model(self._spec.encoder, self.config(stage), device=self._device)
        config = self._spec.pretrain.replace(seed=self._spec.seed)
        if stage == LINEAR:
            backend = train_on_sources(backend, self._sources, config)
        else:
            pretrain(backend, self._sources, config)
        self._folder.mkdir(parents=True, exist_ok=True)
        save_model(path, backend)

    def load(self, stage: str) -> TorchBackend:
        """Load a copy of a stage's model that may be trained further."""
        from labelwise.updates import precision_for  # noqa: PLC0415

        if stage == UNTRAINED:
            backend = new_model(self._spec.encoder, self.config(stage), device=self._device)
        else:
            self.prepare(stage)
            loaded = load_model(self._folder / stage, engine="torch", device=self._device)
            backend = cast("TorchBackend", loaded.backend)
        backend.precision = precision_for(self._spec.finetune, backend.device)
        return backend
