"""Tag vectors as sums of parts."""

import numpy as np
import pytest

from labelwise.errors import ShapeError
from labelwise.tag_params import TagParams, add_neighbours

DIM = 6


def test_summed_tags_are_label_plus_mark():
    rows = np.random.default_rng(0).normal(size=(6, DIM)).astype(np.float32)
    params = TagParams.summed(rows[0], rows[1:3], rows[3:], other_bias=0.3)
    other, begin, inside, first, second, _ = rows
    assert params.n_labels == 3
    assert np.allclose(params.tag_vectors[0], other)
    assert np.allclose(params.tag_vectors[1:4], [first + begin, first + inside, second + begin])
    assert np.allclose(params.tag_biases, [0.3, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("n_marks", [1, 2, 4], ids=["io", "bio", "bioes"])
def test_summed_and_independent_parts_score_alike(n_marks):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3 + n_marks, DIM)).astype(np.float32)
    summed = TagParams.summed(rows[0], rows[1 : 1 + n_marks], rows[1 + n_marks :], scale=0.5)
    independent = TagParams.independent(summed.tag_vectors, n_marks, scale=0.5)
    states = rng.normal(size=(4, DIM)).astype(np.float32)
    assert independent.n_labels == summed.n_labels == 2
    assert np.allclose(independent.score(states), summed.score(states), atol=1e-5)


def test_scores_are_scaled_dot_products_plus_bias():
    params = TagParams.independent(np.eye(3, dtype=np.float32), 1, other_bias=2.0, scale=0.5)
    scores = params.score(np.array([[1, 2, 3]], np.float32))
    assert np.allclose(scores, [[2.5, 1.0, 1.5]])


def test_padding_changes_no_score():
    rng = np.random.default_rng(0)
    params = TagParams.independent(rng.normal(size=(5, DIM)).astype(np.float32), 2)
    states = rng.normal(size=(7, DIM)).astype(np.float32)
    wide = add_neighbours(states, np.array([0, 0, 0, 1, 2, 2, 2]))
    assert np.allclose(params.padded(wide.shape[1]).score(wide), params.score(states), atol=1e-5)


def test_neighbours_end_with_the_sentence():
    states = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    wide = add_neighbours(states, np.array([0, 0, 0, 1]), share=0.5)
    assert wide.tolist() == [[1, 0, 1], [2, 0.5, 1.5], [3, 1, 0], [4, 0, 0]]


def test_params_that_do_not_fit_are_refused():
    parts, biases = np.zeros((4, DIM), np.float32), np.zeros(4, np.float32)
    with pytest.raises(ShapeError, match="differ in parts"):
        TagParams(parts, biases[:3], np.eye(4, dtype=np.float32), 1)
    with pytest.raises(ShapeError, match="4 tags at 2 marks a label"):
        TagParams(parts, biases, np.eye(4, dtype=np.float32), 2)
