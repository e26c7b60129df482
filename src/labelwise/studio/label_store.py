"""The labels of a project: kept in its file, read as a ``LabelSet``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from labelwise.errors import LabelError, RequestError
from labelwise.label import Label
from labelwise.labels import LabelSet
from labelwise.naming import words_from_name
from labelwise.studio.nouns import MAX_LABELS, ConflictError, ProjectLabel
from labelwise.studio.store import Store

_COLUMNS = "id, name, words, description, threshold, version"


@dataclass(frozen=True)
class ProjectLabels:
    """The labels of a project, in order.

    Attributes:
        labels: All of them.
    """

    labels: tuple[ProjectLabel, ...]

    @property
    def label_set(self) -> LabelSet | None:
        """What a tagger looks for; None where there is no label yet."""
        if not self.labels:
            return None
        return LabelSet.parse(
            {
                x.name: {
                    "words": x.words,
                    "description": x.description,
                    "threshold": x.threshold,
                }
                for x in self.labels
            }
        )

    @property
    def ids(self) -> dict[str, int]:
        """Ids by name."""
        return {x.name: x.id for x in self.labels}

    @property
    def names(self) -> dict[int, str]:
        """Names by id."""
        return {x.id: x.name for x in self.labels}


def read_labels(store: Store) -> ProjectLabels:
    """Return the labels of a project."""
    rows = store.query(f"SELECT {_COLUMNS} FROM labels ORDER BY position, id")
    return ProjectLabels(tuple(ProjectLabel(*row) for row in rows))


def add_labels(
    store: Store, label_set: LabelSet | None, names: Iterable[str] = ()
) -> ProjectLabels:
    """Add the labels that a project does not have.

    Args:
        store: The project.
        label_set: Labels with words and descriptions.
        names: More labels, by name alone.

    Returns:
        All labels.

    Raises:
        LabelError: A name cannot be one, or there would be too many.
    """
    with store.transaction() as db:
        known = {row[0] for row in db.execute("SELECT name FROM labels")}
        new = [x for x in label_set or () if x.name not in known]
        given = {x.name for x in new} | known
        more = [name for name in dict.fromkeys(names) if name not in given]
        if more:
            new += LabelSet.parse(more)
        if len(known) + len(new) > MAX_LABELS:
            raise LabelError(
                f"The project would have {len(known) + len(new)} labels. Expected at most "
                f"{MAX_LABELS}. Leave some out."
            )
        (position,) = db.execute("SELECT ifnull(max(position), 0) FROM labels").fetchone()
        for i, label in enumerate(new, start=position + 1):
            db.execute(
                "INSERT INTO labels (name, words, description, threshold, position) "
                "VALUES (?, ?, ?, ?, ?)",
                (*_values(label), i),
            )
    return read_labels(store)


def change_label(store: Store, changed: ProjectLabel) -> ProjectLabels:
    """Rename, describe, or set the threshold of a label.

    Args:
        store: The project.
        changed: The label as it should be, with the version that the writer has seen.

    Returns:
        All labels.

    Raises:
        ConflictError: Somebody else has changed the label.
        LabelError: It cannot be so, or another label has that name.
        RequestError: There is no label of that id.
    """
    fields = {
        "words": changed.words or None,
        "description": changed.description,
        "threshold": changed.threshold,
    }
    (label,) = LabelSet.parse({changed.name: fields})
    with store.transaction() as db:
        current = _current(db, changed.id)
        if current.version != changed.version:
            raise ConflictError(current)
        try:
            db.execute(
                "UPDATE labels SET name = ?, words = ?, description = ?, threshold = ?, "
                "version = version + 1 WHERE id = ?",
                (*_values(label), changed.id),
            )
        except sqlite3.IntegrityError as err:
            raise LabelError(
                f"There is a label '{label.name}' already. Expected a name of its own. "
                "Choose another."
            ) from err
    return read_labels(store)


def remove_label(store: Store, label_id: int) -> ProjectLabels:
    """Remove a label and all its marks.

    Raises:
        RequestError: There is no label of that id.
    """
    with store.transaction() as db:
        _current(db, label_id)
        db.execute(
            "UPDATE texts SET version = version + 1 "
            "WHERE id IN (SELECT text_id FROM marks WHERE label_id = ?)",
            (label_id,),
        )
        db.execute("DELETE FROM labels WHERE id = ?", (label_id,))
    return read_labels(store)


def _values(label: Label) -> tuple[str, str | None, str | None, float | None]:
    """Columns of a label; words that follow from the name are not kept, so that they follow it."""
    words = None if label.words == words_from_name(label.name) else label.words
    return label.name, words, label.description, label.threshold


def _current(db: sqlite3.Connection, label_id: int) -> ProjectLabel:
    row = db.execute(f"SELECT {_COLUMNS} FROM labels WHERE id = ?", (label_id,)).fetchone()
    if row is None:
        raise RequestError(
            f"There is no label {label_id}. Expected the id of a label of this project. "
            "Load the page again."
        )
    return ProjectLabel(*row)
