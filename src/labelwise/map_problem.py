"""The convex problem inside the instant fit: its coordinates, its gradient, its solution.

Matrix products only; chooses no strength and reads no settings.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelwise.ahead import map_side_by_side
from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.tag_params import TagParams


@dataclass(frozen=True)
class Solution:
    """Where a solve ended.

    Attributes:
        moves: Shape ``(tags, dim)``.
        loss: Objective there.
        n_iterations: Iterations taken.
    """

    moves: FloatArray
    loss: float
    n_iterations: int


@dataclass(frozen=True)
class MapProblem:
    """Weighted cross-entropy plus ``strength / 2`` times the squared length of the moves.

    Logits are ``offset + features @ (mixing @ moves).T``. Moves are zero at the centre of
    the prior and measured in logits: features of a typical word have length 1. They are states
    less most of what all words have in common: a label should learn what sets its words apart,
    and a vector that moves along the mean state moves the logits of every word. The prior is the
    same in all directions, so parts never leave the centre in directions that no state has;
    with fewer words than ``dim``, features are coordinates in the span of the states alone.
    Nor do parts move in ways that no tag shows, so there is one move a tag. As ``mixing`` times
    its transpose is the composition times its own, moves are as long as those of the parts.

    Attributes:
        features: Shape ``(words, dim)``.
        offset: Logits at the centre, -inf where a tag is not allowed. Shape ``(words, tags)``.
        tag_ids: Shape ``(words,)``.
        weights: Share of every word in the loss. Shape ``(words,)``.
        prior: Centre of the prior.
        mixing: Share of every move in every tag, lower triangular. Shape ``(tags, tags)``.
        to_parts: Moves to changes of vectors, then of the bias. Shape ``(dim, dim)``.
        to_moves: The other way. Shape ``(dim, dim)``.
        n_workers: Threads that share the words of a long problem; the sums stay the same.
    """

    features: FloatArray
    offset: FloatArray
    tag_ids: IntArray
    weights: FloatArray
    prior: TagParams
    mixing: FloatArray
    to_parts: FloatArray
    to_moves: FloatArray
    n_workers: int = 1

    @classmethod
    def build(
        cls,
        states: FloatArray,
        tag_ids: IntArray,
        prior: TagParams,
        bias_reach: float,
        allowed: BoolArray | None = None,
        weights: FloatArray | None = None,
        n_workers: int = 1,
    ) -> Self:
        """Put checked arrays into the coordinates of the solve.

        Args:
            states: Shape ``(words, dim)``.
            tag_ids: Shape ``(words,)``.
            prior: Centre of the prior.
            bias_reach: Length of the constant feature whose weights are the biases; 0 keeps them.
            allowed: Shape ``(words, labels)``.
            weights: Shape ``(words,)``.
            n_workers: Threads that may share a long problem.

        Returns:
            The problem.
        """
        shares = np.ones(len(states)) if weights is None else weights
        shares = (shares / shares.sum()).astype(np.float32)
        offset = prior.score(states)
        if allowed is not None:
            offset[:, 1:][~np.repeat(allowed, prior.n_marks, axis=1)] = -np.inf
        common = (_COMMON if bias_reach else 0.0) * (shares @ states)
        features = np.empty((len(states), states.shape[1] + 1), np.float32)
        apart = np.subtract(states, common, out=features[:, :-1])
        length = float(np.sqrt(shares @ np.einsum("ij,ij->i", apart, apart))) or 1.0
        apart /= length
        features[:, -1] = bias_reach
        units = np.full(features.shape[1], 1 / length, np.float32)
        units[-1] = bias_reach
        basis = np.eye(len(units), dtype=np.float32)
        if len(states) < len(units):
            basis, coordinates = np.linalg.qr(features.T)
            features = np.ascontiguousarray(coordinates.T)
        to_parts, to_moves = _changes(basis, units, common, prior.scale)
        return cls(
            features=features,
            offset=offset.astype(np.float32),
            tag_ids=np.asarray(tag_ids),
            weights=shares,
            prior=prior,
            mixing=np.linalg.cholesky(prior.composition @ prior.composition.T),
            to_parts=to_parts,
            to_moves=to_moves,
            n_workers=n_workers,
        )

    @property
    def is_long(self) -> bool:
        """Whether a solve takes a good part of a second."""
        return self.offset.size > _MANY_SCORES

    def subset(self, rows: BoolArray | slice) -> Self:
        """Keep some words at the weight they have, so that strengths keep their meaning.

        Args:
            rows: True on words to keep, or where they stand. Shape ``(words,)``.

        Returns:
            The smaller problem, in the same coordinates.
        """
        return dataclasses.replace(
            self,
            features=self.features[rows],
            offset=self.offset[rows],
            tag_ids=self.tag_ids[rows],
            weights=self.weights[rows],
        )

    def thinned(self) -> Self:
        """Let words that are surely O at the centre stand for one another; most words are.

        Their pull is next to nothing, and their number decides how long a solve takes.

        Returns:
            The problem with one in eight of them, which weighs for the others.
        """
        is_sure = (self.tag_ids == 0) & (self._o_probabilities() > _SURE)
        sure = np.flatnonzero(is_sure)
        chosen = sure[::_ONE_IN]
        if not len(chosen):
            return self
        weights = self.weights.copy()
        weights[chosen] *= weights[sure].sum() / weights[chosen].sum()
        is_sure[chosen] = False
        return dataclasses.replace(self, weights=weights).subset(~is_sure)

    def _o_probabilities(self) -> FloatArray:
        """Probability of O at the centre. Shape ``(words,)``."""
        odds = np.exp(self.offset - self.offset[:, :1])  # overflow is probability 0
        return 1 / odds.sum(axis=1)

    def no_moves(self) -> FloatArray:
        """Stand at the centre of the prior. Shape ``(tags, dim)``."""
        return np.zeros((len(self.mixing), self.features.shape[1]), np.float32)

    def moves_to(self, params: TagParams) -> FloatArray:
        """Express parameters as moves from the centre, as far as the states can tell.

        Args:
            params: Parameters with the parts of the prior.

        Returns:
            Shape ``(tags, dim)``.
        """
        change = np.c_[params.parts - self.prior.parts, params.biases - self.prior.biases]
        by_tag = self.prior.composition @ (change @ self.to_moves)
        return np.linalg.solve(self.mixing, by_tag).astype(np.float32)

    def params_at(self, moves: FloatArray) -> TagParams:
        """Move the parts of the prior.

        Args:
            moves: Shape ``(tags, dim)``.

        Returns:
            The parameters.
        """
        by_tag = np.linalg.solve(self.mixing.T, moves @ self.to_parts)
        change = self.prior.composition.T @ by_tag  # (parts, dim)
        return dataclasses.replace(
            self.prior,
            parts=self.prior.parts + change[:, :-1],
            biases=self.prior.biases + change[:, -1],
        )

    def logits_at(self, moves: FloatArray, rows: BoolArray | slice = slice(None)) -> FloatArray:
        """Score words of the problem.

        Args:
            moves: Shape ``(tags, dim)``.
            rows: Which words; all by default. Shape ``(words,)``.

        Returns:
            Shape ``(words, tags)``.
        """
        by_tag = self.mixing @ moves  # (tags, dim)
        return self.features[rows] @ by_tag.T.astype(self.features.dtype) + self.offset[rows]

    def loss_and_gradient(self, moves: FloatArray, strength: float) -> tuple[float, FloatArray]:
        """Evaluate the objective.

        Args:
            moves: Shape ``(tags, dim)``.
            strength: Strength of the prior.

        Returns:
            Loss, and its gradient. Shape ``(tags, dim)``.
        """
        found = map_side_by_side(lambda s: s.cross_entropy(moves), self._shares, self.n_workers)
        losses, by_tag = zip(*found, strict=True)
        loss = sum(losses) + strength / 2 * float(np.vdot(moves, moves))
        gradient = self.mixing.T @ np.sum(by_tag, axis=0)
        return loss, (gradient + strength * moves).astype(np.float32)

    @functools.cached_property
    def _shares(self) -> list[Self]:
        """The words in parts that do not depend on the threads, so that no result does."""
        bounds = np.linspace(0, len(self.offset), (_SHARES if self.is_long else 1) + 1).astype(int)
        return [self.subset(slice(low, high)) for low, high in pairwise(bounds.tolist())]

    def cross_entropy(self, moves: FloatArray) -> tuple[float, FloatArray]:
        """Evaluate the loss of the words.

        Args:
            moves: Shape ``(tags, dim)``.

        Returns:
            Its sum, and its gradient by the vectors of the tags. Shape ``(tags, dim)``.
        """
        residual = self.logits_at(moves)
        residual -= residual.max(axis=1, keepdims=True)
        words = np.arange(len(residual))
        gold = residual[words, self.tag_ids]
        np.exp(residual, out=residual)
        totals = residual.sum(axis=1)
        loss = float(np.dot(self.weights, np.log(totals) - gold))
        residual *= (self.weights / totals)[:, None]
        residual[words, self.tag_ids] -= self.weights
        return loss, residual.T @ self.features

    def solve(
        self, strength: float, start: FloatArray, max_iterations: int, tolerance: float
    ) -> Solution:
        """Minimise the objective by L-BFGS.

        Single precision: at equal results it takes half the time of double.

        Args:
            strength: Strength of the prior.
            start: Moves to start from. Shape ``(tags, dim)``.
            max_iterations: Limit.
            tolerance: Largest slope, in nats a logit, at which the solve ends; a thousandth of
                it is the relative gain of one iteration at which it ends.

        Returns:
            The solution.
        """
        minimize = load_minimize()

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            moves = flat.reshape(start.shape).astype(self.features.dtype)
            loss, gradient = self.loss_and_gradient(moves, strength)
            return loss, gradient.ravel().astype(np.float64)

        options = {"maxiter": max_iterations, "gtol": tolerance, "ftol": tolerance / 1000}
        options["maxcor"] = 20  # a sixth fewer evaluations than with 10
        found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
        moves = found.x.reshape(start.shape).astype(np.float32)
        return Solution(moves, float(found.fun), int(found.nit))


def _changes(
    basis: FloatArray, units: FloatArray, common: FloatArray, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Translate moves into changes of vectors and bias, and back.

    Args:
        basis: Directions of the features. Shape ``(dim + 1, features)``.
        units: Factor of every state, and of the constant, in the features. Shape ``(dim + 1,)``.
        common: What was taken off every state; the biases make up for it. Shape ``(dim,)``.
        scale: Factor on the dot product.

    Returns:
        Shapes ``(features, dim + 1)`` and ``(dim + 1, features)``.
    """
    logit_units = units / np.append(np.full(len(common), scale), 1)
    to_parts = basis.T * logit_units
    to_parts[:, -1] -= (basis[:-1].T * units[:-1]) @ common
    inverse = np.divide(1, logit_units, out=np.zeros_like(units), where=logit_units > 0)
    to_moves = basis * inverse[:, None]
    to_moves[:-1] += np.outer(common * scale, to_moves[-1])
    return to_parts.astype(np.float32), to_moves.astype(np.float32)


def load_minimize() -> Callable[..., Any]:
    """Import the solver: it takes longer than a small fit, and prediction needs none."""
    from scipy.optimize import minimize  # noqa: PLC0415

    return minimize


_MANY_SCORES = 100_000  # words times tags; below, a solve is short anyhow
_SHARES = 8  # of the words of a long problem
_SURE = 0.99  # probability of O from which words stand for one another
_ONE_IN = 8
_COMMON = 0.7  # of the mean state; a bias says the rest (docs/experiments.md)
