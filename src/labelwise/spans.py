"""Mentions as they stand in a text: within a line, whole tokens, without a comma at an end.

Words do not tell the white space between them. This module reads it in the text they came from.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from labelwise.annotation import Mention
from labelwise.sentences import GAP, LIST_MARKS, ends_line

_NO_END = frozenset(",;:([{")
_NO_START = frozenset(",;:)]}")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_CLOSERS = {opener: closer for closer, opener in _PAIRS.items()}
_JOINTS = frozenset("-._@")  # of a code, an address, a file name


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
    given, result = list(mentions), list[Mention]()
    ends = [*(m.start for m in given), len(offsets)][1:]
    for mention, end in zip(given, ends, strict=True):
        if mention.end - mention.start == 1 or _is_tidy(text, offsets, mention):
            result.append(mention)
        else:
            whole = _whole(text, offsets, mention, result[-1].end if result else 0, end)
            result += _parts(text, offsets, whole)
    return result


def _is_tidy(text: str, offsets: Any, mention: Mention) -> bool:
    """Whether it begins and ends with a letter or a digit, in one line, as nearly all do."""
    first, last = offsets[mention.start][0], offsets[mention.end - 1][1]
    has_ends = text[first].isalnum() and text[last - 1].isalnum()
    return has_ends and not GAP.search(text, first, last)


def _whole(text: str, offsets: Any, mention: Mention, least: int, most: int) -> Mention:
    """Take in the other side of a joint at either end, between the words that are free."""
    low, high = mention.start, mention.end
    while low > least and _joins(text, offsets, low, low - 1):
        low -= 1
    while high < most and _joins(text, offsets, high - 1, high):
        high += 1
    is_same = (low, high) == (mention.start, mention.end)
    return mention if is_same else dataclasses.replace(mention, start=low, end=high)


def _joins(text: str, offsets: Any, joint: int, other: int) -> bool:
    """Whether a word is a joint that ties another one on, with no space between."""
    start, end = offsets[joint]
    return (
        text[start:end] in _JOINTS
        and (offsets[other][1] == start or offsets[other][0] == end)
        and text[offsets[other][0]].isalnum()
    )


def _parts(text: str, offsets: Any, mention: Mention) -> list[Mention]:
    words = range(mention.start, mention.end)
    first, last = offsets[words.start][0], offsets[words.stop - 1][1]
    breaks = list[int]()
    if GAP.search(text, first, last):  # hardly any mention has one, and words are many
        breaks = [i for i in words[1:] if ends_line(text, offsets[i - 1][1], offsets[i][0])]
    borders = [(words.start, False), *((i, True) for i in breaks), (words.stop, True)]
    parts: list[Mention] = []
    for (start, begins_line), (end, _) in pairwise(borders):
        kept = [text[offsets[i][0] : offsets[i][1]] for i in range(start, end)]
        low, high = _core(kept, _NO_START | LIST_MARKS if begins_line else _NO_START)
        span = text[offsets[start + low][0] : offsets[start + high - 1][1]] if low < high else ""
        high -= _ends_as_address(span)
        if low < high:
            parts.append(dataclasses.replace(mention, start=start + low, end=start + high))
    return parts


def _core(words: list[str], no_start: frozenset[str]) -> tuple[int, int]:
    """Where the words that an entity consists of begin and end."""
    low, high = 0, len(words)
    left = Counter(words)
    while low < high and (words[low] in no_start or _is_unclosed(words[low], left)):
        left[words[low]] -= 1
        low += 1
    while low < high and _is_loose(words[high - 1], left):
        high -= 1
        left[words[high]] -= 1
    return low, high


def _is_unclosed(first: str, left: Counter[str]) -> bool:
    """Whether the first word is a bracket without its other half."""
    return first in _CLOSERS and not left[_CLOSERS[first]]


def _is_loose(last: str, left: Counter[str]) -> bool:
    """Whether the last word is a comma, or a bracket without its other half."""
    return last in _NO_END or (last in _PAIRS and left[_PAIRS[last]] < left[last])


def _ends_as_address(span: str) -> bool:
    """Whether the full stop at the end of an address belongs to the sentence."""
    is_address = "@" in span or "://" in span or span.startswith("www.")
    return is_address and span[-1] == "." and span[-2].isalnum() and len(span.split()) == 1
