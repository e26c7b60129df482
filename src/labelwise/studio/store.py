"""All reads and writes of a project: plain SQL behind one lock a connection.

A method that has returned has reached the disk. Offsets count code points; every mark is kept
with the text it covers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from labelwise.errors import RequestError, some_of
from labelwise.studio.database import connect
from labelwise.studio.nouns import (
    STATES,
    ConflictError,
    Imported,
    Mark,
    NewText,
    ProjectText,
    State,
    Suggestion,
)

_CHUNK = 500  # parameters of one statement


class Store:
    """One project file.

    Args:
        path: The file; made where it is missing.
        create: Whether it may be made.

    Raises:
        DataError: The file is no project, or damaged.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        """Open the file."""
        self.path = Path(path)
        self._writer, self._reader = connect(self.path, create=create), connect(self.path)
        self._write_lock, self._read_lock = threading.RLock(), threading.Lock()
        self._owner: int | None = None  # thread that is in a transaction

    def close(self) -> None:
        """Give the file back."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing; nested ones are part of the outermost."""
        with self._write_lock:
            if self._owner is not None:
                yield self._writer
                return
            self._writer.execute("BEGIN IMMEDIATE")
            self._owner = threading.get_ident()
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # SQLite itself gives up where the disk is full
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._owner = None

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Read rows: what is committed and, inside a transaction, what that has written."""
        if self._owner == threading.get_ident():
            return self._writer.execute(sql, values).fetchall()
        with self._read_lock:
            return self._reader.execute(sql, values).fetchall()

    # Settings

    def setting(self, name: str) -> Any:
        """Return a setting, or None."""
        rows = self.query("SELECT value FROM settings WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a JSON-able setting."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO settings VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value",
                (name, json.dumps(value)),
            )

    # Texts

    def add_texts(self, texts: Iterable[NewText], label_ids: dict[str, int]) -> Imported:
        """Add texts that the project does not have.

        Args:
            texts: Checked texts; annotated ones count as accepted.
            label_ids: Of all labels in the annotations.

        Returns:
            What was done.
        """
        n_added = n_annotated = n_known = 0
        first_id = None
        with self.transaction() as db:
            order = self._next_order(db)
            for new in texts:
                state, accepted = ("new", None) if new.spans is None else ("accepted", order)
                row = db.execute(
                    "INSERT INTO texts (text, sha256, source, state, accepted_order) "
                    "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
                    (new.text, _sha256(new.text), new.source, state, accepted),
                ).fetchone()
                if row is None:
                    n_known += 1
                    continue
                n_added, first_id = n_added + 1, first_id or row[0]
                if new.spans is not None:
                    n_annotated, order = n_annotated + 1, order + 1
                    marks = [Mark(start, end, label_ids[name]) for start, end, name in new.spans]
                    _write_marks(db, row[0], new.text, marks)
        return Imported(n_added, n_annotated, n_known, first_id)

    def texts(self, ids: Sequence[int]) -> list[ProjectText]:
        """Return texts with their marks, in the order of the ids; unknown ids are left out."""
        found: dict[int, tuple[Any, ...]] = {}
        marks: dict[int, list[Mark]] = {}
        for low in range(0, len(ids), _CHUNK):
            part = list(ids[low : low + _CHUNK])
            holes = ",".join("?" * len(part))
            rows = self.query(
                f"SELECT id, text, source, state, version FROM texts WHERE id IN ({holes})", part
            )
            found.update((row[0], row) for row in rows)
            for text_id, *mark in self.query(
                f"SELECT text_id, start, end, label_id FROM marks WHERE text_id IN ({holes}) "
                "ORDER BY start",
                part,
            ):
                marks.setdefault(text_id, []).append(Mark(*mark))
        return [_text_of(found[i], marks.get(i, ())) for i in ids if i in found]

    def text(self, text_id: int) -> ProjectText:
        """Return one text.

        Raises:
            RequestError: There is none of that id.
        """
        found = self.texts([text_id])
        if not found:
            raise _no_text(text_id)
        return found[0]

    def ids(self, states: Iterable[State] = STATES, containing: str = "") -> list[int]:
        """Return the ids of texts in some states, in the order of import.

        Args:
            states: The states.
            containing: Only texts that hold this, in whatever case.
        """
        wanted = list(states)
        holes = ",".join("?" * len(wanted))
        rows = self.query(
            f"SELECT id FROM texts WHERE state IN ({holes}) "
            "AND (? = '' OR instr(casefold(text), ?) > 0) ORDER BY id",
            [*wanted, containing, containing.casefold()],
        )
        return [row[0] for row in rows]

    def accepted_versions(self) -> list[tuple[int, int]]:
        """Return id and version of accepted texts, the earliest first."""
        rows = self.query(
            "SELECT id, version FROM texts WHERE state = 'accepted' ORDER BY accepted_order"
        )
        return [(row[0], row[1]) for row in rows]

    def accepted_ids(self) -> list[int]:
        """Return the ids of accepted texts, the earliest first."""
        return [text_id for text_id, _ in self.accepted_versions()]

    def mark_counts(self) -> dict[int, int]:
        """Count the marks in accepted texts, by the id of the label."""
        return dict(
            self.query(
                "SELECT label_id, count(*) FROM marks JOIN texts ON texts.id = text_id "
                "WHERE state = 'accepted' GROUP BY label_id"
            )
        )

    def counts(self) -> dict[State, int]:
        """Count the texts in every state."""
        found = dict(self.query("SELECT state, count(*) FROM texts GROUP BY state"))
        return {state: found.get(state, 0) for state in STATES}

    def save(
        self,
        text_id: int,
        version: int,
        state: State,
        marks: Sequence[Mark],
        suggested: Sequence[Suggestion] | None = None,
    ) -> ProjectText:
        """Replace the marks and the state of a text.

        Args:
            text_id: Of the text.
            version: The version that the writer has seen.
            state: The new state.
            marks: Checked marks, all of them.
            suggested: What the model said, to compare an accepted text with.

        Returns:
            The text as it is now.

        Raises:
            ConflictError: Somebody else has changed the text.
            RequestError: There is no such text, or a mark has an unknown label.
        """
        with self.transaction() as db:
            current = _current(db, text_id)
            if current.version != version:
                raise ConflictError(current)
            self._check_labels(db, marks)
            db.execute(
                "INSERT INTO changes (text_id, before, after) VALUES (?, ?, ?)",
                (text_id, _dump(current.state, current.marks), _dump(state, marks)),
            )
            _put(db, current, state, marks, self._next_order(db))
            if suggested is not None:
                rows = [[s.start, s.end, s.label, s.score] for s in suggested]
                db.execute(
                    "UPDATE texts SET suggested = ifnull(suggested, ?) WHERE id = ?",
                    (json.dumps(rows), text_id),
                )
            return _current(db, text_id)

    def undo(self) -> ProjectText:
        """Take the last change back.

        Returns:
            The text that it changed, as it is now.

        Raises:
            RequestError: There is none.
        """
        with self.transaction() as db:
            row = db.execute(
                "SELECT id, text_id, before FROM changes WHERE undone = 0 ORDER BY id DESC LIMIT 1"
            ).fetchone()
            if row is None:
                raise RequestError("There is nothing to undo. Expected a change before.")
            change_id, text_id, before = row
            content = json.loads(before)
            known = {r[0] for r in db.execute("SELECT id FROM labels")}
            marks = [Mark(*m) for m in content["marks"] if m[2] in known]
            _put(db, _current(db, text_id), content["state"], marks, self._next_order(db))
            db.execute("UPDATE changes SET undone = 1 WHERE id = ?", (change_id,))
            return _current(db, text_id)

    def suggested(self) -> dict[int, list[Suggestion]]:
        """Return what the model said about each accepted text before it learned from it."""
        rows = self.query(
            "SELECT id, suggested FROM texts WHERE state = 'accepted' AND suggested IS NOT NULL"
        )
        return {text_id: [Suggestion(*s) for s in json.loads(value)] for text_id, value in rows}

    def _next_order(self, db: sqlite3.Connection) -> int:
        return db.execute("SELECT ifnull(max(accepted_order), 0) + 1 FROM texts").fetchone()[0]

    def _check_labels(self, db: sqlite3.Connection, marks: Sequence[Mark]) -> None:
        known = {row[0] for row in db.execute("SELECT id FROM labels")}
        unknown = sorted({m.label for m in marks} - known)
        if unknown:
            raise RequestError(
                f"There is no label with id {some_of(unknown)}. Expected labels of this project. "
                "Load the page again."
            )


def _current(db: sqlite3.Connection, text_id: int) -> ProjectText:
    row = db.execute(
        "SELECT id, text, source, state, version FROM texts WHERE id = ?", (text_id,)
    ).fetchone()
    if row is None:
        raise _no_text(text_id)
    marks = db.execute(
        "SELECT start, end, label_id FROM marks WHERE text_id = ? ORDER BY start", (text_id,)
    )
    return _text_of(row, [Mark(*m) for m in marks])


def _no_text(text_id: int) -> RequestError:
    return RequestError(
        f"There is no text {text_id}. Expected the id of a text of this project. "
        "Load the page again."
    )


def _text_of(row: tuple[Any, ...], marks: Iterable[Mark]) -> ProjectText:
    text_id, text, source, state, version = row
    return ProjectText(text_id, text, source, state, version, tuple(marks))


def _put(
    db: sqlite3.Connection, current: ProjectText, state: State, marks: Sequence[Mark], order: int
) -> None:
    accepted = "ifnull(accepted_order, ?)" if state == "accepted" else "NULL"
    values = [order] if state == "accepted" else []
    db.execute(
        f"UPDATE texts SET state = ?, version = version + 1, accepted_order = {accepted} "
        "WHERE id = ?",
        [state, *values, current.id],
    )
    _write_marks(db, current.id, current.text, marks)


def _write_marks(db: sqlite3.Connection, text_id: int, text: str, marks: Iterable[Mark]) -> None:
    db.execute("DELETE FROM marks WHERE text_id = ?", (text_id,))
    db.executemany(
        "INSERT INTO marks (text_id, start, end, label_id, surface) VALUES (?, ?, ?, ?, ?)",
        [(text_id, m.start, m.end, m.label, text[m.start : m.end]) for m in marks],
    )


def _dump(state: State, marks: Iterable[Mark]) -> str:
    return json.dumps({"state": state, "marks": [[m.start, m.end, m.label] for m in marks]})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
