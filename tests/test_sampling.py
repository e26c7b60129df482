"""Support sets have enough of every label, nothing to spare, and depend on the seed alone."""

from __future__ import annotations

import dataclasses
import os
import pickle
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from labelwise.annotation import Mention, Sentence
from labelwise.errors import LabelError, SamplingError
from labelwise.labels import LabelSet
from labelwise.sampling import SupportSet, sample_support_set
from strategies import pools

KS = st.integers(1, 3)
SEEDS = st.integers(0, 50)
SCRIPT = """
from labelwise.annotation import Mention, Sentence
from labelwise.sampling import sample_support_set

pool = [
    Sentence(
        words=("w",) * 4,
        mentions=tuple(Mention(j, j + 1, f"label {(i + j) % 7}") for j in range(i % 5)),
        id=f"train:{i}",
    )
    for i in range(40)
]
for mode in ("greedy", "k~2k"):
    print(sample_support_set(pool, 3, 7, mode=mode).digest)
"""


def mention_counts(sentences: Iterable[Sentence]) -> Counter[str]:
    return Counter(mention.label for sentence in sentences for mention in sentence.mentions)


def sentence(*labels: str, name: str = "train:1") -> Sentence:
    mentions = tuple(Mention(i, i + 1, label) for i, label in enumerate(labels))
    return Sentence(("word",) * len(labels), mentions, name)


def is_enough(sentences: Iterable[Sentence], labels: Iterable[str], k: int) -> bool:
    counts = mention_counts(sentences)
    return all(counts[label] >= k for label in labels)


@given(pools(), KS, SEEDS)
def test_greedy_support_set_is_enough_and_minimal(pool: list[Sentence], k: int, seed: int) -> None:
    labels = set(mention_counts(pool))
    assume(labels and is_enough(pool, labels, k))
    support = sample_support_set(pool, k, seed)
    assert is_enough(support.sentences, labels, k)
    for i in range(len(support.sentences)):
        rest = support.sentences[:i] + support.sentences[i + 1 :]
        assert not is_enough(rest, labels, k)
    assert len(support.sentences) <= len(labels) * k
    assert support.counts == mention_counts(support.sentences)
    assert len(set(support.ids)) == len(support.ids)
    assert set(support.sentences) <= set(pool)


@given(pools(), SEEDS)
def test_no_part_of_a_greedy_support_set_would_do(pool: list[Sentence], seed: int) -> None:
    labels = set(mention_counts(pool))
    assume(labels and is_enough(pool, labels, 2))
    chosen = sample_support_set(pool, 2, seed).sentences
    for size in range(len(chosen)):
        assert not any(is_enough(part, labels, 2) for part in combinations(chosen, size))


@given(pools(), KS, SEEDS)
def test_k_2k_support_set_stays_within_k_and_2k(pool: list[Sentence], k: int, seed: int) -> None:
    assume(mention_counts(pool))
    try:
        support = sample_support_set(pool, k, seed, mode="k~2k")
    except SamplingError:
        return
    assert all(k <= n <= 2 * k for n in support.counts.values())
    assert support.counts == mention_counts(support.sentences)
    before: Counter[str] = Counter()
    for drawn in support.sentences:
        assert any(before[mention.label] < k for mention in drawn.mentions)
        before += mention_counts([drawn])


@pytest.mark.parametrize("mode", ["greedy", "k~2k"])
@given(pool=pools(), seed=SEEDS, rng=st.randoms(use_true_random=False))
def test_order_of_sentences_and_labels_changes_nothing(
    mode: str, pool: list[Sentence], seed: int, rng: random.Random
) -> None:
    labels = list(mention_counts(pool))
    assume(labels)
    support = _or_error(pool, 1, seed, labels=labels, mode=mode)
    rng.shuffle(pool)
    rng.shuffle(labels)
    assert _or_error(pool, 1, seed, labels=labels, mode=mode) == support


def _or_error(*args: object, **options: object) -> SupportSet | str:
    try:
        return sample_support_set(*args, **options)  # type: ignore[arg-type]
    except SamplingError as err:
        return str(err)


def test_seeds_give_different_sets() -> None:
    pool = [sentence("a", name=f"train:{i}") for i in range(200)]
    digests = {sample_support_set(pool, 2, seed).digest for seed in range(20)}
    assert len(digests) == 20


def test_draws_are_uniform_over_sentences_with_the_label() -> None:
    pool = [sentence("a", name=f"train:{i}") for i in range(4)] + [sentence("b", name="train:9")]
    drawn = Counter(name for seed in range(400) for name in sample_support_set(pool, 1, seed).ids)
    assert drawn["train:9"] == 400
    assert all(60 < drawn[f"train:{i}"] < 140 for i in range(4))


def test_the_set_does_not_depend_on_the_hash_seed() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(printed) == 1


def test_sampling_leaves_the_global_generator_alone() -> None:
    random.seed(3)
    state = random.getstate()
    sample_support_set([sentence("a")], 1, 0)
    assert random.getstate() == state


def test_k_counts_mentions_not_sentences() -> None:
    support = sample_support_set([sentence("a", "a", "a"), sentence(name="train:2")], 3, 0)
    assert support.ids == ("train:1",)
    assert support.counts == {"a": 3}


