"""The instant fit: a convex problem with a known centre, checked against slower solvers."""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import softmax

from labelwise.errors import ConfigError, ShapeError
from labelwise.fit_settings import FitSettings, balanced_loss
from labelwise.instant import default_strength, fit_tag_vectors, mention_runs, unmarked_runs
from labelwise.map_problem import MapProblem
from labelwise.tag_params import TagParams

DIM = 12


def summed_prior(rng, n_labels=3, dim=DIM):
    rows = rng.normal(size=(3 + n_labels, dim)).astype(np.float32)
    return TagParams.summed(rows[0], rows[1:3], rows[3:], other_bias=0.3, scale=0.4)


def independent_prior(rng, n_labels=3, dim=DIM):
    rows = rng.normal(size=(1 + 2 * n_labels, dim)).astype(np.float32)
    return TagParams.independent(rows, 2, other_bias=0.3, scale=0.4)


def examples(rng, n_sentences=6, length=5, n_labels=3, dim=DIM):
    """Words whose states lean towards a direction of their tag."""
    n_words = n_sentences * length
    tags = rng.integers(0, 1 + 2 * n_labels, n_words) * (rng.random(n_words) < 0.6)
    directions = rng.normal(size=(1 + 2 * n_labels, dim))
    states = (rng.normal(size=(n_words, dim)) * 0.5 + directions[tags]).astype(np.float32)
    return states, tags, np.repeat(np.arange(n_sentences), length)


PRIORS = pytest.mark.parametrize("make_prior", [summed_prior, independent_prior])


