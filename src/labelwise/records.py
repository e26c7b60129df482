"""From texts to words, and from mentions to the records that users get."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from labelwise.annotation import Mention, Record, Sentence
from labelwise.errors import RequestError
from labelwise.labels import LabelSet
from labelwise.spans import tidy_mentions
from labelwise.words import LONG_TEXT, LongText, split_words


def split_text(text: str, index: int) -> tuple[str, Sequence[str], Any]:
    """Return a text, its words, and a row of start and end for each.

    Raises:
        RequestError: It is no text; the message names its index.
    """
    if not isinstance(text, str):
        raise RequestError(
            f"Text number {index} is a {type(text).__name__}. Expected str. "
            "For words, use predict_words."
        )
    if len(text) > LONG_TEXT:
        words = LongText(text)
        return text, words, words.offsets
    offsets = split_words(text)
    return text, [text[a:b] for a, b in offsets], offsets


def make_record(text: str, mention: Mention, start: int, end: int) -> Record:
    """Make the record of a mention whose text is ``text``."""
    return Record(text=text, label=mention.label, start=start, end=end, score=_rounded(mention))


def _rounded(mention: Mention) -> float:
    return round(mention.score, 4)


def records_in(text: str, offsets: Any, mentions: Iterable[Mention]) -> list[Record]:
    """Make the records of the mentions of a text, none beyond its line (see ``spans``).

    Args:
        text: The text.
        offsets: Start and end of its words. Shape ``(words, 2)``.
        mentions: In words.
    """
    whole = tidy_mentions(text, offsets, mentions)
    spans = ((m, int(offsets[m.start][0]), int(offsets[m.end - 1][1])) for m in whole)
    return [make_record(text[start:end], m, start, end) for m, start, end in spans]


def above_threshold(
    mentions: list[Mention], label_set: LabelSet, threshold: float | None
) -> list[Mention]:
    """Mentions that reach their label's threshold, or the overall one, as exact or as reported.

    At the score that is reported of an entity, as its threshold, the entity stays.
    """
    owns = (label_set[m.label].threshold for m in mentions)
    limits = (threshold if own is None else own for own in owns)
    found = zip(mentions, limits, strict=True)
    return [m for m, limit in found if not limit or _reach(m) >= limit]


def _reach(mention: Mention) -> float:
    return max(mention.score, _rounded(mention))


def as_sentences(
    words: Iterable[str] | Iterable[Sequence[str]],
) -> tuple[bool, list[Sequence[str]]]:
    """Tell the words of one sentence from those of many.

    Args:
        words: Any iterable; it is read once.

    Returns:
        Whether it was one sentence, and the sentences.

    Raises:
        RequestError: A text was given in place of words.
    """
    items = list(_iterable(words))
    if all(isinstance(item, str) for item in items):
        return True, [cast("list[str]", items)]
    return False, list(check_sentences(items))


def check_sentences(sentences: Iterable[Iterable[str]]) -> Iterator[Sequence[str]]:
    """Yield the words of sentences, in a stream.

    Raises:
        RequestError: A text was given in place of words, or a word is no string.
    """
    for i, sentence in enumerate(_iterable(sentences)):
        given = _iterable(sentence)
        words = given if isinstance(given, Sequence) else list(given)
        if not all(map(isinstance, words, itertools.repeat(str))):
            other = next(word for word in words if not isinstance(word, str))
            raise RequestError(
                f"Sentence number {i} has the word {other!r:.60} of type {type(other).__name__}. "
                "Expected words of type str. Convert it with str(), or leave it out."
            )
        yield words


def check_read_texts(sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    """Yield texts that were split into words before, in a stream.

    Raises:
        RequestError: One is no ``Sentence``, or it is none of many.
    """
    is_many = isinstance(sentences, Iterable) and not isinstance(sentences, str | bytes | Mapping)
    for i, sentence in enumerate(sentences if is_many else [sentences]):
        if not is_many or not isinstance(sentence, Sentence):
            where = f"Sentence number {i} is" if is_many else "Sentences are given as"
            raise RequestError(
                f"{where} {type(sentence).__name__} {str(sentence)[:60]!r}. Expected an iterable "
                "of Sentence values, such as labelwise.to_sentences makes. For texts, use "
                "predict or stream; for words, tag."
            )
        yield sentence


def _iterable(words: Iterable[Any]) -> Iterable[Any]:
    if isinstance(words, str | bytes | Mapping) or not isinstance(words, Iterable):
        raise RequestError(
            f"Words are given as {type(words).__name__} {str(words)[:60]!r}. Expected a list of "
            "words for predict_words, or a list of such lists. For raw text, use predict(text)."
        )
    return words
