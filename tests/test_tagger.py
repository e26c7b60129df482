"""What users hold: shapes in and out, offsets, thresholds, labels, endless input."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import (
    WORDS,
    people_and_cities,
    sentence,
    tiny_backend,
    tiny_tokenizer,
)
from labelwise.annotation import Mention, Sentence
from labelwise.backend import FakeBackend
from labelwise.checkpoint import save_step
from labelwise.config import ModelConfig, train_preset
from labelwise.errors import LabelError, LabelwiseError, RequestError
from labelwise.labels import LabelSet
from labelwise.loading import save_model
from labelwise.onnx_export import export_towers
from labelwise.segments import CHUNK_WORDS
from labelwise.spans import tidy_mentions
from labelwise.tagger import Tagger
from labelwise.words import LONG_TEXT, split_words

TOKENIZER = tiny_tokenizer()
LABELS = ["person", "city", "drug"]
TEXT = "Bob went from Oslo to New York, said Ada. Acme sells aspirin here and there; Rome is ill."
RAW = st.text("ab Bob\n\t.-'é\u0301\u200dक्ष漢字ไทยאב😀\U0001f468\x00\ud800\u2028\xa0", max_size=40)
ANY_TEXT = st.one_of(RAW, st.text(max_size=30))


def fake_tagger(bias_of_o: float = -1.0, **settings: Any) -> Tagger:
    """A tagger that finds something in most texts."""
    backend = FakeBackend(TOKENIZER, config=ModelConfig(**({"max_pieces": 16} | settings)))
    backend.scale = 0.6
    backend.bias = np.array([bias_of_o], dtype=np.float32)
    return Tagger(backend)


TAGGER = fake_tagger()
TINY = Tagger(tiny_backend(ModelConfig(max_pieces=32)))


# Offsets


@given(ANY_TEXT)
@pytest.mark.parametrize("tagger", [TAGGER, TINY], ids=["fake", "towers"])
def test_every_record_is_a_piece_of_the_text(tagger: Tagger, text: str) -> None:
    records = tagger.predict(text, LABELS)
    end = 0
    for record in records:
        assert list(record) == ["text", "label", "start", "end", "score"]
        assert text[record["start"] : record["end"]] == record["text"]
        assert end <= record["start"] < record["end"] <= len(text)
        assert record["label"] in LABELS
        assert 0 <= record["score"] <= 1
        end = record["end"]


@given(st.lists(st.text("ab é漢😀ไ\u0301-.", max_size=20), max_size=6))
def test_records_are_the_tidy_mentions_of_the_words(texts: list[str]) -> None:
    offsets = [tuple(split_words(text)) for text in texts]
    read = [
        Sentence(tuple(t[a:b] for a, b in o), text=t, offsets=o)
        for t, o in zip(texts, offsets, strict=True)
    ]
    expected = [
        [(o[m.start][0], o[m.end - 1][1], m.label) for m in tidy_mentions(t, o, mentions)]
        for t, o, mentions in zip(texts, offsets, TAGGER.tag_texts(read, LABELS), strict=True)
    ]
    found = [
        [(r["start"], r["end"], r["label"]) for r in rs] for rs in TAGGER.predict(texts, LABELS)
    ]
    assert found == expected


def test_words_and_offsets_are_those_of_the_text() -> None:
    tagger = fake_tagger(-1e3, scheme="io")
    assert [(r["start"], r["end"]) for r in tagger.predict("Zoë, 漢字!", ["x"])] == [(0, 8)]


@pytest.mark.parametrize("mark", ["\u200b", "\ufeff", "\xad", "\u200e"], ids=ascii)
@pytest.mark.parametrize("gap", ["{} ", " {}", " {} "])
def test_a_mark_of_no_width_cuts_no_entity(mark: str, gap: str) -> None:
    text = f"{mark}New{gap.replace('{}', mark)}York{mark}"
    found = fake_tagger(-1e3, scheme="io").predict(text, ["x"])
    assert [(r["start"], r["end"], r["text"]) for r in found] == [(1, len(text) - 1, text[1:-1])]


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t\u2028", "\x00", "\x00\x00 \x00", "\ud800", "\u200b\u200d", "\ufeff"],
    ids=ascii,
)
def test_text_without_readable_words_has_no_entities(text: str) -> None:
    assert TAGGER.predict(text, LABELS) == []
    assert TINY.predict([text, text], LABELS) == [[], []]


def test_nul_bytes_around_a_text_move_nothing() -> None:
    plain = [(r["start"], r["end"]) for r in TAGGER.predict(TEXT, LABELS)]
    noisy = TAGGER.predict(f"\x00{TEXT}\x00\x00", LABELS)
    assert plain
    assert [(r["start"] - 1, r["end"] - 1) for r in noisy] == plain


@pytest.mark.parametrize("unit", ["b", "漢", "😀", "e\u0301", "-"], ids=ascii)
def test_word_of_a_hundred_thousand_characters_is_read(unit: str) -> None:
    text = "Bob " + unit * (100_000 if unit == "b" else 3_000) + " Oslo"
    for record in TAGGER.predict(text, LABELS):
        assert text[record["start"] : record["end"]] == record["text"]


# Shapes


def test_one_text_gives_a_list_and_many_give_lists() -> None:
    one = TAGGER.predict(TEXT, LABELS)
    assert one
    assert TAGGER.predict([TEXT], LABELS) == [one]
    assert TAGGER.predict((t for t in [TEXT, "", TEXT]), LABELS) == [one, [], one]
    assert TAGGER.predict([], LABELS) == []
    assert list(TAGGER.stream([TEXT], LABELS)) == [one]


@given(st.lists(ANY_TEXT, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_batch_order_and_duplicates_change_nothing(texts: list[str], draw: Any) -> None:
    order = list(range(len(texts))) * 2
    draw.shuffle(order)
    alone = [TINY.predict(text, LABELS) for text in texts]
    together = TINY.predict([texts[i] for i in order], LABELS)
    assert _without_scores(together) == _without_scores([alone[i] for i in order])


def _without_scores(results: list[list[Any]]) -> list[list[Any]]:
    return [[{**r, "score": None} for r in records] for records in results]


def test_words_give_word_offsets_in_the_matching_shape() -> None:
    words = ["Bob", "went", "to", "New", "York"]
    one = TAGGER.predict_words(words, LABELS)
    assert one
    assert TAGGER.predict_words([words, [], words], LABELS) == [one, [], one]
    assert TAGGER.predict_words([], LABELS) == []
    for record in one:
        assert " ".join(words[record["start"] : record["end"]]) == record["text"]


def test_words_and_tags_agree() -> None:
    words = [text.split() for text in (TEXT, "Ada")]
    records = TAGGER.predict_words(words, LABELS)
    mentions = list(TAGGER.tag(words, LABELS))
    spans = [[Mention(r["start"], r["end"], r["label"]) for r in rs] for rs in records]
    assert spans == mentions


def test_entities_of_gliner_have_a_threshold_of_one_half() -> None:
    everything = TAGGER.predict(TEXT, LABELS)
    confident = [r for r in everything if r["score"] >= 0.5]
    assert TAGGER.predict_entities(TEXT, LABELS) == confident
    assert 0 < len(confident) < len(everything)
    assert TAGGER.predict_entities(TEXT, LABELS, True, 0.0) == everything
    assert TAGGER.predict_entities(TEXT, LABELS, threshold=1.0) == []
    for call in (TAGGER.batch_predict_entities, TAGGER.inference):
        assert call([TEXT, ""], LABELS) == [confident, []]
        assert call([TEXT], LABELS, flat_ner=True, threshold=0.0, multi_label=False) == [everything]
    assert TAGGER.inference([TEXT, ""], LABELS, batch_size=1) == [confident, []]
    assert TAGGER.inference([TEXT], LABELS, True, 0.0, False, 32) == [everything]


@pytest.mark.parametrize(
    "given", [{"flat_ner": False}, {"multi_label": True}, {"flat_ner": 0.3}], ids=str
)
def test_nested_entities_are_refused(given: dict[str, Any]) -> None:
    match = r"'flat_ner' is .* and 'multi_label' .*Expected True and False"
    with pytest.raises(RequestError, match=match):
        TAGGER.predict_entities(TEXT, LABELS, **given)
    with pytest.raises(RequestError, match=match):
        TAGGER.batch_predict_entities([TEXT], LABELS, **given)


def test_a_tagger_says_what_it_is(tmp_path: Path) -> None:
    tagger = Tagger(TAGGER.backend)
    assert tagger.labels == ()
    assert repr(tagger) == "<Tagger 'unsaved' on FakeBackend, labels: none of its own>"
    tagger.fit(people_and_cities(), ["person", "city"])
    tagger.folder = tmp_path
    assert tagger.labels == ("person", "city")
    assert repr(tagger) == f"<Tagger '{tmp_path}' on FakeBackend, labels: 'person', 'city', fitted>"


@pytest.mark.parametrize("words", ["one text", ["a", ["b"]], [["b"], "a"]], ids=str)
def test_text_in_place_of_words_is_refused(words: Any) -> None:
    with pytest.raises(RequestError, match=r"Expected a list of words.*predict\(text\)"):
        TAGGER.predict_words(words, LABELS)


@pytest.mark.parametrize("word", [1, None, b"Bob"], ids=str)
def test_a_word_that_is_no_string_is_refused_by_its_sentence(word: Any) -> None:
    with pytest.raises(RequestError, match=f"Sentence number 1 has the word {word!r} of type"):
        TAGGER.predict_words([["Bob"], ["went", word]], LABELS)
    with pytest.raises(RequestError, match="Sentence number 0 has the word"):
        list(TAGGER.tag([[word]], LABELS))


def test_words_may_come_in_any_iterable() -> None:
    words = ["Bob", "went", "to", "New", "York"]
    one = TAGGER.predict_words(words, LABELS)
    assert one
    assert TAGGER.predict_words(iter(words), LABELS) == one
    assert TAGGER.predict_words((iter(s) for s in [words, []]), LABELS) == [one, []]
    assert TAGGER.predict_words(iter([words]), LABELS) == [one]


@pytest.mark.parametrize(
    "sentences", [TEXT, ["Ada", "left"], [["Ada"], "left"], [None], 5], ids=str
)
def test_text_is_not_tagged_letter_by_letter(sentences: Any) -> None:
    with pytest.raises(RequestError, match=r"Words are given as \w+ .*predict\(text\)"):
        list(TAGGER.tag(sentences, LABELS))


@pytest.mark.parametrize("texts", [[TEXT, 3], [TEXT, ["Bob"]], [TEXT, None], [TEXT, b"x"]])
def test_something_else_than_a_text_is_refused_by_number(texts: list[Any]) -> None:
    with pytest.raises(RequestError, match=r"Text number 1 is a \w+\. Expected str\."):
        TAGGER.predict(texts, LABELS)


@pytest.mark.parametrize(
    "texts", [None, 5, Path("notes.txt"), {"text": TEXT}, b"Bob"], ids=lambda x: type(x).__name__
)
def test_something_else_than_texts_is_refused(texts: Any) -> None:
    match = r"Texts are given as \w+ .*Expected an iterable of texts"
    for call in (
        TAGGER.predict,
        lambda x, labels: next(TAGGER.stream(x, labels)),
        lambda x, labels: TAGGER.suggest(x, labels=labels),
    ):
        with pytest.raises(RequestError, match=match):
            call(texts, LABELS)


def test_one_text_is_nothing_to_rank() -> None:
    with pytest.raises(RequestError, match="Texts are given as str 'Bob'"):
        TAGGER.suggest("Bob", labels=LABELS)


def test_one_text_is_no_stream_of_letters() -> None:
    with pytest.raises(RequestError, match="Texts are given as str 'Bob'"):
        next(TAGGER.stream("Bob", LABELS))


# Long and endless input


@pytest.mark.parametrize("scheme", ["io", "bio", "bioes"])
def test_long_text_is_read_to_its_end(scheme: str) -> None:
    tagger = fake_tagger(-1e3, scheme=scheme)
    text = " ".join(itertools.islice(itertools.cycle(WORDS), 50_000))
    covered = sum(len(split_words(r["text"])) for r in tagger.predict(text, LABELS))
    assert covered == 50_000


def test_the_words_of_a_long_text_are_tagged_as_words() -> None:
    text = "Ada\u0301 went,\tto New York. " * 4000
    assert len(text) > LONG_TEXT
    offsets = split_words(text)
    [mentions] = TAGGER.tag([[text[a:b] for a, b in offsets]], LABELS)
    expected = [(offsets[m.start][0], offsets[m.end - 1][1], m.label) for m in mentions]
    assert len(expected) > 1000
    assert [(r["start"], r["end"], r["label"]) for r in TAGGER.predict(text, LABELS)] == expected


def test_an_endless_word_is_one_word() -> None:
    records = fake_tagger(-1e3).predict("a" * 100_000 + " Bob", LABELS)
    assert [(r["start"], r["end"]) for r in records][-1][1] == 100_004


def test_ten_thousand_labels_can_be_looked_for() -> None:
    labels = [f"kind {i}" for i in range(10_000)]
    records = fake_tagger(-1e3).predict("Bob is in Oslo", labels)
    assert {r["label"] for r in records} <= {*labels}
    assert records


@pytest.mark.slow
def test_ten_million_characters_need_little_beside_the_result() -> None:
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from builders import tiny_tokenizer
        from labelwise.backend import FakeBackend
        from labelwise.tagger import Tagger
        tagger = Tagger(FakeBackend(tiny_tokenizer()))
        text = "Ada Lovelace moved to London in 1835 and wrote. " * 208_334
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        tagger.predict(text[:100_000], ["person", "city"])
        before = peak()
        records = tagger.predict(text, ["person", "city"], threshold=0.999)
        print(len(records), peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    n_records, megabytes = map(int, done.stdout.split())
    assert n_records == 0, done.stderr
    assert megabytes < 600


def test_long_text_stands_in_its_place_among_others() -> None:
    long = "Bob is in Oslo. " * 3000
    texts = ["Ada", long, "", "New York"]
    assert TAGGER.predict(texts, LABELS) == [TAGGER.predict(text, LABELS) for text in texts]


def test_stream_reads_a_little_ahead() -> None:
    n_read = 0

    def endless() -> Iterator[str]:
        nonlocal n_read
        for n_read in itertools.count(1):  # noqa: B007
            yield "Bob is in Oslo."

    found = TAGGER.stream(endless(), LABELS)
    assert n_read == 0
    for n_given in range(1, 5_001):
        next(found)
        assert n_read - n_given <= 2 * CHUNK_WORDS / 5
    assert n_given == 5_000


def test_an_error_in_a_stream_comes_after_the_results_before_it() -> None:
    texts = ["Ada is in London.", "Bob is in Oslo."]
    found = TAGGER.stream([*texts, None], LABELS)  # type: ignore[list-item]
    assert [next(found), next(found)] == TAGGER.predict(texts, LABELS)
    with pytest.raises(ValueError, match="Text number 2 is a NoneType"):
        next(found)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_a_loaded_model_is_not_pickled(copied: Callable[[Tagger], object]) -> None:
    with pytest.raises(TypeError, match=r"save_pretrained and load it from there in each process"):
        copied(TAGGER)


# Thresholds


@given(st.floats(0, 1))
@example(0.41546704500591536)  # above a score by less than what rounding adds to it
def test_threshold_keeps_exactly_the_entities_that_reach_it(threshold: float) -> None:
    """Exact or as reported, with four decimals: at its reported score an entity stays."""
    mentions = next(TAGGER.tag([TEXT.split()], LABELS))
    kept = next(TAGGER.tag([TEXT.split()], LABELS, threshold=threshold))
    assert kept == [m for m in mentions if max(m.score, round(m.score, 4)) >= threshold]


def test_an_entity_stays_at_its_own_score_as_the_threshold() -> None:
    for text in (TEXT, "Bob and Carl", "Oslo, Rome and New York"):
        records = TAGGER.predict(text, LABELS)
        for record in records:
            expected = [r for r in records if r["score"] >= record["score"]]
            assert TAGGER.predict(text, LABELS, threshold=record["score"]) == expected
            own = {name: {"threshold": record["score"]} for name in LABELS}
            assert TAGGER.predict(text, own) == expected


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64], ids=lambda x: x.__name__)
def test_thresholds_may_be_of_numpy(kind: Any) -> None:
    expected = TAGGER.predict(TEXT, LABELS, threshold=float(kind(0.5)))
    assert TAGGER.predict(TEXT, LABELS, threshold=kind(0.5)) == expected
    assert TAGGER.predict(TEXT, {name: {"threshold": kind(0.5)} for name in LABELS}) == expected


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5", True])
def test_thresholds_that_are_no_probability_are_refused(threshold: Any) -> None:
    with pytest.raises(RequestError, match=r"'threshold' is .*Expected a number from 0 to 1"):
        TAGGER.predict(TEXT, LABELS, threshold=threshold)


def test_threshold_of_a_label_goes_before_the_overall_one() -> None:
    labels = LabelSet.parse({"person": {"threshold": 0.0}, "city": {"threshold": 1.0}, "drug": {}})
    plain = TAGGER.predict(TEXT, LABELS)
    assert {r["label"] for r in plain} == set(LABELS)
    found = TAGGER.predict(TEXT, labels, threshold=0.6)
    limits = {"person": 0.0, "city": 1.0, "drug": 0.6}
    assert found == [r for r in plain if r["score"] >= limits[r["label"]]]


# Labels


@given(st.permutations(LABELS))
def test_order_of_labels_changes_nothing(labels: list[str]) -> None:
    assert TAGGER.predict(TEXT, labels) == TAGGER.predict(TEXT, LABELS)


def test_labels_are_names_descriptions_or_full_entries() -> None:
    as_list = TAGGER.predict(TEXT, ["person"])
    assert TAGGER.predict(TEXT, ("person",)) == as_list
    assert TAGGER.predict(TEXT, {"person": None}) == as_list
    assert TAGGER.predict(TEXT, LabelSet.parse(["person"])) == as_list
    named = TAGGER.predict(TEXT, {"X": {"words": "person"}})
    assert [r["start"] for r in named] == [r["start"] for r in as_list]
    assert {r["label"] for r in named} == {"X"}


def test_own_label_set_is_the_default() -> None:
    tagger = Tagger(TAGGER.backend, label_set=LabelSet.parse(LABELS))
    assert tagger.predict(TEXT) == TAGGER.predict(TEXT, LABELS)
    assert tagger.predict(TEXT, ["person"]) == TAGGER.predict(TEXT, ["person"])


OWN = LabelSet.parse(
    {"name": {"words": "location", "threshold": 0.9}, "kind": "a drug or disease", "city": None}
)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["name"], OWN.subset(["name"])),
        (["city", "kind"], OWN.subset(["city", "kind"])),
        ({"name": {"threshold": 0.2}}, {"name": {"words": "location", "threshold": 0.2}}),
        ({"name": {"words": "person"}}, {"name": {"words": "person"}}),
        ({"name": "a city"}, {"name": {"words": "name", "description": "a city"}}),
        (["drug"], ["drug"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["set", "saved", "fine-tuned"])
def test_a_bare_name_means_the_label_of_the_models_own(
    given: Any, meant: Any, how: str, tmp_path: Path
) -> None:
    tagger = Tagger(TINY.backend, label_set=OWN)
    if how == "saved":
        tagger.save_pretrained(tmp_path / "m")
        tagger = Tagger.from_pretrained(tmp_path / "m")
    if how == "fine-tuned":
        tagger = Tagger(tiny_backend(ModelConfig(max_pieces=32)))
        tagger.finetune([sentence("Oslo/B-city")], OWN, config=FAST.replace(max_steps=1))
    plain = Tagger(tagger.backend).table(meant)
    table = tagger.table(given)
    assert table.label_set == plain.label_set == LabelSet.parse(meant)
    np.testing.assert_allclose(table.matrix, plain.matrix, atol=1e-5)


def test_a_fit_of_a_bare_name_starts_from_the_models_own_words() -> None:
    tagger = Tagger(TINY.backend, label_set=OWN)
    tagger.fit([], ["name"])
    assert tagger.label_set == OWN.subset(["name"])


def test_missing_labels_are_asked_for() -> None:
    for call in (TAGGER.predict, TAGGER.predict_entities):
        with pytest.raises(RequestError, match=r"No labels given.*labels=\['person', 'city'\]"):
            call(TEXT)
    with pytest.raises(RequestError, match="No labels given"):
        TAGGER.predict_words(["Bob"])


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (["a", "b", "a"], "'a' are given more than once"),
        ([], "No labels are given"),
        ("person", "given as the string 'person'"),
        (["O"], "named 'O'"),
        ([""], "name is empty"),
        ([3], "Expected a string"),
    ],
)
def test_labels_that_make_no_set_are_refused(labels: Any, match: str) -> None:
    with pytest.raises(LabelError, match=match):
        TAGGER.predict(TEXT, labels)


def test_a_label_set_may_be_assigned_in_any_form() -> None:
    tagger = Tagger(TAGGER.backend, label_set=["person"])
    assert tagger.labels == ("person",)
    tagger.label_set = {"person": "a human", "city": None}
    assert tagger.predict(TEXT) == TAGGER.predict(TEXT, {"person": "a human", "city": None})
    assert "'person', 'city'" in repr(tagger)
    with pytest.raises(LabelError, match="Labels are given as the string 'person'"):
        tagger.label_set = "person"
    tagger.label_set = None
    assert tagger.labels == ()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["Ada left."], "Sentence number 0 is str 'Ada left.'. Expected an iterable of Sentence"),
        ("Ada left.", "Sentences are given as str 'Ada left.'"),
        (sentence("Ada left"), "Sentences are given as Sentence"),
        (7, "Sentences are given as int"),
        ([["Ada", "left"]], "for words, tag"),
    ],
    ids=repr,
)
def test_what_is_no_sentence_is_not_read_as_one(given: Any, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        list(TAGGER.tag_texts(given, LABELS))


def test_labels_that_read_alike_are_warned_about_once() -> None:
    with pytest.warns(UserWarning, match=r"Labels 'person', 'Person' read .*'person'") as shown:
        TAGGER.predict(TEXT, ["person", "Person", "city"])
    assert len(shown) == 1
    TAGGER.predict(TEXT, {"person": "a human being", "Person": "a character of a play"})
    with pytest.warns(UserWarning, match="no model can tell them apart"):
        Tagger(TAGGER.backend).fit(["[Ada](person) met [Bob](PER)."])
    code = """
        import sys
        sys.path.insert(0, "tests")
        from builders import tiny_tokenizer
        from labelwise.backend import FakeBackend
        from labelwise.tagger import Tagger
        tagger = Tagger(FakeBackend(tiny_tokenizer()))
        for text in ("Ada", "Bob"):
            tagger.predict(text, ["person", "Person"])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr.count("UserWarning") == 1


