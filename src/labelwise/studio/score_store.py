"""The score of a project over time, kept in its file."""

from __future__ import annotations

from labelwise.studio.nouns import ScorePoint
from labelwise.studio.store import Store


def add_score(store: Store, score: ScorePoint) -> None:
    """Keep a score; those for as many texts, or more, are of texts that were since taken back."""
    with store.transaction() as db:
        db.execute("DELETE FROM scores WHERE n_accepted >= ?", (score.n_accepted,))
        db.execute(
            "INSERT INTO scores (n_accepted, f1, precision, recall, kind) VALUES (?, ?, ?, ?, ?)",
            (score.n_accepted, score.f1, score.precision, score.recall, score.kind),
        )


def read_scores(store: Store) -> list[ScorePoint]:
    """Return the scores, the earliest first."""
    rows = store.query(
        "SELECT n_accepted, f1, precision, recall, kind FROM scores ORDER BY n_accepted"
    )
    return [ScorePoint(*row) for row in rows]