def test_digest_covers_arguments_ids_and_content() -> None:
    base = sample_support_set([sentence("a", "a")], 1, 0)
    others = [
        sample_support_set([sentence("a", "a")], 2, 0),
        sample_support_set([sentence("a", "a")], 1, 1),
        sample_support_set([sentence("a", "a")], 1, 0, mode="k~2k"),
        sample_support_set([sentence("a", "a", name="train:2")], 1, 0),
        sample_support_set([sentence("a", "b")], 1, 0),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6
    assert base.digest == sample_support_set([sentence("a", "a")], 1, 0).digest
    with pytest.raises(dataclasses.FrozenInstanceError, match="seed"):
        base.seed = 1  # type: ignore[misc]


def test_only_the_labels_asked_for_count() -> None:
    pool = [sentence("a", "b"), sentence("b", name="train:2")]
    support = sample_support_set(pool, 1, 0, labels=["a"])
    assert (support.ids, support.counts) == (("train:1",), {"a": 1})


def test_a_label_with_too_few_mentions_is_refused() -> None:
    pool = [sentence("EVENT", "PER"), sentence("EVENT", "EVENT", "PER", name="train:2")]
    with pytest.raises(
        SamplingError,
        match=r"Cannot sample a 5-shot support set: label 'EVENT' has 3 mentions in 2 sentences, "
        r"needs 5 \(also short: 'PER'\)\. Use k=2, drop the label, or allow "
        r"fewer \(allow_short=True, --allow-short\)",
    ):
        sample_support_set(pool, 5, 0)


def test_an_absent_label_is_refused() -> None:
    with pytest.raises(
        SamplingError, match=r"label 'ORG' has 0 mentions.*needs 1\. Drop the label"
    ):
        sample_support_set([sentence("PER")], 1, 0, labels=["ORG"])


@pytest.mark.parametrize("mode", ["greedy", "k~2k"])
def test_allow_short_takes_what_there_is(mode: str) -> None:
    pool = [sentence("a"), *(sentence("b", name=f"train:{i}") for i in range(2, 9))]
    support = sample_support_set(
        pool,
        3,
        0,
        labels=["a", "b", "c"],
        mode=mode,
        allow_short=True,  # type: ignore[arg-type]
    )
    assert support.counts == {"a": 1, "b": 3, "c": 0}


def test_k_2k_that_cannot_be_is_refused_with_the_reason() -> None:
    pool = [sentence("rare", *["common"] * 3, name=f"train:{i}") for i in range(5)]
    with pytest.raises(
        SamplingError, match=r"Cannot sample a 1~2-shot.*label 'common'.*above 2.*before.*has 1"
    ):
        sample_support_set(pool, 1, 0, mode="k~2k")


@pytest.mark.parametrize("number", ["1", 1.0, True, None], ids=repr)
def test_k_and_seed_are_whole_numbers(number: Any) -> None:
    with pytest.raises(SamplingError, match="'k' is .*Expected a whole number"):
        sample_support_set([sentence("person")], number, 0)
    with pytest.raises(SamplingError, match="'seed' is .*Expected a whole number"):
        sample_support_set([sentence("person")], 1, number)


def test_whole_numbers_of_numpy_draw_the_same() -> None:
    pool = [sentence("person"), sentence("person", name="train:2")]
    k: Any = np.int64(1)
    seed: Any = np.uint8(3)
    assert sample_support_set(pool, k, seed) == sample_support_set(pool, 1, 3)


@pytest.mark.parametrize(
    ("k", "seed", "mode", "message"),
    [
        (0, 0, "greedy", r"k=0 and seed=0\. Expected k >= 1"),
        (1, -1, "greedy", r"seed=-1\. Expected k >= 1 and seed >= 0"),
        (1, 0, "all", r"no sampling mode 'all'\. Expected 'greedy'"),
    ],
)
def test_arguments_out_of_range_are_refused(k: int, seed: int, mode: str, message: str) -> None:
    with pytest.raises(SamplingError, match=message):
        sample_support_set([sentence("a")], k, seed, mode=mode)  # type: ignore[arg-type]


def test_a_pool_without_mentions_is_refused() -> None:
    with pytest.raises(SamplingError, match="the 1 sentences have no mentions"):
        sample_support_set([sentence()], 1, 0)


def test_no_labels_to_count_are_refused() -> None:
    with pytest.raises(SamplingError, match=r"'labels' is empty\. Expected labels to count"):
        sample_support_set([sentence("a")], 1, 0, labels=[])


def test_an_error_keeps_its_finding_apart_from_its_advice_also_between_processes() -> None:
    with pytest.raises(SamplingError) as caught:
        sample_support_set([sentence("a")], 2, 0)
    found = pickle.loads(pickle.dumps(caught.value))
    assert found.finding.endswith("has 1 mentions in 1 sentences, needs 2.")
    assert str(found) == str(caught.value)
    assert str(found).startswith(f"{found.finding} Use k=1, drop the label, or allow")


def test_labels_to_draw_are_a_label_set_or_names() -> None:
    pool = ["[Ada](person) left.", "[Oslo](city) is cold."]
    drawn = sample_support_set(pool, 1, 0, labels=["city"])
    assert drawn.counts == {"city": 1}
    assert sample_support_set(pool, 1, 0, labels=LabelSet.parse(["city"])) == drawn
    with pytest.raises(LabelError, match=r"given as the string 'city'.*Write \['city'\]"):
        sample_support_set(pool, 1, 0, labels="city")
