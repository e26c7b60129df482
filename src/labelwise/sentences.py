"""Where the sentences of a text end: the encoder learned from sentences, and reads one at a time.

Five sentences in one window cost some ten points of F1 (docs/guide.md), so a raw text is cut here
first. An entity never goes on beyond a cut. A cut too few hardly matters and a cut too many may
cut through a name, so a full stop after what may be an abbreviation ends nothing.
"""

from __future__ import annotations

import bisect
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from labelwise.annotation import Mention, Sentence
from labelwise.words import UNSEEN, LongText, continues_word, join_words, split_words

WRAPPED = 50  # characters from which on a line may go on in the next
LIST_MARKS = frozenset("-*+•‣◦·–—>|#")  # begin an item of a list
_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
GAP = re.compile(f"{_BREAK.pattern}|\t")
_CANDIDATE = re.compile(
    rf"""(?<=[^\s.!?…])(?P<stop>[.!?…]+)["'”’»)\]{UNSEEN}]*\s[\s{UNSEEN}]*"""
    rf"""|[。！？｡]+[」』”’）){UNSEEN}]*[\s{UNSEEN}]*"""
    rf"""|[\t\n\r\v\f\x85\u2028\u2029][\s{UNSEEN}]*"""
)
_OPENING = re.compile(r"""["'“‘«(\[¿¡]*""")
_LAST_TOKEN = re.compile(r"[^\s\"'“‘«(\[]*\Z")
_LONGEST_TOKEN = 24
_SHORT = """
adm al approx art ave bldg blvd bros bzw ca capt cf ch chap cmdr co col corp cpl dept dist div dr ed
eds eq esp est etc fig figs ft fr gen gov hon hr inc incl jan jr lt ltd maj max messrs min mlle mme
mr mrs ms mt nos nr op pp pres prof pvt ref rep rev sec sen sgt sr st str univ vol vs feb mar apr
jun jul aug sept sep oct nov dec
"""
_ABBREVIATIONS = frozenset(_SHORT.split())


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    r"""Cut a text into sentences, lines and cells.

    A blank line, a tab, and a list mark at the start of the next line always end a sentence. A
    single line break does unless the line before it is so long that it may be wrapped prose.

    Args:
        text: Any string.

    Yields:
        Code-point start and end of each, white space after it included; together the whole text,
        at least one.

    >>> text = "Dr. Ada left. Bob stayed!\nOslo"
    >>> [text[a:b] for a, b in sentence_spans(text)]
    ['Dr. Ada left. ', 'Bob stayed!\n', 'Oslo']
    """
    start = 0
    for found in _CANDIDATE.finditer(text):
        if found.end() < len(text) and _ends(text, found):
            yield start, found.end()
            start = found.end()
    yield start, len(text)


def words_by_sentence(
    text: str, words: Sequence[str], offsets: Sequence[tuple[int, int]]
) -> Iterator[Sequence[str]]:
    """Deal the words of a text out to its sentences.

    Args:
        text: Any string.
        words: Its words.
        offsets: Code-point start and end of each.

    Yields:
        Words of each sentence; at least one, which may have none.
    """
    low = 0
    for start, end in sentence_spans(text):
        if end == len(text):
            high = len(words)
        elif isinstance(words, LongText):  # it splits a page as fast as it looks up one word
            high = low + len(split_words(text[start:end]))
        else:
            high = bisect.bisect_left(offsets, (end,), low)
        is_whole = low == 0 and high == len(words)
        if low < high or end == len(text):
            yield words if is_whole else words[low:high]
        low = high


def parts_of(sentence: Sentence) -> Iterator[Sequence[str]]:
    """Words of each sentence of a text; those of a sentence without a text are one.

    Args:
        sentence: A text and its words, or words.
    """
    if sentence.text is None or sentence.offsets is None:
        return iter([sentence.words])
    return words_by_sentence(sentence.text, sentence.words, sentence.offsets)


def with_text(sentence: Sentence) -> Sentence:
    """Give words without a text one: themselves, joined with spaces."""
    if sentence.text is not None:
        return sentence
    text, offsets = join_words(sentence.words)
    return dataclasses.replace(sentence, text=text, offsets=tuple(offsets))


def one_by_one(example: Sentence) -> Iterator[Sentence]:
    """Cut an annotated text into its sentences, but through no mention.

    Args:
        example: A text and its words; words without a text are one sentence already.

    Yields:
        Each sentence with its mentions, without the text.
    """
    low = high = 0
    for part in parts_of(example):
        high += len(part)
        if not any(m.start < high < m.end for m in example.mentions):
            mine = [m for m in example.mentions if low <= m.start < high]
            yield Sentence(example.words[low:high], tuple(moved(mine, -low)), example.id)
            low = high


def in_one_text(
    found: Iterable[Sequence[Mention]], sentences: Iterable[Sequence[str]]
) -> list[Mention]:
    """Count the mentions of each sentence in the words of all of them.

    Args:
        found: Mentions of each sentence.
        sentences: Its words.
    """
    result, low = list[Mention](), 0
    for mentions, words in zip(found, sentences, strict=True):
        result += moved(mentions, low)
        low += len(words)
    return result


def moved(mentions: Iterable[Mention], n_words: int) -> list[Mention]:
    """Move mentions on by some words."""
    return [Mention(m.start + n_words, m.end + n_words, m.label, m.score) for m in mentions]


def _ends(text: str, found: re.Match[str]) -> bool:
    """Whether a sentence ends where one may."""
    before = found.end()
    while before and (text[before - 1].isspace() or text[before - 1] in UNSEEN):
        before -= 1
    if ends_line(text, before, found.end()):
        return True
    if found["stop"] is None:  # a full stop of a script without capitals, or a wrapped line
        return before > found.start() and not (
            before == found.end() and continues_word(text[before])
        )
    opening = _OPENING.match(text, found.end())
    begin = opening.end() if opening else found.end()
    return _may_begin(text[begin : begin + 1]) and not (
        found["stop"] == "." and _may_be_short(text, found.start())
    )


def _may_begin(char: str) -> bool:
    """Whether a sentence begins with this: a capital, a figure, a tag, a letter without case."""
    return (
        char.isupper() or char.isdigit() or char in "@#" or (char.isalpha() and not char.islower())
    )


def _may_be_short(text: str, stop: int) -> bool:
    """Whether the full stop may be of an abbreviation, an initial or an ordinal."""
    token = _LAST_TOKEN.search(text, max(0, stop - _LONGEST_TOKEN), stop)
    word = token[0] if token else ""
    last = word.rpartition(".")[2].rpartition("-")[2]
    if len(last) <= 1 or last.lower() in _ABBREVIATIONS:
        return True
    return len(last) <= (2 if last.isdigit() else 3 * last.istitle())


def ends_line(text: str, before: int, after: int) -> bool:
    r"""Whether the white space between two words ends what came before it.

    Args:
        text: Any string.
        before: Code point where the white space begins.
        after: Where it ends.

    >>> ends_line("Bob\nOslo", 3, 4)
    True
    """
    gap = text[before:after]
    n_breaks = len(_BREAK.findall(gap))
    if n_breaks != 1:
        return n_breaks > 1 or "\t" in gap
    is_short = before < WRAPPED or _BREAK.search(text, before - WRAPPED, before) is not None
    return is_short or text[after] in LIST_MARKS
