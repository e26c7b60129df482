"""The shipped sample corpus keeps the promises of its README."""

import json
from collections import Counter
from importlib.resources import files
from itertools import pairwise

import pytest

from labelwise.words import split_words

DOMAINS = ("support", "incidents", "contracts")
MIN_SENTENCES = {"train": 44, "dev": 12, "test": 28}
MIN_MENTIONS = {"train": 8, "dev": 1, "test": 5}
SAMPLES = files("labelwise") / "samples"

each_domain = pytest.mark.parametrize("domain", DOMAINS)
each_split = pytest.mark.parametrize("split", MIN_SENTENCES)


def meta_of(domain):
    return json.loads((SAMPLES / domain / "meta.json").read_text("utf-8"))


def rows_of(domain, split):
    text = (SAMPLES / domain / f"{split}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def all_rows(domain):
    return [row for split in MIN_SENTENCES for row in rows_of(domain, split)]


def mention_counts(rows):
    return Counter(entity["label"] for row in rows for entity in row["entities"])


@each_domain
def test_meta_names_the_dataset_and_words_every_label(domain):
    meta = meta_of(domain)
    assert (meta["name"], meta["language"], meta["licence"]) == (domain, "en", "Apache-2.0")
    assert meta["domain"]
    words, descriptions = meta["label_words"], meta["label_descriptions"]
    assert list(words) == list(descriptions) == list(meta["types_total"])
    assert 6 <= len(words) <= 8
    assert len(set(words.values())) == len(words)
    assert all(description.endswith(".") for description in descriptions.values())


@each_domain
def test_meta_counts_what_is_there(domain):
    meta = meta_of(domain)
    assert meta["n_types"] == len(meta["label_words"])
    assert meta["types_total"] == mention_counts(all_rows(domain))
    for split in MIN_SENTENCES:
        rows = rows_of(domain, split)
        counts = mention_counts(rows)
        assert meta["splits"][split] == {
            "sentences": len(rows),
            "entities": counts.total(),
            "sentences_without_entity": sum(not row["entities"] for row in rows),
            "entities_per_type": counts,
        }


@each_split
@each_domain
def test_rows_have_text_and_known_labels(domain, split):
    labels = meta_of(domain)["label_words"]
    for row in rows_of(domain, split):
        assert list(row) == ["text", "entities"]
        assert row["text"] == row["text"].strip() != ""
        for entity in row["entities"]:
            assert list(entity) == ["start", "end", "label"]
            assert entity["label"] in labels


@each_split
@each_domain
def test_entities_are_sorted_and_never_overlap(domain, split):
    for row in rows_of(domain, split):
        assert all(entity["start"] < entity["end"] for entity in row["entities"])
        assert all(a["end"] <= b["start"] for a, b in pairwise(row["entities"]))


@each_split
@each_domain
def test_entities_begin_and_end_at_words(domain, split):
    for row in rows_of(domain, split):
        starts, ends = zip(*split_words(row["text"]), strict=True)
        for entity in row["entities"]:
            assert entity["start"] in starts, row
            assert entity["end"] in ends, row


@each_split
@each_domain
def test_splits_are_large_enough_for_every_label(domain, split):
    rows = rows_of(domain, split)
    counts = mention_counts(rows)
    assert len(rows) >= MIN_SENTENCES[split]
    assert all(counts[label] >= MIN_MENTIONS[split] for label in meta_of(domain)["label_words"])


@each_domain
def test_about_one_sentence_in_eight_has_no_entity(domain):
    rows = all_rows(domain)
    empty = sum(not row["entities"] for row in rows)
    assert 1 / 12 <= empty / len(rows) <= 1 / 6


def test_no_sentence_occurs_twice():
    texts = Counter(row["text"].casefold() for domain in DOMAINS for row in all_rows(domain))
    assert [text for text, count in texts.items() if count > 1] == []


@each_domain
def test_no_string_has_two_labels(domain):
    labels_of_string = {}
    for row in all_rows(domain):
        for entity in row["entities"]:
            string = row["text"][entity["start"] : entity["end"]]
            labels_of_string.setdefault(string, set()).add(entity["label"])
    assert {s: labels for s, labels in labels_of_string.items() if len(labels) > 1} == {}
