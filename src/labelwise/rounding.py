"""Rounding of weights to whole steps, by size alone or by what it does to the inputs seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEVELS = 127  # of an int8, either side of zero
_DAMPING = 0.3  # of the mean second moment: few inputs were seen
_BLOCK = 128  # channels whose errors are carried on together


def rounded(values: Array, axis: int) -> tuple[Array, Array]:
    """Round to the nearest steps of one scale a slice.

    Args:
        values: Shape ``(rows, columns)``.
        axis: Along which values share a scale.

    Returns:
        Whole numbers of at most ``LEVELS``, of the same shape, and the scales, with a length of
        one along ``axis``.
    """
    scale = np.abs(values).max(axis, keepdims=True) / LEVELS
    scale[scale == 0] = 1
    return np.round(values / scale), scale


def rounded_for(weights: Array, rows: Array) -> tuple[Array, Array]:
    """Round weights such that their product with inputs like those seen changes little.

    Channel after channel is rounded, those with the largest inputs first, and what that does to
    the product is made good by the channels to come, as far as they go along with it (GPTQ,
    Frantar et al. 2023, https://arxiv.org/abs/2210.17323, algorithm 1).

    Args:
        weights: Shape ``(channels, columns)``.
        rows: Inputs seen. Shape ``(rows, channels)``.

    Returns:
        Whole numbers of at most ``LEVELS``, of the shape of ``weights``, and the scale of each
        column. Shape ``(1, columns)``.
    """
    _, scale = rounded(weights, axis=0)
    moments = rows.T.astype(np.float64) @ rows
    order = np.argsort(-np.diag(moments))
    moments = moments[np.ix_(order, order)]
    moments[np.diag_indices_from(moments)] += _DAMPING * np.diag(moments).mean() + 1e-9
    carry = np.linalg.cholesky(np.linalg.inv(moments)).T
    rest, levels = weights[order].astype(np.float64), np.empty(weights.shape)
    for start in range(0, len(rest), _BLOCK):
        block = slice(start, start + _BLOCK)
        levels[block], errors = _rounded_block(rest[block], scale[0], carry[block, block])
        rest[start + _BLOCK :] -= carry[block, start + _BLOCK :].T @ errors
    unordered = np.empty_like(levels)
    unordered[order] = levels
    return unordered, scale


def _rounded_block(rest: Array, scale: Array, carry: Array) -> tuple[Array, Array]:
    """Levels of some channels, and errors to carry on to later ones; both like ``rest``."""
    levels, errors = np.empty_like(rest), np.empty_like(rest)
    for i, row in enumerate(rest):
        levels[i] = np.clip(np.round(row / scale), -LEVELS, LEVELS)
        errors[i] = (row - levels[i] * scale) / carry[i, i]
        rest[i + 1 :] -= np.outer(carry[i, i + 1 :], errors[i])
    return levels, errors
