"""What looks wrong in annotated examples is told, once and by name, and refused nowhere."""

from __future__ import annotations

import pytest

from builders import tiny_backend
from labelwise.remarks import remarks_on, slips
from labelwise.rows import to_sentences
from labelwise.tagger import Tagger

TEXT = "Ada Lovelace moved to London."
INCLUSIVE = (TEXT, [(0, 11, "person"), (22, 27, "city")])


def test_ends_that_seem_inclusive_are_told_of_once() -> None:
    [remark] = remarks_on(to_sentences([INCLUSIVE, ("Bob left", [(0, 2, "person")])]))
    assert remark == (
        "3 of 3 spans begin or end inside a word, the first 'Ada Lovelac' in 'Lovelace' "
        "(examples[0]); 3 would be whole words if they ended one later. Are the ends inclusive? "
        "Expected exclusive ones. Add one to each end."
    )


def test_spans_inside_words_are_told_of_without_a_guess_where_none_fits() -> None:
    [remark] = remarks_on(to_sentences([("Die Berlinreise", [(4, 10, "city")])]))
    assert "1 of 1 spans begin or end inside a word, the first 'Berlin' in 'Berlinreise'" in remark
    assert "inclusive" not in remark


@pytest.mark.parametrize(
    "example",
    [
        (TEXT, [(0, 12, "person"), (22, 28, "city")]),
        ("東京都に住む", [(0, 2, "city")]),
        {"tokens": ["Ada", "Love-lace's"], "tags": ["B-person", "I-person"]},
        "no mention",
    ],
)
def test_whole_words_need_no_remark(example: object) -> None:
    assert remarks_on(to_sentences([example, example])) == []  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("one", "other", "ways"),
    [
        ("[Ada](person) left.", "[Ada](artist) left.", "'Ada' is 'person' and 'artist'"),
        ("[Ada](person) left.", "Ada left.", "'Ada' is 'person' and not marked so"),
        ("[Ada](person) left.", "[Ada left](person).", "'Ada' is 'person' and not marked so"),
    ],
)
def test_a_text_marked_in_two_ways_is_named(one: str, other: str, ways: str) -> None:
    [remark] = remarks_on(to_sentences(["Bob left.", one, one, other]))
    assert "A text is marked in two ways 'Ada left.' (examples[1] and examples[3]): " in remark
    assert ways in remark


def test_a_label_name_with_a_slip_is_named_beside_the_right_one() -> None:
    marked = ["[Acme](company)", "[Bell](compnay)", "[Ekco](company) in [Oslo](city)"]
    assert slips(to_sentences(marked)).startswith(
        "Label 'compnay' has 1 of 4 mentions, and 'company' 2."
    )


@pytest.mark.parametrize(
    "marked",
    [
        ["[a](person) [b](city)"],
        ["[a](Events_1.date) [b](Events_2.date)"],
        [f"[{letter}](media_type) [{letter}](meal_type)" for letter in "abc"],
        ["[a](person-actor) [b](person-author)"],
        ["[a](location) [b](location-GPE)"],
    ],
)
def test_names_that_are_meant_are_no_slips(marked: list[str]) -> None:
    assert not slips(to_sentences(marked))


def test_a_fit_warns_where_it_was_called_and_learns_all_the_same() -> None:
    tagger = Tagger(tiny_backend())
    examples = [INCLUSIVE, "[Ada](person) left.", "[Ada](city) left.", "[Bob](persn)."]
    with pytest.warns(UserWarning, match="inclusive|two ways|'persn'") as shown:
        report = tagger.fit(examples)
    assert report.n_mentions == 5
    told = " ".join(str(w.message) for w in shown)
    assert "Are the ends inclusive?" in told
    assert "marked in two ways" in told
    assert "Label 'persn' has 1" in told
    assert {w.filename for w in shown} == {__file__}
    with pytest.warns(UserWarning, match="ends inclusive"):
        tagger.partial_fit([INCLUSIVE])


def test_labels_that_were_named_are_no_slips() -> None:
    Tagger(tiny_backend()).fit(["[Ada](person).", "[Bob](persn)."], ["person", "persn"])


def test_more_examples_are_compared_with_those_before() -> None:
    tagger = Tagger(tiny_backend())
    tagger.fit(["[Acme](company) hired [Ada](person).", "[Ekco](company) grew."])
    ways = r"'Ekco grew\.' \(earlier examples\[1\] and examples\[0\]\): 'Ekco' is 'company' and not"
    with pytest.warns(UserWarning, match=ways) as shown:
        tagger.partial_fit(["Ekco grew."])
    assert {w.filename for w in shown} == {__file__}
    with pytest.warns(UserWarning, match=r"Label 'compnay' has 1 of 4 mentions, and 'company' 2"):
        tagger.partial_fit(["[Bell](compnay) shrank."])
    with pytest.warns(UserWarning, match=r"Labels 'person', 'Person' read as the same words"):
        tagger.partial_fit(["[Bob](Person) sat."])
    tagger.partial_fit(["[Cy](Person) ran.", "[Dell](compnay) ran."])  # said once


def test_examples_that_speak_about_other_labels_contradict_nothing() -> None:
    tagger = Tagger(tiny_backend())
    text = "Ada sang in Oslo."
    tagger.fit(["[Ada](person) sang in Oslo."], ["person", "city"], only=["person"])
    tagger.partial_fit(["Ada sang in [Oslo](city)."], only=["city"])
    tagger.partial_fit(["[Ada](person) sang in [Oslo](city)."])
    tagger.partial_fit(["[Tosca](opera) ran."], ["opera"])
    tagger.partial_fit([f"{text} [Tosca](opera) ran."], only=["opera"])
    with pytest.warns(UserWarning, match="'Oslo' is 'city' and not marked so"):
        tagger.partial_fit([text], only=["city"])


def test_mentions_beyond_the_end_of_a_sentence_are_counted() -> None:
    crossing = ("Ada\nBob left. He sat.", [(0, 7, "person"), (8, 16, "verb"), (17, 20, "verb")])
    [remark] = remarks_on(to_sentences([crossing]))
    assert remark == (
        "2 of 3 mentions cross the end of a sentence or line, the first 'Ada\\nBob' (examples[0]): "
        "no prediction can be like them. Expected mentions within a sentence. Mark each part by "
        "itself, or give the words of what is one sentence."
    )
    words = {"tokens": ["Ada", ".", "Bob"], "tags": ["B-x", "I-x", "I-x"]}
    assert remarks_on(to_sentences([words]), "io") == []


def test_neighbours_of_a_label_are_counted_where_the_scheme_joins_them() -> None:
    touching = {"tokens": ["Ada", "Bob", "Cy"], "tags": ["B-x", "B-x", "B-y"]}
    lines = ("Ada\nBob", [(0, 3, "x"), (4, 7, "x")])
    [remark] = remarks_on(to_sentences([lines, touching]), "io")
    assert (
        "1 of 5 mentions begin where another of the same label ends, the first 'Ada Bob'" in remark
    )
    assert remarks_on(to_sentences([lines, touching]), "bio") == []
