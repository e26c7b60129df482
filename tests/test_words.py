"""Long texts are split as if at once; what hostile texts hold changes no offset."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders import tiny_tokenizer
from labelwise.words import LONG_TEXT, UNSEEN, LongText, split_words

TEXT = st.text(
    "ab Bob\n\t\r.-'é\u0301\u200dक्ष漢字ไทยאב😀\U0001f468\x00\ud800\u2028\xa0\xad\ufeff", max_size=80
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


@pytest.mark.parametrize("mark", [*UNSEEN, UNSEEN])
def test_what_is_unseen_inside_a_word_parts_it_nowhere(mark: str) -> None:
    text = f"Ada Love{mark}lace left Zü{mark}rich."
    words = [text[a:b] for a, b in split_words(text)]
    assert words == ["Ada", f"Love{mark}lace", "left", f"Zü{mark}rich", "."]
    left_out = tiny_tokenizer().encode_words([[w.replace(mark, "") for w in words]])[0]
    assert tiny_tokenizer().encode_words([words])[0].ids.tolist() == left_out.ids.tolist()


@pytest.mark.parametrize("mark", [*UNSEEN, UNSEEN, "\u200d"])
@pytest.mark.parametrize("gap", ["{} ", " {}", " {} ", "{}\n{}"])
def test_what_is_unseen_between_words_is_in_none(gap: str, mark: str) -> None:
    text = f"{mark}New{gap.replace('{}', mark)}York.{mark}"
    words = [text[a:b].rstrip("\u200d") for a, b in split_words(text)]  # it ends what it follows
    assert words == ["New", "York", "."]
    assert split_words(mark) == []


@given(st.lists(st.sampled_from([*"aB9_.- \n漢ไéא", *UNSEEN]), max_size=40).map("".join))
def test_what_is_unseen_changes_no_word(text: str) -> None:
    seen = "".join(c for c in text if c not in UNSEEN)
    words = ["".join(c for c in text[a:b] if c not in UNSEEN) for a, b in split_words(text)]
    assert words == [seen[a:b] for a, b in split_words(seen)]
    assert all(text[a] not in UNSEEN and text[b - 1] not in UNSEEN for a, b in split_words(text))


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


def test_joined_emoji_are_one_word() -> None:
    words = ["👩‍🚒", "👨🏽‍❤️‍👨", "👍", "👍", "Ada"]
    text = "👩‍🚒👨🏽‍❤️‍👨👍👍Ada"
    assert [text[a:b] for a, b in split_words(text)] == words
