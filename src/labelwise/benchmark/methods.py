"""Every method of a benchmark: a support set in, mentions of the scored split out.

Methods that leave the encoder as it is share the states of a split: it is encoded once. So do
distance methods that train it alike on a support set, if their cells are run in a row.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.annotation import Mention, Sentence
from labelwise.arrays import FloatArray
from labelwise.baselines.nnshot import Likeness, NNShot
from labelwise.baselines.prototype import ProtoNet
from labelwise.baselines.structshot import AbstractTransitions, StructShot
from labelwise.benchmark.spec import BY_DISTANCE, Distance, Spec, base_method
from labelwise.benchmark.stages import LINEAR, SourceStages
from labelwise.config import TrainConfig
from labelwise.engine import Engine
from labelwise.labels import LabelSet
from labelwise.session import Session
from labelwise.sources import Source

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend


@dataclass(frozen=True)
class Trial:
    """What a method is asked to do.

    Attributes:
        support: The support set; empty for zero-shot.
        label_set: The labels, with the words of the variant.
        variant: One of ``spec.VARIANTS``.
        scored: Sentences to tag; the same object for all trials of a target.
        seed: Of training.
    """

    support: Sequence[Sentence]
    label_set: LabelSet
    variant: str
    scored: Sequence[Sentence]
    seed: int


@dataclass(frozen=True)
class _Encoded:
    """States of a support set and of what is scored, by an encoder that the support set taught."""

    training: tuple[Hashable, int, list[Sentence]]
    scored: Sequence[Sentence]
    known: list[FloatArray]
    states: list[FloatArray]


class Methods:
    """All methods, on top of their source stages.

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
        self.spec, self.sources = spec, sources
        self.stages = SourceStages(spec, sources, folder, device)
        self._states: dict[str, tuple[Sequence[Sentence], list[FloatArray]]] = {}
        self._encoded: _Encoded | None = None
        self._abstract: AbstractTransitions | None = None

    def training(self, method: str) -> Hashable:
        """Return what is equal for two methods that train the same encoder on a support set."""
        base = base_method(method)
        if base not in BY_DISTANCE or self.spec.is_frozen(method, has_support=True):
            return method
        config = self.spec.finetune_config(method, self.spec.seed)
        likeness = _likeness(self.spec.distance_config(method))
        return self.stages.of_method(method), config, likeness, base != "prototype"

    def run(self, method: str, trial: Trial) -> list[list[Mention]]:
        """Fit one method on a support set, or on nothing, and tag what is scored."""
        base, stage = base_method(method), self.stages.of_method(method)
        backend = self.stages.load(stage)
        is_frozen = self.spec.is_frozen(method, has_support=bool(trial.support))
        if base in BY_DISTANCE:
            return self._by_distance(method, backend, trial, is_frozen=is_frozen)
        config = self.spec.finetune_config(method, trial.seed)
        words = [s.words for s in trial.scored]
        if base == "linear_head":
            from labelwise.baselines.linear_head import LinearTagger  # noqa: PLC0415

            return LinearTagger(backend, config).fit(trial.support, trial.label_set).tag(words)
        if base == "double_town":
            backend = self._double_town(backend)
        else:
            backend = _as_variant(backend, trial)
        if is_frozen:
            return self._frozen(stage, backend, trial)
        return _finetuned(backend, trial, config)

    def _frozen(self, stage: str, backend: TorchBackend, trial: Trial) -> list[list[Mention]]:
        """Tag with label vectors alone, or with those of the instant fit."""
        engine, session = Engine(backend), None
        states = self._states_of(stage, engine, trial.scored)
        if trial.support:
            session = Session(engine, trial.label_set)
            session.add(trial.support)
            session.fit()
        table = session.table if session else engine.tag_table(trial.label_set)
        return engine.tag_states(states, table)

    def _by_distance(
        self, method: str, backend: TorchBackend, trial: Trial, *, is_frozen: bool
    ) -> list[list[Mention]]:
        config = self.spec.distance_config(method)
        if is_frozen:
            engine = Engine(backend)
            states = self._states_of(self.stages.of_method(method), engine, trial.scored)
            known = list(engine.states(s.words for s in trial.support))
        else:
            encoded = self._in_episodes(method, backend, trial)
            known, states = encoded.known, encoded.states
        model = self._distance_model(base_method(method), config)
        return model.fit(known, trial.support, trial.label_set).tag(states)

    def _in_episodes(self, method: str, backend: TorchBackend, trial: Trial) -> _Encoded:
        """Train the encoder on a support set, unless the last one that was trained is the same."""
        from labelwise.baselines.episodes import train_in_episodes  # noqa: PLC0415

        training = self.training(method), trial.seed, list(trial.support)
        last = self._encoded
        if last and last.training == training and last.scored is trial.scored:
            return last
        encoder = train_in_episodes(
            backend,
            [Source("target", trial.support, trial.label_set)],
            self.spec.finetune_config(method, trial.seed),
            likeness=_likeness(self.spec.distance_config(method)),
            nearest=base_method(method) != "prototype",
        )
        engine = Engine(encoder)
        known, states = (
            list(engine.states(s.words for s in side)) for side in (trial.support, trial.scored)
        )
        self._encoded = _Encoded(training, trial.scored, known, states)
        return self._encoded

    def _distance_model(self, base: str, config: Distance) -> ProtoNet | NNShot | StructShot:
        likeness = _likeness(config)
        if base == "prototype":
            return ProtoNet(likeness)
        if base == "nnshot":
            return NNShot(likeness)
        if self._abstract is None:
            self._abstract = AbstractTransitions.count(
                s for source in self.sources for s in source.sentences
            )
        return StructShot(self._abstract, tau=config.tau, likeness=likeness)

    def _states_of(
        self, stage: str, engine: Engine, scored: Sequence[Sentence]
    ) -> list[FloatArray]:
        """Encode what is scored, once for all cells of a target in a row."""
        if stage not in self._states or self._states[stage][0] is not scored:
            self._states[stage] = (scored, list(engine.states(s.words for s in scored)))
        return self._states[stage][1]

    def _double_town(self, backend: TorchBackend) -> TorchBackend:
        from labelwise.double_town import DoubleTown  # noqa: PLC0415

        config = self.stages.config(LINEAR).replace(
            architecture="double_town", max_pieces=backend.config.max_pieces
        )
        return backend.with_model(DoubleTown(backend.model.text_tower, config))


def _likeness(config: Distance) -> Likeness:
    return Likeness(unit_vectors=config.unit_vectors, dot_product=config.dot_product)


def _as_variant(backend: TorchBackend, trial: Trial) -> TorchBackend:
    """Change how a model reads labels, where a variant says more than other words."""
    if trial.variant == "no_marks":
        # Alike, the tags of a mention's first and later words can only be read as IO.
        backend.model.config = backend.config.replace(composition="names", scheme="io")
        return backend.with_model(backend.model)
    if trial.variant == "context":
        from labelwise.baselines.context import in_context  # noqa: PLC0415

        return in_context(backend, trial.support, trial.label_set, trial.seed)
    return backend


def _finetuned(backend: TorchBackend, trial: Trial, config: TrainConfig) -> list[list[Mention]]:
    from labelwise.training import finetune  # noqa: PLC0415

    finetune(backend, trial.support, trial.label_set, config)
    engine = Engine(backend)
    return list(engine.tag((s.words for s in trial.scored), engine.tag_table(trial.label_set)))
