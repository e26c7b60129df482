"""A project file: how it is opened, migrated, checked and copied. Knows SQL, not annotation.

Write-ahead log with ``synchronous=FULL``: what a commit has returned for survives a kill and a
power cut.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from labelwise.errors import DataError
from labelwise.files import sync_folder

APPLICATION_ID = 0x4C574953
BUSY_S = 5.0

_FIRST = """
CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE labels (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE CHECK (length(name) > 0),
  words TEXT,
  description TEXT,
  threshold REAL CHECK (threshold BETWEEN 0 AND 1),
  position INTEGER NOT NULL
) STRICT;

CREATE TABLE texts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  text TEXT NOT NULL,
  sha256 TEXT NOT NULL UNIQUE,
  source TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'new'
    CHECK (state IN ('new', 'draft', 'accepted', 'skipped')),
  version INTEGER NOT NULL DEFAULT 0 CHECK (version >= 0),
  accepted_order INTEGER,
  suggested TEXT
) STRICT;
CREATE INDEX texts_by_state ON texts (state);

CREATE TABLE marks (
  text_id INTEGER NOT NULL REFERENCES texts (id) ON DELETE CASCADE,
  start INTEGER NOT NULL CHECK (start >= 0),
  end INTEGER NOT NULL CHECK (end > start),
  label_id INTEGER NOT NULL REFERENCES labels (id) ON DELETE CASCADE,
  surface TEXT NOT NULL,
  PRIMARY KEY (text_id, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX marks_by_label ON marks (label_id);

CREATE TABLE changes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  text_id INTEGER NOT NULL REFERENCES texts (id) ON DELETE CASCADE,
  before TEXT NOT NULL,
  after TEXT NOT NULL,
  undone INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1))
) STRICT;
"""

_SCORES = """
CREATE TABLE scores (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  n_accepted INTEGER NOT NULL CHECK (n_accepted > 0),
  f1 REAL NOT NULL,
  precision REAL NOT NULL,
  recall REAL NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('each', 'folds'))
) STRICT;
"""

_LABEL_VERSIONS = """
ALTER TABLE labels ADD COLUMN version INTEGER NOT NULL DEFAULT 0 CHECK (version >= 0);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _SCORES, _LABEL_VERSIONS)
"""Applied in order; ``user_version`` counts those that a file has seen. Only ever append."""


def connect(path: Path, *, create: bool = True, read_only: bool = False) -> sqlite3.Connection:
    """Open a project file and bring it to the present schema.

    Args:
        path: The file.
        create: Make it where it is missing.
        read_only: Leave it as it is, whatever its schema.

    Raises:
        DataError: It is missing, no project of labelwise, damaged, or of a later version.
    """
    is_new = not path.exists() or path.stat().st_size == 0
    if is_new and (read_only or not create):
        raise DataError(f"There is no project '{path}'. Expected a file. Check the path.")
    try:
        connection = _opened(path, _mode_to_read(path) if read_only else "rw")
        try:
            if not is_new:
                _check_origin(connection, path)
            if read_only:
                connection.execute("PRAGMA query_only=ON")
            else:
                _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as err:
        raise DataError(
            f"Cannot open project '{path}': {err}. Expected a project of labelwise in a folder "
            "that can be written to. Check the path, or restore a backup."
        ) from err
    if is_new:
        sync_folder(path.resolve().parent)
    return connection


def _mode_to_read(path: Path) -> str:
    """Choose how to open a project that is only read, so that its folder stays as it is.

    Even reading makes a write-ahead log, which is removed only by who may write. One that is there
    belongs to a studio, or holds what one had no time to move before it was killed: it stays.
    """
    log = Path(f"{path.resolve()}-wal")
    return "ro" if log.exists() else "rw"


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    if not path.exists():
        _create_private(path)
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    for pragma in ("trusted_schema=OFF", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    # SQLite's own lower() knows ASCII only
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    return connection


def _create_private(path: Path) -> None:
    """Make an empty file that its owner alone can read, as annotations are private."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _check_origin(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if found != APPLICATION_ID:
        raise DataError(
            f"'{path}' is a database of another program. Expected a project of labelwise. "
            "Name another file."
        )
    if version > len(MIGRATIONS):
        raise DataError(
            f"Project '{path}' has format {version}, this version of labelwise reads "
            f"1-{len(MIGRATIONS)}. Upgrade labelwise."
        )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    _log_ahead(connection, path)
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for script in MIGRATIONS[version:]:
            for statement in script.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={max(version, len(MIGRATIONS))}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _log_ahead(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if found != "wal":
        raise DataError(
            f"Project '{path}' is on a file system without a write-ahead log: its journal is "
            f"'{found}'. Expected 'wal'. Copy the project to a local disk, and open it there."
        )


def problems_of(path: Path) -> list[str]:
    """Check a project file: its pages, its references, its marks against their texts.

    Args:
        path: The file; it is not changed.

    Returns:
        What is wrong; empty for a sound file.

    Raises:
        DataError: It is missing or no project.
    """
    with closing(connect(path, read_only=True)) as connection:
        try:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            found = [] if found == ["ok"] else found
            for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
                found.append(f"Row {row} of '{table}' refers to a missing row of '{parent}'.")
            rows = connection.execute(
                "SELECT text_id, start, end, surface, text "
                "FROM marks JOIN texts ON texts.id = text_id"
            )
            for text_id, start, end, surface, text in rows:
                if text[start:end] != surface:
                    found.append(f"Mark {start}-{end} of text {text_id} does not read {surface!r}.")
        except sqlite3.DatabaseError as err:
            return [str(err)]
    return found


def back_up(path: Path, target: Path) -> None:
    """Copy a project, which may be in use, to a new file.

    Args:
        path: The project; it is not changed.
        target: A file that must not exist.

    Raises:
        DataError: The project cannot be read, or the target is there or cannot be written.
    """
    if target.exists():
        raise DataError(f"'{target}' exists. Expected a new file. Choose another name.")
    with closing(connect(path, read_only=True)) as connection:
        try:
            _create_private(target)
            connection.execute("PRAGMA query_only=OFF")  # a copy counts as a change
            connection.execute("VACUUM INTO ?", (str(target.resolve()),))
        except (sqlite3.Error, OSError) as err:
            target.unlink(missing_ok=True)
            raise DataError(
                f"Cannot write backup '{target}': {err}. Expected a sound project, and a folder "
                "that can be written to. Check the project, or choose another place."
            ) from err
    sync_folder(target.resolve().parent)
