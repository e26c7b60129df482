"""Micro-F1 and its relatives over exact mentions: same start, end and label.

Counts are kept and ratios derived. This module does not tag and does not read files.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from labelwise.annotation import Mention
from labelwise.errors import DataError, ShapeError
from labelwise.label import Label, label_names


@dataclass(frozen=True, slots=True)
class LabelScores:
    """What was found of one label.

    Attributes:
        n_gold: Annotated mentions.
        n_predicted: Mentions of the model.
        n_correct: Mentions that are both.
    """

    n_gold: int
    n_predicted: int
    n_correct: int

    @property
    def precision(self) -> float:
        """Share of the predicted mentions that are right; 0.0 if there are none."""
        return _ratio(self.n_correct, self.n_predicted)

    @property
    def recall(self) -> float:
        """Share of the gold mentions that were found; 0.0 if there are none."""
        return _ratio(self.n_correct, self.n_gold)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.n_correct, self.n_gold + self.n_predicted)

    def to_dict(self) -> dict[str, float | int]:
        """Return ratios and counts as JSON-able values."""
        ratios = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return ratios | dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Scores:
    """What was found of all labels; everything follows from ``per_label``.

    Attributes:
        per_label: Scores of each label.
    """

    per_label: dict[str, LabelScores]

    @property
    def n_gold(self) -> int:
        """Annotated mentions."""
        return self._total.n_gold

    @property
    def n_predicted(self) -> int:
        """Mentions of the model."""
        return self._total.n_predicted

    @property
    def n_correct(self) -> int:
        """Mentions that are both."""
        return self._total.n_correct

    @property
    def precision(self) -> float:
        """Precision over all mentions."""
        return self._total.precision

    @property
    def recall(self) -> float:
        """Recall over all mentions."""
        return self._total.recall

    @property
    def micro_f1(self) -> float:
        """F1 over all mentions."""
        return self._total.f1

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the labels that occur in gold or predicted mentions."""
        seen = [s.f1 for s in self.per_label.values() if s.n_gold or s.n_predicted]
        return _ratio(sum(seen), len(seen))

    @property
    def _total(self) -> LabelScores:
        scores = self.per_label.values()
        return LabelScores(
            sum(s.n_gold for s in scores),
            sum(s.n_predicted for s in scores),
            sum(s.n_correct for s in scores),
        )

    def to_dict(self) -> dict[str, object]:
        """Return ratios, counts and ``per_label`` as JSON-able values."""
        return {
            "micro_f1": self.micro_f1,
            "precision": self.precision,
            "recall": self.recall,
            "macro_f1": self.macro_f1,
            "n_gold": self.n_gold,
            "n_predicted": self.n_predicted,
            "n_correct": self.n_correct,
            "per_label": {label: s.to_dict() for label, s in self.per_label.items()},
        }


@dataclass(frozen=True, slots=True)
class ErrorBreakdown:
    """Wrong and missing mentions by kind, each gold and each predicted mention counted once.

    Attributes:
        boundary: Right label, overlapping span.
        type: Right span, wrong label.
        boundary_and_type: Overlapping span, wrong label.
        spurious: Predicted where no gold mention is left to pair it with.
        missed: Gold without a prediction to pair it with.
    """

    boundary: int = 0
    type: int = 0
    boundary_and_type: int = 0
    spurious: int = 0
    missed: int = 0


