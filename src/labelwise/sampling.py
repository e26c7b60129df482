"""Few-shot support sets: pure functions of (sentences, k, seed).

``k`` counts mentions of each label, not sentences. This module does not read or write files.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from labelwise.annotation import Sentence
from labelwise.errors import SamplingError, some_of
from labelwise.label import Label, label_names
from labelwise.numeric import whole_number
from labelwise.rows import Example, to_sentences

SAMPLER_VERSION = 1  # raise it when the same arguments would give another set
_K_2K_ATTEMPTS = 20

Mode = Literal["greedy", "k~2k"]


@dataclass(frozen=True, slots=True)
class SupportSet:
    """The k-shot examples and what they were drawn with.

    Attributes:
        sentences: The examples, in the order drawn.
        counts: Mentions of each label in them.
        k: Mentions of each label asked for.
        seed: The seed.
        mode: ``"greedy"`` or ``"k~2k"``.
        digest: SHA-256 (hex) over sampler version, k, mode, seed, and ids and content.
    """

    sentences: tuple[Sentence, ...]
    counts: dict[str, int]
    k: int
    seed: int
    mode: Mode
    digest: str

    def __iter__(self) -> Iterator[Sentence]:
        """Walk the examples, so that whatever takes a list of them takes these."""
        return iter(self.sentences)

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.sentences)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the sentences."""
        return tuple(sentence.id for sentence in self.sentences)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence and how often it mentions each wanted label."""

    sentence: Sentence
    counts: Counter[str]


def sample_support_set(
    sentences: Iterable[Example],
    k: int,
    seed: int,
    *,
    labels: Iterable[str | Label] | None = None,
    mode: Mode = "greedy",
    allow_short: bool = False,
) -> SupportSet:
    """Draw the support set of a k-shot experiment.

    ``"greedy"`` is Algorithm 1 of the paper: label after label, sentences that mention it are
    drawn until there are ``k`` mentions; then every sentence, in the order drawn, is taken out
    and put back if a label falls below ``k``. No sentence of the result can be spared.
    ``"k~2k"`` is the rule of Few-NERD: sentences in random order, each taken if it helps a label
    below ``k`` and lifts none above ``2k``.

    The paper leaves the orders open. Here labels come in sorted order and the draws are made
    from the sentences sorted by id and content, so the result depends on neither order given.

    Args:
        sentences: The pool, such as a train split.
        k: Mentions of each label.
        seed: Seed of the draw, not negative.
        labels: Labels to count, as a label set or names; mentions of others stay but do not count.
            Without it, all.
        mode: ``"greedy"`` or ``"k~2k"``.
        allow_short: Take what there is of labels with fewer than ``k`` mentions.

    Returns:
        The support set.

    Raises:
        SamplingError: A label has too few mentions, no set within ``2k`` was found, or an
            argument is out of range.
        LabelError: ``labels`` is one string, or holds something else than names.
    """
    k, seed = _whole(k, "k"), _whole(seed, "seed")
    _check_arguments(k, seed, mode)
    pool = sorted(to_sentences(sentences), key=_sort_key)
    wanted = _wanted(labels, pool)
    candidates = [_Candidate(s, _count(s, wanted)) for s in pool]
    needed = _needed(candidates, wanted, k, allow_short)
    drawable, rng = [c for c in candidates if c.counts], random.Random(seed)
    if mode == "greedy":
        drawn = _draw_greedy(drawable, needed, rng)
    else:
        drawn = _draw_k_2k(drawable, needed, k, rng)
    chosen = tuple(candidate.sentence for candidate in drawn)
    total = _total(drawn)
    return SupportSet(
        sentences=chosen,
        counts={label: total[label] for label in wanted},
        k=k,
        seed=seed,
        mode=mode,
        digest=_digest(chosen, k, mode, seed),
    )


def _whole(value: object, name: str) -> int:
    number = whole_number(value)
    if number is None:
        raise SamplingError(f"'{name}' is {value!r}. Expected a whole number, such as 5.")
    return number


def _wanted(labels: Iterable[str | Label] | None, pool: Iterable[Sentence]) -> list[str]:
    if labels is None:
        return sorted({m.label for s in pool for m in s.mentions})
    wanted = sorted(set(label_names(labels)))
    if not wanted:
        raise SamplingError(
            "Cannot sample a support set: 'labels' is empty. Expected labels to count. "
            "Name some, or leave the argument out to count all."
        )
    return wanted


def _check_arguments(k: int, seed: int, mode: str) -> None:
    if k < 1 or seed < 0:
        raise SamplingError(
            f"Cannot sample with k={k} and seed={seed}. Expected k >= 1 and seed >= 0."
        )
    if mode not in ("greedy", "k~2k"):
        raise SamplingError(
            f"There is no sampling mode '{mode}'. Expected 'greedy' (the paper) or 'k~2k'."
        )


def _content(sentence: Sentence) -> list[object]:
    mentions = [[m.start, m.end, m.label] for m in sentence.mentions]
    return [sentence.id, list(sentence.words), mentions]


def _sort_key(sentence: Sentence) -> tuple[list[object], str]:
    return _content(sentence), sentence.text or ""


def _count(sentence: Sentence, labels: Iterable[str]) -> Counter[str]:
    counts = Counter(mention.label for mention in sentence.mentions)
    return Counter({label: counts[label] for label in labels if label in counts})


def _total(candidates: Iterable[_Candidate]) -> Counter[str]:
    total = Counter[str]()
    for candidate in candidates:
        total.update(candidate.counts)
    return total


def _needed(
    candidates: Sequence[_Candidate], labels: Sequence[str], k: int, allow_short: bool
) -> dict[str, int]:
    """Mentions to reach for each label, or an error if there are too few."""
    if not labels:
        raise SamplingError(
            f"Cannot sample a support set: the {len(candidates):,} sentences have no mentions. "
            "Expected annotated sentences. Check the data or its label names."
        )
    available = _total(candidates)
    short = [label for label in labels if available[label] < k]
    if short and not allow_short:
        fewest = min(available[label] for label in short)
        others = f" (also short: {some_of(short[1:])})" if len(short) > 1 else ""
        smaller_k = f"Use k={fewest}, drop" if fewest else "Drop"
        raise SamplingError(
            f"Cannot sample a {k}-shot support set: label '{short[0]}' has "
            f"{available[short[0]]} mentions in {len(candidates):,} sentences, needs {k}{others}.",
            f"{smaller_k} the label, or allow fewer (allow_short=True, --allow-short).",
        )
    return {label: min(k, available[label]) for label in labels}


def _draw_greedy(
    pool: Sequence[_Candidate], needed: Mapping[str, int], rng: random.Random
) -> list[_Candidate]:
    """Algorithm 1 (section 3): draw until every label has enough, then prune once."""
    drawn: dict[int, _Candidate] = {}
    total = Counter[str]()
    for label, enough in needed.items():
        open_draws = [i for i, c in enumerate(pool) if label in c.counts and i not in drawn]
        rng.shuffle(open_draws)
        while total[label] < enough:
            index = open_draws.pop()
            drawn[index] = pool[index]
            total.update(pool[index].counts)
    return _prune(list(drawn.values()), total, needed)


def _prune(
    drawn: Sequence[_Candidate], total: Counter[str], needed: Mapping[str, int]
) -> list[_Candidate]:
    kept = []
    for candidate in drawn:
        if any(total[label] - n < needed[label] for label, n in candidate.counts.items()):
            kept.append(candidate)
        else:
            total.subtract(candidate.counts)
    return kept


def _draw_k_2k(
    pool: Sequence[_Candidate], needed: Mapping[str, int], k: int, rng: random.Random
) -> list[_Candidate]:
    """Few-NERD's rule. One pass is all: counts only grow, so what was refused stays refused."""
    order = list(pool)
    shortfalls = Counter[str]()
    for _ in range(_K_2K_ATTEMPTS):
        rng.shuffle(order)
        drawn, total = _pass_k_2k(order, needed, k)
        short = [label for label, enough in needed.items() if total[label] < enough]
        if not short:
            return drawn
        shortfalls.update(short)
    label = min(shortfalls, key=lambda name: (-shortfalls[name], name))
    raise SamplingError(
        f"Cannot sample a {k}~{2 * k}-shot support set: in {_K_2K_ATTEMPTS} random orders, every "
        f"further sentence with label '{label}' would lift some label above {2 * k} mentions "
        f"before '{label}' has {needed[label]}. Use another seed, a larger k, or "
        "mode='greedy'."
    )


def _pass_k_2k(
    order: Iterable[_Candidate], needed: Mapping[str, int], k: int
) -> tuple[list[_Candidate], Counter[str]]:
    drawn, total = [], Counter[str]()
    for candidate in order:
        helps = any(total[label] < needed[label] for label in candidate.counts)
        if helps and all(total[label] + n <= 2 * k for label, n in candidate.counts.items()):
            drawn.append(candidate)
            total.update(candidate.counts)
    return drawn, total


def _digest(sentences: Iterable[Sentence], k: int, mode: str, seed: int) -> str:
    content = [SAMPLER_VERSION, k, mode, seed, [_content(s) for s in sentences]]
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()
