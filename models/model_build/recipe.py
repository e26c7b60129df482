"""A recipe: everything that decides what a model becomes, read from one TOML file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from labelwise.config import RECOMMENDED_MODEL, ModelConfig, TrainConfig
from labelwise.documents import read_document
from labelwise.errors import ConfigError, did_you_mean, some_of

SECTIONS = ("encoder", "model", "stages", "sources", "export")
DECODING = ("decode", "boundary_cost", "switch_cost")  # what no weight depends on
OF_STAGE: dict[str, Any] = {"sources": {}, "leave_out": [], "start": None, "blend": None}
EXPORT_CHOICES = {"precision": ("int8", "fp32"), "dtype": ("float16", "float32")}


@dataclass(frozen=True)
class Blend:
    """Weights of an earlier stage that go into those of a stage.

    Attributes:
        stage: Number of the earlier stage, from 1.
        share: Of its weights in the mixture; the rest is as the stage was trained.
    """

    stage: int
    share: float


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes:
        train: Its settings.
        weights: Sources that it weighs otherwise than the recipe does.
        leave_out: Sources that it does not use.
        start: Number of the stage it goes on from; 0 for the bare encoder.
        blend: What of an earlier stage goes into its weights, if anything does.
    """

    train: TrainConfig
    weights: Mapping[str, float]
    leave_out: tuple[str, ...]
    start: int
    blend: Blend | None


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    Attributes:
        path: The file; its folder is the model's distribution.
        encoder: What the towers start from: a folder or a hub name.
        model: How words and labels become scores.
        stages: Training runs; the last is the result.
        sources: Weight of each source; 0 means by size and number of labels. A name is a folder
            beside the recipe, or else one below the data folder.
        precision: Of the ONNX export.
        dtype: Of the weights on disk.
    """

    path: Path
    encoder: str
    model: ModelConfig
    stages: tuple[Stage, ...]
    sources: Mapping[str, float]
    precision: str
    dtype: str

    @property
    def project(self) -> Path:
        """Folder of the model's distribution."""
        return self.path.parent

    @property
    def name(self) -> str:
        """Name of the distribution."""
        return self.project.name

    @property
    def package_model(self) -> Path:
        """Folder of the weights inside the package."""
        return self.project / self.name.replace("-", "_") / "model"

    @property
    def decoding(self) -> dict[str, Any]:
        """Settings of the model that may change after training."""
        return {name: getattr(self.model, name) for name in DECODING}

    def digest(self, number: int) -> str:
        """Hash of all that the weights of a stage depend on, the data's content aside."""
        model = {k: v for k, v in self.model.to_dict().items() if k not in DECODING}
        values = [self.encoder, model, dict(self.sources), self._history(number)]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def _history(self, number: int) -> list[Any]:
        """What a stage was made of, and the stages it was made from; none for the bare encoder."""
        if number == 0:
            return []
        stage = self.stages[number - 1]
        train = stage.train.replace(checkpoint_every_s=0.0).to_dict()
        blend = stage.blend and [self._history(stage.blend.stage), stage.blend.share]
        before = self._history(stage.start)
        return [train, dict(stage.weights), stage.leave_out, before, blend]


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe; settings that it leaves out are those of `labelwise pretrain`.

    Raises:
        ConfigError: A section or setting is unknown, or has a wrong value.
        DataError: The file is no TOML.
    """
    path = Path(path).resolve()
    values = read_document(path)
    _check_keys(values, SECTIONS, f"'{path.name}'")
    export = values.get("export", {})
    _check_keys(export, EXPORT_CHOICES, "[export]")
    stages = values.get("stages", [])
    if not isinstance(stages, list) or not stages:
        raise ConfigError(f"'{path.name}' has no [[stages]]. Expected one or more. Add one.")
    own = values.get("model", {})
    _check_keys(own, ModelConfig().to_dict(), "[model]")
    model = ModelConfig.from_dict(RECOMMENDED_MODEL.to_dict() | own)
    runs = [TrainConfig.from_dict(_settings(stage)) for stage in stages]
    sources = _sources(values.get("sources", {}), path.name)
    return Recipe(
        path=path,
        encoder=_text(values.get("encoder", "all-MiniLM-L6-v2"), "encoder"),
        model=model,
        stages=tuple(
            _stage(number, run, given, sources)
            for number, (run, given) in enumerate(zip(runs, stages, strict=True), start=1)
        ),
        sources=sources,
        precision=_choice(export, "precision"),
        dtype=_choice(export, "dtype"),
    )


def _check_keys(values: Any, known: Iterable[str], where: str) -> None:
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {values!r}. Expected a table with {some_of(known)}.")
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{where} has no setting '{key}'. Expected {some_of(known)}."
                f"{did_you_mean(key, known)} Correct the key."
            )


def _settings(stage: Any) -> dict[str, Any]:
    if not isinstance(stage, dict):
        raise ConfigError(f"A stage is {stage!r}. Expected a table of settings. Write [[stages]].")
    return {key: value for key, value in stage.items() if key not in OF_STAGE}


def _stage(
    number: int, train: TrainConfig, given: Mapping[str, Any], sources: Mapping[str, float]
) -> Stage:
    values = OF_STAGE | {"start": number - 1} | given
    _check_keys(values["sources"], sources, "[stages.sources]")
    left_out, start, blend = values["leave_out"], values["start"], values["blend"]
    if not isinstance(left_out, list) or not all(isinstance(name, str) for name in left_out):
        raise ConfigError(
            f"Stage {number} has leave_out {left_out!r}. Expected a list of names of [sources], "
            'such as ["written"]. Correct it.'
        )
    _check_keys(dict.fromkeys(left_out), sources, "'leave_out'")
    if isinstance(start, bool) or start not in range(number):
        raise ConfigError(
            f"Stage {number} has start {start!r}. Expected the number of a stage before it, or 0 "
            "for the bare encoder. Correct it."
        )
    return Stage(
        train,
        _weights(values["sources"]),
        tuple(left_out),
        start,
        _blend(blend, number) if blend is not None else None,
    )


def _blend(values: Any, number: int) -> Blend:
    _check_keys(values, ("stage", "share"), "'blend'")
    stage, share = values.get("stage"), values.get("share")
    if stage not in range(1, number) or not isinstance(share, float) or not 0 < share < 1:
        raise ConfigError(
            f"Stage {number} has the blend stage {stage!r}, share {share!r}. Expected a stage "
            "before it, and a share between 0 and 1. Correct them."
        )
    return Blend(stage, share)


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"'{key}' is {value!r}. Expected a name or a folder. Correct it.")
    return value


def _choice(export: Mapping[str, Any], key: str) -> str:
    choices = EXPORT_CHOICES[key]
    value = export.get(key, choices[0])
    if value not in choices:
        raise ConfigError(
            f"[export] '{key}' is {value!r}. Expected {some_of(choices)}. Correct it."
        )
    return value


def _sources(values: Any, file: str) -> dict[str, float]:
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"'{file}' has no [sources]. Expected folders and weights. Add some.")
    for name in values:
        parts = PurePosixPath(name).parts
        if "target" in parts or ".." in parts or PurePosixPath(name).is_absolute():
            raise ConfigError(
                f"[sources] names '{name}'. Expected a folder below the data folder and outside "
                "'target', which is for measuring only. Remove it."
            )
    return _weights(values)


def _weights(values: Mapping[str, Any]) -> dict[str, float]:
    for name, weight in values.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or weight < 0:
            raise ConfigError(
                f"[sources] '{name}' is {weight!r}. Expected a weight from 0. Correct it."
            )
    return {name: float(weight) for name, weight in values.items()}
