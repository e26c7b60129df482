"""Where a text is cut into sentences, and that nothing is lost by it."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.annotation import Mention, Sentence
from labelwise.rows import to_sentences
from labelwise.sentences import (
    WRAPPED,
    in_one_text,
    one_by_one,
    parts_of,
    sentence_spans,
    words_by_sentence,
)
from labelwise.words import LongText, split_words

LONG = "word " * (WRAPPED // 5 + 1)


def cut(text: str) -> list[str]:
    return [text[a:b].strip() for a, b in sentence_spans(text)]


@pytest.mark.parametrize(
    "parts",
    [
        ["Ada left.", "Robert stayed."],
        ["Really?!", "“Never.”", "Then go!"],
        ["It ended (at last.)", "Nobody wept."],
        ["Built in 1998.", "Sold in 2004."],
        ["We waited…", "@anna came."],
        ["He lives in Rome.", "3 cats live there."],
        ["他在北京。", "她在上海！"],
        ["ذهب أحمد.", "عاد أحمد."],
        ["Name", "City"],
    ],
)
def test_a_sentence_ends_where_another_begins(parts: list[str]) -> None:
    assert cut(("\t" if parts[0] == "Name" else " ").join(parts)) == parts


@pytest.mark.parametrize(
    "text",
    [
        "We met Dr. Eva Stone of Acme Inc. in St. Louis.",
        "J. R. Smith joined the U.S. Navy.",
        "Am 5. Mai kam sie.",
        "See Fig. 3 and pp. 4 f. of vol. 2.",
        "The file is e.g. example.com, i.e. a site.",
        "wow... really? ok",
        "Kept apart . As tokens are .",
        "",
        "   ",
    ],
)
def test_what_may_be_an_abbreviation_ends_nothing(text: str) -> None:
    assert cut(text) == [text.strip()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Alice Jones\nBob Smith", ["Alice Jones", "Bob Smith"]),
        ("John\n\n\nMary", ["John", "Mary"]),
        ("two eggs\n  • butter", ["two eggs", "• butter"]),
        ("Alice\tRome", ["Alice", "Rome"]),
        (f"{LONG}New\nYork", [f"{LONG}New\nYork"]),
        (f"{LONG}New\n\nYork", [f"{LONG}New", "York"]),
        (f"{LONG}egg\n- York", [f"{LONG}egg", "- York"]),
        ("Write to Tom.\nThanks!", ["Write to Tom.", "Thanks!"]),
    ],
)
def test_lines_end_sentences_unless_they_may_be_wrapped(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada left.\u200b Bob stayed.", ["Ada left.\u200b", "Bob stayed."]),
        ("Ada left. \ufeffBob stayed.", ["Ada left. \ufeff", "Bob stayed."]),
        (f"{LONG}New\n\u200b\nYork", [f"{LONG}New\n\u200b", "York"]),
        (f"{LONG}egg\n\u200b- York", [f"{LONG}egg\n\u200b", "- York"]),
        ("他在北京。\u200b她在上海！", ["他在北京。\u200b", "她在上海！"]),
        (f"{LONG}New\u200b\nYork", [f"{LONG}New\u200b\nYork"]),
    ],
)
def test_marks_of_no_width_change_no_end(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@given(st.text("aB1.!? \n\t。,'\"\u200b\u200d\u0301", max_size=80))
def test_sentences_make_up_the_text_and_its_words(text: str) -> None:
    spans = list(sentence_spans(text))
    assert "".join(text[a:b] for a, b in spans) == text
    offsets = split_words(text)
    words = [text[a:b] for a, b in offsets]
    parts = list(words_by_sentence(text, words, offsets))
    assert [w for part in parts for w in part] == words
    long = LongText(text, stretch=7)
    assert [list(p) for p in words_by_sentence(text, long, long.offsets)] == parts


@pytest.mark.parametrize(
    "char", [" ", "\n", "\t", ".", "a. ", ".)", "。", ". A", " \n", "\u200b", ".\u200b", "\u200b\n"]
)
def test_a_long_run_of_marks_takes_no_time(char: str) -> None:
    text = char * 200_000  # with the square of it, this would take minutes
    assert sum(b - a for a, b in sentence_spans(text)) == len(text)


def test_words_without_a_text_are_one_sentence() -> None:
    sentence = Sentence(("Ada", "left", ".", "Bob", "stayed", "."))
    assert list(parts_of(sentence)) == [sentence.words]
    text = "Ada left. Robert stayed."
    read = dataclasses.replace(
        sentence, words=tuple(text[a:b] for a, b in split_words(text)), text=text,
        offsets=tuple(split_words(text)),
    )  # fmt: skip
    assert [len(part) for part in parts_of(read)] == [3, 3]


def test_mentions_are_counted_in_the_words_of_the_text() -> None:
    found = [[Mention(0, 1, "x", 0.5)], [], [Mention(1, 2, "y")]]
    joined = in_one_text(found, [["a"] * 3, ["b"] * 4, ["c"] * 2])
    assert joined == [Mention(0, 1, "x"), Mention(8, 9, "y")]
    assert joined[0].score == 0.5


def test_an_annotated_text_is_cut_into_sentences_but_through_no_mention() -> None:
    marked = (
        "[Ada](person) left. [Robert Lee](person) stayed! [Who. Knows](work) ended. Then silence."
    )
    (example,) = to_sentences([marked])
    cut = list(one_by_one(example))
    assert [" ".join(s.words) for s in cut] == [
        "Ada left .", "Robert Lee stayed !", "Who . Knows ended .", "Then silence .",
    ]  # fmt: skip
    assert [s.mentions for s in cut] == [
        (Mention(0, 1, "person"),), (Mention(0, 2, "person"),), (Mention(0, 3, "work"),), (),
    ]  # fmt: skip
    words = Sentence(example.words, example.mentions)
    assert list(one_by_one(words)) == [words]
