"""Mentions in a text: where its lines end them, and what they never begin or end with."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.annotation import Mention
from labelwise.sentences import WRAPPED
from labelwise.spans import tidy_mentions
from labelwise.words import split_words

LONG = "word " * (WRAPPED // 5 + 1)


def found(text: str, start: str, end: str) -> list[str]:
    """Tidy up one mention, from the word that begins so to the word that ends so."""
    offsets = split_words(text)
    first = next(i for i, (a, _) in enumerate(offsets) if text.startswith(start, a))
    last = max(i for i, (_, b) in enumerate(offsets) if text[:b].endswith(end))
    tidy = tidy_mentions(text, offsets, [Mention(first, last + 1, "x", 0.5)])
    assert all(m.label == "x" and m.score == 0.5 for m in tidy)
    return [text[offsets[m.start][0] : offsets[m.end - 1][1]] for m in tidy]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Alice Jones\nBob Smith\nCarol Wu", ["Alice Jones", "Bob Smith", "Carol Wu"]),
        ("Alice Jones\r\nBob Smith", ["Alice Jones", "Bob Smith"]),
        ("John\n\n\n\nMary", ["John", "Mary"]),
        ("two eggs\n- butter", ["two eggs", "butter"]),
        ("two eggs\n  • butter", ["two eggs", "butter"]),
        ("Alice\tRome", ["Alice", "Rome"]),
        ("Bob\nCity: Rome", ["Bob", "City: Rome"]),
        (f"{LONG}New\nYork", [f"{LONG}New\nYork"]),
        (f"{LONG}New\n\nYork", [f"{LONG}New", "York"]),
        (f"{LONG}egg\n- York", [f"{LONG}egg", "York"]),
        (f"{LONG}New\n\tYork", [f"{LONG}New\n\tYork"]),
        (f"{LONG}\nshort New\nYork", [f"{LONG}\nshort New", "York"]),
        ("New York", ["New York"]),
        ("non-stick pan", ["non-stick pan"]),
    ],
)
def test_lines_end_mentions_unless_they_may_be_wrapped(text: str, expected: list[str]) -> None:
    assert found(text, text[0], text[-1]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("221B Baker Street,", ["221B Baker Street"]),
        (", Baker Street;", ["Baker Street"]),
        ("30)", ["30"]),
        ("Bank (Oslo)", ["Bank (Oslo)"]),
        ("Bank (Oslo))", ["Bank (Oslo)"]),
        ("Bank (", ["Bank"]),
        ("Acme Inc.", ["Acme Inc."]),
        (", ;", []),
        ("- 5 degrees", ["- 5 degrees"]),
        ("(https://example.com", ["https://example.com"]),
        ("(Oslo) Bank", ["(Oslo) Bank"]),
        ("anna@example.com.", ["anna@example.com"]),
        ("www.example.com.", ["www.example.com"]),
        ("9 a.m.", ["9 a.m."]),
    ],
)
def test_commas_and_lone_brackets_are_taken_off(text: str, expected: list[str]) -> None:
    assert found(text, text[0], text[-1]) == expected


@pytest.mark.parametrize(
    ("text", "cut", "expected"),
    [
        ("pay INV-2024/01 now", (2, 6), "INV-2024/01"),
        ("on db-01.prod.example.com, not", (2, 9), "db-01.prod.example.com"),
        ("the U.S.-based firm", (1, 5), "U.S."),
        ("minus - 5", (1, 3), "- 5"),
        ("Oslo. Next", (0, 2), "Oslo."),
    ],
)
def test_a_mention_takes_in_the_rest_of_a_token(
    text: str, cut: tuple[int, int], expected: str
) -> None:
    offsets = split_words(text)
    [tidy] = tidy_mentions(text, offsets, [Mention(*cut, "x")])
    assert text[offsets[tidy.start][0] : offsets[tidy.end - 1][1]] == expected


def test_a_token_is_not_taken_from_another_mention() -> None:
    offsets = split_words("INV-20-AB")
    mentions = [Mention(0, 1, "x"), Mention(1, 3, "y"), Mention(3, 5, "z")]
    assert tidy_mentions("INV-20-AB", offsets, mentions) == mentions


@pytest.mark.parametrize("char", ["@", "(", ")", ".", "-", ","])
def test_a_long_run_of_marks_takes_no_time(char: str) -> None:
    n = 200_000  # with the square of it, this would take minutes
    tidy_mentions(char * n, [(i, i + 1) for i in range(n)], [Mention(0, n, "x")])


def test_a_mention_of_one_word_stays_as_it_is() -> None:
    assert tidy_mentions(",", [(0, 1)], [Mention(0, 1, "x")]) == [Mention(0, 1, "x")]


@given(st.text("ab,()\n\t ", max_size=60), st.data())
def test_what_is_left_lies_in_order_inside_what_was_found(text: str, data: st.DataObject) -> None:
    offsets = split_words(text)
    borders = data.draw(st.sets(st.integers(0, len(offsets)), max_size=8))
    ordered = sorted(borders)
    mentions = [Mention(a, b, "x") for a, b in zip(ordered[::2], ordered[1::2], strict=False)]
    tidy = tidy_mentions(text, offsets, mentions)
    assert tidy == sorted(tidy)
    assert all(any(m.start <= t.start < t.end <= m.end for m in mentions) for t in tidy)
    assert all(a.end <= b.start for a, b in pairwise(tidy))
    assert tidy_mentions(text, offsets, tidy) == tidy
    spans = [text[offsets[t.start][0] : offsets[t.end - 1][1]] for t in tidy]
    assert not any("\n\n" in span or "\t" in span.replace("\n\t", "") for span in spans)
