"""Tag schemes as tables: mentions into tags and tags into mentions.

The package tags in IO, BIO (= IOB2) or BIOES; files may also come in IOB1, in BILOU, or with bare
labels for tags. This module does not read files and does not know which labels exist.
"""

from __future__ import annotations

import functools
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from labelwise.annotation import Mention
from labelwise.errors import DataError, SchemeError, did_you_mean, some_of

SCHEMES = ("io", "bio", "bioes")


@dataclass(frozen=True, slots=True)
class Shape:
    """The marks of a mention: of its only word, or of its first, inner and last one."""

    only: str
    first: str
    inner: str
    last: str

    def marks(self, n_words: int) -> list[str]:
        """Return the marks of a mention, a word each."""
        if n_words == 1:
            return [self.only]
        return [self.first, *[self.inner] * (n_words - 2), self.last]

    @property
    def all(self) -> tuple[str, ...]:
        """Its different marks, in the order that tags are numbered in."""
        return tuple(dict.fromkeys((self.first, self.inner, self.last, self.only)))

    @property
    def starts(self) -> frozenset[str]:
        """Marks that may begin a mention."""
        return frozenset((self.only, self.first))

    @property
    def extends(self) -> frozenset[str]:
        """Marks that may follow an open one of the same label."""
        return frozenset((self.inner, self.last))

    @property
    def is_open(self) -> frozenset[str]:
        """Marks that may be followed by one that extends them."""
        return frozenset((self.first, self.inner))

    @property
    def is_closed(self) -> frozenset[str]:
        """Marks that may be followed by O, a new mention, or the end."""
        return frozenset((self.only, self.last))


SHAPES: Mapping[str, Shape] = types.MappingProxyType(
    {
        "io": Shape("I", "I", "I", "I"),
        "bio": Shape("B", "B", "I", "I"),
        "bioes": Shape("S", "B", "I", "E"),
        "bilou": Shape("U", "B", "I", "L"),
    }
)
MARKS: Mapping[str, tuple[str, ...]] = types.MappingProxyType(
    {scheme: SHAPES[scheme].all for scheme in SCHEMES}
)


@dataclass(frozen=True, slots=True)
class _Strictness:
    """What strict tags of a scheme look like.

    Attributes:
        opener: Mark that opens a mention of several words.
        marks: All marks of the scheme.
        must_follow: Marks that must follow an open mention of their label.
        must_go_on: Marks after which the mention must continue.
    """

    opener: str
    marks: frozenset[str]
    must_follow: frozenset[str]
    must_go_on: frozenset[str]

    @classmethod
    def of(cls, shape: Shape) -> _Strictness:
        return cls(
            shape.first,
            frozenset(shape.all),
            must_follow=shape.extends - shape.starts,
            must_go_on=shape.is_open - shape.is_closed,
        )


_STRICT = {
    "io": _Strictness.of(SHAPES["io"]),
    "bio": _Strictness.of(SHAPES["bio"]),
    # The mark depends on the mention before, so IOB1 has no shape.
    "iob1": _Strictness("I", frozenset("BI"), must_follow=frozenset("B"), must_go_on=frozenset()),
    "bioes": _Strictness.of(SHAPES["bioes"]),
    "bilou": _Strictness.of(SHAPES["bilou"]),
}
BARE = "bare"  # labels for tags: IO without its mark
READABLE_SCHEMES = (*_STRICT, BARE)

_ALL_MARKS = frozenset(mark for shape in SHAPES.values() for mark in shape.all)
_OPEN = frozenset(mark for shape in SHAPES.values() for mark in shape.is_open)
_CONTINUING = frozenset(mark for shape in SHAPES.values() for mark in shape.extends)
_OUTSIDE = ("O", "")


def check_scheme(scheme: str, known: Iterable[str] = READABLE_SCHEMES) -> str:
    """Return the scheme if it is known.

    Raises:
        SchemeError: It is not.
    """
    known = tuple(known)
    if scheme not in known:
        raise SchemeError(
            f"There is no tag scheme '{scheme}' here. Expected one of {some_of(known)} "
            f"('bio' is IOB2).{did_you_mean(scheme, known)}"
        )
    return scheme


def tag_names(labels: Sequence[str], scheme: str) -> tuple[str, ...]:
    """List the tags of some labels: ``O``, then every label with its marks.

    >>> tag_names(["PER", "LOC"], "bio")
    ('O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC')
    """
    marks = MARKS[check_scheme(scheme, SCHEMES)]
    return ("O", *(f"{mark}-{label}" for label in labels for mark in marks))


