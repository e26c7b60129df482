"""What a fit did, where a training run stands, and which kind of fit suits how many examples."""

from __future__ import annotations

import importlib.util
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from labelwise.annotation import Sentence
from labelwise.calibration import IDENTITY, ScoreCurve
from labelwise.errors import ConfigError, RequestError, did_you_mean, some_of
from labelwise.labels import LabelSet

METHODS = ("instant", "finetune", "auto")
FINETUNE_FROM = 20  # mentions a label, the median over the labels


@dataclass(frozen=True, slots=True)
class FitReport:
    """What an instant fit did.

    Attributes:
        n_examples: Sentences it learned from.
        n_mentions: Mentions in them.
        strength: Strength of the prior that was used.
        curve: Makes scores of mentions probabilities, found on held-out mentions; where there
            are too few, that of the fit this one began from, or else the identity.
        seconds: Time of the solve; encoding and the import of the solver left out.
        missing: Labels without a mention. Words that are not marked count against them, unless
            ``only`` says that the examples do not speak about them.
        method: ``"instant"``, or ``"finetune"`` where both encoders were trained instead.
        remarks: What looks wrong in the examples, a line each; it was learned.
    """

    n_examples: int
    n_mentions: int
    strength: float
    curve: ScoreCurve
    seconds: float
    missing: tuple[str, ...]
    method: str = "instant"
    remarks: tuple[str, ...] = ()

    @classmethod
    def of_training(cls, examples: Sequence[Sentence], label_set: LabelSet, seconds: float) -> Self:
        """Report that both encoders were trained on examples."""
        present = {m.label for s in examples for m in s.mentions}
        return cls(
            n_examples=len(examples),
            n_mentions=sum(len(s.mentions) for s in examples),
            strength=0.0,
            curve=IDENTITY,
            seconds=seconds,
            missing=tuple(n for n in label_set.names if n not in present),
            method="finetune",
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Updates done.
        done: Share of the run that is done, 0 to 1.
        loss: Exponential average of the training loss.
        train_f1: Micro-F1 of the argmax tags on the last batches, before their updates.
        dev_f1: Micro-F1 on the dev set when last measured, or None.
        pieces_per_s: Text pieces a second since the start.
        elapsed_s: Seconds spent, those before a resume included.
        left_s: Seconds left at this speed.
        learning_rate: Of the last update.
    """

    step: int
    done: float
    loss: float
    train_f1: float
    dev_f1: float | None
    pieces_per_s: float
    elapsed_s: float
    left_s: float
    learning_rate: float


OnProgress = Callable[[Progress], None]


def choose_method(
    method: str, examples: Sequence[Sentence], *, is_plain: bool = True, can_train: bool = True
) -> str:
    """Resolve the method "auto" by the number of examples.

    Training both encoders pays from about 20 mentions a label on (docs/experiments.md); it takes
    torch and most of a minute.

    Args:
        method: ``"instant"``, ``"finetune"`` or ``"auto"``.
        examples: Annotated sentences.
        is_plain: Whether nothing is asked for that the instant fit alone can do.
        can_train: Whether the model has weights to train.

    Returns:
        ``"instant"`` or ``"finetune"``; without torch or weights, "auto" is always instant.

    Raises:
        ConfigError: The method does not exist.
        RequestError: Fine-tuning was asked to do what the instant fit alone can do.
    """
    if method not in METHODS:
        raise ConfigError(
            f"There is no method '{method}'. Expected {some_of(METHODS)}."
            f"{did_you_mean(method, METHODS)}"
        )
    if method == "finetune" and not is_plain:
        raise RequestError(
            "The method 'finetune' was asked for with 'only' or 'settings'. Expected neither: "
            "it trains on all labels of the label set. Leave them out, or use 'instant'."
        )
    if method != "auto":
        return method
    is_better = is_plain and can_train and mentions_a_label(examples) >= FINETUNE_FROM
    return "finetune" if is_better and importlib.util.find_spec("torch") else "instant"


def mentions_a_label(examples: Iterable[Sentence]) -> float:
    """Count the mentions that a label has at the median, of the labels that have any."""
    counts = Counter(m.label for s in examples for m in s.mentions)
    return statistics.median(counts.values()) if counts else 0.0
