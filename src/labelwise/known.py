"""What a tagger knows of its labels, as one value: whoever reads it sees no half of a change.

Resolves labels and takes examples back; encodes, fits and predicts nothing itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from labelwise.annotation import Sentence
from labelwise.arguments import Labels, resolve_labels
from labelwise.data import labels_of
from labelwise.engine import Engine
from labelwise.errors import RequestError
from labelwise.labels import LabelSet
from labelwise.session import Session
from labelwise.tag_table import TagTable


@dataclass(frozen=True)
class Known:
    """What a tagger knows of its labels.

    Attributes:
        engine: Encodes words and labels.
        label_set: The labels that are looked for when a call names none.
        is_inferred: Whether examples have given the label set.
        vectors: Tag vectors that examples have moved, of these labels or of others.
        session: The examples.
        brought: Names that came with examples, which ``without_last`` takes back with them.
        before: What was known before these examples, if they came on top of others.
    """

    engine: Engine
    label_set: LabelSet | None = None
    is_inferred: bool = False
    vectors: TagTable | None = None
    session: Session | None = None
    brought: frozenset[str] = frozenset()
    before: Known | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels that are looked for."""
        return self.label_set.names if self.label_set else ()

    @property
    def n_examples(self) -> int:
        """Examples that can be taken back."""
        return len(self.session.examples) if self.session else 0

    @property
    def is_fitted(self) -> bool:
        """Whether any label of the label set has been fitted."""
        vectors, label_set = self.vectors, self.label_set
        return bool(vectors and label_set and (vectors.positions(label_set) >= 0).any())

    @property
    def fitted(self) -> TagTable | None:
        """Fitted vectors of the label set, beside those of the words of its new labels."""
        return self.table() if self.is_fitted else None

    def infers(self, labels: Labels | None) -> bool:
        """Tell whether it is for the examples to give the label set, as nobody else has."""
        return labels is None and (self.label_set is None or self.is_inferred)

    def resolve(
        self, labels: Labels | None, examples: Sequence[Sentence] | None = None
    ) -> LabelSet:
        """Find the label set of a call, which may give examples."""
        is_given = not (examples and self.infers(labels) and labels_of(examples))
        label_set = resolve_labels(labels, self.label_set if is_given else None, examples)
        if remark := self.engine.read_in_part(label_set):
            warnings.warn(remark, stacklevel=3)
        return label_set

    def table(self, labels: Labels | None = None) -> TagTable:
        """Fitted vectors of the labels that were fitted, those of their words for all others."""
        label_set = self.resolve(labels)
        if self.vectors is None:
            return self.engine.tag_table(label_set)
        return self.vectors.for_labels(label_set, self.engine.tag_table)

    def after_more(
        self, session: Session, label_set: LabelSet, *, is_inferred: bool, has_examples: bool
    ) -> Self:
        """Return what is known when more examples, or labels, have been fitted.

        Args:
            session: Fitted to all examples.
            label_set: What is looked for from now on.
            is_inferred: Whether examples have given it.
            has_examples: Whether there were examples, which can be taken back.
        """
        old = {*self.names, *(self.session.label_set.names if self.session else ())}
        new = frozenset(session.label_set.names) - old
        brought, before = self.brought, self.before
        if new:
            brought, before = (new, self) if has_examples else (frozenset[str](), None)
        return type(self)(
            self.engine, label_set, is_inferred, session.fitted, session, brought, before
        )

    def without_last(self) -> tuple[Known, Sentence]:
        """Take back the last example; returns what is known without it, and the example.

        Labels that it brought go with it: those that the examples gave, once none is left that
        marks them; those that were named with examples, with the first of these.

        Raises:
            RequestError: There is no example.
        """
        session, before = self.session, self.before
        if session is None:
            raise RequestError("There is no example to take back. Add one with fit().")
        if before and before.n_examples == self.n_examples - 1:
            left = _without(self.label_set, self.brought)
            if left is not None and left != before.label_set:  # somebody has set it since
                before = replace(before, label_set=left, is_inferred=False)
            return before, session.examples[-1]
        removed, label_set, brought = session.take_back(), self.label_set, self.brought
        if self.is_inferred and (gone := brought - {*labels_of(session.examples)}):
            left = _without(label_set, gone)
            if left is None and not session.examples:
                return Known(self.engine), removed
            if left is not None:
                label_set, brought = left, brought - gone
                session = session.narrowed(left.names)
        session.fit()
        return replace(
            self, label_set=label_set, vectors=session.fitted, session=session, brought=brought
        ), removed


def joined(label_set: LabelSet, more: LabelSet) -> LabelSet:
    """Return labels as another set has them, where it does, and then those that are new there."""
    changed = {x.name: x for x in more}
    same = (changed.pop(x.name, x) for x in label_set)
    return LabelSet((*same, *changed.values()))


def _without(label_set: LabelSet | None, names: Iterable[str]) -> LabelSet | None:
    gone = {*names}
    left = [x for x in label_set or () if x.name not in gone]
    return LabelSet(tuple(left)) if left else None
