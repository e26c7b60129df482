"""All settings of the package, one frozen dataclass per concern.

The same classes serve Python, TOML files, command-line flags and the JSON inside a model folder.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from labelwise.errors import ConfigError, did_you_mean

Scheme = Literal["io", "bio", "bioes"]


def _setting(
    default: Any, help_text: str, *, low: float | None = None, high: float | None = None
) -> Any:
    return field(default=default, metadata={"help": help_text, "low": low, "high": high})


class _Config:
    """Shared reading, writing and checking; every subclass is a frozen dataclass."""

    def __post_init__(self) -> None:
        """Check every field and report all problems at once."""
        problems = [p for f in dataclasses.fields(self) if (p := _problem(self, f))]  # type: ignore[arg-type]
        if problems:
            them = "it" if len(problems) == 1 else "them"
            raise ConfigError(f"{type(self).__name__}: {'; '.join(problems)}. Correct {them}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping; unknown keys are refused with a suggestion."""
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"{cls.__name__} has no setting '{key}'. Expected one of: "
                    f"{', '.join(sorted(known))}.{did_you_mean(key, known)}"
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def to_json(self) -> str:
        """Return the settings as indented JSON with a final newline."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed."""
        return type(self).from_dict(self.to_dict() | changes)


def _problem(config: _Config, f: dataclasses.Field[Any]) -> str | None:
    value, low, high = getattr(config, f.name), f.metadata.get("low"), f.metadata.get("high")
    expected = typing.get_type_hints(type(config))[f.name]
    if not _fits(value, expected):
        return f"'{f.name}' is {value!r}. Expected {_type_text(expected)}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not math.isfinite(value):
        return f"'{f.name}' is {value!r}. Expected a finite number"
    if is_number and ((low is not None and value < low) or (high is not None and value > high)):
        upper = "" if high is None else f" to {high}"
        return f"'{f.name}' is {value!r}. Expected a number from {low}{upper}"
    return None


def _fits(value: Any, expected: Any) -> bool:
    origin = typing.get_origin(expected)
    if origin is Literal:
        return value in typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(expected))
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)


def _type_text(expected: Any) -> str:
    if typing.get_origin(expected) is Literal:
        return "one of " + ", ".join(repr(v) for v in typing.get_args(expected))
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        return " or ".join(_type_text(option) for option in typing.get_args(expected))
    return "none" if expected is type(None) else str(getattr(expected, "__name__", expected))


