"""Sentences in lines of columns: where a column ends, what parts sentences, what is a comment.

Does not open files. Of what is read it does not know what stands in which column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from labelwise.annotation import Sentence
from labelwise.errors import DataError
from labelwise.schemes import tags_from_mentions
from labelwise.words import without_surrogates

DOCUMENT_START = "-DOCSTART-"
_COLUMN = re.compile(r"(?!\ufeff|-DOCSTART-\Z)[^ \t\n\r](?:[^\t\n\r]*[^ \t\n\r])?")
L = TypeVar("L")


def conll_block(sentence: Sentence, scheme: str = "bio") -> str:
    r"""Write a sentence as lines of word, tab and tag, and a blank one.

    Raises:
        DataError: A word or label does not fit into a column.

    >>> from labelwise.annotation import Mention
    >>> conll_block(Sentence(("Oslo", "!"), (Mention(0, 1, "city"),)))
    'Oslo\tB-city\n!\tO\n\n'
    """
    for text in [*sentence.words, *(mention.label for mention in sentence.mentions)]:
        if not _COLUMN.fullmatch(text):
            raise DataError(
                f"{text!r} (sentence '{sentence.id}') cannot stand in a column. Expected a word or "
                "label without tabs, line ends or spaces around it. Use write_jsonl."
            )
    tags = tags_from_mentions(len(sentence.words), sentence.mentions, scheme)
    lines = "".join(f"{word}\t{tag}\n" for word, tag in zip(sentence.words, tags, strict=True))
    return without_surrogates(f"{lines}\n")


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


def check_words_first(sentences: Iterable[Sequence[Sequence[str]]], source: str) -> None:
    """Refuse a file whose first column numbers the words; reads on only while it may be one.

    Args:
        sentences: Columns of each line of each sentence.
        source: Where they come from, for messages.

    Raises:
        DataError: There are three columns or more, and the first counts from 1 in every sentence
            of several words.

    >>> check_words_first([[["1", "NN", "O"], ["of", "IN", "O"]]], "train.conll")
    """
    is_numbered = False
    for sentence in sentences:
        if len(sentence) < 2:
            continue
        numbers = enumerate(sentence, start=1)
        is_numbered = all(len(x) > 2 and x[0] == str(number) for number, x in numbers)
        if not is_numbered:
            return
    if is_numbered:
        raise DataError(
            f"The first column of '{source}' counts 1, 2, 3 in every sentence: it numbers the "
            "words. Expected the word first. Remove that column, as 'cut -f 2-' does where tabs "
            "separate them."
        )
