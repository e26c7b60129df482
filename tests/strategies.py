"""Hypothesis strategies for annotated text, shared by the property tests."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from labelwise.annotation import Mention, Sentence
from labelwise.words import split_words

LABELS = st.sampled_from(["PER", "LOC", "creative-work"])
_STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), LABELS), max_size=6)
_TEXT = st.text("ab3 \n.-'é\u0301\u200dक्ष漢字ไทยאב😀\U0001f468\u2028\xa0#", max_size=24)
ANY_WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
COLUMN_WORD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r \ufeff"),
    min_size=1,
    max_size=6,
)


def _spans(steps: Iterable[tuple[int, int, str]], length: int) -> list[tuple[int, int, str]]:
    """Lay (gap, length, label) steps out from left to right."""
    spans, at = [], 0
    for gap, size, label in steps:
        start, at = at + gap, at + gap + size
        if at <= length:
            spans.append((start, at, label))
    return spans


@st.composite
def mention_lists(draw: st.DrawFn, n_words: int) -> list[Mention]:
    """Sorted mentions of one sentence, often side by side."""
    return [Mention(*span) for span in _spans(draw(_STEPS), n_words)]


@st.composite
def annotations(draw: st.DrawFn) -> tuple[int, list[Mention]]:
    """A number of words and mentions among them."""
    n_words = draw(st.integers(0, 12))
    return n_words, draw(mention_lists(n_words))


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[int], list[list[Mention]], list[list[Mention]]]:
    """Sentence lengths, gold mentions and predicted mentions that often agree."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    gold = [draw(mention_lists(n)) for n in lengths]
    predicted = [
        draw(st.one_of(st.just(mentions), mention_lists(n)))
        for n, mentions in zip(lengths, gold, strict=True)
    ]
    return lengths, gold, predicted


@st.composite
def sentences(draw: st.DrawFn, word: st.SearchStrategy[str] = ANY_WORD) -> Sentence:
    """A sentence of given words, without text."""
    words = tuple(draw(st.lists(word, min_size=1, max_size=8)))
    name = draw(st.text("abc:7", min_size=1, max_size=4))
    return Sentence(words, tuple(draw(mention_lists(len(words)))), name)


@st.composite
def text_rows(draw: st.DrawFn) -> dict[str, object]:
    """A JSONL row of raw text with entities that may begin and end inside words."""
    text = draw(_TEXT)
    solid = {i for start, end in split_words(text) for i in range(start, end)}
    entities = [
        {"start": start, "end": end, "label": label}
        for start, end, label in _spans(draw(_STEPS), len(text))
        if start in solid and end - 1 in solid
    ]
    return {"text": text, "entities": entities}


@st.composite
def pools(draw: st.DrawFn) -> list[Sentence]:
    """Sentences to sample from: different ids, each with a few mentions of a few labels."""
    content = draw(st.lists(st.lists(LABELS, max_size=4), min_size=1, max_size=12))
    return [
        Sentence(
            tuple(f"w{i}" for i in range(len(labels) + 1)),
            tuple(Mention(i, i + 1, label) for i, label in enumerate(labels)),
            f"train:{number}",
        )
        for number, labels in enumerate(content, start=1)
    ]


def tag_lists(marks: str) -> st.SearchStrategy[list[str]]:
    """Tags in any order, whether or not they follow a scheme."""
    tags = st.one_of(st.just("O"), st.builds("{}-{}".format, st.sampled_from(marks), LABELS))
    return st.lists(tags, min_size=1, max_size=12)
