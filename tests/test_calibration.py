"""Temperatures and thresholds from held-out predictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.calibration import choose_temperature, choose_thresholds


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_of_stretched_logits_is_the_stretch(temperature):
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(20_000, 5)) * 2
    chances = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    tags = (chances.cumsum(1) < rng.random((len(chances), 1))).sum(1)
    found = choose_temperature(honest * temperature, tags, n_mentions=100)
    assert found == pytest.approx(temperature, rel=0.05)


def test_masked_tags_leave_the_temperature_alone():
    rng = np.random.default_rng(0)
    logits, tags = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    masked = np.c_[logits, np.full(200, -np.inf)]
    assert choose_temperature(masked, tags, 50) == choose_temperature(logits, tags, 50)


def test_few_mentions_give_no_temperature():
    assert choose_temperature(np.zeros((30, 3)), np.ones(30, int), n_mentions=19) is None


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
