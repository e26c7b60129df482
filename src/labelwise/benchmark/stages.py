"""Source stages of a benchmark: each is trained once and kept in the run's folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from labelwise.baselines.nnshot import Likeness
from labelwise.benchmark.spec import BY_DISTANCE, Spec, base_method
from labelwise.config import ModelConfig, TrainConfig
from labelwise.files import atomic_write_text
from labelwise.loading import load_model, new_model, save_model
from labelwise.sources import Source

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend
    from labelwise.training import Progress

    OnStage = Callable[[str, Progress], None]

_ON_LINEAR = ("linear_head", "double_town", *BY_DISTANCE)
UNTRAINED, LINEAR, EPISODES = "untrained", "linear", "episodes"


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
        """Name the source stage of a method: its kind, and whose settings it has, if not all's.

        The kind is that of a label encoder, or one of the constants.
        """
        kind = self._kind_of_method(method)
        key = self._spec.pretrain_key(method) if kind != UNTRAINED else ""
        return f"{kind}.{key}" if key else kind

    def _kind_of_method(self, method: str) -> str:
        base = base_method(method)
        if base in BY_DISTANCE and self._spec.distance_config(method).episodes:
            return EPISODES
        if base in _ON_LINEAR:
            return LINEAR
        if base == "towers_no_source":
            return UNTRAINED
        own = base.removeprefix("towers_")
        return own if own in ("separate", "shared", "static") else self._spec.model.label_encoder

    def config(self, stage: str) -> ModelConfig:
        """Return the settings of the model that a stage trains."""
        kind = _kind(stage)
        if kind == UNTRAINED:
            return self._spec.model
        reads_labels = kind not in (LINEAR, EPISODES)
        return self._spec.model.replace(label_encoder=kind if reads_labels else "shared")

    def training(self, stage: str) -> TrainConfig:
        """Return the settings of its training."""
        _, _, key = stage.partition(".")
        config = self._spec.pretrain_of.get(key, self._spec.pretrain)
        return config.replace(seed=self._spec.seed)

    def is_ready(self, stage: str) -> bool:
        """Whether there is nothing to train, or no more."""
        return _kind(stage) == UNTRAINED or (self._folder / stage / "manifest.json").exists()

    def seconds(self, stage: str) -> float:
        """Return what its training took; 0 where that is not known."""
        try:
            return float(json.loads(self._times(stage).read_text(encoding="utf-8"))["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0

    def _times(self, stage: str) -> Path:
        return self._folder / f"{stage}.json"

    def prepare(self, stage: str, on_stage: OnStage | None = None) -> None:
        """Train a stage, unless that was done; one that was killed goes on from its last step.

        Args:
            stage: Its name.
            on_stage: Called with the name and the progress after every update.
        """
        if self.is_ready(stage):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        steps, seconds = self._folder / f"{stage}.steps", 0.0

        def watch(progress: Progress) -> None:
            nonlocal seconds
            seconds = progress.elapsed_s  # with what was spent before a kill
            if on_stage:
                on_stage(stage, progress)

        backend = self._train(stage, output_dir=steps, resume=True, on_progress=watch)
        if seconds:  # else it ended before, and was killed as it was saved
            atomic_write_text(self._times(stage), json.dumps({"seconds": round(seconds, 2)}))
        save_model(self._folder / stage, backend)
        shutil.rmtree(steps)

    def _train(self, stage: str, **options: Any) -> TorchBackend:
        from labelwise.baselines.episodes import train_in_episodes  # noqa: PLC0415
        from labelwise.baselines.linear_head import train_on_sources  # noqa: PLC0415
        from labelwise.training import pretrain  # noqa: PLC0415

        backend = new_model(self._spec.encoder, self.config(stage), device=self._device)
        config, kind, sources = self.training(stage), _kind(stage), self._sources
        if kind == LINEAR:
            return train_on_sources(backend, sources, config, **options)
        if kind == EPISODES:
            raw = Likeness(unit_vectors=False)
            return train_in_episodes(
                backend, sources, config, likeness=raw, nearest=False, **options
            )
        pretrain(backend, sources, config, **options)
        return backend

    def load(self, stage: str) -> TorchBackend:
        """Load a copy of a stage's model that may be trained further."""
        from labelwise.updates import precision_for  # noqa: PLC0415

        if _kind(stage) == UNTRAINED:
            backend = new_model(self._spec.encoder, self.config(stage), device=self._device)
        else:
            self.prepare(stage)
            loaded = load_model(self._folder / stage, engine="torch", device=self._device)
            backend = cast("TorchBackend", loaded.backend)
        backend.precision = precision_for(self._spec.finetune, backend.device)
        return backend


def _kind(stage: str) -> str:
    return stage.partition(".")[0]
