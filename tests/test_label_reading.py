"""A label text that is longer than a model reads is named, with where reading ends."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import tiny_tokenizer
from labelwise.backend import FakeBackend
from labelwise.config import ModelConfig
from labelwise.label_reading import read_in_part
from labelwise.labels import LabelSet
from labelwise.tagger import Tagger

TOKENIZER = tiny_tokenizer()
SHORT = ModelConfig(composition="sum", max_label_pieces=8)  # two of them are special
LONG = "bob lives in paris, but not in new york"


def remark(labels: object, config: ModelConfig = SHORT) -> str:
    return read_in_part(LabelSet.parse(labels), TOKENIZER, config)


def test_a_long_description_is_named_with_where_reading_ends() -> None:
    assert remark({"person": LONG, "city": "paris"}) == (
        "This model reads only the beginning of the description of 'person' (4 of 9 words, up to "
        "'bob lives in paris'). Expected at most 8 pieces of words each. Shorten it, or begin "
        "with what matters: the rest changes nothing."
    )


def test_long_words_are_named_too_and_of_many_labels_the_first() -> None:
    assert "of the words of 'x' (4 of 9" in remark({"x": {"words": LONG}})
    found = remark({f"label {i}": LONG for i in range(9)})
    assert found.count("(4 of 9 words") == 5
    assert "; 4 more. Expected" in found


def test_the_word_of_the_mark_takes_room() -> None:
    config = ModelConfig(max_label_pieces=6)  # reads "begin bob lives in"
    by_itself = config.replace(composition="sum")
    assert "(4 of 9 words, up to 'bob lives in paris')" in remark({"person": LONG}, by_itself)
    assert "(3 of 9 words, up to 'bob lives in')" in remark({"person": LONG}, config)


def test_labels_that_are_read_whole_need_no_remark() -> None:
    assert remark({"person": "bob lives in paris", "city": None, "drug": "é" * 6}) == ""
    assert remark({"person": LONG}, ModelConfig(architecture="double_town")) == ""


@given(st.text("bob paris é漢-\ud800", max_size=40), st.integers(4, 12))
def test_what_is_beyond_the_end_of_reading_changes_nothing(text: str, max_pieces: int) -> None:
    [end] = TOKENIZER.ends_of_reading([text], max_pieces)
    whole, read = TOKENIZER.encode_texts([text, text[:end]], max_pieces)
    assert whole.tolist() == read.tolist()
    assert (end is None) == (len(TOKENIZER.encode_texts([text], 99)[0]) <= max_pieces)


def test_a_label_is_told_of_once() -> None:
    tagger = Tagger(FakeBackend(TOKENIZER, config=SHORT))
    with pytest.warns(UserWarning, match="beginning of the description of 'person'") as shown:
        tagger.predict("Ada left", {"person": LONG})
    assert len(shown) == 1
    tagger.predict("Ada left", {"person": LONG})
    with pytest.warns(UserWarning, match="beginning of the description of 'person'"):
        tagger.fit(["[Ada](person) left"], {"person": f"{LONG} city"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tagger.partial_fit(["[Bob](person) left"])
