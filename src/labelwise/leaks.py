"""Whether two sentences are one, however their words are cut and their marks are written.

Used to find what is both trained on and scored; what is done about it is said elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from labelwise.annotation import Sentence

MIN_WORDS = 5  # shorter ones ("thanks a lot") are nobody's property
_NEITHER_LETTER_NOR_DIGIT = re.compile(r"[\W_]+")


def normalized(sentence: Sentence) -> str:
    """Lower-case letters and digits alone, so that tokenisation and spelling of marks don't matter.

    >>> normalized(Sentence(("Re-Run", "it", "!")))
    'rerunit'
    """
    return _NEITHER_LETTER_NOR_DIGIT.sub("", "".join(sentence.words).lower())


def n_real_words(sentence: Sentence) -> int:
    """Count the words that hold a letter or digit."""
    return sum(any(c.isalnum() for c in word) for word in sentence.words)


def long_keys(sentences: Iterable[Sentence]) -> Iterator[int]:
    """Yield a hash of every sentence that is long enough to be a leak; small, for large corpora.

    >>> list(long_keys([Sentence(("Thanks", "a", "lot", "!"))]))
    []
    """
    return (hash(normalized(s)) for s in sentences if n_real_words(s) >= MIN_WORDS)