def test_a_thousand_labels_work() -> None:
    labels = [f"kind {i}" for i in range(1000)]
    found = fake_tagger(max_pieces=64).predict([TEXT, "Ada"], labels)
    assert len(found) == 2
    assert all(r["label"] in labels for records in found for r in records)


# Fine-tuning

FAST = train_preset("finetune").replace(
    learning_rate=3e-3, epochs=30.0, precision="fp32", resplit_prob=0.0
)


def test_finetuning_changes_what_is_found_at_once() -> None:
    tagger = Tagger(tiny_backend(ModelConfig(max_pieces=64)))
    before = tagger.predict("Bob went to New York.", ["person", "city"])
    progress = tagger.finetune(people_and_cities(), config=FAST)
    assert progress.done == 1.0
    assert tagger.label_set is not None
    assert tagger.label_set.names == ("city", "person")
    after = tagger.predict("Bob went to New York.")
    assert [(r["text"], r["label"]) for r in after] == [("Bob", "person"), ("New York", "city")]
    assert after != before
    assert Tagger(tagger.backend).predict("Bob went to New York.", ["person", "city"]) == after


REFUSED = {
    "nothing": ({"examples": []}, "No sentences to train on"),
    "labels": ({"labels": ["person"]}, "not in the label set: 'city'"),
    "option": ({"nonsense": 1}, r"finetune\(\) got an unexpected keyword argument 'nonsense'"),
    "run": ({"output_dir": "run"}, "holds step 1 of an earlier run"),
    "file": ({"output_dir": "file"}, "No checkpoints can be written to .*file': File exists"),
}


