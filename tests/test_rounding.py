"""Rounded weights: whole steps in range, and products that change less than by plain rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.rounding import LEVELS, rounded, rounded_for


def inputs(rng: np.random.Generator, n_rows: int, n_channels: int) -> np.ndarray:
    """Rows whose channels go along with each other, as those of a network do."""
    causes = rng.normal(size=(n_rows, 6)) @ rng.normal(size=(6, n_channels))
    return causes + 0.2 * rng.normal(size=causes.shape)


def product_error(levels: np.ndarray, scale: np.ndarray, w: np.ndarray, rows: np.ndarray) -> float:
    return float(np.square(rows @ (levels * scale - w)).sum())


@pytest.mark.parametrize("n_channels", [16, 128, 300])
def test_products_with_inputs_not_seen_change_less_than_half_as_much(n_channels: int) -> None:
    rng = np.random.default_rng(3)
    rows, weights = inputs(rng, 800, n_channels), rng.normal(size=(n_channels, 24))
    seen, unseen = rows[:600], rows[600:]
    plain, carried = rounded(weights, axis=0), rounded_for(weights, seen)
    np.testing.assert_array_equal(plain[1], carried[1])
    assert product_error(*carried, weights, unseen) < product_error(*plain, weights, unseen) / 2


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 30), st.integers(0, 99))
@settings(max_examples=50)
def test_levels_are_whole_numbers_in_range_near_the_weights(
    n_channels: int, n_columns: int, n_rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n_channels, n_columns)) * rng.integers(0, 2, size=(n_channels, 1))
    levels, scale = rounded_for(weights, rng.normal(size=(n_rows, n_channels)))
    assert levels.shape == weights.shape
    assert scale.shape == (1, n_columns)
    assert np.abs(levels).max() <= LEVELS
    np.testing.assert_array_equal(levels, np.round(levels))


def test_inputs_all_alike_and_channels_without_weight_or_input_are_no_trouble() -> None:
    weights = np.array([[1.0, -2.0], [0.0, 0.0], [0.5, 0.25], [0.0, 1.0]])
    rows = np.tile([1.0, 5.0, 0.0, 2.0], (7, 1))
    rows[:, 1] = 0
    levels, scale = rounded_for(weights, rows)
    np.testing.assert_array_equal(levels[1], 0)
    np.testing.assert_allclose(levels[2] * scale[0], weights[2], atol=scale.max() / 2)
    assert np.isfinite(levels).all()
