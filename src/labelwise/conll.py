"""Lines of columns into sentences: where a column ends, what parts sentences, what is a comment.

Does not open files, and does not know what stands in which column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

DOCUMENT_START = "-DOCSTART-"
L = TypeVar("L")


def columns_of(line: str) -> list[str]:
    r"""Split a line at its tabs or, if it has none, at runs of spaces.

    >>> columns_of("New York\tB-city"), columns_of("Oslo  B-city\r")
    (['New York', 'B-city'], ['Oslo', 'B-city'])
    """
    line = line.rstrip(" \t\r")
    if "\t" in line:
        return [column.strip(" ") for column in line.split("\t")]
    return [column for column in line.split(" ") if column]


def blocks(
    lines: Iterable[L],
    columns: Callable[[L], Sequence[str]],
    is_word: Callable[[Sequence[str]], bool],
) -> Iterator[list[L]]:
    """Group the lines of words by sentence.

    Blank lines and document starts end a sentence. Comments before its first word are left out;
    later a ``#`` is a word.

    Args:
        lines: Of a file, with whatever their reader needs of each.
        columns: Gives those of a line; none if it is blank.
        is_word: Tells by its columns whether a line that begins with ``#`` is a word all the same.
    """
    block: list[L] = []
    for line in lines:
        found = columns(line)
        if not found or found[0] == DOCUMENT_START:
            if block:
                yield block
            block = []
        elif block or not found[0].startswith("#") or is_word(found):
            block.append(line)
    if block:
        yield block