def score_mentions(
    gold: Sequence[Iterable[Mention]],
    predicted: Sequence[Iterable[Mention]],
    labels: Iterable[str | Label] | None = None,
) -> Scores:
    """Score predicted mentions against gold ones.

    Args:
        gold: Annotated mentions of each sentence.
        predicted: The model's mentions of the same sentences. Duplicates count once.
        labels: Score these only, in this order: a label set or names. Without it, all that occur,
            sorted.

    Returns:
        Scores in total and by label.

    Raises:
        ShapeError: The numbers of sentences differ.
        DataError: A sentence is given as something else than its mentions.
        LabelError: ``labels`` is one string, or holds something else than names.

    >>> score_mentions([[Mention(0, 1, "PER")]], [[Mention(0, 1, "LOC")]]).micro_f1
    0.0
    """
    n_gold, n_predicted, n_correct = Counter[str](), Counter[str](), Counter[str]()
    for wanted, found in _paired(gold, predicted):
        n_gold.update(m.label for m in wanted)
        n_predicted.update(m.label for m in found)
        n_correct.update(m.label for m in wanted & found)
    names = sorted(n_gold | n_predicted) if labels is None else dict.fromkeys(label_names(labels))
    return Scores(
        {name: LabelScores(n_gold[name], n_predicted[name], n_correct[name]) for name in names}
    )


def error_breakdown(
    gold: Sequence[Iterable[Mention]], predicted: Sequence[Iterable[Mention]]
) -> ErrorBreakdown:
    """Sort the errors into kinds.

    Each wrong prediction is paired with at most one gold mention that was not found, first by
    span, then by overlap and label, then by overlap alone, from left to right.

    Raises:
        ShapeError: The numbers of sentences differ.
        DataError: A sentence is given as something else than its mentions.

    >>> error_breakdown([[Mention(0, 2, "PER")]], [[Mention(1, 2, "PER")]]).boundary
    1
    """
    counts = Counter[str]()
    for wanted, found in _paired(gold, predicted):
        missing, wrong = sorted(wanted - found), sorted(found - wanted)
        for kind, matches in _PAIRINGS.items():
            counts[kind] += _pair_off(missing, wrong, matches)
        counts["missed"] += len(missing)
        counts["spurious"] += len(wrong)
    return ErrorBreakdown(**counts)


def _paired(
    gold: Sequence[Iterable[Mention]], predicted: Sequence[Iterable[Mention]]
) -> list[tuple[set[Mention], set[Mention]]]:
    if len(gold) != len(predicted):
        raise ShapeError(
            f"There are {len(gold)} gold and {len(predicted)} predicted sentences. Expected "
            "one list of mentions a sentence on both sides. Score the sentences that were tagged."
        )
    return [
        (_mentions(wanted, f"gold[{i}]"), _mentions(found, f"predicted[{i}]"))
        for i, (wanted, found) in enumerate(zip(gold, predicted, strict=True))
    ]


def _mentions(given: object, place: str) -> set[Mention]:
    items = _items(given)
    mentions = [item for item in items or () if isinstance(item, Mention)]
    if items is None or len(mentions) < len(items):
        raise DataError(
            f"{place} is {type(given).__name__} {str(given)[:60]!r}. Expected the Mention values "
            "of one sentence, such as sentence.mentions. Turn tags into them with "
            "labelwise.schemes.mentions_from_tags; to score a tagger, use labelwise.evaluate."
        )
    return set(mentions)


def _items(given: object) -> list[object] | None:
    return list(cast("Iterable[object]", given)) if isinstance(given, Iterable) else None


def _overlaps(one: Mention, other: Mention) -> bool:
    return one.start < other.end and other.start < one.end


_PAIRINGS: dict[str, Callable[[Mention, Mention], bool]] = {
    "type": lambda one, other: (one.start, one.end) == (other.start, other.end),
    "boundary": lambda one, other: one.label == other.label and _overlaps(one, other),
    "boundary_and_type": _overlaps,
}


def _pair_off(
    missing: list[Mention], wrong: list[Mention], matches: Callable[[Mention, Mention], bool]
) -> int:
    """Remove matching pairs from both lists and return how many there were."""
    n_pairs = 0
    for mention in list(wrong):
        partner = next((other for other in missing if matches(mention, other)), None)
        if partner is not None:
            missing.remove(partner)
            wrong.remove(mention)
            n_pairs += 1
    return n_pairs


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
