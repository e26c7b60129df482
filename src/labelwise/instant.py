"""The instant fit: a few marked words move the tag vectors, and nothing else.

Maximum a posteriori with both towers frozen: cross-entropy on the examples plus a Gaussian prior
centred on the vectors of the label words. Knows arrays, not texts; encodes and decodes nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from labelwise.ahead import map_side_by_side
from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.blas import one_blas_thread
from labelwise.fit_inputs import check_examples
from labelwise.fit_settings import FitSettings
from labelwise.map_problem import MapProblem, Solution, load_minimize
from labelwise.tag_params import TagParams


@dataclass(frozen=True)
class HeldOut:
    """What fits said about words they had not seen, at the strength that was chosen.

    Attributes:
        rows: Which words were held out; all of them, unless there are very many.
            Shape ``(words,)``.
        logits: Of those words; -inf where a tag was not allowed. Shape ``(words, tags)``.
        losses: The criterion at every strength that was tried.
    """

    rows: IntArray
    logits: FloatArray
    losses: dict[float, float]


@dataclass(frozen=True)
class FitResult:
    """A finished fit.

    Attributes:
        params: Where the parts have moved to.
        strength: Strength of the prior that was used.
        kept: Share of the centre in ``params``.
        centre_tags: Best tag of every word at the centre. Shape ``(words,)``.
        loss: Objective at the end: mean cross-entropy plus prior, mean over the spread, before
            the centre was mixed in.
        n_iterations: Iterations of the last solves.
        held_out: None when the strength was given, or could not be chosen from the examples.
    """

    params: TagParams
    strength: float
    kept: float
    centre_tags: IntArray
    loss: float
    n_iterations: int
    held_out: HeldOut | None


def fit_tag_vectors(  # noqa: PLR0913
    states: FloatArray,
    tag_ids: IntArray,
    sentence_ids: IntArray,
    prior: TagParams,
    settings: FitSettings | None = None,
    *,
    start: TagParams | None = None,
    allowed: BoolArray | None = None,
    weights: FloatArray | None = None,
    n_workers: int = 1,
) -> FitResult:
    """Move the parts of the tag vectors to where the examples pull them.

    Args:
        states: Word states of the examples. Shape ``(words, dim)``.
        tag_ids: Gold tags, 0 for O. Shape ``(words,)``.
        sentence_ids: Which sentence a word is of; equal ids are held out together.
            Shape ``(words,)``.
        prior: Centre of the prior: the vectors of the label words.
        settings: Strength and limits.
        start: Where the solve starts, such as the last fit; never changes where it ends.
        allowed: False where an example says nothing about a label, so that its other words are
            no evidence against it. None allows all. Shape ``(words, labels)``.
        weights: Weight of every word in the loss and in the mean state, not in the share of the
            centre that is kept; None weighs all alike. Shape ``(words,)``.
        n_workers: Threads that may share the words of a long solve; no result depends on them.

    Returns:
        The fitted parameters, and what was found on the way.

    Raises:
        ShapeError: Arrays do not fit together, or a tag id is out of range.
    """
    settings = settings or FitSettings()
    check_examples(states, tag_ids, sentence_ids, prior, allowed, weights)
    load_minimize()  # and its library of products, to be kept on one thread too
    with one_blas_thread():
        problem = MapProblem.build(
            states, tag_ids, prior, settings.bias_reach, allowed, weights, n_workers
        )
        centre_tags = problem.offset.argmax(axis=1)
        kept = settings.keep_start
        if kept is None:
            kept = _share_to_keep(problem, centre_tags, sentence_ids)
        strength, held_out = settings.strength, None
        if strength is None:
            strength, held_out = _choose_strength(problem, sentence_ids, settings, kept)
        moves = problem.moves_to(prior if start is None else start)
        solutions = _solve(problem, strength, moves, settings)
    return FitResult(
        params=problem.params_at((1 - kept) * np.mean([s.moves for s in solutions], axis=0)),
        strength=strength,
        kept=kept,
        centre_tags=centre_tags,
        loss=float(np.mean([s.loss for s in solutions])),
        n_iterations=sum(s.n_iterations for s in solutions),
        held_out=held_out,
    )


def _solve(
    problem: MapProblem, strength: float, moves: FloatArray, settings: FitSettings
) -> list[Solution]:
    """Solve over the spread around a strength; each solve starts where the last one ended."""
    lean, slope, solutions = _lean(problem), _NEAR if problem.is_long else _EXACT, list[Solution]()
    for factor in settings.spread:
        solutions.append(lean.solve(strength * factor, moves, settings.max_iterations, slope))
        moves = solutions[-1].moves
    return solutions


def _share_to_keep(problem: MapProblem, centre_tags: IntArray, sentence_ids: IntArray) -> float:
    """Share of the centre in the result: more, the better it does on the examples by itself.

    How well is the micro-F1 of runs of words of one label, by the best tag of every word.
    """
    n_marks = problem.prior.n_marks
    found, gold = (
        set(zip(*(x.tolist() for x in mention_runs(tags, sentence_ids, n_marks)), strict=True))
        for tags in (centre_tags, problem.tag_ids)
    )
    f1 = 2 * len(found & gold) / max(len(found) + len(gold), 1)
    return float(np.clip(_KEPT_A_POINT * (f1 - _KEPT_FROM), 0, 1))


def default_strength(tag_ids: IntArray, sentence_ids: IntArray, n_marks: int) -> float:
    """Give the strength for examples that are too few to choose it from.

    The best strengths of the trials fall as the examples grow, close to one over the mentions
    a label: 0.01 at one, 0.002 at five, 0.0005 at twenty.

    Args:
        tag_ids: Shape ``(words,)``.
        sentence_ids: Shape ``(words,)``.
        n_marks: Tags a label.

    Returns:
        The strength.
    """
    label_ids = mention_runs(tag_ids, sentence_ids, n_marks)[0]
    n_labels = len(np.unique(label_ids))
    return _ONE_SHOT_STRENGTH * n_labels / len(label_ids) if n_labels else _ONE_SHOT_STRENGTH


def mention_runs(
    tag_ids: IntArray, sentence_ids: IntArray, n_marks: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Find every run of words of one label; neighbours of one label count as one.

    Args:
        tag_ids: Shape ``(words,)``.
        sentence_ids: Shape ``(words,)``.
        n_marks: Tags a label.

    Returns:
        Label, first word and end of every run. Shapes ``(runs,)``.
    """
    labels = (np.asarray(tag_ids) - 1) // n_marks  # O is -1
    differs = (labels[1:] != labels[:-1]) | (sentence_ids[1:] != sentence_ids[:-1])
    starts = np.flatnonzero(np.concatenate([[True], differs]))
    ends = np.append(starts[1:], len(labels))
    is_mention = labels[starts] >= 0
    return labels[starts][is_mention], starts[is_mention], ends[is_mention]