@PRIORS
@given(seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_gradient_is_finite_differences(make_prior, seed):
    rng = np.random.default_rng(seed)
    prior, (states, tags, _) = make_prior(rng), examples(rng)
    allowed = np.ones((len(tags), 3), bool)
    allowed[tags == 0, 1] = False
    problem = MapProblem.build(states, tags, prior, 0.5, allowed, rng.random(len(tags)))
    fields = {
        name: getattr(problem, name).astype(float) for name in ("features", "offset", "weights")
    }
    problem = dataclasses.replace(problem, **fields)
    moves, step = rng.normal(size=problem.no_moves().shape), 1e-6
    gradient = problem.loss_and_gradient(moves, 0.1)[1]
    for index in zip(*(rng.integers(0, n, 5) for n in moves.shape), strict=True):
        ahead, behind = moves.copy(), moves.copy()
        ahead[index] += step
        behind[index] -= step
        rise = problem.loss_and_gradient(ahead, 0.1)[0] - problem.loss_and_gradient(behind, 0.1)[0]
        assert gradient[index] == pytest.approx(rise / (2 * step), rel=1e-3, abs=1e-7)


def brute_force_logits(states, tags, prior, strength, bias_reach):
    """Solve for every part and bias as they are, in double precision, without any trick."""
    apart = states.astype(float) - 0.7 * states.mean(0)
    length = np.sqrt(np.mean((apart**2).sum(1)))
    shape, n_words = (prior.parts.shape[0], prior.parts.shape[1] + 1), len(tags)
    inputs = np.c_[apart, np.ones(n_words)]
    gold = np.eye(len(prior.tag_vectors))[tags]
    composition = prior.composition.astype(float)

    def logits_at(change):
        by_tag = composition @ change
        return prior.score(states) + prior.scale * inputs[:, :-1] @ by_tag[:, :-1].T + by_tag[:, -1]

    def objective(flat):
        change = flat.reshape(shape)
        logits = logits_at(change)
        logits -= logits.max(1, keepdims=True)
        log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        back = composition.T @ ((np.exp(log_probs) - gold).T @ inputs) / n_words
        back[:, :-1] *= prior.scale
        in_logits = np.append(np.full(shape[1] - 1, (prior.scale * length) ** 2), bias_reach**-2)
        loss = -(gold * log_probs).sum() / n_words + strength / 2 * (change**2 * in_logits).sum()
        return loss, (back + strength * change * in_logits).ravel()

    found = minimize(
        objective,
        np.zeros(np.prod(shape)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 9000, "ftol": 1e-15, "gtol": 1e-9},
    )
    return logits_at(found.x.reshape(shape)), found.fun


@PRIORS
@pytest.mark.parametrize(("n_sentences", "dim"), [(2, 24), (10, 12)], ids=["short", "tall"])
def test_fit_is_the_brute_force_solution(make_prior, n_sentences, dim):
    rng = np.random.default_rng(3)
    prior = make_prior(rng, dim=dim)
    states, tags, sentences = examples(rng, n_sentences, dim=dim)
    options = FitSettings(strength=0.01, spread=(1.0,))
    result = fit_tag_vectors(states, tags, sentences, prior, options)
    logits, loss = brute_force_logits(states, tags, prior, 0.01, 0.5)
    assert result.loss == pytest.approx(loss, abs=1e-5)
    assert np.allclose(result.params.score(states), logits, atol=0.02)


@PRIORS
def test_result_is_the_mean_of_the_solutions_over_the_spread(make_prior):
    rng = np.random.default_rng(5)
    prior, data = make_prior(rng), examples(rng)
    mean = fit_tag_vectors(*data, prior, FitSettings(strength=0.01, spread=(3.0, 0.5)))
    alone = [
        fit_tag_vectors(*data, prior, FitSettings(strength=strength, spread=(1.0,)))
        for strength in (0.03, 0.005)
    ]
    logits = np.mean([a.params.score(data[0]) for a in alone], axis=0)
    assert np.allclose(mean.params.score(data[0]), logits, atol=0.05)
    assert mean.strength == 0.01


@PRIORS
def test_strong_prior_returns_the_centre(make_prior):
    rng = np.random.default_rng(0)
    prior = make_prior(rng)
    fitted = fit_tag_vectors(*examples(rng), prior, FitSettings(strength=1e6)).params
    assert np.allclose(fitted.tag_vectors, prior.tag_vectors, atol=1e-4)
    assert np.allclose(fitted.tag_biases, prior.tag_biases, atol=1e-4)


@PRIORS
def test_weak_prior_separates_separable_words(make_prior):
    rng = np.random.default_rng(1)
    states, tags, sentences = examples(rng, n_sentences=2)
    fitted = fit_tag_vectors(states, tags, sentences, make_prior(rng), FitSettings(strength=1e-5))
    assert np.array_equal(fitted.params.score(states).argmax(1), tags)


def test_vectors_stay_at_the_centre_where_no_state_points():
    rng = np.random.default_rng(0)
    states, tags, sentences = examples(rng)
    states[:, :4] = 0
    prior = summed_prior(rng)
    fitted = fit_tag_vectors(states, tags, sentences, prior, FitSettings(strength=0.01)).params
    assert np.allclose(fitted.parts[:, :4], prior.parts[:, :4], atol=1e-5)


def test_no_bias_reach_keeps_the_biases():
    rng = np.random.default_rng(0)
    prior = summed_prior(rng)
    options = FitSettings(strength=0.01, bias_reach=0)
    fitted = fit_tag_vectors(*examples(rng), prior, options, start=prior).params
    assert np.array_equal(fitted.biases, prior.biases)


def test_permuting_labels_permutes_the_solution():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, DIM)).astype(np.float32)
    states, tags, sentences = examples(rng)
    order = np.array([2, 0, 1])  # new label i was label order[i]
    tag_order = np.concatenate([[0], *([1 + 2 * label, 2 + 2 * label] for label in order)])
    options = FitSettings()
    first = TagParams.summed(rows[0], rows[1:3], rows[3:])
    second = TagParams.summed(rows[0], rows[1:3], rows[3:][order])
    expected = fit_tag_vectors(states, tags, sentences, first, options)
    permuted = fit_tag_vectors(states, np.argsort(tag_order)[tags], sentences, second, options)
    assert permuted.strength == expected.strength
    assert np.allclose(
        permuted.params.score(states), expected.params.score(states)[:, tag_order], atol=0.02
    )


def test_a_sentence_given_twice_weighs_double():
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = summed_prior(rng), examples(rng)
    twice = np.concatenate([np.arange(len(tags)), np.flatnonzero(sentences == 0)])
    options = FitSettings(strength=0.02, keep_start=0.0)
    double = fit_tag_vectors(states[twice], tags[twice], sentences[twice], prior, options)
    weights = np.where(sentences == 0, 2.0, 1.0).astype(np.float32)
    weighted = fit_tag_vectors(states, tags, sentences, prior, options, weights=weights)
    assert weighted.loss == pytest.approx(double.loss, abs=1e-5)
    assert np.allclose(weighted.params.score(states), double.params.score(states), atol=0.02)


def test_warm_start_ends_at_the_same_optimum_sooner():
    rng = np.random.default_rng(0)
    prior, data, options = (
        summed_prior(rng),
        examples(rng, 30),
        FitSettings(strength=0.001, spread=(1.0,)),
    )
    cold = fit_tag_vectors(*data, prior, options)
    warm = fit_tag_vectors(*data, prior, options, start=cold.params)
    assert warm.n_iterations < cold.n_iterations / 2
    assert warm.loss == pytest.approx(cold.loss, abs=1e-5)
    assert np.allclose(warm.params.score(data[0]), cold.params.score(data[0]), atol=0.05)