@functools.lru_cache(maxsize=65_536)
def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into its mark and its label, at the first hyphen only.

    Args:
        tag: ``"O"`` or mark, hyphen and label.

    Returns:
        Mark and label; ``("O", "")`` for ``"O"``.

    Raises:
        SchemeError: The mark is unknown or the label is missing.

    >>> split_tag("B-creative-work")
    ('B', 'creative-work')
    """
    if tag == "O":
        return _OUTSIDE
    mark, _, label = tag.partition("-")
    if mark not in _ALL_MARKS or not label:
        raise SchemeError(
            f"Tag '{tag}' is neither 'O' nor one of the marks B, I, E, S, L, U with a hyphen and "
            "a label. Write it as 'B-person'; or read bare labels in Python, with scheme='bare', "
            "and save them for the commands with write_conll."
        )
    return mark, label


def is_tag(text: str) -> bool:
    """Tell whether a text is ``O`` or a known mark with a label."""
    mark, _, label = text.partition("-")
    return text == "O" or (mark in _ALL_MARKS and bool(label))


def tags_from_mentions(n_words: int, mentions: Iterable[Mention], scheme: str) -> list[str]:
    """Write mentions as one tag a word.

    Args:
        n_words: Words of the sentence.
        mentions: Mentions that do not overlap, in any order.
        scheme: ``"io"``, ``"bio"`` or ``"bioes"``. ``"io"`` cannot tell neighbours of one label
            apart.

    Returns:
        The tags. Shape ``(words,)``.

    Raises:
        DataError: A mention overlaps another or lies outside the words.

    >>> tags_from_mentions(4, [Mention(0, 2, "PER"), Mention(2, 3, "PER")], "bio")
    ['B-PER', 'I-PER', 'B-PER', 'O']
    """
    shape = SHAPES[check_scheme(scheme, SCHEMES)]
    tags = ["O"] * n_words
    for mention in mentions:
        place = slice(mention.start, mention.end)
        n_free = sum(tag == "O" for tag in tags[place])
        if n_free < mention.end - mention.start:
            raise DataError(
                f"Mention '{mention.label}' (words {mention.start}-{mention.end}) overlaps another "
                f"or lies outside the {n_words} words. Expected one tag a word. Keep one mention."
            )
        tags[place] = [f"{mark}-{mention.label}" for mark in shape.marks(n_free)]
    return tags


def _word_place(index: int) -> str:
    return f"word {index}"


def mentions_from_tags(
    tags: Sequence[str],
    scheme: str = "bio",
    *,
    strict: bool = False,
    where: Callable[[int], str] = _word_place,
) -> list[Mention]:
    """Read the mentions out of one tag a word.

    Lenient reading is that of the conlleval script: a tag that cannot continue the mention
    before it starts a new one, so no tagged word is lost.

    Args:
        tags: One tag a word. Shape ``(words,)``.
        scheme: One of ``READABLE_SCHEMES``.
        strict: Refuse sequences that break the scheme.
        where: Names the place of a word, for messages.

    Returns:
        Mentions in order.

    Raises:
        SchemeError: A tag is unknown, has a mark of another scheme or, if strict, breaks it.

    >>> [(m.start, m.end) for m in mentions_from_tags(["I-PER", "I-PER", "B-PER", "O"])]
    [(0, 2), (2, 3)]
    """
    if check_scheme(scheme) == BARE:
        return list(_mentions([_OUTSIDE if tag == "O" else ("I", tag) for tag in tags]))
    pairs = [_read_tag(tag, scheme, where, index) for index, tag in enumerate(tags)]
    if strict and (found := _first_break(pairs, _STRICT[scheme])):
        index, problem = found
        raise SchemeError(
            f"Tag '{tags[index]}' ({where(index)}) {problem}: scheme '{scheme}' opens mentions "
            f"with '{_STRICT[scheme].opener}-'. Correct the tag or read it with strict=False."
        )
    return list(_mentions(pairs))


def detect_scheme(tag_lists: Iterable[Sequence[str]]) -> str:
    """Find the scheme that the tags of a whole file are written in.

    The scheme with the fewest foreign marks wins; among equals one that is never broken, then
    the first of ``READABLE_SCHEMES``. Unknown tags are passed over: reading reports them. Bare
    labels are never guessed.

    >>> detect_scheme([["I-PER", "B-PER", "O"], ["O", "I-LOC"]])
    'iob1'
    """
    sequences = [
        [split_tag(tag) if is_tag(tag) else _OUTSIDE for tag in tags] for tags in tag_lists
    ]
    n_marks = Counter(mark for pairs in sequences for mark, _ in pairs if mark != "O")

    def misfit(scheme: str) -> tuple[int, bool]:
        rules = _STRICT[scheme]
        n_foreign = sum(n for mark, n in n_marks.items() if mark not in rules.marks)
        return n_foreign, any(_first_break(pairs, rules) for pairs in sequences)

    return min(_STRICT, key=misfit)


def _read_tag(tag: str, scheme: str, where: Callable[[int], str], index: int) -> tuple[str, str]:
    try:
        mark, label = split_tag(tag)
    except SchemeError as err:
        raise SchemeError(f"{where(index)}: {err}") from None
    marks = _STRICT[scheme].marks
    if mark != "O" and mark not in marks:
        raise SchemeError(
            f"Tag '{tag}' ({where(index)}) does not belong to scheme '{scheme}', which has the "
            f"marks {some_of(sorted(marks))}. Correct the tag or name the scheme it is from."
        )
    return mark, label


def _follows(before: tuple[str, str], pair: tuple[str, str]) -> bool:
    return before[0] in _OPEN and before[1] == pair[1]


def _continues(before: tuple[str, str], pair: tuple[str, str]) -> bool:
    return pair[0] in _CONTINUING and _follows(before, pair)


def _first_break(pairs: Sequence[tuple[str, str]], rules: _Strictness) -> tuple[int, str] | None:
    """Find the first tag that breaks the rules, and how."""
    before = _OUTSIDE
    for index, pair in enumerate([*pairs, _OUTSIDE]):
        if before[0] in rules.must_go_on and not _continues(before, pair):
            return index - 1, "is not followed by the end of its mention"
        if pair[0] in rules.must_follow and not _follows(before, pair):
            return index, "continues no mention"
        before = pair
    return None


def _mentions(pairs: Sequence[tuple[str, str]]) -> Iterator[Mention]:
    start, before = 0, _OUTSIDE
    for index, pair in enumerate([*pairs, _OUTSIDE]):
        if not _continues(before, pair):
            if before != _OUTSIDE:
                yield Mention(start, index, before[1])
            start = index
        before = pair