@pytest.fixture(scope="module")
def exported_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that runs on ONNX, with its weights beside it."""
    backend, folder = tiny_backend(), tmp_path_factory.mktemp("exported") / "model"
    save_model(folder, backend, extra_files=export_towers(backend, "fp32"))
    return folder


@pytest.mark.parametrize(("changes", "match"), REFUSED.values(), ids=REFUSED)
def test_refused_finetuning_leaves_the_tagger_as_it_was(
    changes: dict[str, Any], match: str, tmp_path: Path, exported_folder: Path
) -> None:
    save_step(tmp_path / "run", 1, {}, {})
    (tmp_path / "file").touch()
    if "output_dir" in changes:
        changes = changes | {"output_dir": tmp_path / changes["output_dir"]}
    tagger = Tagger.from_pretrained(exported_folder)  # where there are weights to train
    tagger.fit(people_and_cities())
    before, engine = tagger.predict(TEXT), tagger.engine
    arguments = {"examples": people_and_cities(), "on_progress": pytest.fail, "config": FAST}
    with pytest.raises((LabelwiseError, TypeError), match=match):
        tagger.finetune(**(arguments | changes))
    assert tagger.engine is engine
    assert tagger.predict(TEXT) == before
    assert tagger.undo() == people_and_cities()[-1]
    assert tagger.fit(["[Aspirin](drug) helps."]).n_examples == 1  # labels are still the examples'


def test_interrupted_finetuning_leaves_no_stale_label_vectors() -> None:
    tagger = Tagger(tiny_backend(ModelConfig(max_pieces=64)))
    tagger.predict(TEXT, ["person", "city"])

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tagger.finetune(people_and_cities(), config=FAST, on_progress=stop)
    fresh = Tagger(tagger.backend)
    assert tagger.predict(TEXT, ["person", "city"]) == fresh.predict(TEXT, ["person", "city"])


def test_labels_of_the_examples_must_be_in_the_label_set() -> None:
    tagger = Tagger(TINY.backend, label_set=LabelSet.parse(["person"]))
    match = r"not in the label set: 'city' \(the first in .*words 3-4\)\. Expected 'person'\."
    with pytest.raises(LabelError, match=match):
        tagger.finetune(people_and_cities())
    assert tagger.label_set is not None
    assert tagger.label_set.names == ("person",)


def test_examples_without_mentions_need_labels() -> None:
    with pytest.raises(LabelwiseError, match="No labels"):
        Tagger(TINY.backend).finetune([sentence("nothing here")])


def test_backend_without_weights_cannot_be_trained() -> None:
    with pytest.raises(RequestError, match="cannot train"):
        fake_tagger().finetune(people_and_cities())


class _SlowBackend(FakeBackend):
    """A backend that keeps threads of one name until it is told to go on."""

    def __init__(self) -> None:
        super().__init__(TOKENIZER)
        self.go_on = threading.Event()

    def word_states(self, batch: Any) -> Any:
        if threading.current_thread().name == "slow":
            self.go_on.wait(30)
        return super().word_states(batch)


def _run_slowly(calls: Iterable[Callable[[], object]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call, name="slow") for call in calls]
    for thread in threads:
        thread.start()
    return threads


def test_threads_lose_no_example_of_each_other() -> None:
    backend = _SlowBackend()
    tagger = Tagger(backend)
    learn = [partial(tagger.partial_fit, [f"[x{i}](label{i})"], [f"label{i}"]) for i in range(4)]
    threads = _run_slowly(learn)
    backend.go_on.set()
    for thread in threads:
        thread.join()
    assert sorted(tagger.labels) == [f"label{i}" for i in range(4)]
    assert tagger.partial_fit([]).n_examples == 4


def test_prediction_does_not_wait_for_a_fit() -> None:
    backend = _SlowBackend()
    tagger = Tagger(backend)
    tagger.fit(["[Ada](person)"])
    before = tagger.predict(TEXT)
    [learner] = _run_slowly([lambda: tagger.fit(["[Oslo](city)"])])
    assert tagger.predict(TEXT) == before
    assert learner.is_alive()
    backend.go_on.set()
    learner.join()
    assert tagger.labels == ("city",)


def test_what_follows_a_training_may_predict_and_learn() -> None:
    tagger, found = Tagger(tiny_backend(ModelConfig(max_pieces=32))), list[object]()

    def watch(progress: object) -> None:
        other = threading.Thread(target=lambda: found.append(tagger.predict(TEXT)))
        other.start()
        other.join()
        tagger.label_set = LabelSet.parse(["city", "person"])

    tagger.finetune(people_and_cities(), config=FAST.replace(max_steps=1), on_progress=watch)
    assert len(found) == 1


def test_threads_share_one_tagger() -> None:
    expected, found = TINY.predict(TEXT, LABELS), []
    threads = [
        threading.Thread(target=lambda: found.append(TINY.predict(TEXT, LABELS)))
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * len(threads)
