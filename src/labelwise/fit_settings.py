"""How far examples may pull tag vectors in an instant fit, and what rates a strength."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwise.arrays import FloatArray, IntArray
from labelwise.errors import ConfigError
from labelwise.numeric import is_number, whole_number


def balanced_loss(logits: FloatArray, tag_ids: IntArray) -> float:
    """Rate logits by the cross-entropy of O words and of other words, half each.

    Nine words of ten are O. An unweighted mean would choose the strength for them alone, while
    micro-F1 depends on the others as much: on their label, and on not being lost to O.

    Args:
        logits: Shape ``(words, tags)``.
        tag_ids: Shape ``(words,)``.

    Returns:
        Mean of the two mean losses; of one, where the other has no words.
    """
    top = logits.max(axis=1, keepdims=True)
    totals = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    losses = totals - logits[np.arange(len(logits)), tag_ids]
    groups = [losses[tag_ids == 0], losses[tag_ids > 0]]
    return float(np.mean([group.mean() for group in groups if len(group)]))


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How far the examples may pull the tag vectors away from the label words.

    Strengths are in logits: a fit adds ``strength / 2 * shift ** 2`` to the mean cross-entropy,
    where ``shift`` is the largest change of logit that the move can cause on a typical word.
    They therefore mean the same for every model, whatever its scale and the length of states.

    Attributes:
        strength: Strength of the prior; None chooses it from the examples.
        factors: What a choice may multiply the default strength with, falling.
        spread: The result is the mean of the solutions at these multiples of the strength,
            falling: how far to trust few examples is known to an order of magnitude at best.
        keep_start: Share of the centre of the prior in the result, 0 to 1; None follows how well
            the label words alone do on the examples. Where they do well, an odd example takes
            more from other texts than it gives.
        criterion: Rates held-out logits against tags, in nats a word; small is good.
        thresholds: Also set a threshold for every label with enough held-out mentions. It costs
            as often as it gains (docs/experiments.md), so it is left to who has many examples.
        bias_reach: How freely biases move, relative to the vectors; 0 keeps them.
        n_folds: Held-out groups of sentences. With at most 12 sentences, each is a group.
        max_iterations: Limit of one solve.
    """

    strength: float | None = None
    factors: tuple[float, ...] = (10.0, 3.0, 1.0, 0.3, 0.1)
    spread: tuple[float, ...] = (10.0, 1.0, 0.1)
    keep_start: float | None = None
    criterion: Callable[[FloatArray, IntArray], float] = field(default=balanced_loss, repr=False)
    thresholds: bool = False
    bias_reach: float = 0.5
    n_folds: int = 5
    max_iterations: int = 200

    def __post_init__(self) -> None:
        """Reject what no fit can use, all problems at once."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        expected = {
            name: text for name, (is_fine, text) in _SETTINGS.items() if not is_fine(given[name])
        }
        problems = [f"'{name}' is {given[name]!r}. Expected {expected[name]}" for name in expected]
        if problems:
            raise ConfigError("FitSettings: " + "; ".join(problems) + ".")


def _is_within(value: object, low: float, high: float = math.inf) -> bool:
    return is_number(value) and low <= value <= high


def _is_whole(value: object, low: int) -> bool:
    number = whole_number(value)
    return number is not None and number >= low


def _is_falling(values: object) -> bool:
    """Tell whether these are numbers above 0, one at least, none larger than the one before."""
    if not isinstance(values, Sequence) or not values or not all(map(is_number, values)):
        return False
    return [*values] == sorted(values, reverse=True) and values[-1] > 0


_SETTINGS: dict[str, tuple[Callable[[Any], bool], str]] = {  # what each may be
    "strength": (lambda x: x is None or (is_number(x) and x > 0), "a number above 0 or None"),
    "factors": (_is_falling, "falling numbers above 0"),
    "spread": (_is_falling, "falling numbers above 0"),
    "keep_start": (lambda x: x is None or _is_within(x, 0, 1), "a number from 0 to 1, or None"),
    "criterion": (callable, "a function"),
    "thresholds": (lambda x: isinstance(x, bool), "True or False"),
    "bias_reach": (lambda x: _is_within(x, 0), "a number from 0"),
    "n_folds": (lambda x: _is_whole(x, 2), "a whole number from 2"),
    "max_iterations": (lambda x: _is_whole(x, 1), "a whole number from 1"),
}
