"""Checks of what a fit is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.errors import ShapeError
from labelwise.tag_params import TagParams


def check_examples(
    states: FloatArray,
    tag_ids: IntArray,
    sentence_ids: IntArray,
    prior: TagParams,
    allowed: BoolArray | None,
    weights: FloatArray | None,
) -> None:
    """Refuse arrays of examples that do not fit together or the prior.

    Args:
        states: Shape ``(words, dim)``.
        tag_ids: Shape ``(words,)``.
        sentence_ids: Shape ``(words,)``.
        prior: What they are fitted from.
        allowed: Shape ``(words, labels)``.
        weights: Shape ``(words,)``.

    Raises:
        ShapeError: With what was found and expected.
    """
    n_tags, dim = prior.tag_vectors.shape
    if states.ndim != 2 or states.shape[1] != dim:
        raise ShapeError(
            f"states {states.shape} and the prior's tag vectors {(n_tags, dim)} differ in dim. "
            "Expected (words, dim) and (tags, dim). Take both from one model."
        )
    if not len(states):
        raise ShapeError("states has no words. Expected at least one. Give an example.")
    expected: dict[str, tuple[int, ...]] = {
        "tag_ids": (len(states),),
        "sentence_ids": (len(states),),
    }
    given: dict[str, Any] = {"tag_ids": tag_ids, "sentence_ids": sentence_ids}
    if weights is not None:
        given["weights"], expected["weights"] = weights, (len(states),)
    if allowed is not None:
        given["allowed"], expected["allowed"] = allowed, (len(states), prior.n_labels)
    for name, array in given.items():
        if array.shape != expected[name]:
            raise ShapeError(
                f"{name} {array.shape} does not fit states {states.shape} and "
                f"{prior.n_labels} labels. Expected {expected[name]}. Give one row a word."
            )
    _check_values(tag_ids, prior, allowed, weights)


def _check_values(
    tag_ids: IntArray, prior: TagParams, allowed: BoolArray | None, weights: FloatArray | None
) -> None:
    n_tags = 1 + prior.n_labels * prior.n_marks
    if tag_ids.min() < 0 or tag_ids.max() >= n_tags:
        raise ShapeError(
            f"tag_ids has values from {tag_ids.min()} to {tag_ids.max()}. "
            f"Expected 0 to {n_tags - 1}: O, then {prior.n_marks} tags for each of "
            f"{prior.n_labels} labels. Check the label set and the scheme."
        )
    if weights is not None and (weights.min() < 0 or not weights.sum() > 0):
        raise ShapeError(
            f"weights has values from {weights.min()} to {weights.max()}. "
            "Expected none below 0 and one above. Weigh at least one word."
        )
    if allowed is not None:
        words = np.flatnonzero(tag_ids > 0)
        hidden = words[~allowed[words, (tag_ids[words] - 1) // prior.n_marks]]
        if len(hidden):
            raise ShapeError(
                f"allowed masks the gold label of word {hidden[0]} and {len(hidden) - 1} more. "
                "Expected every marked label to be allowed. Mask only labels not spoken about."
            )
