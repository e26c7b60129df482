"""Long texts are split as if at once; what hostile texts hold changes no offset."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labelwise.words import LONG_TEXT, LongText, split_words

TEXT = st.text(
    "ab Bob\n\t\r.-'é\u0301\u200dक्ष漢字ไทยאב😀\U0001f468\x00\ud800\u2028\xa0", max_size=80
)


@given(st.one_of(TEXT, st.text(max_size=60)), st.integers(0, 20))
def test_stretches_of_a_text_hold_the_words_of_the_whole(text: str, stretch: int) -> None:
    words, expected = LongText(text, stretch), split_words(text)
    assert list(words.offsets) == words.spans(0, len(words)) == expected
    assert words[:] == [text[a:b] for a, b in expected]
    assert list(words) == words[:]
    assert len(words) == len(expected)


ASCII = "".join(map(chr, range(128)))


@given(st.text(ASCII, max_size=40))
@example(ASCII)
def test_ascii_is_split_as_any_text_is(text: str) -> None:
    assert split_words(text) == split_words(text + " é")[:-1]


@given(TEXT, st.integers(-9, 9), st.integers(-9, 9))
def test_slices_are_those_of_the_list(text: str, low: int, high: int) -> None:
    words = LongText(text, 3)
    assert words[low:high] == words[:][low:high]
    assert words[::-1] == words[:][::-1]


@pytest.mark.parametrize("text", ["a" * 3 * LONG_TEXT, "漢" * 2 * LONG_TEXT, " " * 2 * LONG_TEXT])
def test_a_text_without_borders_is_split_too(text: str) -> None:
    words = LongText(text)
    assert words.spans(0, len(words)) == split_words(text)


def test_the_words_of_a_long_text_take_no_room() -> None:
    text = "Ada left Oslo. " * 20_000
    tracemalloc.start()
    words = LongText(text, 4096)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(words) == 80_000
    assert peak < 1_000_000
    assert words.spans(79_999, 80_000) == [(len(text) - 2, len(text) - 1)]
