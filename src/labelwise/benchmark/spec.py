"""What a benchmark runs: one TOML file, checked before anything starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from labelwise.benchmark.values import check_name, check_text, is_count, items, table, texts
from labelwise.config import (
    FINETUNE,
    MODEL_PRESETS,
    PRESETS,
    RECOMMENDED_MODEL,
    ModelConfig,
    TrainConfig,
)
from labelwise.errors import ConfigError, did_you_mean

METHODS = (
    "towers", "towers_separate", "towers_shared", "towers_static", "towers_no_source", "instant",
    "linear_head", "double_town", "prototype", "nnshot", "structshot",
)  # fmt: skip
VARIANTS = (
    "names", "renamed", "meaningless", "swapped", "no_marks", "description", "context",
)  # fmt: skip
BY_DISTANCE = ("prototype", "nnshot", "structshot")
_PRESETS = Path(__file__).parent / "presets"
_MODEL_BASES = {"default": RECOMMENDED_MODEL, **MODEL_PRESETS}
_TRAIN_BASES = {"pretrain": TrainConfig(), "finetune": FINETUNE}
_TABLES = ("model", *_TRAIN_BASES, "distance", "published", "renamed")
_OF = ("pretrain_of", "finetune_of", "distance_of")  # settings by method
_GRID_LISTS = ("targets", "methods", "shots", "variants")
_NAME = re.compile(r"[\w.+-]+")  # of settings; it becomes part of file names


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How a distance method compares words, and what its encoder learns.

    Attributes:
        unit_vectors: Bring states to length 1 first, as the published code of StructShot does.
        dot_product: Take the dot product, not the squared distance; an option of Few-NERD's code.
        tau: StructShot's exponent on transition probabilities; 0.1 in the published code.
        episodes: Train on the sources in episodes of class means, as ProtoNet does, rather than
            as a linear head.
        finetune: Train on the support set in episodes too, with the settings of ``finetune_of``.
    """

    unit_vectors: bool = True
    dot_product: bool = False
    tau: float = 0.1
    episodes: bool = False
    finetune: bool = False

    def replace(self, **values: Any) -> Self:
        """Return a copy with some settings changed.

        Raises:
            ConfigError: A setting is unknown or out of range.
        """
        for key in values:
            check_name("distance setting", key, [f.name for f in dataclasses.fields(self)])
            value = values[key]
            is_bool, is_number = isinstance(value, bool), isinstance(value, int | float)
            if key != "tau" and not is_bool:
                raise ConfigError(f"'distance.{key}' is {value!r}. Expected true or false.")
            if key == "tau" and (is_bool or not is_number or not 0 <= value < math.inf):
                raise ConfigError(f"'distance.tau' is {value!r}. Expected a number from 0.")
        return dataclasses.replace(self, **values)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Cells to run: every combination of these, as far as it makes sense.

    Attributes:
        targets: Dataset folders to measure on, or ``sample:NAME``.
        methods: Some of ``METHODS``; ``METHOD@NAME`` is one with the settings of that name.
        shots: Mentions of each label in a support set: numbers, or "full".
        support_sets: Support sets of each size; set ``i`` is drawn with seed ``seed + i``.
        variants: Some of ``VARIANTS``: what the labels read as.
    """

    targets: tuple[str, ...]
    methods: tuple[str, ...] = METHODS
    shots: tuple[int | str, ...] = (0, 1, 5, 20)
    support_sets: int = 3
    variants: tuple[str, ...] = ("names",)

    def __post_init__(self) -> None:
        """Check names and numbers."""
        for method in self.methods:
            _check_method(method)
        for variant in self.variants:
            check_name("variant", variant, VARIANTS)
        for shots in self.shots:
            if not is_count(shots, 0) and shots != "full":
                raise ConfigError(f"'shots' holds {shots!r}. Expected numbers from 0, or 'full'.")
        if not is_count(self.support_sets, 1):
            raise ConfigError(f"'support_sets' is {self.support_sets!r}. Expected 1 or more.")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One benchmark.

    Attributes:
        sources: Dataset folders of the source stage, or ``sample:NAME``.
        grids: What to run, the first first; a cell in several is run once.
        seed: First seed of draws and training.
        split: What is scored, whole. Settings are chosen on "dev", of other targets.
        allow_short: Take what there is of labels with too few mentions, rather than skip the cell.
        encoder: Folder or name of the encoder that every method starts from.
        published: Folder pattern of published support sets by target, with ``{k}`` in it.
        renamed: Other words of the labels by target, for the variant "renamed".
        model: Settings of the towers; scheme and decoding hold for the linear head too.
        pretrain: Settings of the source stage.
        pretrain_of: Others by method, or by ``METHOD@NAME``: a source stage of its own.
        finetune: Settings of the target stage; its precision is that of scoring too.
        finetune_of: Other settings of the target stage by method, or by ``METHOD@NAME``.
        distance: Settings of the distance methods.
        distance_of: Others by method, or by ``METHOD@NAME``.
    """

    sources: tuple[str, ...]
    grids: tuple[Grid, ...]
    seed: int = 0
    split: str = "test"
    allow_short: bool = False
    encoder: str = "all-MiniLM-L6-v2"
    published: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    model: ModelConfig = RECOMMENDED_MODEL
    pretrain: TrainConfig = field(default_factory=TrainConfig)
    pretrain_of: Mapping[str, TrainConfig] = field(default_factory=dict)
    finetune: TrainConfig = FINETUNE
    finetune_of: Mapping[str, TrainConfig] = field(default_factory=dict)
    distance: Distance = field(default_factory=Distance)
    distance_of: Mapping[str, Distance] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed TOML, where the keys of a grid may stand at the top for all of them.

        Raises:
            ConfigError: A key or a name is unknown, or a value is out of range.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        grid_keys = [f.name for f in dataclasses.fields(Grid)]
        for key in values:
            check_name("setting", key, [*known, *grid_keys])
        shared = {k: v for k, v in values.items() if k in grid_keys}
        read: dict[str, Any] = {k: v for k, v in values.items() if k not in grid_keys}
        read["sources"] = texts("sources", values.get("sources"))
        grids = items("grids", values.get("grids", [{}]))
        read["grids"] = tuple(_grid({**shared, **table("grids", g)}, grid_keys) for g in grids)
        tables = {key: table(key, values.get(key, {})) for key in (*_TABLES, *_OF)}
        read["model"] = _settings(tables["model"], _MODEL_BASES, "default")
        for key in _TRAIN_BASES:
            read[key] = _settings(tables[key], PRESETS, key)
        read["distance"] = Distance().replace(**tables["distance"])
        for key in _OF:
            base = read[key.removesuffix("_of")]
            for method in tables[key]:
                _check_method(method)
            read[key] = {m: base.replace(**table(f"{key}.{m}", v)) for m, v in tables[key].items()}
        spec = cls(**read)
        spec._check()
        return spec

    def _check(self) -> None:
        if not is_count(self.seed, 0):
            raise ConfigError(f"'seed' is {self.seed!r}. Expected 0 or more.")
        check_text("encoder", self.encoder)
        check_name("split", self.split, ("test", "dev"))
        if not isinstance(self.allow_short, bool):
            raise ConfigError(f"'allow_short' is {self.allow_short!r}. Expected true or false.")
        self._check_targets()
        self._check_named_settings()

    def _check_targets(self) -> None:
        """Refuse what is said about targets that nobody measures."""
        for key in ("published", "renamed"):
            for target in getattr(self, key):
                check_name(f"target for '{key}':", target, self.targets)
        for target, pattern in self.published.items():
            check_text(f"published.{target}", pattern)
            if not _has_shots(pattern):
                raise ConfigError(
                    f"'published.{target}' is {pattern!r}. Expected a folder with '{{k}}' in it, "
                    "where the number of shots stands. Add it."
                )
        for target, words in self.renamed.items():
            for label, text in table(f"renamed.{target}", words).items():
                check_text(f"renamed.{target}.{label}", text)

    def _check_named_settings(self) -> None:
        methods = {m for grid in self.grids for m in grid.methods}
        named, bases = {m for m in methods if "@" in m}, {base_method(m) for m in methods}
        known = {m: key for key in _OF for m in getattr(self, key)}
        if unused := sorted(known.keys() - named - bases):
            raise ConfigError(
                f"No grid has the method '{unused[0]}' of [{known[unused[0]]}.\"{unused[0]}\"]. "
                "Expected it among 'methods'. Add it there, or remove the table."
                f"{did_you_mean(unused[0], methods)}"
            )
        if unknown := named - known.keys():
            method = sorted(unknown)[0]
            tables = ", ".join(f'[{key}."{method}"]' for key in _OF)
            raise ConfigError(
                f"There are no settings for '{method}'. Expected one of the tables {tables}. "
                "Add one."
            )

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets of all grids, each once."""
        return tuple(dict.fromkeys(t for grid in self.grids for t in grid.targets))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over every setting."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def pretrain_key(self, method: str) -> str:
        """Return the method, or ``METHOD@NAME``, whose source stage has its own settings, or ""."""
        return next((m for m in (method, base_method(method)) if m in self.pretrain_of), "")

    def finetune_config(self, method: str, seed: int) -> TrainConfig:
        """Return the settings of the target stage of one method and seed."""
        return _by_method(self.finetune_of, method, self.finetune).replace(seed=seed)

    def distance_config(self, method: str) -> Distance:
        """Return the settings of a distance method."""
        return _by_method(self.distance_of, method, self.distance)

    def is_frozen(self, method: str, *, has_support: bool) -> bool:
        """Tell whether a method leaves the encoder as its source stage left it."""
        base = base_method(method)
        by_distance = base in BY_DISTANCE and not self.distance_config(method).finetune
        return not has_support or base == "instant" or by_distance


def _has_shots(pattern: str) -> bool:
    """Tell whether a pattern names another folder for other shots."""
    try:
        return pattern.format(k=1) != pattern.format(k=2)
    except (LookupError, ValueError, AttributeError):
        return False


def base_method(method: str) -> str:
    """Drop the name of the settings: ``"towers@fast"`` is ``"towers"``."""
    return method.partition("@")[0]


def _by_method(settings: Mapping[str, Any], method: str, default: Any) -> Any:
    return settings.get(method, settings.get(base_method(method), default))


def _grid(values: Mapping[str, Any], known: list[str]) -> Grid:
    for key in values:
        check_name("setting of a grid", key, known)
    given = {"targets": None, **values}
    read = {k: (items if k == "shots" else texts)(k, given[k]) for k in _GRID_LISTS if k in given}
    return Grid(**{**values, **read})


def _settings(values: Mapping[str, Any], bases: Mapping[str, Any], default: str) -> Any:
    """Change the settings of a preset, which the key "preset" may name."""
    name = values.get("preset", default)
    check_name("preset of settings", name, [*bases])
    return bases[name].replace(**{k: v for k, v in values.items() if k != "preset"})


def _check_method(method: str) -> None:
    base, at, name = method.partition("@")
    check_name("method", base, METHODS)
    if at and not _NAME.fullmatch(name):
        raise ConfigError(
            f"The settings of '{method}' are named '{name}'. Expected letters, digits and any of "
            "'_', '.', '+' and '-', as the name becomes part of file names. Rename them."
        )


def read_spec(path: str | Path) -> Spec:
    """Read a specification from a TOML file.

    Raises:
        ConfigError: It cannot be read or is wrong.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else err
        raise ConfigError(
            f"Cannot read a benchmark from '{path}': {reason}. Expected a TOML file."
        ) from err
    try:
        return Spec.from_dict(values)
    except ConfigError as err:
        raise ConfigError(f"'{path}': {err}") from err


def preset_spec(name: str) -> Spec:
    """Read a specification that ships with the package.

    Raises:
        ConfigError: There is none of that name.
    """
    check_name("preset", name, sorted(p.stem for p in _PRESETS.glob("*.toml")))
    return read_spec(_PRESETS / f"{name}.toml")
