"""A project file: durable, versioned, migrated, and refused when it is another's."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelwise.errors import DataError, LabelError, RequestError
from labelwise.labels import LabelSet
from labelwise.studio.database import APPLICATION_ID, MIGRATIONS, back_up, connect, problems_of
from labelwise.studio.label_store import add_labels, change_label, read_labels, remove_label
from labelwise.studio.nouns import (
    ConflictError,
    Mark,
    NewText,
    ProjectLabel,
    ScorePoint,
    Suggestion,
)
from labelwise.studio.score_store import add_score, read_scores
from labelwise.studio.store import Store

TEXT = "Ada lives in Oslo"
ADA, OSLO = (0, 3), (13, 17)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "project.db")
    labels = add_labels(opened, LabelSet.parse(["person", "city"]))
    opened.add_texts([NewText(TEXT, "a:1"), NewText("Bob too 😀 東京", "a:2")], labels.ids)
    yield opened  # type: ignore[misc]
    opened.close()


def test_what_is_saved_is_there_for_the_next_to_open(store: Store) -> None:
    store.save(1, 0, "accepted", [Mark(*ADA, 1), Mark(*OSLO, 2)])
    with closing(Store(store.path)) as other:
        text = other.text(1)
    assert (text.state, text.version) == ("accepted", 1)
    assert text.marks == (Mark(*ADA, 1), Mark(*OSLO, 2))


def test_commits_wait_for_the_disk(store: Store) -> None:
    with closing(connect(store.path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert db.execute("PRAGMA trusted_schema").fetchone() == (0,)


def test_a_project_is_for_its_owner_alone(store: Store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_tables_are_strict(store: Store) -> None:
    with (
        pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT"),
        store.transaction() as db,
    ):
        db.execute("UPDATE texts SET version = 'many'")


def test_a_commit_that_fails_takes_nothing_along(store: Store) -> None:
    def write() -> None:
        with store.transaction() as db:
            db.execute("PRAGMA defer_foreign_keys=ON")  # until the commit
            db.execute("INSERT INTO marks VALUES (1, 0, 3, 99, 'Ada')")

    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        write()
    store.save(1, 0, "draft", [Mark(*ADA, 1)])
    with closing(Store(store.path)) as other:
        assert other.text(1).marks == (Mark(*ADA, 1),)


def test_a_transaction_that_sqlite_gave_up_says_why(store: Store) -> None:
    def write() -> None:
        with store.transaction() as db:
            db.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
            raise OSError("The disk is full.")

    with pytest.raises(OSError, match="disk is full"):
        write()
    store.save(1, 0, "draft", [])
    assert store.text(1).version == 1


def test_a_disk_without_a_write_ahead_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def without_shared_memory(address: str, **options: Any) -> sqlite3.Connection:
        return connect(f"{address}&vfs=unix-none", **options)

    monkeypatch.setattr(sqlite3, "connect", without_shared_memory)
    with pytest.raises(DataError, match=r"journal is 'delete'. Expected 'wal'. Copy .* local disk"):
        Store(tmp_path / "far.db")


def test_a_writer_that_saw_an_older_version_is_told_the_present_one(store: Store) -> None:
    store.save(1, 0, "draft", [Mark(*ADA, 1)])
    with pytest.raises(ConflictError, match="has version 1") as caught:
        store.save(1, 0, "draft", [Mark(*OSLO, 2)])
    assert caught.value.current.marks == (Mark(*ADA, 1),)
    assert store.text(1).marks == (Mark(*ADA, 1),)


def test_of_many_writers_of_one_version_one_wins(store: Store) -> None:
    outcomes: list[bool] = []

    def write() -> None:
        try:
            store.save(1, 0, "draft", [])
            outcomes.append(True)
        except ConflictError:
            outcomes.append(False)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_a_mark_of_an_unknown_label_is_refused_and_changes_nothing(store: Store) -> None:
    with pytest.raises(RequestError, match="no label with id '99'"):
        store.save(1, 0, "accepted", [Mark(*ADA, 99)])
    assert store.text(1).version == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2]),
            st.sampled_from(["new", "draft", "accepted", "skipped"]),
            st.sets(st.sampled_from([(0, 3), (4, 7)])),
        ),
        max_size=8,
    )
)
def test_undoing_everything_gives_back_the_beginning(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, str, set[tuple[int, int]]]]
) -> None:
    with closing(Store(tmp_path_factory.mktemp("undo") / "p.db")) as store:
        labels = add_labels(store, LabelSet.parse(["person"]))
        store.add_texts([NewText("aaa bbb", "1"), NewText("ccc ddd", "2")], labels.ids)
        states = [[(t.state, t.marks) for t in store.texts([1, 2])]]
        for text_id, state, spans in edits:
            marks = [Mark(start, end, 1) for start, end in sorted(spans)]
            store.save(text_id, store.text(text_id).version, state, marks)  # type: ignore[arg-type]
            states.append([(t.state, t.marks) for t in store.texts([1, 2])])
        for before in reversed(states[:-1]):
            store.undo()
            assert [(t.state, t.marks) for t in store.texts([1, 2])] == before
        with pytest.raises(RequestError, match="nothing to undo"):
            store.undo()


def test_texts_are_added_once(store: Store) -> None:
    again = store.add_texts([NewText(TEXT, "b:1"), NewText("New", "b:2")], {})
    assert (again.n_added, again.n_known) == (1, 1)


@pytest.mark.parametrize(
    ("text", "containing"),
    [
        ("ZÜRICH am See", "zürich"),
        ("Zürich am See", "ZÜRICH"),
        ("Москва", "МОСК"),
        ("STRASSE", "ß"),
    ],
)
def test_texts_are_found_in_whatever_case(store: Store, text: str, containing: str) -> None:
    added = store.add_texts([NewText(text, "b:1")], {})
    assert store.ids(containing=containing) == [added.first_id]
    assert store.ids(("accepted",), containing) == []


def test_what_the_model_said_first_is_what_counts(store: Store) -> None:
    store.save(1, 0, "accepted", [], [Suggestion(*ADA, 1, 0.9)])
    store.save(1, 1, "draft", [])
    store.save(1, 2, "accepted", [], [Suggestion(*OSLO, 2, 0.9)])
    assert store.suggested() == {1: [Suggestion(*ADA, 1, 0.9)]}


def test_a_score_takes_the_place_of_those_for_as_many_texts(store: Store) -> None:
    for n, f1 in [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.4)]:
        add_score(store, ScorePoint(n, f1, f1, f1))
    assert [(s.n_accepted, s.f1) for s in read_scores(store)] == [(1, 0.1), (2, 0.4)]


def test_a_label_keeps_its_marks_under_another_name(store: Store) -> None:
    store.save(1, 0, "accepted", [Mark(*ADA, 1)])
    labels = change_label(store, ProjectLabel(1, "author", description="Who wrote it."))
    assert labels.names[1] == "author"
    assert store.text(1).marks == (Mark(*ADA, 1),)
    assert labels.label_set is not None
    assert labels.label_set["author"].words == "author"


def test_a_writer_that_saw_an_older_label_is_told_the_present_one(store: Store) -> None:
    change_label(store, ProjectLabel(1, "author", threshold=0.4))
    with pytest.raises(ConflictError, match="Label 'author' has version 1") as caught:
        change_label(store, ProjectLabel(1, "writer"))
    assert caught.value.current == ProjectLabel(1, "author", threshold=0.4, version=1)
    assert read_labels(store).labels[0] == caught.value.current
    change_label(store, ProjectLabel(1, "writer", version=1))
    assert read_labels(store).names[1] == "writer"


def test_of_many_writers_of_one_label_one_wins(store: Store) -> None:
    def rename(i: int) -> bool:
        try:
            change_label(store, ProjectLabel(1, f"name {i}"))
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(rename, range(8))) == [False] * 7 + [True]


def test_a_refused_change_leaves_the_version_of_a_label(store: Store) -> None:
    with pytest.raises(LabelError, match="already"):
        change_label(store, ProjectLabel(1, "city"))
    assert read_labels(store).labels[0].version == 0


def test_labels_of_an_older_project_have_a_version(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as db:
        for script in MIGRATIONS[:2]:
            db.executescript(script)
        db.execute("INSERT INTO labels (name, threshold, position) VALUES ('city', 0.5, 1)")
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute("PRAGMA user_version=2")
        db.commit()
    with closing(Store(path)) as store:
        assert read_labels(store).labels == (ProjectLabel(1, "city", threshold=0.5, version=0),)


def test_two_labels_cannot_share_a_name(store: Store) -> None:
    with pytest.raises(LabelError, match="a label 'city' already"):
        change_label(store, ProjectLabel(1, "city"))


def test_removing_a_label_removes_its_marks_and_undo_survives_it(store: Store) -> None:
    store.save(1, 0, "draft", [Mark(*ADA, 1), Mark(*OSLO, 2)])
    store.save(1, 1, "accepted", [])
    remove_label(store, 1)
    assert store.undo().marks == (Mark(*OSLO, 2),)
    assert read_labels(store).names == {2: "city"}


def test_there_is_an_end_to_labels(store: Store) -> None:
    with pytest.raises(LabelError, match="at most 256"):
        add_labels(store, None, [f"kind {i}" for i in range(255)])


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_older_projects_are_migrated(tmp_path: Path, version: int) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as db:
        for script in MIGRATIONS[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={version}")
    with closing(Store(path)) as store:
        store.add_texts([NewText("text", "1")], {})
        assert read_scores(store) == []
    assert problems_of(path) == []


def test_projects_of_a_later_version_are_refused(store: Store) -> None:
    with store.transaction() as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(DataError, match=r"has format 99, this version of labelwise reads 1-3"):
        Store(store.path)


def test_databases_of_other_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(DataError, match="a database of another program"):
        Store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_files_that_are_no_database_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.db"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"Cannot open project .*junk\.db"):
        Store(path)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot open project .*none"):
        Store(tmp_path / "none" / "p.db")


def test_a_damaged_page_is_found(store: Store) -> None:
    store.add_texts([NewText(f"text number {i} " * 20, str(i)) for i in range(300)], {})
    store.close()
    assert problems_of(store.path) == []
    data = bytearray(store.path.read_bytes())
    half = len(data) // 2
    data[half : half + 6000] = b"\xa5" * 6000
    store.path.write_bytes(data)
    assert problems_of(store.path)


def test_a_mark_that_does_not_fit_its_text_is_found(store: Store) -> None:
    store.save(1, 0, "accepted", [Mark(*ADA, 1)])
    with store.transaction() as db:
        db.execute("UPDATE marks SET surface = 'Eve'")
    assert problems_of(store.path) == ["Mark 0-3 of text 1 does not read 'Eve'."]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_project_at_rest_is_looked_at_without_a_trace(store: Store, tmp_path: Path) -> None:
    store.save(1, 0, "accepted", [Mark(*ADA, 1)])
    store.close()
    folder = tmp_path / "rest"
    folder.mkdir()
    path = folder / "p.db"
    shutil.copy(store.path, path)
    before = contents(folder)
    assert problems_of(path) == []
    back_up(path, tmp_path / "copy.db")
    assert contents(folder) == before
    with closing(connect(path, read_only=True)) as db, pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM texts")


def test_the_log_of_a_studio_that_runs_or_was_killed_stays(store: Store, tmp_path: Path) -> None:
    store.save(1, 0, "accepted", [Mark(*ADA, 1)])
    folder = tmp_path / "killed"
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{store.path}{suffix}", folder / f"p.db{suffix}")
    before = contents(folder)
    for path in (store.path, folder / "p.db"):
        assert problems_of(path) == []
        back_up(path, tmp_path / f"copy of {path.parent.name}.db")
        with closing(Store(tmp_path / f"copy of {path.parent.name}.db")) as copy:
            assert copy.text(1) == store.text(1)
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    store.save(1, store.text(1).version, "accepted", [])
    assert problems_of(store.path) == []


def test_a_project_in_use_can_be_copied_but_not_over_another(store: Store, tmp_path: Path) -> None:
    store.save(1, 0, "accepted", [Mark(*ADA, 1)])
    back_up(store.path, tmp_path / "copy.db")
    with closing(Store(tmp_path / "copy.db")) as copy:
        assert copy.text(1) == store.text(1)
    with pytest.raises(DataError, match="exists. Expected a new file"):
        back_up(store.path, tmp_path / "copy.db")