@dataclass(frozen=True, kw_only=True)
class ModelConfig(_Config):
    """How a model turns words and labels into vectors and scores."""

    architecture: Literal["dual_encoder", "double_town"] = _setting(
        "dual_encoder", "The paper's two towers, or the blog variant with one BERT."
    )
    label_encoder: Literal["separate", "shared", "static"] = _setting(
        "separate",
        "A second BERT (paper), the text tower itself, or max-pooled word embeddings "
        "(stand-in for the paper's GloVe variant).",
    )
    pooling: Literal["cls", "mean"] = _setting(
        "cls", "Label vector from the [CLS] state (paper) or the mean over pieces."
    )
    composition: Literal["words", "sum", "names"] = _setting(
        "words",
        "Encode 'begin person' as one text (paper), add the vectors of 'person' and 'begin', or "
        "let every tag of a label read as its name alone (an ablation).",
    )
    scheme: Scheme = _setting("bio", "Tag scheme that the model scores.")
    temperature: bool = _setting(
        False, "Learn a scale for the dot product, starting at 1/sqrt(dim), and a bias for 'O'."
    )
    positions: Literal["none", "add", "mul", "zero"] = _setting(
        "none", "double_town only: how sinusoidal positions meet the word states."
    )
    decode: Literal["argmax", "constrained"] = _setting(
        "argmax", "Independent argmax (paper), or the best valid tag sequence."
    )
    boundary_cost: float = _setting(
        0.0, "Constrained decode: cost in logits of entering or leaving a mention.", low=0.0
    )
    switch_cost: float = _setting(
        0.0, "Constrained decode: cost of going from one mention straight into another.", low=0.0
    )
    max_pieces: int = _setting(
        256,
        "Pieces a window holds; longer texts are read in overlapping windows.",
        low=16,
        high=8192,
    )
    max_label_pieces: int = _setting(64, "Pieces of a label text that are read.", low=4, high=512)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Config):
    """One training run, either stage."""

    learning_rate: float = _setting(3e-4, "Peak learning rate of AdamW.", low=0.0, high=1.0)
    weight_decay: float = _setting(0.01, "AdamW weight decay.", low=0.0, high=1.0)
    warmup: float = _setting(0.03, "Share of the run spent warming up.", low=0.0, high=1.0)
    schedule: Literal["linear", "constant"] = _setting(
        "linear", "Decay to zero over the run, or none after warm-up."
    )
    epochs: float = _setting(
        1.0, "Passes over the data, if nothing below ends it; sources are drawn by weight.", low=0.0
    )
    min_steps: int | None = _setting(
        None, "Updates at least, in more passes where the data are few.", low=1
    )
    max_steps: int | None = _setting(None, "End after so many updates.", low=1)
    max_minutes: float | None = _setting(
        None, "End after so many minutes; the schedule follows the clock.", low=0.001
    )
    batch_pieces: int = _setting(1024, "Pieces a batch holds, padding included.", low=16)
    batch_sentences: int | None = _setting(None, "Sentences a batch holds at most.", low=1)
    clip: float = _setting(1.0, "Gradient norm limit; 0 for none.", low=0.0)
    dropout: float = _setting(0.0, "Dropout in both towers.", low=0.0, high=0.9)
    freeze_word_embeddings: bool = _setting(
        True, "Keep the word-embedding tables as they are: faster, and kinder to rare words."
    )
    precision: Literal["auto", "fp32", "bf16"] = _setting(
        "auto", "bf16 where the processor multiplies it natively, else fp32."
    )
    max_labels: int = _setting(36, "Labels scored in one batch, sampled beyond.", low=1)
    negatives: float = _setting(
        0.7,
        "How often absent labels of the source fill the batch up to max_labels.",
        low=0.0,
        high=1.0,
    )
    paraphrase_prob: float = _setting(
        0.2, "How often a label reads as one of its alternative names.", low=0.0, high=1.0
    )
    description_prob: float = _setting(
        0.15, "How often a label reads with its description.", low=0.0, high=1.0
    )
    parent_prob: float = _setting(
        0.5,
        "How often a batch lets labels read as their broader ones, half of them or all.",
        low=0.0,
        high=1.0,
    )
    resplit_prob: float = _setting(
        0.5, "How often a sentence's words are split as raw text would be.", low=0.0, high=1.0
    )
    replaced_copies: int = _setting(
        0, "Copies of each sentence with mentions replaced by others of their label.", low=0
    )
    label_smoothing: float = _setting(
        0.0,
        "Share of every word's tag that all tags divide: scores stay moderate.",
        low=0.0,
        high=0.9,
    )
    keep_start: float = _setting(
        0.0, "Share of the starting weights in the result: forgets less.", low=0.0, high=1.0
    )
    keep_mentions: float | None = _setting(
        None, "Mentions a label that halve keep_start: more examples, less of the start.", low=1.0
    )
    seed: int = _setting(0, "Seed of every random choice.", low=0)
    checkpoint_every_s: float = _setting(120.0, "Seconds between checkpoints.", low=0.0)

    def updates(self, batches_per_epoch: float) -> int | None:
        """Return the updates of a run, or None when the clock ends it."""
        if self.max_steps:
            return self.max_steps
        if self.max_minutes:
            return None
        return max(self.min_steps or 1, round(self.epochs * batches_per_epoch))


