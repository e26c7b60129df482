"""Raw text into words with code-point offsets, in any script.

A word is a run of letters, digits and marks; a character of a script written without spaces;
or a single symbol, joined emoji being one. Words are where entities may begin and end. Marks of
no width part nothing: they belong to the word that they stand in, and at its edge to none, as
spaces do. This module does not know the sub-word pieces of any encoder.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import overload

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_JOINERS = "\u200c\u200d"
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
UNSEEN = f"\u00ad\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff{_DIRECTIONS}"
"""Marks of no width: where a line may be broken or not, and which way text runs."""

_RUN = (
    rf"[\p{{L}}\p{{N}}\p{{M}}_&&[^{_UNSPACED}]]"
    rf"[\p{{L}}\p{{N}}\p{{M}}_{_JOINERS}&&[^{_UNSPACED}]]*+"
)
_EMOJI = r"\p{Extended_Pictographic}[\p{M}\x{1f3fb}-\x{1f3ff}]*"  # with its skin tone
_PATTERN = (
    rf"{_EMOJI}(?>\u200d{_EMOJI})++[\p{{M}}{_JOINERS}]*"
    rf"|[{_UNSPACED}][\p{{M}}{_JOINERS}]*"
    rf"|{_RUN}(?>[{UNSEEN}{_JOINERS}]+{_RUN})*+"
    rf"|[^\s{UNSEEN}{_JOINERS}][\p{{M}}{_JOINERS}]*"
)
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+|[^\t\n\v\f\r ]")  # the same, thrice as fast
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = re.compile("[ \t\r\n]")
_ONLY_UNSEEN = re.compile(f"[{UNSEEN}{_JOINERS}]*")

LONG_TEXT = 1 << 16  # code points from which on words are not kept but cut out when asked for


def continues_word(char: str) -> bool:
    """Whether a character belongs to the word before it, even after a symbol.

    >>> continues_word("\N{COMBINING ACUTE ACCENT}"), continues_word("e")
    (True, False)
    """
    return char in "\u200c\u200d" or unicodedata.category(char)[0] == "M"


def is_unseen(text: str) -> bool:
    r"""Whether a text holds marks of no width at most; white space is none.

    >>> is_unseen("\u200b\ufeff"), is_unseen(" ")
    (True, False)
    """
    return _ONLY_UNSEEN.fullmatch(text) is not None


@functools.cache
def _splitter() -> Split:
    return Split(Regex(_PATTERN), behavior="removed", invert=True)


def without_surrogates(text: str) -> str:
    r"""Replace lone surrogates, which no encoder can read, one for one.

    >>> without_surrogates("a\ud800b") == "a\ufffdb"
    True
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def join_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join words with spaces; return the text and where each word stands in it.

    >>> join_words(["New York", "!"])
    ('New York !', [(0, 8), (9, 10)])
    """
    ends = itertools.accumulate(len(word) + 1 for word in words)
    offsets = [(end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True)]
    return " ".join(words), offsets


def split_words(text: str) -> list[tuple[int, int]]:
    """Find the words of a text.

    Args:
        text: Any string.

    Returns:
        Code-point ``(start, end)`` of each word in order, end exclusive, never overlapping.

    >>> [(s, e) for s, e in split_words("Zoë's 3 cafés")]
    [(0, 3), (3, 4), (4, 5), (6, 7), (8, 13)]
    """
    if text.isascii():
        return [match.span() for match in _ASCII_WORD.finditer(text)]
    return [span for _, span in _splitter().pre_tokenize_str(without_surrogates(text))]


def cut_words(offsets: Iterable[tuple[int, int]], borders: Iterable[int]) -> list[tuple[int, int]]:
    """Split words further where a mention begins or ends inside one.

    >>> cut_words([(0, 11), (12, 16)], [0, 6])
    [(0, 6), (6, 11), (12, 16)]
    """
    borders = sorted(borders)
    pieces: list[tuple[int, int]] = []
    for start, end in offsets:
        inner = borders[bisect.bisect_right(borders, start) : bisect.bisect_left(borders, end)]
        pieces += itertools.pairwise([start, *inner, end])
    return pieces


class LongText(Sequence[str]):
    """The words of a long text, found again where they are asked for: it keeps the text alone.

    Args:
        text: Any string.
        stretch: Code points to split at once; a stretch ends at a blank, which no word contains.

    Attributes:
        offsets: Code-point start and end of each word, end exclusive; found when asked for, too.

    >>> LongText("Ada left")[:]
    ['Ada', 'left']
    """

    def __init__(self, text: str, stretch: int = LONG_TEXT) -> None:
        """Count the words of every stretch."""
        self._text = text
        self._starts = [0]  # of the stretches, in code points, and the end
        self._counts = [0]  # words before each, and all
        self.offsets: Sequence[tuple[int, int]] = _Offsets(self)
        self._latest: tuple[int, list[tuple[int, int]]] = (-1, [])
        while self._starts[-1] < len(text):
            blank = _BLANK.search(text, self._starts[-1] + max(stretch, 1))  # one, to get on
            self._starts.append(len(text) if blank is None else blank.start())
            self._counts.append(self._counts[-1] + len(self._split(len(self._counts) - 1)))

    def _split(self, stretch: int) -> list[tuple[int, int]]:
        """Offsets of a stretch's words in the text; those of the latest one are kept."""
        if self._latest[0] != stretch:
            low, high = self._starts[stretch : stretch + 2]
            spans = split_words(self._text[low:high])
            self._latest = stretch, [(start + low, end + low) for start, end in spans]
        return self._latest[1]

    def spans(self, start: int, end: int) -> list[tuple[int, int]]:
        """Code-point start and end (exclusive) of the words from ``start`` to ``end``."""
        found: list[tuple[int, int]] = []
        stretch = bisect.bisect_right(self._counts, start) - 1
        while start + len(found) < end:
            first = max(start - self._counts[stretch], 0)
            found += self._split(stretch)[first : end - self._counts[stretch]]
            stretch += 1
        return found

    def __len__(self) -> int:
        """Count the words."""
        return self._counts[-1]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Cut out a word, or some."""
        if isinstance(index, slice):
            low, high, step = index.indices(len(self))
            words = [self._text[start:end] for start, end in self.spans(low, high)]
            return words if step == 1 else self[:][index]
        start, end = self.offsets[index]
        return self._text[start:end]


class _Offsets(Sequence[tuple[int, int]]):
    """Offsets of the words of a long text, one at a time."""

    def __init__(self, words: LongText) -> None:
        self._words = words

    def __len__(self) -> int:
        return len(self._words)

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(index, slice):
            return self._words.spans(0, len(self))[index]
        place = range(len(self))[index]
        return self._words.spans(place, place + 1)[0]