def test_labels_not_spoken_about_are_no_evidence():
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = independent_prior(rng), examples(rng)
    tags[(tags == 3) | (tags == 4)] = 0  # label 1 is never marked
    allowed = np.ones((len(tags), 3), bool)
    allowed[:, 1] = False
    options = FitSettings(strength=0.001)
    fitted = fit_tag_vectors(states, tags, sentences, prior, options, allowed=allowed).params
    assert np.array_equal(fitted.tag_vectors[3:5], prior.tag_vectors[3:5])
    assert not np.allclose(fitted.tag_vectors[1], prior.tag_vectors[1])
    pushed = fit_tag_vectors(states, tags, sentences, prior, options).params
    assert not np.allclose(pushed.tag_vectors[3], prior.tag_vectors[3])


def test_held_out_logits_never_saw_their_own_sentence():
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = summed_prior(rng), examples(rng, 6, 12)
    options = FitSettings(factors=(1.0,))
    expected = fit_tag_vectors(states, tags, sentences, prior, options)
    own = sentences == 2
    changed = tags.copy()
    changed[own] = tags[own][::-1]  # as many mentions, elsewhere
    found = fit_tag_vectors(states, changed, sentences, prior, options)
    assert found.strength == expected.strength
    assert np.allclose(found.held_out.logits[own], expected.held_out.logits[own], atol=1e-3)
    assert not np.allclose(found.held_out.logits[~own], expected.held_out.logits[~own], atol=1e-3)


def test_held_out_words_rate_every_strength():
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = summed_prior(rng), examples(rng, 20, 12)
    result = fit_tag_vectors(states, tags, sentences, prior)
    assert len(result.held_out.losses) == len(FitSettings().factors)
    assert np.array_equal(result.held_out.rows, np.arange(len(tags)))
    assert balanced_loss(result.held_out.logits, tags) == result.held_out.losses[result.strength]


@pytest.mark.parametrize("sign", [1, -1], ids=["best", "worst"])
def test_enough_evidence_outweighs_the_default(sign):
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = summed_prior(rng), examples(rng, 20, 12)
    options = FitSettings(criterion=lambda logits, ids: sign * 1e6 * balanced_loss(logits, ids))
    result = fit_tag_vectors(states, tags, sentences, prior, options)
    losses = result.held_out.losses
    assert losses[result.strength] == min(losses.values())


def test_no_evidence_leaves_the_default():
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = summed_prior(rng), examples(rng, 20, 12)
    options = FitSettings(criterion=lambda logits, ids: 0.0)
    result = fit_tag_vectors(states, tags, sentences, prior, options)
    assert result.strength == default_strength(tags, sentences, 2)


def test_very_many_words_are_held_out_in_part(monkeypatch):
    monkeypatch.setattr("labelwise.instant._MAX_SCORES", 1)
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = summed_prior(rng), examples(rng, 20, 12)
    held_out = fit_tag_vectors(states, tags, sentences, prior).held_out
    assert np.array_equal(np.unique(sentences[held_out.rows]), [0, 5, 10, 15])
    assert len(held_out.logits) == len(held_out.rows) == 48


def many_words(n_sure=400):
    """Words with a label, words near it, and many that are O beyond doubt."""
    rng = np.random.default_rng(0)
    prior = summed_prior(rng)
    states, tags, _ = examples(rng, n_sentences=20)
    towards_o = prior.tag_vectors[0] - prior.tag_vectors[1:].mean(axis=0)
    sure = rng.normal(size=(n_sure, DIM)) * 0.5 + 12 * towards_o
    states = np.r_[states, sure.astype(np.float32)]
    tags = np.r_[tags, np.zeros(n_sure, int)]
    return prior, states, tags, np.arange(len(tags)) // 5


def test_words_that_are_surely_o_stand_for_one_another():
    prior, states, tags, _ = many_words()
    problem = MapProblem.build(states, tags, prior, 0.5)
    lean = problem.thinned()
    assert len(lean.tag_ids) < 0.4 * len(tags)
    assert (lean.tag_ids > 0).sum() == (tags > 0).sum()
    assert lean.weights.sum() == pytest.approx(problem.weights.sum(), rel=1e-5)