@dataclass(frozen=True, kw_only=True)
class ServeConfig(_Config):
    """What a server listens on, and how much it takes."""

    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8000, "Port to listen on; 0 takes any free one.", low=0, high=65535)
    allowed_hosts: str = _setting(
        "", "Names that requests may give as Host, commas between them; '*' lets all through."
    )
    insecure: bool = _setting(False, "Let other machines in without a token.")
    max_body_bytes: int = _setting(2 << 20, "Bytes of a request's body.", low=1)
    max_texts: int = _setting(64, "Texts in a request.", low=1)
    max_text_chars: int = _setting(100_000, "Characters of a text.", low=1)
    max_labels: int = _setting(256, "Labels in a label set.", low=1)
    max_label_chars: int = _setting(256, "Characters of a label's name.", low=1)
    max_examples: int = _setting(256, "Examples in a fit.", low=1)
    max_fit_words: int = _setting(
        10_000, "Words in the examples of a fit, which takes some 35 kB and 2 ms for each.", low=1
    )
    max_fit_scores: int = _setting(
        200_000,
        "Words in the examples of a fit times its labels; each takes some 1 kB and 0.06 ms, where "
        "that is more.",
        low=1,
    )
    queue_requests: int = _setting(256, "Requests that may wait; more are refused.", low=1)
    queue_pieces: int = _setting(65_536, "Pieces that may wait; more are refused.", low=1)
    batch_pieces: int = _setting(2048, "Pieces in a batch, padding included.", low=16)
    deadline_s: float = _setting(30.0, "Seconds until a request is given up.", low=0.001)
    body_timeout_s: float = _setting(10.0, "Seconds that a body may take to arrive.", low=0.001)
    drain_s: float = _setting(30.0, "Seconds that a stopping server finishes its work.", low=0.0)
    drain_delay_s: float = _setting(
        1.0, "Seconds that a stopping server still takes requests, not ready.", low=0.0
    )
    max_connections: int = _setting(1000, "Connections at a time.", low=1)
    keep_alive_s: float = _setting(
        75.0,
        "Seconds that a connection may be idle: more than a proxy keeps one, often 60.",
        low=1.0,
    )
    label_sets: int = _setting(1024, "Label sets that are remembered.", low=1)
    label_set_mb: int = _setting(64, "Memory for their vectors, in MiB.", low=1)
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Lowest level of log lines; 'warning' leaves out one line a request."
    )


PAPER_FINETUNE = TrainConfig(
    learning_rate=1e-5,
    weight_decay=0.0,
    warmup=0.0,
    schedule="constant",
    epochs=200.0,
    batch_pieces=1_000_000,
    batch_sentences=10,
    dropout=0.1,
    freeze_word_embeddings=False,
    max_labels=1_000_000,
    negatives=1.0,
    paraphrase_prob=0.0,
    description_prob=0.0,
    parent_prob=0.0,
    resplit_prob=0.0,
)  # section 3.4 and appendix C
PAPER_PRETRAIN = PAPER_FINETUNE.replace(epochs=3.0)
FINETUNE = TrainConfig(
    learning_rate=1e-4,
    epochs=3.0,  # of three copies
    min_steps=150,
    batch_pieces=256,
    max_labels=1_000,
    negatives=1.0,
    paraphrase_prob=0.0,
    description_prob=0.5,
    parent_prob=0.0,
    resplit_prob=0.3,
    replaced_copies=2,
    label_smoothing=0.1,
    keep_start=0.65,
    keep_mentions=60.0,
)
PRESETS: Mapping[str, TrainConfig] = types.MappingProxyType(
    {
        "pretrain": TrainConfig(),
        "finetune": FINETUNE,
        "paper-pretrain": PAPER_PRETRAIN,
        "paper-finetune": PAPER_FINETUNE,
    }
)

RECOMMENDED_MODEL = ModelConfig(
    label_encoder="shared",
    pooling="mean",
    composition="sum",
    scheme="io",
    temperature=True,
    decode="constrained",
    boundary_cost=0.4,
    switch_cost=1.2,
)
MODEL_PRESETS: Mapping[str, ModelConfig] = types.MappingProxyType(
    {"recommended": RECOMMENDED_MODEL, "paper": ModelConfig()}
)


def train_preset(name: str) -> TrainConfig:
    """Return a named training preset.

    Raises:
        ConfigError: There is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"There is no training preset '{name}'. Expected one of: {', '.join(PRESETS)}."
            f"{did_you_mean(name, PRESETS)}"
        )
    return PRESETS[name]
