"""Tag vectors as sums of parts, and the scores they give.

What the instant fit moves, and all that prediction needs of it; encodes and decodes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Self

import numpy as np

from labelwise.arrays import FloatArray, IntArray
from labelwise.errors import ShapeError

NEIGHBOUR_SHARE = 0.35
WITH_NEIGHBOURS = 3  # widths of a state that a fit reads: the word, the one before, the one after
TAG_SHARE = 0.5  # below 1: what the tags of a label have in common moves more freely


@dataclass(frozen=True)
class TagParams:
    """Tag vectors as sums of parts: ``B-person`` is the part 'person' plus the part 'begin'.

    Independent tag vectors are the case of one part a tag. Tags are ordered as everywhere:
    O first, then per label its marks.

    Attributes:
        parts: What a fit moves. Shape ``(parts, dim)``.
        biases: Logit that every part adds to its tags. Shape ``(parts,)``.
        composition: Share of every part in every tag. Shape ``(tags, parts)``.
        n_marks: Tags a label: 1 for io, 2 for bio, 4 for bioes.
        scale: Factor on the dot product.
    """

    parts: FloatArray
    biases: FloatArray
    composition: FloatArray
    n_marks: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Reject arrays that do not fit together."""
        n_tags, n_parts = self.composition.shape
        if self.parts.shape[0] != n_parts or self.biases.shape != (n_parts,):
            raise ShapeError(
                f"parts {self.parts.shape}, biases {self.biases.shape} and composition "
                f"{self.composition.shape} differ in parts. Expected (parts, dim), (parts,) and "
                "(tags, parts). Build them with TagParams.independent or TagParams.summed."
            )
        if self.n_marks < 1 or (n_tags - 1) % self.n_marks:
            raise ShapeError(
                f"composition has {n_tags} tags at {self.n_marks} marks a label. Expected O plus "
                "the same number of marks for every label. Check the scheme."
            )

    @classmethod
    def independent(
        cls, tag_vectors: FloatArray, n_marks: int, *, other_bias: float = 0.0, scale: float = 1.0
    ) -> Self:
        """Take every tag vector as a part of its own.

        Args:
            tag_vectors: O first. Shape ``(tags, dim)``.
            n_marks: Tags a label.
            other_bias: Bias of O.
            scale: Factor on the dot product.

        Returns:
            The parameters.
        """
        parts = np.asarray(tag_vectors, np.float32)
        composition = np.eye(len(parts), dtype=np.float32)
        return cls(parts, _other_first(other_bias, len(parts)), composition, n_marks, scale)

    @classmethod
    def summed(
        cls,
        other_vector: FloatArray,
        mark_vectors: FloatArray,
        label_vectors: FloatArray,
        *,
        other_bias: float = 0.0,
        scale: float = 1.0,
    ) -> Self:
        """Add mark vectors to label vectors, with a part of its own for every tag beside them.

        The parts of single tags start at zero. They let one tag of a label move alone, while
        what is common to its tags, or to all tags of one mark, is learned once.

        Args:
            other_vector: Vector of O. Shape ``(dim,)``.
            mark_vectors: Shape ``(marks, dim)``.
            label_vectors: Shape ``(labels, dim)``.
            other_bias: Bias of O.
            scale: Factor on the dot product.

        Returns:
            The parameters; parts are O, the marks, the labels, the tags of the labels.
        """
        n_marks, n_labels = len(mark_vectors), len(label_vectors)
        n_tags = n_labels * n_marks  # without O
        shared = np.concatenate([other_vector[None], mark_vectors, label_vectors])
        parts = np.concatenate([shared, np.zeros((n_tags, shared.shape[1]))]).astype(np.float32)
        composition = np.zeros((1 + n_tags, len(parts)), np.float32)
        composition[0, 0] = 1
        composition[1:, 1 : 1 + n_marks] = np.tile(np.eye(n_marks), (n_labels, 1))
        composition[1:, 1 + n_marks : len(shared)] = np.repeat(np.eye(n_labels), n_marks, axis=0)
        composition[1:, len(shared) :] = TAG_SHARE * np.eye(n_tags)
        return cls(parts, _other_first(other_bias, len(parts)), composition, n_marks, scale)

    def padded(self, dim: int) -> Self:
        """Score wider states, of which the centre of the prior reads the first columns alone.

        Args:
            dim: Width of the states, such as those of ``add_neighbours``.

        Returns:
            The same scores for the same first columns.
        """
        parts = np.zeros((len(self.parts), dim), np.float32)
        parts[:, : self.parts.shape[1]] = self.parts
        return dataclasses.replace(self, parts=parts)

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return (self.composition.shape[0] - 1) // self.n_marks

    @functools.cached_property
    def tag_vectors(self) -> FloatArray:
        """One row a tag, O first. Shape ``(tags, dim)``."""
        return self.composition @ self.parts

    @functools.cached_property
    def tag_biases(self) -> FloatArray:
        """One logit a tag, O first. Shape ``(tags,)``."""
        return self.composition @ self.biases

    def score(self, states: FloatArray) -> FloatArray:
        """Score words against tags.

        Args:
            states: Shape ``(words, dim)``.

        Returns:
            Logits. Shape ``(words, tags)``.
        """
        return (states @ self.tag_vectors.T) * self.scale + self.tag_biases


def _other_first(other_bias: float, n_parts: int) -> FloatArray:
    biases = np.zeros(n_parts, np.float32)
    biases[0] = other_bias
    return biases


def add_neighbours(
    states: FloatArray, sentence_ids: IntArray, share: float = NEIGHBOUR_SHARE
) -> FloatArray:
    """Put the states of the words before and after beside the state of every word.

    What a fit learns of a word's neighbours moves boundaries, which the vectors of label words
    know least about on domains far from the training data.

    Args:
        states: Shape ``(words, dim)``.
        sentence_ids: Words of one sentence stand together; next sentences differ.
            Shape ``(words,)``.
        share: How freely a fit uses neighbours, relative to the word itself.

    Returns:
        The word, the word before, the word after; zero where there is none.
        Shape ``(words, dim)``, three times as wide.
    """
    same = (sentence_ids[1:] == sentence_ids[:-1])[:, None]
    before, after = np.zeros_like(states), np.zeros_like(states)
    before[1:] = states[:-1] * same
    after[:-1] = states[1:] * same
    return np.concatenate([states, before * share, after * share], axis=1).astype(np.float32)
