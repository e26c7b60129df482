"""What a project holds: texts, marks on them, labels and scores. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from labelwise.errors import LabelwiseError

State = Literal["new", "draft", "accepted", "skipped"]
STATES: tuple[State, ...] = ("new", "draft", "accepted", "skipped")
OPEN: tuple[State, ...] = ("new", "draft")
Format = Literal["jsonl", "conll", "label-studio", "spacy"]  # of an export
MAX_LABELS = 256
MAX_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A label on a stretch of a text.

    Attributes:
        start: First code point.
        end: After the last code point (exclusive).
        label: Id of the label.
    """

    start: int
    end: int
    label: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A mark that a model made.

    Attributes:
        start: First code point.
        end: After the last code point (exclusive).
        label: Id of the label.
        score: Probability.
    """

    start: int
    end: int
    label: int
    score: float


@dataclass(frozen=True, slots=True)
class ProjectLabel:
    """A label of a project; the id stays when the name changes.

    Attributes:
        id: Of the label, for ever.
        name: As in exports.
        words: What the label encoder reads; None derives them from the name.
        description: What is meant, if the words do not say it.
        threshold: Suggestions below are not shown, and not exported with the model.
        version: Counts the changes; a writer names the one it has seen.
    """

    id: int
    name: str
    words: str | None = None
    description: str | None = None
    threshold: float | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class ProjectText:
    """A text and what is known about it.

    Attributes:
        id: Of the text, in the order of import.
        text: Never changes.
        source: Where it came from.
        state: ``new`` has no marks of a person, ``draft`` some, ``accepted`` all of them.
        version: Counts the changes; a writer names the one it has seen.
        marks: Sorted, never overlapping.
    """

    id: int
    text: str
    source: str
    state: State
    version: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class NewText:
    """A text to import.

    Attributes:
        text: The text.
        source: File and line.
        spans: Start, end (exclusive) and label name of each annotation; None if there is none.
    """

    text: str
    source: str
    spans: tuple[tuple[int, int, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        n_added: Texts added.
        n_annotated: Those with annotations, which count as accepted.
        n_known: Texts left out because the project has them.
        first_id: Id of the first text added, or None.
    """

    n_added: int
    n_annotated: int
    n_known: int
    first_id: int | None


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """How well the model does on accepted texts that it has not learned from.

    Attributes:
        n_accepted: Accepted texts at that time.
        f1: Micro-F1 over exact marks.
        precision: Share of the suggestions that are right.
        recall: Share of the marks that are found.
        kind: ``"each"`` where every text was held back in turn, ``"folds"`` where fifths were.
    """

    n_accepted: int
    f1: float
    precision: float
    recall: float
    kind: str = field(default="each")


class ConflictError(LabelwiseError):
    """A text or a label has been changed since the writer saw it.

    Attributes:
        current: What it is now.
    """

    def __init__(self, current: ProjectText | ProjectLabel) -> None:
        """Say which one it is."""
        is_text = isinstance(current, ProjectText)
        what = f"Text {current.id}" if is_text else f"Label '{current.name}'"
        super().__init__(
            f"{what} has version {current.version} by now: somebody else changed it. "
            "Look at both and save again."
        )
        self.current = current
