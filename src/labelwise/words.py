"""Raw text into words with code-point offsets, in any script.

A word is a run of letters, digits and marks; a character of a script written without spaces;
or a single symbol. Words are where entities may begin and end. This module does not know the
sub-word pieces of any encoder.
"""

from __future__ import annotations

import functools
import re

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
_SURROGATE = re.compile("[\ud800-\udfff]")


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
    return [span for _, span in _splitter().pre_tokenize_str(without_surrogates(text))]
