"""Raw text into words with code-point offsets, in any script.

A word is a run of letters, digits and marks; a character of a script written without spaces;
or a single symbol. Words are where entities may begin and end. This module does not know the
sub-word pieces of any encoder.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_JOINERS = r"\u200c\u200d"
_PATTERN = (
    rf"[{_UNSPACED}][\p{{M}}{_JOINERS}]*"
    rf"|[\p{{L}}\p{{N}}\p{{M}}_&&[^{_UNSPACED}]]"
    rf"[\p{{L}}\p{{N}}\p{{M}}_{_JOINERS}&&[^{_UNSPACED}]]*"
    rf"|[^\s][\p{{M}}{_JOINERS}]*"
)
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+|[^\t\n\v\f\r ]")  # the same, thrice as fast
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = re.compile("[ \t\r\n]")

LONG_TEXT = 1 << 16  # code points from which on words are not kept but cut out when asked for


@functools.cache
def _splitter() -> Split:
    return Split(Regex(_PATTERN), behavior="removed", invert=True)


def without_surrogates(text: str) -> str:
    r"""Replace lone surrogates, which no encoder can read, one for one.

    >>> without_surrogates("a\ud800b") == "a\ufffdb"
    True
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


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


class LongText(Sequence[str]):
    """The words of a long text, in a few bytes each; a slice of it is a list.

    Args:
        text: Any string.
        stretch: Code points to split at once; a stretch ends at a blank, which no word contains.

    Attributes:
        offsets: Code-point start and end of each word, end exclusive. Shape ``(words, 2)``.

    >>> LongText("Ada left")[:]
    ['Ada', 'left']
    """

    def __init__(self, text: str, stretch: int = LONG_TEXT) -> None:
        """Find the words."""
        self._text = text
        parts: list[NDArray[np.int64]] = [np.zeros((0, 2), dtype=np.int64)]
        low = 0
        while low < len(text):
            blank = _BLANK.search(text, low + max(stretch, 1))  # at least one, to get on
            high = len(text) if blank is None else blank.start()
            spans = split_words(text[low:high])
            parts.append(np.array(spans, dtype=np.int64).reshape(-1, 2) + low)
            low = high
        self.offsets = np.concatenate(parts)

    def __len__(self) -> int:
        """Count the words."""
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Cut out a word, or some."""
        if isinstance(index, slice):
            return [self._text[start:end] for start, end in self.offsets[index].tolist()]
        start, end = self.offsets[index].tolist()
        return self._text[start:end]