def unmarked_runs(
    found: IntArray, tag_ids: IntArray, sentence_ids: IntArray, n_marks: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Find runs of labels that are marked nowhere, in sentences where something else is marked.

    A sentence without any mark says that nothing is in it, so what is found there is wrong.

    Args:
        found: Tags that were found. Shape ``(words,)``.
        tag_ids: Gold tags. Shape ``(words,)``.
        sentence_ids: Shape ``(words,)``.
        n_marks: Tags a label.

    Returns:
        Label, first word and end of every run whose words are all unmarked. Shapes ``(runs,)``.
    """
    label_ids, starts, ends = mention_runs(found, sentence_ids, n_marks)
    is_marked = tag_ids > 0
    n_marked = np.append(0, np.cumsum(is_marked))
    is_absent = ~np.isin(label_ids, (tag_ids[is_marked] - 1) // n_marks)
    has_marks = np.isin(sentence_ids[starts], sentence_ids[is_marked])
    rows = is_absent & has_marks & (n_marked[starts] == n_marked[ends])
    return label_ids[rows], starts[rows], ends[rows]


def _choose_strength(
    problem: MapProblem, sentence_ids: IntArray, settings: FitSettings, kept: float
) -> tuple[float, HeldOut | None]:
    """Weigh what held-out mentions say against the default, which few of them cannot outweigh.

    The criterion counts as the negative log-likelihood of a fraction of a word a mention, and
    the logarithm of the strength has a Gaussian prior, of standard deviation 1, at the default.
    """
    n_marks = problem.prior.n_marks
    default = default_strength(problem.tag_ids, sentence_ids, n_marks)
    labels = _repeated_labels(problem.tag_ids, sentence_ids, n_marks)
    if not len(labels):
        return default, None
    strengths = [default * factor for factor in settings.factors]
    rows, logits = _held_out_logits(problem, sentence_ids, strengths, settings, kept)
    label_ids = (problem.tag_ids[rows] - 1) // n_marks
    counted = (label_ids < 0) | np.isin(label_ids, labels)
    rated = [
        settings.criterion(at_strength[counted], problem.tag_ids[rows][counted])
        for at_strength in logits
    ]
    found = mention_runs(problem.tag_ids[rows], sentence_ids[rows], n_marks)[0]
    evidence = _EVIDENCE_A_MENTION * np.isin(found, labels).sum()
    costs = evidence * np.array(rated) + np.square(np.log(settings.factors)) / 2
    best = int(costs.argmin())
    losses = dict(zip(strengths, rated, strict=True))
    return strengths[best], HeldOut(rows, logits[best], losses)


def _repeated_labels(tag_ids: IntArray, sentence_ids: IntArray, n_marks: int) -> IntArray:
    """Labels that stay seen when any one sentence is held out. Shape ``(labels,)``."""
    label_ids, starts, _ = mention_runs(tag_ids, sentence_ids, n_marks)
    pairs = np.unique(np.stack([label_ids, sentence_ids[starts]]), axis=1)
    labels, n_sentences = np.unique(pairs[0], return_counts=True)
    return labels[n_sentences > 1]


def _held_out_logits(
    problem: MapProblem,
    sentence_ids: IntArray,
    strengths: list[float],
    settings: FitSettings,
    kept: float,
) -> tuple[IntArray, FloatArray]:
    """Hold out each group of sentences in turn, from the strongest prior to the weakest.

    Returns:
        The words held out, and their logits. Shapes ``(words,)`` and ``(strengths, words, tags)``.
    """
    n_words, n_tags = problem.offset.shape
    logits = np.empty((len(strengths), n_words, n_tags), np.float32)
    folds = _folds(sentence_ids, settings.n_folds)[: max(1, _MAX_SCORES // (n_words * n_tags))]
    n_side_by_side = min(problem.n_workers, len(folds)) if problem.is_long else 1
    shared = dataclasses.replace(problem, n_workers=problem.n_workers // n_side_by_side)

    def hold_out(held: BoolArray) -> None:
        seen, moves = _lean(shared.subset(~held)), problem.no_moves()
        for index, strength in enumerate(strengths):  # each starts where the last one ended
            moves = seen.solve(strength, moves, settings.max_iterations, _LOOSE).moves
            logits[index, held] = problem.logits_at((1 - kept) * moves, held)

    list(map_side_by_side(hold_out, folds, n_side_by_side))
    held_any = np.any(folds, axis=0)
    return np.flatnonzero(held_any), logits[:, held_any]


def _lean(problem: MapProblem) -> MapProblem:
    """Thin out a problem that takes long; no probability changes by more than a hundredth."""
    return problem.thinned() if problem.is_long else problem


def _folds(sentence_ids: IntArray, n_folds: int) -> list[BoolArray]:
    """Deal sentences out in their order, as support sets gather the rare labels at one end."""
    _, order = np.unique(sentence_ids, return_inverse=True)
    n_sentences = int(order.max()) + 1
    n_folds = n_sentences if n_sentences <= _MAX_LEAVE_ONE_OUT else n_folds
    return [order % n_folds == fold for fold in range(n_folds)]


_ONE_SHOT_STRENGTH = 0.01
_KEPT_FROM = 0.3  # F1 of the label words on the examples from which some of them is kept
_KEPT_A_POINT = 0.8
_EVIDENCE_A_MENTION = 0.3  # words; fewer than a mention has, as words of one sentence agree
_MAX_LEAVE_ONE_OUT = 12  # sentences; from there on, folds
_EXACT = 1e-5  # slope at which a solve ends
_NEAR = 3e-5  # the same where it takes long
_LOOSE = 3e-4  # slope at which a solve ends whose held-out logits alone are wanted
_MAX_SCORES = 1_000_000  # logits a choice may hold out; bounds its time on large support sets
