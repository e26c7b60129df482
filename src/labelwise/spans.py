"""Mentions as they stand in a text: within a line or paragraph, without a comma at an end.

Words do not tell the white space between them. This module reads it in the text they came from.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from labelwise.annotation import Mention

WRAPPED = 50  # characters from which on a line may go on in the next
_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_GAP = re.compile(f"{_BREAK.pattern}|\t")
_MARKS = frozenset("-*+•‣◦·–—>|#")  # begin an item of a list
_NO_END = frozenset(",;:([{")
_NO_START = frozenset(",;:)]}")
_PAIRS = {")": "(", "]": "[", "}": "{"}


def tidy_mentions(text: str, offsets: Any, mentions: Iterable[Mention]) -> list[Mention]:
    r"""Cut mentions where a line ends them, and take off what no entity begins or ends with.

    A blank line, a tab, and a list mark at the start of the next line always end a mention. A
    single line break does unless the line before it is so long that it may be wrapped prose.

    Args:
        text: What the words were cut from.
        offsets: Start and end of every word. Shape ``(words, 2)``.
        mentions: In words.

    Returns:
        What is left of them, in order.

    >>> [(m.start, m.end) for m in tidy_mentions("Al\nBo", [(0, 2), (3, 5)], [Mention(0, 2, "x")])]
    [(0, 1), (1, 2)]
    """
    result: list[Mention] = []
    for mention in mentions:
        is_one_word = mention.end - mention.start == 1
        result += [mention] if is_one_word else _parts(text, offsets, mention)
    return result


def _parts(text: str, offsets: Any, mention: Mention) -> list[Mention]:
    words = range(mention.start, mention.end)
    first, last = offsets[words.start][0], offsets[words.stop - 1][1]
    breaks = list[int]()
    if _GAP.search(text, first, last):  # hardly any mention has one, and words are many
        breaks = [i for i in words[1:] if _ends_line(text, offsets[i - 1][1], offsets[i][0])]
    borders = [(words.start, False), *((i, True) for i in breaks), (words.stop, True)]
    parts: list[Mention] = []
    for (start, begins_line), (end, _) in pairwise(borders):
        kept = [text[offsets[i][0] : offsets[i][1]] for i in range(start, end)]
        low, high = _core(kept, _NO_START | _MARKS if begins_line else _NO_START)
        if low < high:
            parts.append(dataclasses.replace(mention, start=start + low, end=start + high))
    return parts


def _ends_line(text: str, before: int, after: int) -> bool:
    """Whether the gap between two words ends what came before it."""
    gap = text[before:after]
    n_breaks = len(_BREAK.findall(gap))
    if n_breaks != 1:
        return n_breaks > 1 or "\t" in gap
    is_short = before < WRAPPED or _BREAK.search(text, before - WRAPPED, before) is not None
    return is_short or text[after] in _MARKS


def _core(words: list[str], no_start: frozenset[str]) -> tuple[int, int]:
    """Where the words that an entity consists of begin and end."""
    low, high = 0, len(words)
    while low < high and words[low] in no_start:
        low += 1
    while low < high and _is_loose(words[low:high]):
        high -= 1
    return low, high


def _is_loose(words: list[str]) -> bool:
    """Whether the last word is a comma, or a bracket without its other half."""
    last = words[-1]
    return last in _NO_END or (last in _PAIRS and words.count(_PAIRS[last]) < words.count(last))
