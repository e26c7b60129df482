"""Examples in any form that a person writes them in, as sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import people_and_cities, tiny_backend
from labelwise.annotation import Mention, Sentence
from labelwise.config import ModelConfig
from labelwise.data import read_jsonl, write_jsonl
from labelwise.errors import DataError
from labelwise.evaluation import evaluate
from labelwise.marks import read_marks
from labelwise.rows import to_sentences
from labelwise.sampling import sample_support_set
from labelwise.sentences import with_text
from labelwise.tagger import Tagger

TEXT = "Ada moved to New York."
SPANS = [(0, 3, "person"), (13, 21, "city")]
ENTITIES = [{"start": start, "end": end, "label": label} for start, end, label in SPANS]
WORDS = ["Ada", "moved", "to", "New", "York", "."]
FORMS: dict[str, Any] = {
    "marks": "[Ada](person) moved to [New York](city).",
    "pair": (TEXT, SPANS),
    "spacy": (TEXT, {"entities": SPANS}),
    "entities": {"text": TEXT, "entities": ENTITIES},
    "triples": {"text": TEXT, "entities": [list(span) for span in SPANS]},
    "doccano": {"text": TEXT, "label": [list(span) for span in SPANS]},
    "tags": {"tokens": WORDS, "tags": ["B-person", "O", "O", "B-city", "I-city", "O"]},
    "gliner": {"tokenized_text": WORDS, "ner": [[0, 0, "person"], [3, 4, "city"]]},
    "sentence": Sentence(tuple(WORDS), (Mention(0, 1, "person"), Mention(3, 5, "city"))),
}
each_form = pytest.mark.parametrize("example", FORMS.values(), ids=FORMS)


@each_form
def test_every_form_of_an_example_is_the_same_sentence(example: Any) -> None:
    [found] = to_sentences([example])
    assert (found.words, found.mentions) == (FORMS["sentence"].words, FORMS["sentence"].mentions)


@each_form
def test_every_form_teaches_the_same(example: Any) -> None:
    tagger = Tagger(tiny_backend(ModelConfig(max_pieces=64)))
    report = tagger.fit([example], ["person", "city"])
    assert (report.n_examples, report.n_mentions, report.missing) == (1, 2, ())
    assert tagger.partial_fit(iter([example])).n_mentions == 4
    assert evaluate(tagger, (x for x in [example])).scores.n_gold == 2
    assert sample_support_set([example], 1, 0).counts == {"person": 1, "city": 1}


def test_every_form_can_be_written(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", FORMS.values())
    found = read_jsonl(tmp_path / "a.jsonl")
    assert {(s.words, s.mentions) for s in found} == {(tuple(WORDS), FORMS["sentence"].mentions)}


def test_forms_may_be_mixed_and_keep_their_order() -> None:
    [given] = people_and_cities()[:1]
    found = to_sentences(["nothing here", given, "[Ada](person)"])
    assert [len(s.mentions) for s in found] == [0, len(given.mentions), 1]
    assert found[1] is given


_PLAIN = st.text("aé漢 .-😀", max_size=6)
_SURFACE, _LABEL = (st.text(chars, min_size=1, max_size=4) for chars in ("aé漢😀", "abc"))


@given(st.lists(st.tuples(_PLAIN, _SURFACE, _LABEL), max_size=4), _PLAIN)
def test_marks_give_the_text_without_them(parts: list[tuple[str, str, str]], rest: str) -> None:
    row = read_marks("".join(f"{a}[{b}]({c})" for a, b, c in parts) + rest, "here")
    assert row["text"] == "".join(a + b for a, b, _ in parts) + rest
    found = [(row["text"][e["start"] : e["end"]], e["label"]) for e in row["entities"]]
    assert found == [(b, c) for _, b, c in parts]


@pytest.mark.parametrize("text", ["[Ada](person left", "[](person)", "[Ada]()", "[A](b) and [C]("])
def test_a_mark_that_is_not_closed_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"not closed or is empty \(examples\[1\]\)"):
        to_sentences(["[Ada](person)", text])


def test_a_link_is_no_mark() -> None:
    with pytest.raises(DataError, match=r"A mark is a link \(examples\[0\]\): '\[our site\]"):
        to_sentences(["See [our site](https://x.org) and [Ada](person)"])


@pytest.mark.parametrize(
    "examples", ["train.jsonl", Path("train.jsonl"), FORMS["tags"], FORMS["sentence"], None, 5]
)
def test_one_example_or_a_file_is_no_list_of_examples(examples: Any) -> None:
    with pytest.raises(DataError, match=r"Examples are given as .*Expected a list .*read_jsonl"):
        to_sentences(examples)


@pytest.mark.parametrize("example", [5, None, ["Ada", "left"], ("Ada", "left", "early")], ids=str)
def test_something_else_than_an_example_is_named_by_its_index(example: Any) -> None:
    with pytest.raises(DataError, match=r"An example is .*\(examples\[1\]\)\. Expected a Sentence"):
        to_sentences(["Ada", example])


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.array])
def test_offsets_may_be_of_numpy(kind: Any) -> None:
    pair = ("Ada left", [(kind(0), kind(3), "person")])
    row = {"tokenized_text": ["Ada", "left"], "ner": [[kind(0), kind(0), "person"]]}
    for found in to_sentences([pair, row]):
        assert found.mentions == (Mention(0, 1, "person"),)
        assert type(found.mentions[0].start) is int


@pytest.mark.parametrize("key", ["tokens", "tags"])
def test_a_row_that_nests_deep_is_refused_as_any_other(key: str) -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    with pytest.raises(DataError, match=f"'{key}' is not a list of strings"):
        to_sentences([{"tokens": ["Ada"], "tags": ["O"], key: deep}])


@pytest.mark.parametrize("number", [True, np.True_, 0.0, np.float64(0), "0", None], ids=repr)
def test_offsets_that_are_no_whole_numbers_are_refused(number: Any) -> None:
    with pytest.raises(DataError, match="is not understood. Expected whole numbers"):
        to_sentences([("Ada left", [(number, 3, "person")])])


@pytest.mark.parametrize("spans", [[[0, 3, "person"]], {"entities": [[0, 3, "person"]]}, []])
def test_a_pair_may_be_a_list_as_in_json(spans: Any) -> None:
    assert to_sentences([["Ada left", spans]]) == to_sentences([("Ada left", spans)])


def test_a_wrong_span_is_named_by_the_index_of_its_example() -> None:
    with pytest.raises(DataError, match=r"Span 0-9 'person' \(examples\[0\]\) does not fit the 3"):
        to_sentences([("Ada", [(0, 9, "person")])])
    with pytest.raises(DataError, match=r"'entities' is str \(examples\[0\]\)"):
        to_sentences([("Ada", "person")])
    with pytest.raises(DataError, match=r"The keys are 'text', 'label'? ?\(examples\[0\]\)"):
        to_sentences([{"text": "Ada", "label": "person"}])


@pytest.mark.parametrize("half", [{"text": "Ada"}, {"offsets": ((0, 3),)}], ids=str)
def test_half_a_text_is_refused(half: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="Expected both or neither"):
        Sentence(("Ada",), **half)


def test_a_mention_has_a_place_in_the_text_or_else_in_the_words() -> None:
    words, mention = ("Ada", "May", "left"), Mention(0, 2, "person")
    assert Sentence(words).place(mention) == (0, 2)
    text = Sentence(words, text="Ada  May left", offsets=((0, 3), (5, 8), (9, 13)))
    assert text.place(mention) == (0, 8)
    assert with_text(text) is text
    assert with_text(Sentence(words, (mention,))).place(mention) == (0, 7)


def test_a_span_may_take_in_marks_of_no_width_at_its_ends() -> None:
    text = "\ufeffNew\u200b York\xad left"
    [sentence] = to_sentences([(text, [(0, 11, "city")])])
    assert sentence.words == ("New", "York", "left")
    assert sentence.mentions == (Mention(0, 2, "city"),)
    assert sentence.place(sentence.mentions[0]) == (1, 10)


def test_a_span_of_nothing_but_marks_of_no_width_is_refused() -> None:
    with pytest.raises(DataError, match=r"0-1 'city' \(examples\[0\]\) holds no word: '.ufeff'"):
        to_sentences([("\ufeffOslo", [(0, 1, "city")])])


def test_a_support_set_is_a_list_of_examples() -> None:
    support = sample_support_set(people_and_cities(), 1, 0)
    assert to_sentences(support) == list(support.sentences)
    assert len(support) == len(support.sentences)


@pytest.mark.parametrize("row", [{"spans": [[0, 3, "person"]]}, {}], ids=["spans", "text alone"])
@pytest.mark.parametrize("answer", ["reject", "ignore"])
def test_rows_that_prodigy_did_not_accept_are_refused(answer: str, row: dict[str, Any]) -> None:
    accepted = {"text": "Ada left", "spans": [[0, 3, "person"]], "answer": "accept"}
    with pytest.raises(
        DataError, match=rf"'{answer}' \(examples\[1\]\): 1 of 2 rows .*select\(\.answer"
    ):
        to_sentences([accepted, {"text": "Bob left", "answer": answer, **row}])
    assert to_sentences([accepted])[0].mentions == (Mention(0, 1, "person"),)


def test_an_answer_beside_other_annotation_says_nothing() -> None:
    row = {"text": "Ada left", "entities": [[0, 3, "person"]], "answer": "reject"}
    assert to_sentences([row])[0].mentions == (Mention(0, 1, "person"),)


@pytest.mark.parametrize("label", ["good", ["good"], [0, 1], 1])
def test_the_class_of_a_text_is_no_annotation(label: Any) -> None:
    with pytest.raises(DataError, match=r"The keys are 'text', 'label' \(examples\[0\]\)"):
        to_sentences([{"text": "Ada left", "label": label}])