def test_a_long_problem_is_solved_to_a_hundredth_of_a_probability(monkeypatch):
    prior, states, tags, sentences = many_words()
    whole = fit_tag_vectors(states, tags, sentences, prior)
    monkeypatch.setattr("labelwise.map_problem._MANY_SCORES", 0)
    lean = fit_tag_vectors(states, tags, sentences, prior)
    assert lean.strength == whole.strength
    found, wanted = (softmax(fit.params.score(states), axis=1) for fit in (lean, whole))
    assert 0 < np.abs(found - wanted).max() < 0.01


def test_a_long_problem_ends_the_same_whatever_threads_share_it(monkeypatch):
    prior, states, tags, sentences = many_words()
    monkeypatch.setattr("labelwise.map_problem._MANY_SCORES", 0)
    one, three = (
        fit_tag_vectors(states, tags, sentences, prior, n_workers=n_workers) for n_workers in (1, 3)
    )
    assert one.loss == three.loss
    np.testing.assert_array_equal(one.params.parts, three.params.parts)
    np.testing.assert_array_equal(one.held_out.logits, three.held_out.logits)


def test_nothing_is_thinned_out_where_nothing_is_sure():
    rng = np.random.default_rng(1)
    prior, (states, tags, _) = summed_prior(rng), examples(rng)
    problem = MapProblem.build(states * 0, tags, prior, 0.5)
    assert problem.thinned() is problem


@pytest.mark.parametrize("sentences", [[0, 0, 0, 0], [0, 0, 1, 1]], ids=["one", "one per label"])
def test_labels_of_one_sentence_get_the_default_strength(sentences):
    rng = np.random.default_rng(0)
    tags, sentences = np.array([1, 0, 3, 0]), np.array(sentences)
    states = rng.normal(size=(4, DIM)).astype(np.float32)
    result = fit_tag_vectors(states, tags, sentences, summed_prior(rng))
    assert result.held_out is None
    assert result.strength == default_strength(tags, sentences, 2) == 0.01


def test_words_of_labels_of_one_sentence_rate_nothing():
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = summed_prior(rng), examples(rng, 4, 12)
    tags[(sentences > 0) & (tags >= 5)] = 0
    tags[0] = 5  # label 2 is seen in sentence 0 alone
    rated = []

    def criterion(logits, ids):
        rated.append(ids)
        return balanced_loss(logits, ids)

    fit_tag_vectors(states, tags, sentences, prior, FitSettings(criterion=criterion))
    assert all(np.array_equal(ids, tags[tags < 5]) for ids in rated)


def test_examples_with_nothing_in_them_are_examples():
    rng = np.random.default_rng(0)
    prior, (states, tags, sentences) = summed_prior(rng), examples(rng)
    fitted = fit_tag_vectors(states, np.zeros_like(tags), sentences, prior).params
    margin = [
        params.score(states)[:, 0] - params.score(states)[:, 1:].max(1)
        for params in (fitted, prior)
    ]
    assert margin[0].mean() > margin[1].mean()


def test_default_strength_falls_with_the_mentions_a_label():
    tags, sentences = np.array([1, 2, 0, 3, 0, 1, 0, 3]), np.array([0, 0, 0, 0, 0, 1, 1, 1])
    assert default_strength(tags, sentences, 2) == pytest.approx(0.005)
    assert default_strength(np.zeros(3, int), np.zeros(3, int), 2) == 0.01


def test_mentions_are_runs_of_one_label_in_one_sentence():
    tags = np.array([1, 2, 2, 0, 3, 4, 4, 4, 1])
    sentences = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    labels, starts, ends = mention_runs(tags, sentences, 2)
    assert labels.tolist() == [0, 1, 1, 0]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [
        (0, 3),
        (4, 6),
        (6, 8),
        (8, 9),
    ]


@PRIORS
def test_the_share_that_is_kept_lies_between_the_centre_and_the_solution(make_prior):
    rng = np.random.default_rng(2)
    prior, data = make_prior(rng), examples(rng)

    def logits(share):
        options = FitSettings(strength=0.01, keep_start=share)
        return fit_tag_vectors(*data, prior, options).params.score(data[0])

    assert np.allclose(logits(1.0), prior.score(data[0]), atol=1e-4)
    assert np.allclose(logits(0.25), 0.75 * logits(0.0) + 0.25 * logits(1.0), atol=1e-3)


def test_more_is_kept_of_a_centre_that_knows_the_examples():
    rng = np.random.default_rng(4)
    states, tags, sentences = examples(rng, n_sentences=8)
    ignorant = summed_prior(rng)
    options = FitSettings(strength=1e-4, keep_start=0.0)
    knowing = fit_tag_vectors(states, tags, sentences, ignorant, options).params
    kept = [fit_tag_vectors(states, tags, sentences, prior).kept for prior in (ignorant, knowing)]
    assert kept[0] < kept[1] == pytest.approx(0.56)  # 0.8 of what is above 0.3
    assert fit_tag_vectors(states, np.zeros_like(tags), sentences, knowing).kept == 0, (
        "it finds what is not there"
    )


