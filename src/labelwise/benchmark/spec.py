"""What a benchmark runs: one TOML file, checked before anything starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from labelwise.config import FINETUNE, ModelConfig, TrainConfig
from labelwise.errors import ConfigError, did_you_mean

METHODS = (
    "towers", "towers_shared", "towers_static", "towers_no_source", "instant",
    "linear_head", "double_town", "prototype", "nnshot", "structshot",
)  # fmt: skip
VARIANTS = ("names", "meaningless", "swapped", "description")
_PRESETS = Path(__file__).parent / "presets"
_TABLES = {"model": ModelConfig, "pretrain": TrainConfig, "finetune": TrainConfig}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One benchmark.

    Attributes:
        sources: Dataset folders of the source stage, or ``sample:NAME``.
        targets: Dataset folders to measure on, or ``sample:NAME``.
        shots: Mentions of each label in a support set: numbers, or "full".
        support_sets: Support sets of each size; set ``i`` is drawn with seed ``seed + i``.
        seed: First seed of draws and training.
        methods: Some of ``METHODS``.
        variants: Some of ``VARIANTS``: what the labels read as.
        encoder: Folder or name of the encoder that every method starts from.
        published: Folder pattern of published support sets by target, with ``{k}`` in it.
        tau: StructShot's exponent.
        model: Settings of the towers.
        pretrain: Settings of the source stage.
        finetune: Settings of the target stage.
        finetune_of: Other settings of the target stage by method.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    shots: tuple[int | str, ...] = (0, 1, 5, 20)
    support_sets: int = 3
    seed: int = 0
    methods: tuple[str, ...] = METHODS
    variants: tuple[str, ...] = ("names",)
    encoder: str = "all-MiniLM-L6-v2"
    published: Mapping[str, str] = field(default_factory=dict)
    tau: float = 0.05
    model: ModelConfig = field(default_factory=ModelConfig)
    pretrain: TrainConfig = field(default_factory=TrainConfig)
    finetune: TrainConfig = FINETUNE
    finetune_of: Mapping[str, TrainConfig] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed TOML.

        Raises:
            ConfigError: A key or a name is unknown, or a value is out of range.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            _check_name("setting", key, known)
        for key in ("sources", "targets"):
            if not isinstance(values.get(key), list | tuple) or not values[key]:
                raise ConfigError(
                    f"'{key}' is {values.get(key)!r}. Expected a list of dataset folders."
                )
        read: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        for key, kind in _TABLES.items():
            base = FINETUNE if key == "finetune" else kind()
            read[key] = base.replace(**values.get(key, {}))
        own = values.get("finetune_of", {})
        read["finetune_of"] = {m: read["finetune"].replace(**v) for m, v in own.items()}
        spec = cls(**read)
        spec._check()
        return spec

    def _check(self) -> None:
        for method in (*self.methods, *self.finetune_of):
            _check_name("method", method, METHODS)
        for variant in self.variants:
            _check_name("variant", variant, VARIANTS)
        for shots in self.shots:
            is_number = isinstance(shots, int) and not isinstance(shots, bool) and shots >= 0
            if not is_number and shots != "full":
                raise ConfigError(f"'shots' holds {shots!r}. Expected numbers from 0, or 'full'.")
        if not isinstance(self.support_sets, int) or self.support_sets < 1:
            raise ConfigError(f"'support_sets' is {self.support_sets!r}. Expected 1 or more.")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"'seed' is {self.seed!r}. Expected 0 or more.")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over every setting."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def finetune_config(self, method: str, seed: int) -> TrainConfig:
        """Return the settings of the target stage of one method and seed."""
        return self.finetune_of.get(method, self.finetune).replace(seed=seed)


def _check_name(kind: str, name: str, known: tuple[str, ...] | list[str]) -> None:
    if name not in known:
        raise ConfigError(
            f"A benchmark has no {kind} '{name}'. Expected one of: {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )


def read_spec(path: str | Path) -> Spec:
    """Read a specification from a TOML file.

    Raises:
        ConfigError: It cannot be read or is wrong.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ConfigError(
            f"Cannot read a benchmark from '{path}': {err}. Expected a TOML file."
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
    _check_name("preset", name, sorted(p.stem for p in _PRESETS.glob("*.toml")))
    return read_spec(_PRESETS / f"{name}.toml")
