"""Scores to tags to mentions, against brute force and against the tag reader."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.annotation import Mention
from labelwise.decode import (
    Costs,
    best_tags,
    best_valid_tags,
    label_probabilities,
    mentions_from_tag_ids,
)
from labelwise.schemes import MARKS, SCHEMES, mentions_from_tags, tag_names
from strategies import tag_lists

LABELS = ("PER", "LOC")
CONTINUING, OPEN = frozenset("IE"), frozenset("BI")

each_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def n_tags(scheme: str, n_labels: int = len(LABELS)) -> int:
    return 1 + n_labels * len(MARKS[scheme])


def random_logits(seed: int, n_words: int, scheme: str) -> np.ndarray:
    """Normal scores, rounded so that float sums are exact. Shape ``(words, tags)``."""
    drawn = np.random.default_rng(seed).normal(size=(n_words, n_tags(scheme)))
    return (np.round(drawn * 256) / 256).astype(np.float32)


def is_valid(tags: list[str], scheme: str, before: str = "O", *, open_end: bool = False) -> bool:
    """Whether a tag sequence keeps the rules of its scheme, told word by word."""
    if scheme == "io":
        return True
    for tag in tags:
        if tag[0] in CONTINUING and not (before[0] in OPEN and before[2:] == tag[2:]):
            return False
        if scheme == "bioes" and before[0] in OPEN and tag[0] not in CONTINUING:
            return False
        before = tag
    return open_end or scheme != "bioes" or before[0] not in OPEN


def total(logits: np.ndarray, tags: list[str], scheme: str, before: str, costs: Costs) -> float:
    """The scores of a tag sequence less what its changes cost, told word by word."""
    names, score = tag_names(LABELS, scheme), 0.0
    for row, tag in zip(logits, tags, strict=True):
        score += float(row[names.index(tag)])
        goes_on = tag[0] in CONTINUING and before[2:] == tag[2:] and before[0] in OPEN
        if (before == "O") != (tag == "O"):
            score -= costs.boundary
        elif tag != "O" and not goes_on:
            score -= costs.switch
        before = tag
    return score


def brute_force_score(
    logits: np.ndarray, scheme: str, before: str, open_end: bool, costs: Costs
) -> float:
    """The best total over all valid tag sequences."""
    names = tag_names(LABELS, scheme)
    return max(
        total(logits, [names[i] for i in ids], scheme, before, costs)
        for ids in itertools.product(range(len(names)), repeat=len(logits))
        if is_valid([names[i] for i in ids], scheme, before, open_end=open_end)
    )


def named(ids: np.ndarray, scheme: str) -> list[str]:
    return [tag_names(LABELS, scheme)[i] for i in ids]


def split(values: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths)[:-1]) if lengths else []


@pytest.mark.parametrize("costs", [Costs(), Costs(0.25, 1.5), Costs(1.0, 0.5)], ids=str)
@pytest.mark.parametrize("open_end", [False, True])
@each_scheme
def test_best_valid_tags_are_the_best_of_all_valid_sequences(
    scheme: str, open_end: bool, costs: Costs
) -> None:
    names, n_longest = tag_names(LABELS, scheme), 3 if scheme == "bioes" else 4
    for seed, before in itertools.product(range(n_longest), names):
        logits = random_logits(seed, 1 + seed % n_longest, scheme)
        options = {"before": [names.index(before)], "open_end": [open_end]}
        found = best_valid_tags(logits, [len(logits)], scheme, costs=costs, **options)
        tags = named(found, scheme)
        assert is_valid(tags, scheme, before, open_end=open_end)
        best = brute_force_score(logits, scheme, before, open_end, costs)
        assert total(logits, tags, scheme, before, costs) == best


@given(st.integers(0, 999), st.lists(st.integers(0, 7), max_size=5), st.data())
@each_scheme
def test_sentences_decode_together_as_alone(
    scheme: str, seed: int, lengths: list[int], data: st.DataObject
) -> None:
    logits = random_logits(seed, sum(lengths), scheme)
    flags = st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))
    ends, n = data.draw(flags), len(lengths)
    before = data.draw(st.lists(st.integers(0, n_tags(scheme) - 1), min_size=n, max_size=n))
    together = best_valid_tags(logits, lengths, scheme, before=before, open_end=ends)
    alone = [
        best_valid_tags(part, [len(part)], scheme, before=[a], open_end=[b])
        for part, a, b in zip(split(logits, lengths), before, ends, strict=True)
    ]
    assert together.tolist() == [int(t) for tags in alone for t in tags]


@given(st.integers(0, 999), st.lists(st.integers(0, 7), max_size=5))
@each_scheme
def test_valid_tags_are_always_valid(scheme: str, seed: int, lengths: list[int]) -> None:
    logits = random_logits(seed, sum(lengths), scheme)
    for ids in split(best_valid_tags(logits, lengths, scheme), lengths):
        tags = named(ids, scheme)
        assert is_valid(tags, scheme)
        mentions_from_tags(tags, scheme, strict=True)


@given(st.integers(0, 9999), st.integers(1, 4))
@each_scheme
def test_valid_argmax_is_kept(scheme: str, seed: int, n_words: int) -> None:
    logits = random_logits(seed, n_words, scheme)
    argmax = best_tags(logits)
    if is_valid(named(argmax, scheme), scheme):
        found = best_valid_tags(logits, [n_words], scheme)
        assert logits[np.arange(n_words), found].sum() == logits.max(1).sum()


@each_scheme
def test_no_words_have_no_tags(scheme: str) -> None:
    nothing = np.zeros((0, n_tags(scheme)), dtype=np.float32)
    for lengths in ([], [0], [0, 0]):
        assert best_valid_tags(nothing, lengths, scheme).shape == (0,)
        tags = best_tags(nothing)
        assert tags.dtype == np.int64
        assert label_probabilities(nothing, tags, len(MARKS[scheme])).shape == (0,)
        found = mentions_from_tag_ids(tags, np.zeros(0, np.float32), lengths, LABELS, scheme)
        assert found == [[] for _ in lengths]


def test_long_sentence_keeps_the_rules_with_a_thousand_labels() -> None:
    logits = np.random.default_rng(0).normal(size=(300, n_tags("bioes", 1000))).astype("f4")
    ids = best_valid_tags(logits, [300], "bioes")
    names = tag_names([f"l{i}" for i in range(1000)], "bioes")
    mentions_from_tags([names[i] for i in ids], "bioes", strict=True)


@given(st.integers(0, 9999), st.lists(st.integers(0, 9), max_size=4), st.integers(1, 30))
def test_io_with_costs_is_the_best_by_trying_every_change(
    seed: int, lengths: list[int], n_labels: int
) -> None:
    rng, costs = np.random.default_rng(seed), Costs(0.5, 1.25)
    logits = rng.integers(-4, 5, size=(sum(lengths), 1 + n_labels)).astype("f4") / 2
    before = rng.integers(0, 1 + n_labels, size=len(lengths)).tolist()
    change = np.full((1 + n_labels, 1 + n_labels), costs.switch)
    change[0], change[:, 0] = costs.boundary, costs.boundary
    np.fill_diagonal(change, 0)
    found = best_valid_tags(logits, lengths, "io", before=before, costs=costs)
    for part, ids, start in zip(split(logits, lengths), split(found, lengths), before, strict=True):
        best = np.where(np.arange(1 + n_labels) == start, 0, -np.inf)
        for row in part:
            best = (best[:, None] - change).max(0) + row
        path = [start, *ids]
        total_of_path = sum(row[i] for row, i in zip(part, ids, strict=True))
        total_of_path -= sum(change[a, b] for a, b in itertools.pairwise(path))
        assert total_of_path == best.max()


# Probabilities


@given(st.integers(0, 999), st.integers(0, 9))
@each_scheme
def test_label_probability_is_the_softmax_mass_of_the_label(
    scheme: str, seed: int, n_words: int
) -> None:
    rng, n_marks = np.random.default_rng(seed), len(MARKS[scheme])
    logits = rng.normal(scale=20, size=(n_words, n_tags(scheme))).astype(np.float32)
    tags = rng.integers(0, n_tags(scheme), size=n_words)
    softmax = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf)).astype(np.float64)
    softmax /= softmax.sum(1, keepdims=True)
    own = np.append(-1, np.repeat(np.arange(len(LABELS)), n_marks))  # label of every tag
    expected = [row[own == own[tag]].sum() for row, tag in zip(softmax, tags, strict=True)]
    assert np.allclose(label_probabilities(logits, tags, n_marks), expected, atol=1e-6)


def test_label_probabilities_are_the_same_in_many_chunks() -> None:
    logits = np.random.default_rng(0).normal(size=(1500, 1001)).astype(np.float32)
    tags = best_tags(logits)
    whole = label_probabilities(logits, tags, 2)
    rows = [label_probabilities(logits[i : i + 1], tags[i : i + 1], 2)[0] for i in range(1500)]
    assert np.allclose(whole, rows, atol=1e-6)


def test_extreme_scores_give_no_nan() -> None:
    logits = np.array([[1e30, -1e30, 0], [-1e4, 0, -1e4]], dtype=np.float32)
    assert label_probabilities(logits, best_tags(logits), 2).tolist() == [1.0, 1.0]


# Mentions


@given(st.data())
@each_scheme
def test_mentions_are_those_that_the_tag_reader_finds(scheme: str, data: st.DataObject) -> None:
    labels = ("PER", "LOC", "creative-work")
    tag_id = {tag: i for i, tag in enumerate(tag_names(labels, scheme))}
    one = tag_lists("".join(MARKS[scheme]))
    sentences = data.draw(st.lists(st.one_of(one, st.just([])), max_size=5))
    ids = np.array([tag_id[t] for tags in sentences for t in tags], dtype=np.int64)
    lengths = [len(tags) for tags in sentences]
    found = mentions_from_tag_ids(ids, np.ones(len(ids), np.float32), lengths, labels, scheme)
    assert found == [mentions_from_tags(tags, scheme) for tags in sentences]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_score_is_the_mean_probability_of_the_words(probabilities: list[float]) -> None:
    tags = np.array([1] + [2] * (len(probabilities) - 1))
    values = np.array([0.25, *probabilities], dtype=np.float32)
    [mentions] = mentions_from_tag_ids(np.append(0, tags), values, [len(values)], ["PER"], "bio")
    assert mentions == [Mention(1, len(values), "PER")]
    assert mentions[0].score == pytest.approx(np.mean(probabilities), abs=1e-6)
    assert 0 <= mentions[0].score <= 1


def test_mentions_hold_plain_numbers() -> None:
    [[mention]] = mentions_from_tag_ids(
        np.array([1]), np.ones(1, dtype=np.float32), [1], ["PER"], "bio"
    )
    assert [type(v) for v in (mention.start, mention.end, mention.score)] == [int, int, float]