def test_held_out_logits_are_those_of_what_is_kept():
    rng = np.random.default_rng(6)
    prior, data = summed_prior(rng), examples(rng, n_sentences=8)
    whole, none = (
        fit_tag_vectors(*data, prior, FitSettings(keep_start=share)).held_out
        for share in (1.0, 0.0)
    )
    assert whole is not None
    assert none is not None
    assert np.allclose(whole.logits, prior.score(data[0][whole.rows]), atol=1e-4)
    assert not np.allclose(none.logits, whole.logits, atol=0.1)


def test_balanced_loss_weighs_other_and_marked_words_alike():
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.5, 0.5]], np.float32))
    expected = (-np.log(0.9) - np.log(0.5)) / 2
    assert balanced_loss(logits, np.array([0, 0, 0, 1])) == pytest.approx(expected, rel=1e-5)
    assert balanced_loss(logits[:3], np.array([0, 0, 0])) == pytest.approx(-np.log(0.9), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": np.zeros((4, 5), np.float32)}, r"states \(4, 5\).*differ in dim"),
        ({"states": np.zeros((0, DIM), np.float32)}, "no words"),
        ({"tag_ids": np.zeros(3, int)}, r"tag_ids \(3,\).*Expected \(4,\)"),
        ({"sentence_ids": np.zeros(5, int)}, r"sentence_ids \(5,\).*Expected \(4,\)"),
        ({"tag_ids": np.array([0, 0, 0, 7])}, "values from 0 to 7. Expected 0 to 6"),
        ({"allowed": np.ones((4, 2), bool)}, r"allowed \(4, 2\).*Expected \(4, 3\)"),
        ({"allowed": np.zeros((4, 3), bool)}, "masks the gold label of word 0 and 0 more"),
        ({"weights": np.ones(2, np.float32)}, r"weights \(2,\).*Expected \(4,\)"),
        ({"weights": np.zeros(4, np.float32)}, "Weigh at least one word"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    arrays = {
        "states": np.ones((4, DIM), np.float32),
        "tag_ids": np.array([1, 0, 0, 0]),
        "sentence_ids": np.array([0, 0, 1, 1]),
    }
    with pytest.raises(ShapeError, match=message):
        fit_tag_vectors(**(arrays | change), prior=summed_prior(np.random.default_rng(0)))


def test_settings_report_all_problems_at_once():
    with pytest.raises(ConfigError, match=r"strength.*factors.*spread.*bias_reach.*n_folds"):
        FitSettings(strength=0, factors=(0.1, 1.0), spread=(), bias_reach=-1, n_folds=1)


@pytest.mark.parametrize(
    "values",
    [
        {"strength": "0.1"},
        {"strength": True},
        {"strength": float("inf")},
        {"factors": (1.0, "0.1")},
        {"spread": 0.5},
        {"criterion": None},
        {"thresholds": "no"},
        {"bias_reach": "0.5"},
        {"keep_start": -0.1},
        {"keep_start": 1.5},
        {"keep_start": True},
        {"bias_reach": float("nan")},
        {"n_folds": 2.5},
        {"max_iterations": 0},
        {"max_iterations": "200"},
    ],
    ids=str,
)
def test_settings_of_another_type_or_size_are_refused(values):
    ((name, value),) = values.items()
    with pytest.raises(ConfigError, match=re.escape(f"'{name}' is {value!r}. Expected")):
        FitSettings(**values)


def test_settings_take_numbers_of_numpy():
    numbers = (np.float32(3.0), np.int64(1))
    assert FitSettings(strength=numbers[0], spread=numbers, n_folds=np.int64(3)).n_folds == 3


def test_import_is_light():
    code = "import sys, labelwise.instant; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unmarked_runs_are_of_labels_that_are_marked_nowhere_beside_others() -> None:
    """Labels a and b of two tags each; three sentences, the last without any mark."""
    gold = np.array([1, 2, 0, 0, 0, 1, 0, 0, 0])
    found = np.array([3, 4, 3, 4, 1, 0, 3, 3, 0])
    sentences = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2])
    runs = zip(*unmarked_runs(found, gold, sentences, 2), strict=True)
    assert [tuple(map(int, run)) for run in runs] == [(1, 6, 7)]
