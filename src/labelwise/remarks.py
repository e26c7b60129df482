"""What is likely a mistake in annotated sentences, in a line each; nothing here refuses them.

Spans that end inside words, texts that are marked in two ways, mentions unlike any prediction,
label names with a slip.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from difflib import get_close_matches
from itertools import accumulate, pairwise
from typing import NamedTuple

from labelwise.annotation import LabelledSpan, Mention, Sentence
from labelwise.errors import some_of
from labelwise.sentences import parts_of, with_text
from labelwise.words import split_words

Marked = tuple[str, Sequence[LabelledSpan], str]
"""A text, its spans in code points, and where it is."""

Earlier = tuple[Sentence, Set[str]]
"""An example, and labels of which it says wherever they are."""

_SHOWN = 60  # characters of a text
_NAMED = 5  # labels of many
_FEW, _SELDOM = 2, 50  # a name with a slip has few mentions, or a fiftieth of the right one's
_SLIP = 0.8  # likeness of two names; "compnay" is 0.86 like "company"
_DIGITS = re.compile(r"\d+")
_PARTS = re.compile(r"[\W_]+")


class _Known(NamedTuple):
    """How a text is marked, where, and which labels this speaks about; None means all."""

    spans: Sequence[LabelledSpan]
    place: str
    labels: Set[str] | None = None

    def speaks_about(self, label: str) -> bool:
        return self.labels is None or label in self.labels


def remarks_on(
    sentences: Sequence[Sentence], scheme: str = "bio", *, earlier: Sequence[Earlier] = ()
) -> list[str]:
    """Say what looks wrong in annotated sentences, at most a line for each kind of mistake.

    Args:
        sentences: Annotated sentences.
        scheme: Tag scheme of the model that is to learn from them.
        earlier: What it has learned from already; only named where a sentence contradicts it.
    """
    texts = [_marked(s, f"examples[{i}]") for i, s in enumerate(sentences)]
    known = _known_texts(earlier, {text for text, _, _ in texts})
    found = [inside_words(texts), _two_ways(texts, known), _crossing(sentences, texts)]
    if scheme == "io":
        found.append(_touching(sentences, texts))
    return [remark for remark in found if remark]


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


def slips(sentences: Iterable[Sentence], earlier: Iterable[Sentence] = ()) -> str:
    """Name a label of the annotations that looks like another one, misspelt.

    Args:
        sentences: Annotated sentences.
        earlier: Others, whose labels count too; two of theirs are not named again.

    >>> from labelwise.rows import to_sentences
    >>> slips(to_sentences(["[Acme](company) and [Ekco](company)", "[Bell](compnay)"]))
    "Label 'compnay' has 1 of 3 mentions, and 'company' 2. Expected one name a label. Correct it, \
unless both are meant."
    """
    counts = Counter(m.label for s in earlier for m in s.mentions)
    known = {*counts}
    counts.update(m.label for s in sentences for m in s.mentions)
    for name, count in sorted(counts.items(), key=lambda pair: (pair[1], -len(pair[0]), pair[0])):
        for other in likely_slips(name, counts):
            if {name, other} <= known:
                continue
            return (
                f"Label '{name}' has {count:,} of {counts.total():,} mentions, and '{other}' "
                f"{counts[other]:,}. Expected one name a label. Correct it, unless both are meant."
            )
    return ""


def never_marked(
    labels: Sequence[str], marked: Sequence[str], example: Sentence, first: Mention, name: str
) -> str:
    """Say that labels which no example marks were found in the examples before they were fitted.

    Args:
        labels: Those labels.
        marked: The labels that examples mark.
        example: The first example with one of them.
        first: Where it is, in words.
        name: Names the example where it has no id.

    >>> example = Sentence(("Ada", "left", "Oslo"))
    >>> never_marked(["city"], ["person"], example, Mention(2, 3, "city"), "x").split(":")[0]
    "No example marks 'city', but the model found some before the fit, the first 'Oslo' in \
'Ada left Oslo' (x)"
    """
    text, [(start, end, _)], place = _marked(replace(example, mentions=(first,)), name)
    shown = [f"'{label}'" for label in marked[:_NAMED]] + ["..."] * (len(marked) > _NAMED)
    return (
        f"No example marks {some_of(labels)}, but the model found some before the fit, the first "
        f"{text[start:end][:_SHOWN]!r} in {text[:_SHOWN]!r} ({place}): what is not marked counts "
        "against a label. Expected every mention to be marked. Mark them, or say which labels the "
        f"examples mark, only=[{', '.join(shown)}], or leave the others out of the labels."
    )


def likely_slips(
    name: str, counts: Mapping[str, int], among: Iterable[str] | None = None
) -> list[str]:
    """List the labels that a name may be a misspelling of, the likeliest first.

    Args:
        name: One of ``counts``; a slip has few mentions.
        counts: Mentions of each label.
        among: Labels to look at, if not all.

    >>> likely_slips("person-actr", {"person-actr": 1, "person-actor": 2, "person-author": 2})
    ['person-actor']
    """
    count, folded, bare = counts[name], name.casefold(), _DIGITS.sub("", name)
    others = [
        other
        for other in (counts if among is None else among)
        if other != name
        and count <= min(n := counts[other], max(_FEW, n // _SELDOM))
        and other.casefold() != folded  # they read alike, which is said elsewhere
        and _DIGITS.sub("", other) != bare
    ]
    found = get_close_matches(name, others, n=max(len(others), 1), cutoff=_SLIP)
    return [other for other in found if _differ_little(name, other)]


def _differ_little(one: str, other: str) -> bool:
    """Whether what two compound names do not share is alike: siblings share their first half."""
    parts, others = _PARTS.split(one), _PARTS.split(other)
    pairs = enumerate(zip(parts, others, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(parts), len(others)))
    left = ["".join(x[first:]) for x in (parts, others)]
    return bool(get_close_matches(left[0], left[1:], cutoff=_SLIP))


def _two_ways(texts: Iterable[Marked], known: Mapping[str, Sequence[_Known]]) -> str:
    """Say how many texts are marked in two ways, and how the first of them is."""
    firsts: dict[str, _Known] = {}
    twice: dict[str, tuple[LabelledSpan, _Known, _Known]] = {}
    for text, spans, place in texts:
        mine = _Known(spans, place)
        for other in (*known.get(text, ()), firsts.setdefault(text, mine)):
            differing = [x for x in {*spans} ^ {*other.spans} if other.speaks_about(x[2])]
            if differing and text.strip():
                twice.setdefault(text, (min(differing), other, mine))
    if not twice:
        return ""
    text, ((start, end, _), other, mine) = next(iter(twice.items()))
    ways = [_label(x.spans, start, end) for x in (other, mine)]
    n = f"{len(twice):,} texts are" if len(twice) > 1 else "A text is"
    which = ", the first" if len(twice) > 1 else ""
    return (
        f"{n} marked in two ways{which} {text[:_SHOWN]!r} ({other.place} and {mine.place}): "
        f"{text[start:end][:_SHOWN]!r} is {' and '.join(ways)}. Expected the same marks. "
        "Keep the right ones."
    )


def _label(spans: Iterable[LabelledSpan], start: int, end: int) -> str:
    found = [f"'{label}'" for a, b, label in spans if (a, b) == (start, end)]
    return found[0] if found else "not marked so"


def _known_texts(earlier: Iterable[Earlier], wanted: Set[str]) -> dict[str, list[_Known]]:
    """Find the examples with one of some texts; the others are only looked at."""
    found: dict[str, list[_Known]] = {}
    for i, (sentence, labels) in enumerate(earlier):
        text = " ".join(sentence.words) if sentence.text is None else sentence.text
        if text in wanted:
            _, spans, place = _marked(sentence, f"earlier examples[{i}]")
            found.setdefault(text, []).append(_Known(spans, place, labels))
    return found


def _marked(sentence: Sentence, name: str) -> Marked:
    """Spans in code points, of the words joined with spaces where there is no text."""
    whole = with_text(sentence)
    spans = [(*whole.place(m), m.label) for m in whole.mentions]
    return whole.text or "", spans, sentence.id or name


def _crossing(sentences: Iterable[Sentence], texts: Iterable[Marked]) -> str:
    """Say how many mentions go on beyond the end of a sentence."""
    n_mentions = n_crossing = 0
    first = ""
    for sentence, (text, spans, place) in zip(sentences, texts, strict=True):
        n_mentions += len(spans)
        long = [i for i, m in enumerate(sentence.mentions) if m.end - m.start > 1]
        ends = _sentence_ends(sentence) if long else []
        for i in long:
            mention, (start, end, _) = sentence.mentions[i], spans[i]
            if ends[bisect_right(ends, mention.start)] < mention.end:
                n_crossing += 1
                first = first or f"{text[start:end][:_SHOWN]!r} ({place})"
    if not n_crossing:
        return ""
    return (
        f"{n_crossing:,} of {n_mentions:,} mentions cross the end of a sentence or line, the first "
        f"{first}: no prediction can be like them. Expected mentions within a sentence. Mark each "
        "part by itself, or give the words of what is one sentence."
    )


def _touching(sentences: Iterable[Sentence], texts: Iterable[Marked]) -> str:
    """Say how many mentions follow another of their label with nothing between."""
    n_mentions = n_touching = 0
    first = ""
    for sentence, (text, spans, place) in zip(sentences, texts, strict=True):
        n_mentions += len(spans)
        pairs = enumerate(pairwise(sentence.mentions))
        near = [i for i, (a, b) in pairs if a.end == b.start and a.label == b.label]
        ends = {*_sentence_ends(sentence)} if near else set[int]()
        for i in near:
            if sentence.mentions[i].end not in ends:
                n_touching += 1
                first = first or f"{text[spans[i][0] : spans[i + 1][1]][:_SHOWN]!r} ({place})"
    if not n_touching:
        return ""
    return (
        f"{n_touching:,} of {n_mentions:,} mentions begin where another of the same label ends, "
        f"the first {first}: no prediction can be like them, as this model's scheme 'io' takes "
        "both for one. Expected a word between them. Mark both as one, or use a model of 'bio'."
    )


def _sentence_ends(sentence: Sentence) -> list[int]:
    """Words up to the end of each sentence of a text."""
    return [*accumulate(len(part) for part in parts_of(sentence))]
