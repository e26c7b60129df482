"""Labels that are left out of annotated data, and those that seem to be meant all the same."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.errors import LabelError
from labelwise.labels import LabelSet
from labelwise.naming import words_from_name
from labelwise.remarks import likely_slips
from labelwise.rows import to_sentences
from labelwise.subset import count_left_out, keep_labels

NAMES = ["person", "persn", "Person", "PER", "city", "cities", "company", "compnay", "a-b", "a-c"]


def meant(name: str, label_set: LabelSet, counts: Counter[str]) -> list[str]:
    """Labels to keep that one to leave out seems to be, looked at by itself."""
    words = words_from_name(name).casefold()
    alike = [x.name for x in label_set if words in (x.words.casefold(), x.name.casefold())]
    every = Counter({n: counts[n] for n in (name, *label_set.names)})
    near = [n for n in label_set.names if n in likely_slips(name, every)]
    return [*alike, *near, *(n for n in label_set.names if name in likely_slips(n, every))]


@given(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([1, 2, 3, 150]), min_size=1),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
)
def test_the_first_label_that_seems_to_be_meant_is_named(
    counts: dict[str, int], kept: list[str]
) -> None:
    sentences = to_sentences([f"[x]({name})" for name, n in counts.items() for _ in range(n)])
    label_set = LabelSet.parse(kept)
    others = {name: n for name, n in counts.items() if name not in label_set}
    found = ((name, meant(name, label_set, Counter(counts))) for name in sorted(others))
    name, likely = next(((name, likely) for name, likely in found if likely), ("", []))
    if likely:
        with pytest.raises(LabelError, match=f"Label '{name}' .* but looks like '{likely[0]}'"):
            count_left_out(sentences, label_set)
    elif others.keys() == counts.keys():
        with pytest.raises(LabelError, match="No mention bears a label that is asked for"):
            count_left_out(sentences, label_set)
    else:
        assert count_left_out(sentences, label_set) == others


def test_many_labels_take_no_time() -> None:
    rng = random.Random(0)
    names = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(400)]
    sentences = to_sentences([f"[x]({name})" for name in names])
    started = time.process_time()
    assert count_left_out(sentences, LabelSet.parse(names[:200])).total() == 200
    assert time.process_time() - started < 5  # with the cube of it, this would take minutes


def test_a_slip_among_the_labels_to_keep_is_refused() -> None:
    examples = ["[Ada](person) left [Oslo](city).", "[Bob](person) came."]
    with pytest.raises(LabelError, match=r"'persn', but 2 bear 'person' \(examples\[0\]"):
        keep_labels(examples, ["persn", "city"])


def test_labels_to_keep_may_be_missing() -> None:
    examples = ["[Ada](person) left [Oslo](city).", "[Bob](persn) came."]
    found = keep_labels(examples, ["person", "country"])
    assert [[m.label for m in s.mentions] for s in found] == [["person"], []]
