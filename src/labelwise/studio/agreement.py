"""How far a person agreed with the model, counted when each text was accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from labelwise.studio.label_store import ProjectLabels
from labelwise.studio.nouns import Mark
from labelwise.studio.store import Store


@dataclass(frozen=True, slots=True)
class Agreement:
    """Suggestions of one label against what the person made of them.

    Attributes:
        n_kept: Suggestions that the person left as they were.
        n_suggested: Suggestions at or above the label's present threshold.
        n_marked: Marks in the accepted texts that had been suggested on.
    """

    n_kept: int
    n_suggested: int
    n_marked: int


def agreement(store: Store, labels: ProjectLabels) -> Mapping[int, Agreement]:
    """Compare accepted texts with what the model said before it learned from them.

    Args:
        store: The project.
        labels: Its labels.

    Returns:
        Counts by the id of the label.
    """
    floors = {x.id: x.threshold or 0.0 for x in labels.labels}
    suggested = store.suggested()
    kept, shown, marked = Counter[int](), Counter[int](), Counter[int]()
    for text in store.texts(list(suggested)):
        marks = set(text.marks)
        marked.update(m.label for m in marks)
        for s in suggested[text.id]:
            if s.label in floors and s.score >= floors[s.label]:
                shown[s.label] += 1
                kept[s.label] += Mark(s.start, s.end, s.label) in marks
    return {i: Agreement(kept[i], shown[i], marked[i]) for i in floors}
