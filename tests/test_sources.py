"""Training batches: what is in them, how often, and that nothing but seed and number decides."""

from __future__ import annotations

import itertools
import json
import random
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import people_and_cities, sentence, tiny_tokenizer
from labelwise.annotation import Mention, Sentence
from labelwise.batches import BatchStream, TrainBatch
from labelwise.config import ModelConfig, TrainConfig
from labelwise.decode import mentions_from_tag_ids
from labelwise.errors import DataError
from labelwise.labels import LabelSet
from labelwise.schemes import SCHEMES
from labelwise.sources import Source, read_source, resplit, with_mentions_replaced
from labelwise.tags import label_text, tag_texts
from strategies import ANY_WORD, sentences

TOKENIZER = tiny_tokenizer()
LABELS = ("person", "city", "organization", "drug", "disease", "product")
KINDS = LabelSet.parse(LABELS)
PLAIN = TrainConfig(
    batch_pieces=64, paraphrase_prob=0.0, description_prob=0.0, resplit_prob=0.0, negatives=1.0
)


def corpus(n: int = 30) -> list[Sentence]:
    """Sentences of different lengths, each with a number of its own in its words."""
    return [
        sentence(
            f"{'the ' * (i % 7)}bob{i}/B-{LABELS[i % 6]} in/I-{LABELS[i % 6]} "
            f"oslo/B-{LABELS[(i + 1) % 6]}"
        )
        for i in range(n)
    ]


def source(name: str = "notes", n: int = 30, **options: Any) -> Source:
    return Source(name, corpus(n), KINDS, **options)


def stream(*sources: Source, model: ModelConfig | None = None, **changes: Any) -> BatchStream:
    return BatchStream(
        sources or [source()], TOKENIZER, model or ModelConfig(), PLAIN.replace(**changes)
    )


def content(batch: TrainBatch) -> list[Any]:
    """Everything in a batch, comparable."""
    arrays = (batch.batch.ids, batch.batch.mask, batch.batch.rows, batch.batch.columns,
              batch.targets, batch.label_order)  # fmt: skip
    lists = [a.tolist() for a in arrays]
    return [batch.source, batch.labels, list(batch.lengths), *lists, label_texts(batch)]


def take(batches: BatchStream, n: int) -> list[list[Any]]:
    return [content(b) for b in itertools.islice(batches, n)]


def rows(batch: TrainBatch) -> list[tuple[int, ...]]:
    """Piece ids of each sentence without padding."""
    return [tuple(i[m]) for i, m in zip(batch.batch.ids, batch.batch.mask, strict=True)]


def label_texts(batch: TrainBatch) -> list[tuple[int, ...]]:
    found = [tuple(i[m]) for group in batch.label_groups for i, m in zip(*group, strict=True)]
    return [found[i] for i in batch.label_order]


def read_as(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode_texts([text], 64)[0])


VARIED: dict[str, Any] = {
    "paraphrase_prob": 0.5, "description_prob": 0.5, "resplit_prob": 0.5, "negatives": 0.5,
    "max_labels": 3,
}  # fmt: skip


def varied_sources() -> list[Source]:
    described = LabelSet.parse({name: f"a {name} here" for name in LABELS})
    return [
        Source("notes", corpus(), described, {"person": ["bob", "ada"]}),
        source("reports", 17),
    ]


# Determinism


def test_a_batch_depends_on_seed_and_number_only() -> None:
    first = take(stream(*varied_sources(), **VARIED), 60)
    assert take(stream(*varied_sources(), **VARIED), 60) == first
    assert take(stream(*varied_sources(), **VARIED, seed=1), 60) != first
    assert len({repr(b) for b in first}) > 30


@given(st.integers(0, 40))
@settings(max_examples=12)
def test_restored_stream_goes_on_as_if_it_had_never_stopped(n_before: int) -> None:
    batches = stream(*varied_sources(), **VARIED)
    take(batches, n_before)
    state = json.loads(json.dumps(batches.state))
    expected = take(batches, 5)
    resumed = stream(*varied_sources(), **VARIED)
    take(resumed, 3)
    resumed.restore(state)
    assert resumed.state == state
    assert take(resumed, 5) == expected


def test_state_is_a_copy() -> None:
    batches = stream()
    state = batches.state
    take(batches, 3)
    assert state == stream().state


# Every sentence once


