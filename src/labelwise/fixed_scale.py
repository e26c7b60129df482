"""One scale for the bytes of an input whose rows are much alike, as those of a layer norm.

Its channels are centred and evened out first: by middles and factors that the bias and the weights
of the products behind it take back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwise.rounding import LEVELS, Array, rounded

_EVENING = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # how much of a channel's size the weights take over
_TRIED_ROWS = 512  # to choose how much
_USUAL = 0.98  # of all rows: those that a fixed scale is made for
_ROOM = 1.2  # times their peak: what a fixed scale reaches
_RIM = 0.001  # of a channel's values, either end: left out when its middle is found


@dataclass(frozen=True)
class FixedScale:
    """How the bytes of a normalised input are made: ``round((x - middles) / factors / scale)``.

    Attributes:
        middles: Of every channel's values. Shape ``(channels,)``.
        factors: What evens the channels out. Shape ``(channels,)``.
        scale: Of all values.
    """

    middles: Array
    factors: Array
    scale: float


def fixed_scale(rows: Array, weights: Array) -> FixedScale:
    """Find how to make bytes of such rows.

    Args:
        rows: Seen values of an input. Shape ``(rows, channels)``.
        weights: Of the products with it. Shape ``(channels, columns)``.
    """
    middles = (np.quantile(rows, _RIM, axis=0) + np.quantile(rows, 1 - _RIM, axis=0)) / 2
    centred = rows - middles
    peaks = np.maximum(np.abs(centred).max(0), 1e-4)
    sizes = np.maximum(np.sqrt(np.square(weights).mean(1)), 1e-4)
    some = centred[np.linspace(0, len(rows) - 1, min(_TRIED_ROWS, len(rows))).astype(int)]
    factors = [np.ones(len(peaks)), *(peaks**share / sizes ** (1 - share) for share in _EVENING)]
    tops = [float(np.quantile(np.abs(centred / f).max(1), _USUAL)) for f in factors]
    scales = [_ROOM * max(top, 1e-6) / LEVELS for top in tops]  # rows may be all alike
    errors = [_rounding_error(some, weights, f, s) for f, s in zip(factors, scales, strict=True)]
    best = int(np.argmin(errors))
    return FixedScale(middles, factors[best], scales[best])


def _rounding_error(rows: Array, weights: Array, factors: Array, scale: float) -> float:
    """Squared error of a product whose two sides are rounded after evening."""
    steps = np.clip(np.round(rows / factors / scale), -LEVELS - 1, LEVELS)
    levels, scales = rounded(weights * factors[:, None], axis=0)
    return float(np.square((steps * scale) @ (levels * scales) - rows @ weights).sum())
