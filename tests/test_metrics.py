"""Scores agree with seqeval, and the kinds of error add up."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2, IOBES

from labelwise.annotation import Mention, Sentence
from labelwise.errors import DataError, LabelError, ShapeError
from labelwise.labels import LabelSet
from labelwise.metrics import ErrorBreakdown, Scores, error_breakdown, score_mentions
from labelwise.schemes import mentions_from_tags, tags_from_mentions
from strategies import corpora, tag_lists

Corpus = tuple[list[int], list[list[Mention]], list[list[Mention]]]
MODES = {
    "default": ("bio", {}),
    "strict IOB2": ("bio", {"mode": "strict", "scheme": IOB2}),
    "strict IOBES": ("bioes", {"mode": "strict", "scheme": IOBES}),
}
PERFECT = [[Mention(0, 1, "PER")]]


def assert_micro_scores_equal(ours: Scores, tags: list[list[list[str]]], **options: Any) -> None:
    assert ours.precision == pytest.approx(precision_score(*tags, zero_division=0, **options))
    assert ours.recall == pytest.approx(recall_score(*tags, zero_division=0, **options))
    assert ours.micro_f1 == pytest.approx(f1_score(*tags, zero_division=0, **options))


@pytest.mark.parametrize("mode", MODES)
@given(corpus=corpora())
def test_micro_f1_equals_seqeval(mode: str, corpus: Corpus) -> None:
    lengths, gold, predicted = corpus
    scheme, options = MODES[mode]
    tags = [
        [tags_from_mentions(n, mentions, scheme) for n, mentions in zip(lengths, side, strict=True)]
        for side in (gold, predicted)
    ]
    ours = score_mentions(gold, predicted)
    if not ours.n_gold and not ours.n_predicted:
        assert ours.micro_f1 == 0.0  # seqeval has no answer where there are no labels
        return
    assert_micro_scores_equal(ours, tags, **options)
    report = classification_report(*tags, output_dict=True, zero_division=0, **options)
    assert ours.macro_f1 == pytest.approx(report["macro avg"]["f1-score"])
    for label, scores in ours.per_label.items():
        expected = report[label]
        assert scores.precision == pytest.approx(expected["precision"])
        assert scores.recall == pytest.approx(expected["recall"])
        assert scores.f1 == pytest.approx(expected["f1-score"])
        assert scores.n_gold == expected["support"]


@given(gold=tag_lists("BI"), predicted=tag_lists("BI"))
def test_invalid_tags_score_as_in_conlleval(gold: list[str], predicted: list[str]) -> None:
    length = min(len(gold), len(predicted))
    tags = [[gold[:length]], [predicted[:length]]]
    ours = score_mentions(*([mentions_from_tags(side[0])] for side in tags))
    assert_micro_scores_equal(ours, tags)


@given(corpora())
def test_swapping_sides_swaps_precision_and_recall(corpus: Corpus) -> None:
    _, gold, predicted = corpus
    one, other = score_mentions(gold, predicted), score_mentions(predicted, gold)
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert (one.micro_f1, one.macro_f1) == (other.micro_f1, other.macro_f1)


@given(corpora())
def test_every_mention_is_correct_or_one_kind_of_error(corpus: Corpus) -> None:
    _, gold, predicted = corpus
    scores, errors = score_mentions(gold, predicted), error_breakdown(gold, predicted)
    n_paired = errors.boundary + errors.type + errors.boundary_and_type
    assert scores.n_gold == scores.n_correct + n_paired + errors.missed
    assert scores.n_predicted == scores.n_correct + n_paired + errors.spurious


@pytest.mark.parametrize(
    ("gold", "predicted", "kind"),
    [
        ([(0, 2, "a")], [(0, 2, "b")], {"type": 1}),
        ([(0, 2, "a")], [(1, 2, "a")], {"boundary": 1}),
        ([(0, 2, "a")], [(1, 3, "b")], {"boundary_and_type": 1}),
        ([(0, 2, "a")], [(2, 3, "a")], {"missed": 1, "spurious": 1}),
        ([(0, 4, "a")], [(0, 2, "a"), (2, 4, "a")], {"boundary": 1, "spurious": 1}),
        ([(0, 2, "a")], [(0, 2, "a")], {}),
    ],
    ids=["type", "boundary", "both", "apart", "cut in two", "right"],
)
def test_errors_are_told_apart(
    gold: list[tuple[int, int, str]], predicted: list[tuple[int, int, str]], kind: dict[str, int]
) -> None:
    sides = [[Mention(*span) for span in side] for side in (gold, predicted)]
    assert error_breakdown([sides[0]], [sides[1]]) == ErrorBreakdown(**kind)


def test_labels_restrict_and_order_what_is_scored() -> None:
    gold = [[Mention(0, 1, "PER"), Mention(1, 2, "LOC")]]
    scores = score_mentions(gold, PERFECT, labels=["ORG", "PER"])
    assert list(scores.per_label) == ["ORG", "PER"]
    assert (scores.micro_f1, scores.macro_f1, scores.n_gold) == (1.0, 1.0, 1)


def test_a_doubled_prediction_counts_once() -> None:
    assert score_mentions(PERFECT, [PERFECT[0] * 2]).n_predicted == 1


def test_scores_do_not_look_at_the_score_of_a_mention() -> None:
    assert score_mentions(PERFECT, [[Mention(0, 1, "PER", 0.3)]]).micro_f1 == 1.0


def test_no_mentions_score_zero() -> None:
    scores = score_mentions([[]], [[]])
    assert (scores.precision, scores.recall, scores.micro_f1, scores.macro_f1) == (0, 0, 0, 0)


def test_scores_are_frozen_and_become_json() -> None:
    scores = score_mentions(PERFECT, PERFECT)
    report = json.loads(json.dumps(scores.to_dict()))
    assert report["micro_f1"] == 1.0
    assert report["per_label"]["PER"] == {
        "precision": 1.0, "recall": 1.0, "f1": 1.0, "n_gold": 1, "n_predicted": 1, "n_correct": 1,
    }  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError, match="per_label"):
        scores.per_label = {}  # type: ignore[misc]


def test_sides_of_different_length_are_refused() -> None:
    for score in (score_mentions, error_breakdown):
        with pytest.raises(ShapeError, match="There are 1 gold and 2 predicted sentences"):
            score([[]], [[], []])


def test_labels_to_score_are_a_label_set_or_names() -> None:
    gold = [[Mention(0, 1, "PER"), Mention(2, 3, "LOC")]]
    by_name = score_mentions(gold, gold, ["PER"])
    assert by_name.micro_f1 == 1.0
    assert score_mentions(gold, gold, LabelSet.parse(["PER"])) == by_name


NO_MENTIONS = {
    "sentence": Sentence(("Ada",), (Mention(0, 1, "PER"),)),
    "tags": ["B-PER"],
    "tags in a string": "B-PER O",
    "records": [{"text": "Ada", "label": "PER", "start": 0, "end": 3, "score": 1.0}],
    "one mention": Mention(0, 1, "PER"),
}


@pytest.mark.parametrize("given", NO_MENTIONS.values(), ids=NO_MENTIONS)
def test_sentences_that_are_not_given_as_their_mentions_are_refused(given: Any) -> None:
    for score in (score_mentions, error_breakdown):
        with pytest.raises(DataError, match=r"predicted\[1\] is .*Expected the Mention values"):
            score([[], []], [[], given])
        with pytest.raises(DataError, match=r"gold\[0\] is "):
            score([given], [[]])


@pytest.mark.parametrize("labels", ["PER", [3], 5], ids=repr)
def test_labels_to_score_that_are_no_names_are_refused(labels: Any) -> None:
    with pytest.raises(LabelError, match=r"Labels are given as .*a list of names"):
        score_mentions([[]], [[]], labels)
