"""Every method of a benchmark: a support set in, mentions of the test split out.

The source stage of a family of methods runs once and is kept in the run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from labelwise.annotation import Mention, Sentence
from labelwise.backend import FloatArray
from labelwise.baselines.nnshot import NNShot
from labelwise.baselines.prototype import ProtoNet
from labelwise.baselines.structshot import AbstractTransitions, StructShot
from labelwise.benchmark.spec import Spec
from labelwise.config import ModelConfig
from labelwise.engine import Engine
from labelwise.labels import LabelSet
from labelwise.loading import load_model, new_model, save_model
from labelwise.sources import Source
from labelwise.tagger import Tagger

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend

_FAMILIES = {"towers_shared": "shared", "towers_static": "static", "instant": "towers"}
_ON_LINEAR = ("linear_head", "double_town", "prototype", "nnshot", "structshot")


def family_of(method: str) -> str:
    """Name the source stage that a method starts from; "none" for an untrained encoder."""
    if method in _ON_LINEAR:
        return "linear"
    return "none" if method == "towers_no_source" else _FAMILIES.get(method, method)


class Methods:
    """Source stages and the methods on top of them.

    Args:
        spec: Settings.
        sources: Corpora of the source stage.
        folder: Where trained source stages are kept.
        device: A torch device.
    """

    def __init__(
        self, spec: Spec, sources: Sequence[Source], folder: Path, device: str = "cpu"
    ) -> None:
        """Train nothing yet."""
        self.spec, self.sources, self._folder, self._device = spec, sources, folder, device
        self._states: tuple[object, list[FloatArray]] | None = None
        self._abstract: AbstractTransitions | None = None

    def _config(self, family: str) -> ModelConfig:
        if family == "linear":
            family = "shared"
        is_kind = family in ("shared", "static")
        return self.spec.model.replace(label_encoder=family) if is_kind else self.spec.model

    def prepare(self, family: str) -> None:
        """Run the source stage of a family, unless that was done."""
        path = self._folder / family
        if family == "none" or (path / "manifest.json").exists():
            return
        from labelwise.baselines.linear_head import train_on_sources  # noqa: PLC0415
        from labelwise.training import pretrain  # noqa: PLC0415

        backend = new_model(self.spec.encoder, self._config(family), device=self._device)
        config = self.spec.pretrain.replace(seed=self.spec.seed)
        if family == "linear":
            backend = train_on_sources(backend, self.sources, config)
        else:
            pretrain(backend, self.sources, config)
        self._folder.mkdir(parents=True, exist_ok=True)
        save_model(path, backend)

    def _backend(self, family: str) -> TorchBackend:
        """Load a copy of a source stage that may be trained further."""
        if family == "none":
            return new_model(self.spec.encoder, self._config("towers"), device=self._device)
        self.prepare(family)
        loaded = load_model(self._folder / family, engine="torch", device=self._device)
        return cast("TorchBackend", loaded.backend)

    def run(
        self,
        method: str,
        support: Sequence[Sentence],
        label_set: LabelSet,
        test: Sequence[Sentence],
        seed: int,
    ) -> list[list[Mention]]:
        """Fit one method on a support set, or on nothing, and tag the test split."""
        if method in ("prototype", "nnshot", "structshot"):
            return self._by_distance(method, support, label_set, test)
        words = [s.words for s in test]
        backend = self._backend(family_of(method))
        config = self.spec.finetune_config(method, seed)
        if method == "linear_head":
            from labelwise.baselines.linear_head import LinearTagger  # noqa: PLC0415

            return LinearTagger(backend, config).fit(support, label_set).tag(words)
        if method == "double_town":
            backend = _double_town(backend, self._device)
        tagger = Tagger(backend)
        if method == "instant":
            tagger.fit(support, label_set)
        elif support:
            tagger.finetune(support, label_set, config=config)
        return list(tagger.tag(words, label_set))

    def _by_distance(
        self,
        method: str,
        support: Sequence[Sentence],
        label_set: LabelSet,
        test: Sequence[Sentence],
    ) -> list[list[Mention]]:
        engine = Engine(self._backend("linear"))
        if self._states is None or self._states[0] is not test:
            self._states = (test, list(engine.states(s.words for s in test)))
        if self._abstract is None:
            self._abstract = AbstractTransitions.count(
                s for source in self.sources for s in source.sentences
            )
        models = {
            "prototype": ProtoNet(),
            "nnshot": NNShot(),
            "structshot": StructShot(self._abstract, self.spec.tau),
        }
        states = list(engine.states(s.words for s in support))
        return models[method].fit(states, support, label_set).tag(self._states[1])


def _double_town(backend: TorchBackend, device: str) -> TorchBackend:
    from labelwise.double_town import DoubleTown  # noqa: PLC0415
    from labelwise.torch_backend import TorchBackend  # noqa: PLC0415

    config = backend.config.replace(architecture="double_town", label_encoder="shared")
    return TorchBackend(
        DoubleTown(backend.model.text_tower, config), backend.tokenizer, device=device
    )