@pytest.mark.parametrize("limits", [{}, {"batch_sentences": 2}, {"batch_pieces": 16}], ids=str)
def test_every_sentence_appears_once_an_epoch(limits: dict[str, Any]) -> None:
    batches = stream(**limits)
    expected = Counter(tuple(p.ids) for p in TOKENIZER.encode_words([s.words for s in corpus()]))
    orders = []
    for _ in range(3):
        epoch = list(itertools.islice(batches, batches.batches_per_epoch))
        assert Counter(row for batch in epoch for row in rows(batch)) == expected
        orders.append([rows(batch) for batch in epoch])
    assert orders[0] != orders[1] != orders[2]


def test_batches_keep_their_limits() -> None:
    for batch in itertools.islice(stream(batch_pieces=48, batch_sentences=3), 40):
        assert len(batch.lengths) <= 3
        assert batch.batch.ids.size <= 48
        assert batch.n_pieces == batch.batch.mask.sum()


def test_batches_of_the_paper_hold_ten_sentences() -> None:
    batches = stream(batch_pieces=1_000_000, batch_sentences=10)
    assert [len(b.lengths) for b in itertools.islice(batches, 6)] == [10] * 6


def test_long_sentence_is_cut_into_windows_that_hold_all_of_it() -> None:
    words = tuple(f"w{i}" for i in range(40))
    mentions = tuple(Mention(i, i + 3, "person") for i in range(0, 39, 3))
    [batch] = itertools.islice(
        stream(
            Source("long", [Sentence(words, mentions)], KINDS),
            model=ModelConfig(max_pieces=32),
            batch_pieces=10_000,
        ),
        1,
    )
    assert len(batch.lengths) > 1
    assert batch.batch.ids.shape[1] <= 32
    assert sum(batch.lengths) >= 40
    assert (batch.targets > 0).sum() >= 39


def test_sentence_without_words_is_left_out() -> None:
    batches = stream(Source("x", [Sentence(()), *people_and_cities()], KINDS), batch_sentences=1)
    assert batches.batches_per_epoch == 4


@pytest.mark.parametrize("given_sources", [[], [Source("empty", [], KINDS)]], ids=["none", "empty"])
def test_nothing_to_train_on_is_refused(given_sources: list[Source]) -> None:
    with pytest.raises(DataError, match=r"No sentences to train on.*Give annotated sentences"):
        BatchStream(given_sources, TOKENIZER, ModelConfig(), PLAIN)


def test_sentences_without_words_are_nothing_to_train_on() -> None:
    with pytest.raises(DataError, match="No sentences to train on"):
        stream(Source("x", [Sentence(()), Sentence(())], KINDS))


# Sources are mixed


def test_batches_come_from_one_source_by_weight() -> None:
    heavy, light = source("heavy", weight=3.0), source("light", weight=1.0)
    drawn = Counter(b.source for b in itertools.islice(stream(heavy, light), 800))
    assert drawn["heavy"] / 800 == pytest.approx(0.75, abs=0.05)


def test_sources_without_weight_count_by_the_root_of_their_size() -> None:
    assert source(n=16).sampling_weight == pytest.approx(2 * source(n=4).sampling_weight)
    assert source(n=4, weight=0.5).sampling_weight == 0.5
    few = Source("few", corpus(16), KINDS.subset(LABELS[:1]))
    assert few.sampling_weight < source(n=16).sampling_weight


# Labels of a batch


def test_all_labels_are_scored_where_they_fit() -> None:
    for batch in itertools.islice(stream(), 20):
        assert sorted(batch.labels) == sorted(LABELS)
        texts = tag_texts(batch.labels, ModelConfig())
        assert label_texts(batch) == [read_as(text) for text in texts]


