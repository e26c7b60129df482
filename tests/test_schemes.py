"""Tags and mentions are two writings of one thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from seqeval.metrics.sequence_labeling import get_entities

from labelwise.annotation import Mention
from labelwise.errors import DataError, SchemeError
from labelwise.schemes import (
    MARKS,
    SCHEMES,
    detect_scheme,
    is_tag,
    mentions_from_tags,
    split_tag,
    tag_names,
    tags_from_mentions,
)
from strategies import annotations, tag_lists

AMONG_THREE = [Mention(0, 2, "PER"), Mention(2, 3, "PER"), Mention(4, 5, "LOC")]
WRITTEN = {
    "io": "I-PER I-PER I-PER O I-LOC",
    "bio": "B-PER I-PER B-PER O B-LOC",
    "iob1": "I-PER I-PER B-PER O I-LOC",
    "bioes": "B-PER E-PER S-PER O S-LOC",
    "bilou": "B-PER L-PER U-PER O U-LOC",
}


def read(tags: list[str]) -> list[Mention]:
    """Read tags of the scheme that they are found to be of."""
    return mentions_from_tags(tags, detect_scheme([tags]))


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@given(annotation=annotations())
def test_tags_round_trip(scheme: str, annotation: tuple[int, list[Mention]]) -> None:
    n_words, mentions = annotation
    tags = tags_from_mentions(n_words, mentions, scheme)
    assert len(tags) == n_words
    assert mentions_from_tags(tags, scheme, strict=True) == mentions
    assert read(tags) == mentions


@given(annotations())
def test_io_merges_neighbours_of_one_label(annotation: tuple[int, list[Mention]]) -> None:
    n_words, mentions = annotation
    merged: list[Mention] = []
    for mention in mentions:
        if merged and (merged[-1].end, merged[-1].label) == (mention.start, mention.label):
            merged[-1] = Mention(merged[-1].start, mention.end, mention.label)
        else:
            merged.append(mention)
    assert mentions_from_tags(tags_from_mentions(n_words, mentions, "io"), "io") == merged


@given(tag_lists("BIES"))
def test_lenient_reading_is_that_of_conlleval(tags: list[str]) -> None:
    found = [(m.label, m.start, m.end - 1) for m in mentions_from_tags(tags, "bioes")]
    assert found == get_entities(tags)


@given(tag_lists("BIES"))
def test_no_tagged_word_is_lost(tags: list[str]) -> None:
    inside = {i for m in read(tags) for i in range(m.start, m.end)}
    assert inside == {i for i, tag in enumerate(tags) if tag != "O"}


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@given(tags=tag_lists("BIES"))
def test_strict_reading_takes_exactly_what_writing_makes(scheme: str, tags: list[str]) -> None:
    mentions = mentions_from_tags(tags, "bioes")
    if tags_from_mentions(len(tags), mentions, scheme) == tags:
        assert mentions_from_tags(tags, scheme, strict=True) == mentions
    else:
        with pytest.raises(SchemeError, match=r"^Tag "):
            mentions_from_tags(tags, scheme, strict=True)


@pytest.mark.parametrize("scheme", WRITTEN)
def test_scheme_is_detected(scheme: str) -> None:
    assert detect_scheme([["O", "O"], WRITTEN[scheme].split()]) == scheme


@pytest.mark.parametrize("scheme", [name for name in WRITTEN if name != "io"])
def test_every_scheme_reads_the_same_mentions(scheme: str) -> None:
    assert read(WRITTEN[scheme].split()) == AMONG_THREE
    assert mentions_from_tags(WRITTEN[scheme].split(), scheme, strict=True) == AMONG_THREE


def test_detection_looks_at_the_whole_file() -> None:
    assert detect_scheme([["I-PER", "O"], ["B-PER", "I-PER"]]) == "bio"
    assert detect_scheme([["I-PER", "O"], ["I-PER", "B-PER"]]) == "iob1"
    assert detect_scheme([["B-PER", "I-PER"], ["S-PER"]]) == "bioes"


def test_a_foreign_mark_is_left_for_reading_to_report() -> None:
    tags = ["B-PER", "E-PER", "S-PER", "U-PER"]
    assert detect_scheme([tags]) == "bioes"
    with pytest.raises(SchemeError, match=r"Tag 'U-PER' \(word 3\) does not belong to.*'bioes'"):
        read(tags)


def test_marks_of_another_scheme_are_refused() -> None:
    with pytest.raises(SchemeError, match=r"Tag 'B-PER' \(word 0\) does not belong.*'io'"):
        mentions_from_tags(["B-PER"], "io")


def test_bare_labels_are_read_whole_and_only_on_demand() -> None:
    tags = ["person-actor", "person-actor", "O", "B-52"]
    assert mentions_from_tags(tags, "bare") == [
        Mention(0, 2, "person-actor"),
        Mention(3, 4, "B-52"),
    ]
    with pytest.raises(
        SchemeError, match=r"Tag 'person-actor' is neither.*in Python.*with write_conll"
    ):
        read(tags)


@pytest.mark.parametrize(
    ("tags", "scheme", "message"),
    [
        ("O I-LOC", "bio", r"'I-LOC' \(word 1\) continues no mention: .*'bio' opens .* 'B-'"),
        ("B-PER I-LOC", "bio", r"'I-LOC' \(word 1\) continues no mention"),
        ("O B-PER", "iob1", r"'B-PER' \(word 1\) continues no mention: .* opens .* 'I-'"),
        ("B-PER O", "bioes", r"'B-PER' \(word 0\) is not followed by the end"),
        ("B-PER I-PER", "bioes", r"'I-PER' \(word 1\) is not followed by the end"),
        ("S-PER E-PER", "bioes", r"'E-PER' \(word 1\) continues no mention"),
        ("B-PER U-PER", "bilou", r"'B-PER' \(word 0\) is not followed by the end"),
    ],
)
def test_strict_reading_names_the_broken_tag(tags: str, scheme: str, message: str) -> None:
    with pytest.raises(SchemeError, match=message):
        mentions_from_tags(tags.split(), scheme, strict=True)
    assert mentions_from_tags(tags.split(), scheme)


def test_tags_split_once() -> None:
    assert split_tag("B-creative-work") == ("B", "creative-work")
    assert split_tag("I-B-PER") == ("I", "B-PER")
    assert split_tag("O") == ("O", "")


@pytest.mark.parametrize("tag", ["", "B", "B-", "-PER", "PER", "X-PER", "O-PER", "b-PER", "BI-PER"])
def test_unknown_tags_are_refused(tag: str) -> None:
    assert not is_tag(tag)
    with pytest.raises(SchemeError, match=rf"Tag '{tag}' is neither 'O' nor"):
        split_tag(tag)
    with pytest.raises(SchemeError, match=f"word 1: Tag '{tag}' is neither"):
        read(["O", tag])


def test_tag_names_put_o_first_and_marks_in_order() -> None:
    assert tag_names(["a", "b-c"], "bioes") == (
        "O", "B-a", "I-a", "E-a", "S-a", "B-b-c", "I-b-c", "E-b-c", "S-b-c",
    )  # fmt: skip
    assert tag_names([], "io") == ("O",)
    assert tuple(MARKS) == SCHEMES


@pytest.mark.parametrize("scheme", ["iob2", "iob1", ""])
def test_only_the_three_schemes_are_written(scheme: str) -> None:
    with pytest.raises(SchemeError, match=f"no tag scheme '{scheme}' here. Expected one of 'io'"):
        tags_from_mentions(1, [], scheme)


@pytest.mark.parametrize(
    "mentions",
    [[Mention(0, 2, "a"), Mention(1, 3, "b")], [Mention(2, 4, "a")], [Mention(5, 6, "a")]],
    ids=["overlap", "half outside", "outside"],
)
def test_mentions_that_do_not_fit_are_refused(mentions: list[Mention]) -> None:
    with pytest.raises(DataError, match=r"overlaps another or lies outside the 3 words"):
        tags_from_mentions(3, mentions, "bio")
