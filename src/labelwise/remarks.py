"""What is likely a mistake in annotated sentences, in a line each; nothing here refuses them.

Spans that end inside words, texts that are marked in two ways, label names with a slip.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from labelwise.annotation import LabelledSpan, Sentence
from labelwise.errors import closest
from labelwise.sentences import with_text
from labelwise.words import split_words

Marked = tuple[str, Sequence[LabelledSpan], str]
"""A text, its spans in code points, and where it is."""

_SHOWN = 60  # characters of a text
_FEW, _SELDOM = 2, 50  # a name with a slip has few mentions, or a fiftieth of the right one's
_SLIP = 0.8  # likeness of two names; "compnay" is 0.86 like "company"
_DIGITS = re.compile(r"\d+")


def remarks_on(sentences: Sequence[Sentence]) -> list[str]:
    """Say what looks wrong in annotated sentences, at most a line for each kind of mistake."""
    texts = [_marked(s, i) for i, s in enumerate(sentences)]
    return [remark for remark in (inside_words(texts), _two_ways(texts)) if remark]


def inside_words(texts: Iterable[Marked]) -> str:
    """Say how many spans begin or end inside a word, and whether their ends seem inclusive.

    Parts of words may be meant, as in compounds.

    >>> inside_words([("Ada left", [(0, 2, "person")], "a.jsonl:1")]).split(";")[0]
    "1 of 1 spans begin or end inside a word, the first 'Ad' in 'Ada' (a.jsonl:1)"
    """
    n_spans = n_cut = n_later = 0
    first = ""
    for text, spans, place in texts:
        words = split_words(text) if spans else []
        n_spans += len(spans)
        for start, end, _ in spans:
            begun, ended = _around(start, words), _around(end, words)
            word = begun or ended
            if word is None:
                continue
            n_cut += 1
            n_later += begun is None and _around(end + 1, words) is None
            cut = f"{text[start:end][:_SHOWN]!r} in {text[slice(*word)][:_SHOWN]!r}"
            first = first or f"{cut} ({place})"
    if not n_cut:
        return ""
    found = f"{n_cut:,} of {n_spans:,} spans begin or end inside a word, the first {first}"
    if 2 * n_later > n_cut:
        return (
            f"{found}; {n_later:,} would be whole words if they ended one later. Are the ends "
            "inclusive? Expected exclusive ones. Add one to each end."
        )
    return (
        f"{found}. Expected offsets in code points, end exclusive. Check them, unless parts of "
        "words are meant."
    )


def _around(border: int, words: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the word that a border parts."""
    at = bisect_left(words, (border, 0)) - 1
    return words[at] if at >= 0 and border < words[at][1] else None


def slips(sentences: Iterable[Sentence]) -> str:
    """Name a label of the annotations that looks like another one, misspelt.

    >>> from labelwise.rows import to_sentences
    >>> slips(to_sentences(["[Acme](company) and [Ekco](company)", "[Bell](compnay)"]))
    "Label 'compnay' has 1 of 3 mentions, and 'company' 2. Expected one name a label. Correct it, \
unless both are meant."
    """
    counts = Counter(m.label for s in sentences for m in s.mentions)
    for name, count in sorted(counts.items(), key=lambda pair: (pair[1], -len(pair[0]), pair[0])):
        others = [
            other
            for other, n in counts.items()
            if other != name
            and count <= min(n, max(_FEW, n // _SELDOM))
            and other.casefold() != name.casefold()  # they read alike, which is said elsewhere
            and _DIGITS.sub("", other) != _DIGITS.sub("", name)
        ]
        if (other := closest(name, others, _SLIP)) is not None:
            return (
                f"Label '{name}' has {count:,} of {counts.total():,} mentions, and '{other}' "
                f"{counts[other]:,}. Expected one name a label. Correct it, unless both are meant."
            )
    return ""


def _two_ways(texts: Iterable[Marked]) -> str:
    """Say how many texts are marked in two ways, and how the first of them is."""
    seen: dict[str, tuple[Sequence[LabelledSpan], str]] = {}
    twice: dict[str, tuple[Sequence[LabelledSpan], str]] = {}
    for text, spans, place in texts:
        if seen.setdefault(text, (spans, place))[0] != spans and text.strip():
            twice.setdefault(text, (spans, place))
    if not twice:
        return ""
    text, (spans, place) = next(iter(twice.items()))
    others, other_place = seen[text]
    start, end, _ = min({*spans} ^ {*others})
    ways = [_label(marks, start, end) for marks in (others, spans)]
    n = f"{len(twice):,} texts are" if len(twice) > 1 else "A text is"
    which = ", the first" if len(twice) > 1 else ""
    return (
        f"{n} marked in two ways{which} {text[:_SHOWN]!r} ({other_place} and {place}): "
        f"{text[start:end][:_SHOWN]!r} is {' and '.join(ways)}. Expected the same marks. "
        "Keep the right ones."
    )


def _label(spans: Iterable[LabelledSpan], start: int, end: int) -> str:
    found = [f"'{label}'" for a, b, label in spans if (a, b) == (start, end)]
    return found[0] if found else "not marked so"


def _marked(sentence: Sentence, index: int) -> Marked:
    """Spans in code points, of the words joined with spaces where there is no text."""
    place = sentence.id or f"examples[{index}]"
    whole = with_text(sentence)
    spans = [(*whole.place(m), m.label) for m in whole.mentions]
    return whole.text or "", spans, place
