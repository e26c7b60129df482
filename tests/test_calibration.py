"""Score curves and thresholds from held-out predictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.annotation import Mention
from labelwise.calibration import (
    IDENTITY,
    RatedMentions,
    ScoreCurve,
    choose_thresholds,
    fit_score_curve,
)


@pytest.mark.parametrize("curve", [(1.0, 0.0), (0.5, -0.7), (1.6, 0.4)])
def test_curve_that_made_the_mentions_right_is_found_again(curve):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 20_000)
    is_correct = rng.random(len(scores)) < ScoreCurve(*curve)(scores)
    assert np.allclose(fit_score_curve(scores, is_correct), curve, atol=0.06)


def test_curve_keeps_the_order_of_scores_whatever_was_right():
    scores = np.linspace(0.01, 0.99, 50)
    worst_first = fit_score_curve(scores, scores < 0.5)
    assert worst_first.slope > 0
    assert (np.diff(worst_first(scores)) > 0).all()


def test_few_mentions_leave_scores_alone():
    scores = np.array([0.0, 0.4, 1.0])
    curve = fit_score_curve(np.full(9, 0.9), np.zeros(9, bool))
    assert curve == IDENTITY
    assert np.array_equal(curve(scores), scores)


predictions = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), st.booleans()), min_size=1, max_size=12
)


@given(predictions)
def test_threshold_is_the_best_of_all_cuts(pairs):
    scores, correct = (np.array(column) for column in zip(*pairs, strict=True))
    n_gold = 5 + int(correct.sum())

    def f1_at(threshold):
        kept = scores >= threshold
        return 2 * correct[kept].sum() / (kept.sum() + n_gold)

    [threshold] = choose_thresholds(scores, np.zeros(len(scores), int), correct, np.array([n_gold]))
    assert f1_at(threshold or 0) == max(f1_at(cut) for cut in (0, 0.2, 0.4, 0.6, 0.8, 1))


def test_labels_are_cut_apart_and_rare_ones_never():
    scores = np.array([0.9, 0.2, 0.9, 0.2])
    labels, correct = np.array([0, 0, 1, 1]), np.array([True, False, True, False])
    assert choose_thresholds(scores, labels, correct, np.array([5, 4, 9])) == [0.55, None, None]


def test_mentions_are_rated_by_span_and_label():
    near, far = Mention(0, 1, "city", 0.5), Mention(3, 5, "person", 0.25)
    other = Mention(3, 5, "city", 0.75)
    rated = RatedMentions.of([[near, other], [far]], [[near, far], []], ["person", "city"])
    assert rated.scores.tolist() == [0.5, 0.75, 0.25]
    assert rated.label_ids.tolist() == [1, 1, 0]
    assert rated.is_correct.tolist() == [True, False, False]
    assert rated.n_gold.tolist() == [1, 1]