def test_labels_of_a_batch_come_before_others() -> None:
    for batch in itertools.islice(stream(negatives=0.0), 30):
        tags = set(batch.targets.tolist())
        present = {batch.labels[(t - 1) // 2] for t in tags if t > 0}
        assert set(batch.labels) == present


def test_negatives_fill_up_as_often_as_configured() -> None:
    batches = list(itertools.islice(stream(negatives=0.3, batch_sentences=1), 1000))
    n_filled = sum(len(b.labels) > 2 for b in batches)
    assert n_filled / 1000 == pytest.approx(0.3, abs=0.05)


def test_batch_without_mentions_still_scores_labels() -> None:
    [batch] = itertools.islice(
        stream(Source("x", [sentence("nothing here")], KINDS), negatives=0.0), 1
    )
    assert sorted(batch.labels) == sorted(LABELS)
    assert not batch.targets.any()


@given(st.integers(1, 8), st.floats(0, 1))
@settings(max_examples=15)
def test_labels_never_exceed_their_limit(max_labels: int, negatives: float) -> None:
    for batch in itertools.islice(stream(max_labels=max_labels, negatives=negatives), 10):
        assert 1 <= len(batch.labels) <= max_labels
        assert len(set(batch.labels)) == len(batch.labels)
        assert len(batch.label_order) == 1 + 2 * len(batch.labels)
        assert batch.targets.max() <= 2 * len(batch.labels)


def test_words_of_left_out_labels_are_not_counted() -> None:
    n_left_out = 0
    for batch in itertools.islice(stream(max_labels=1), 20):
        [label] = batch.labels
        by_row = {tuple(p.ids): s for p, s in zip(TOKENIZER.encode_words(
            [s.words for s in corpus()]), corpus(), strict=True)}  # fmt: skip
        parts = np.split(batch.targets, np.cumsum(batch.lengths)[:-1])
        for row, targets in zip(rows(batch), parts, strict=True):
            for mention in by_row[row].mentions:
                part = targets[mention.start : mention.end]
                assert (part > 0).all() if mention.label == label else (part == -1).all()
                n_left_out += mention.label != label
    assert n_left_out


# Targets


@given(st.lists(sentences(st.sampled_from(["bob", "zqx", "in"])), min_size=1, max_size=4))
@settings(max_examples=30)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_targets_decode_back_to_the_mentions(scheme: str, given_sentences: list[Sentence]) -> None:
    model = ModelConfig(scheme=scheme)  # type: ignore[arg-type]
    labels = LabelSet.parse(["PER", "LOC", "creative-work"])
    [batch] = itertools.islice(
        stream(Source("x", given_sentences, labels), model=model, batch_pieces=10_000), 1
    )
    ones = np.ones(len(batch.targets), dtype=np.float32)
    found = mentions_from_tag_ids(batch.targets, ones, batch.lengths, batch.labels, scheme)
    by_words = Counter(
        (tuple(p.ids), _joined(s.mentions, scheme))
        for p, s in zip(TOKENIZER.encode_words([s.words for s in given_sentences]),
                        given_sentences, strict=True)
    )  # fmt: skip
    assert Counter(zip(rows(batch), map(tuple, found), strict=True)) == by_words


def _joined(mentions: tuple[Mention, ...], scheme: str) -> tuple[Mention, ...]:
    """Mentions as a scheme can tell them: io joins neighbours of one label."""
    result: list[Mention] = []
    for m in mentions:
        before = result[-1] if result else None
        if scheme == "io" and before and (before.end, before.label) == (m.start, m.label):
            result[-1] = Mention(before.start, m.end, m.label)
        else:
            result.append(m)
    return tuple(result)


def test_words_without_pieces_have_no_target() -> None:
    odd = Sentence(("bob", "", "oslo"), (Mention(2, 3, "city"),))
    [batch] = itertools.islice(stream(Source("x", [odd], KINDS)), 1)
    assert batch.lengths == [2]
    assert batch.targets[0] == 0
    assert batch.labels[(batch.targets[1] - 1) // 2] == "city"


# What a label reads as


def frequencies(source: Source, n: int = 1500, **changes: Any) -> Counter[tuple[int, ...]]:
    """How often the one label of a source reads as what."""
    model = ModelConfig(composition="sum")
    batches = itertools.islice(stream(source, model=model, **changes), n)
    return Counter(label_texts(batch)[-1] for batch in batches)


ONE = [sentence("bob/B-x in/O oslo/O")]


def test_label_reads_as_an_alternative_as_often_as_configured() -> None:
    named = Source("x", ONE, LabelSet.parse({"x": {"words": "person"}}), {"x": ["bob", "ada"]})
    counts = frequencies(named, paraphrase_prob=0.4)
    assert set(counts) == {read_as(t) for t in ("person", "bob", "ada")}
    assert counts[read_as("bob")] / 1500 == pytest.approx(0.2, abs=0.04)
    assert counts[read_as("ada")] / 1500 == pytest.approx(0.2, abs=0.04)
    assert set(frequencies(named, 50)) == {read_as("person")}


def test_label_reads_with_its_description_as_often_as_configured() -> None:
    spec = {"x": {"words": "person", "description": "a bob"}}
    counts = frequencies(Source("x", ONE, LabelSet.parse(spec)), description_prob=0.5)
    alone, joined = counts[read_as("a bob")], counts[read_as(label_text("person", "a bob"))]
    assert (alone + joined) / 1500 == pytest.approx(0.5, abs=0.05)
    assert 0 < alone < joined
    assert counts[read_as("person")] == 1500 - alone - joined


def test_label_without_description_or_alternatives_reads_as_its_words() -> None:
    bare = Source("x", ONE, LabelSet.parse({"x": {"words": "person"}}))
    assert set(frequencies(bare, 50, **VARIED)) == {read_as("person")}


# Replacing mentions


@given(st.lists(sentences(ANY_WORD), max_size=5), st.randoms(use_true_random=False))
def test_a_copy_keeps_labels_and_what_is_around_them(
    originals: list[Sentence], draw: random.Random
) -> None:
    def around(s: Sentence) -> list[str]:
        inside = {i for m in s.mentions for i in range(m.start, m.end)}
        return [word for i, word in enumerate(s.words) if i not in inside]

    known = {(m.label, s.words[m.start : m.end]) for s in originals for m in s.mentions}
    copies = with_mentions_replaced(originals, draw)
    assert len(copies) == len(originals)
    for old, new in zip(originals, copies, strict=True):
        assert around(new) == around(old)
        assert [m.label for m in new.mentions] == [m.label for m in old.mentions]
        assert {(m.label, new.words[m.start : m.end]) for m in new.mentions} <= known


@pytest.mark.parametrize(("n_cities", "share"), [(1, 0.0), (5, 0.2), (1000, 0.98)])
def test_the_more_mentions_the_more_make_place_for_others(n_cities: int, share: float) -> None:
    cities = [Sentence(("in", f"city{i}"), (Mention(1, 2, "city"),)) for i in range(n_cities)]
    draw, n_new, n_copies = random.Random(0), 0, 2000 // n_cities
    for _ in range(n_copies):
        copies = with_mentions_replaced(cities, draw)
        n_new += sum(old.words != new.words for old, new in zip(cities, copies, strict=True))
    assert n_new / (n_copies * n_cities) == pytest.approx(share, abs=0.03)


def test_a_stream_gives_copies_as_often_as_configured() -> None:
    made = stream(source(n=12), replaced_copies=2, batch_sentences=1)
    assert made.batches_per_epoch == 3 * 12


# Splitting anew


def visible(text: str) -> str:
    """Text without spaces and the invisible marks that no word has at its ends."""
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")


@given(sentences(ANY_WORD))
@example(Sentence(("0\xad",), (Mention(0, 1, "PER"),)))
def test_resplitting_keeps_the_text_of_mentions(given_sentence: Sentence) -> None:
    again = resplit(given_sentence)
    assert len(again.mentions) == len(given_sentence.mentions)
    for old, new in zip(given_sentence.mentions, again.mentions, strict=True):
        assert new.label == old.label
        before = "".join(given_sentence.words[old.start : old.end])
        for word in again.words[new.start : new.end]:
            left_out, found, before = before.partition(word) if word else ("", "", before)
            assert found == word
            assert not visible(left_out)
        assert not visible(before)
    assert again.id == given_sentence.id


@given(sentences(ANY_WORD))
def test_resplitting_twice_is_resplitting_once(given_sentence: Sentence) -> None:
    once = resplit(given_sentence)
    assert resplit(once) == once


@pytest.mark.parametrize(("probability", "n_words"), [(0.0, 2), (1.0, 4)])
def test_words_are_split_anew_as_often_as_configured(probability: float, n_words: int) -> None:
    notes = Source("x", [sentence("u.s./B-city here")], LabelSet.parse(["city"]))
    [batch] = itertools.islice(stream(notes, resplit_prob=probability), 1)
    assert batch.lengths == [n_words + (1 if probability else 0)]


# Reading


def write_lines(path: Path, *lines: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_source_is_read_from_a_dataset_folder(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    write_lines(folder / "train.jsonl", {"tokens": ["Bob", "here"], "tags": ["B-PER", "O"]})
    (folder / "meta.json").write_text(
        '{"label_words": {"PER": "human being"}, "label_descriptions": {"PER": "someone"}}'
    )
    found = read_source(folder, weight=2.0)
    assert found.name == "notes"
    assert found.sampling_weight == 2.0
    assert found.label_set["PER"].words == "human being"
    assert found.label_set["PER"].description == "someone"
    assert [s.id for s in found.sentences] == ["train:1"]


def test_coarse_tags_become_the_parents_of_labels(tmp_path: Path) -> None:
    fine = {"tokens": ["Bob", "here"], "tags": ["B-singer", "O"]}
    write_lines(
        tmp_path / "train.jsonl",
        fine,
        {"tokens": ["Ada", "Oslo"], "tags": ["B-artist", "B-town"],
         "coarse_tags": ["B-person", "B-place"]},
        *[fine | {"coarse_tags": [tag, "O"]} for tag in ("B-person", "B-group", "B-person")],
    )  # fmt: skip
    found = read_source(tmp_path)
    assert found.parents == {"artist": "person", "town": "place", "singer": "person"}
    assert found.label_set.names == ("artist", "person", "place", "singer", "town")
    assert [m.label for s in found.sentences for m in s.mentions].count("singer") == 4


def test_coarse_tags_belong_to_their_line_whatever_its_id(tmp_path: Path) -> None:
    line = {"id": "1", "tokens": ["Bob"]}
    write_lines(
        tmp_path / "train.jsonl",
        line | {"tags": ["B-singer"], "coarse_tags": ["B-person"]},
        line | {"tags": ["B-town"], "coarse_tags": ["B-place"]},
    )
    assert read_source(tmp_path).parents == {"singer": "person", "town": "place"}


def test_coarse_tags_without_tokens_are_refused(tmp_path: Path) -> None:
    text = {"text": "Bob", "entities": [[0, 3, "singer"]], "coarse_tags": ["B-person"]}
    write_lines(tmp_path / "train.jsonl", text)
    with pytest.raises(DataError, match=r"without words and tags .*train\.jsonl:1"):
        read_source(tmp_path)


def family(n: int = 1) -> Source:
    """Singers and painters, who are persons."""
    names = LabelSet.parse(["singer", "painter", "person"])
    both = [sentence("bob/B-singer here/O ada/B-painter")] * n
    return Source("arts", both, names, parents={"singer": "person", "painter": "person"})


def test_labels_read_as_their_parents_as_often_as_configured() -> None:
    batches = list(itertools.islice(stream(family(), parent_prob=0.5, negatives=0.0), 1000))
    n_broader = sum("person" in b.labels for b in batches)
    # All labels in a third of the draws, each with an even chance in the others.
    assert n_broader / 1000 == pytest.approx(0.5 * (1 / 3 + 2 / 3 * 3 / 4), abs=0.05)
    never = itertools.islice(stream(family(), parent_prob=0.0, negatives=0.0), 50)
    assert all(sorted(b.labels) == ["painter", "singer"] for b in never)


def test_mention_has_the_tag_of_its_label_or_of_its_parent() -> None:
    for batch in itertools.islice(stream(family(), parent_prob=1.0, negatives=1.0), 100):
        assert len(set(batch.labels)) == len(batch.labels)
        bob, here, ada = batch.targets.tolist()
        assert here == 0
        for tag, own in ((bob, "singer"), (ada, "painter")):
            assert batch.labels[(tag - 1) // 2] in (own, "person")
            assert (tag - 1) % 2 == 0


def test_type_words_give_alternatives_and_definitions(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", {"tokens": ["Bob"], "tags": ["B-artist"]})
    (tmp_path / "type_words.tsv").write_text(
        "name\talternatives\tdefinition\nartist\tpainter; singer\tmakes art\n",
        encoding="utf-8",
    )
    found = read_source(tmp_path)
    assert found.alternatives["artist"] == ["painter", "singer"]
    assert found.label_set["artist"].description == "makes art"


def test_type_words_are_read_line_by_line_in_utf_8(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", {"tokens": ["Bob"], "tags": ["B-artist"]})
    words = tmp_path / "type_words.tsv"
    words.write_bytes("name\r\nartist\tpain\u2028ter\tmakes\x85art\r\n\r\nsinger\r\n".encode())
    found = read_source(tmp_path)
    assert found.alternatives == {"artist": ["pain\u2028ter"], "singer": []}
    assert found.label_set["artist"].description == "makes art"
    words.write_bytes(b"name\nartist\tpeintre r\xe9aliste\n")
    with pytest.raises(DataError, match=r"Byte 0xe9 .*type_words\.tsv:2\) is not UTF-8"):
        read_source(tmp_path)


def test_missing_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no split 'train'"):
        read_source(tmp_path)
