"""Whatever the studio has acknowledged is there after a kill, and the file is sound."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from labelwise.labels import LabelSet
from labelwise.studio.database import problems_of
from labelwise.studio.label_store import add_labels
from labelwise.studio.nouns import Mark, NewText
from labelwise.studio.store import Store
from studios import need_default_model, running

N_TEXTS = 40
SLOW_KILLS = int(os.environ.get("LABELWISE_KILLS", "20"))


class Annotator:
    """A client that annotates as fast as it can, and remembers what was acknowledged."""

    def __init__(self, versions: dict[int, int], seed: int) -> None:
        self.versions, self.rng = versions, random.Random(seed)
        self.acknowledged: dict[int, tuple[int, tuple[Mark, ...]]] = {}
        self.sent: dict[int, tuple[Mark, ...]] = {}

    def annotate(self, client: httpx2.Client) -> None:
        """Save marks until the studio is gone."""
        while True:
            text_id = self.rng.randint(1, N_TEXTS)
            start = 4 * self.rng.randrange(4)
            mark = Mark(start, start + 3, 1)
            self.sent[text_id] = (mark,)
            body = {
                "version": self.versions[text_id],
                "state": self.rng.choice(["draft", "accepted"]),
                "marks": [{"start": mark.start, "end": mark.end, "label": mark.label}],
            }
            try:
                answer = client.put(f"/studio/api/texts/{text_id}", json=body)
            except httpx2.HTTPError:
                return
            assert answer.status_code == 200, answer.text
            self.versions[text_id] += 1
            self.acknowledged[text_id] = (self.versions[text_id], (mark,))


def kill_while_annotating(path: Path, seed: int) -> int:
    """Start, annotate, kill after a random moment; returns how much was acknowledged."""
    rng = random.Random(seed)
    with closing(Store(path)) as store:
        versions = {t.id: t.version for t in store.texts(store.ids())}
    annotator = Annotator(versions, seed)
    with running(path) as studio, studio.client() as client:
        thread = threading.Thread(target=annotator.annotate, args=(client,))
        thread.start()
        while not annotator.acknowledged and thread.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0.001, 0.2))
        studio.process.kill()
        thread.join(60)
    assert problems_of(path) == []
    with closing(Store(path)) as store:
        for text_id, (version, marks) in annotator.acknowledged.items():
            text = store.text(text_id)
            is_last = (text.version, text.marks) == (version, marks)
            is_in_flight = (text.version, text.marks) == (version + 1, annotator.sent[text_id])
            assert is_last or is_in_flight, f"seed {seed}: text {text_id}"
    return len(annotator.acknowledged)


def prepared(path: Path) -> Path:
    need_default_model()
    with closing(Store(path / "project.db")) as store:
        labels = add_labels(store, LabelSet.parse(["person"]))
        texts = [NewText(f"ada bob eve joe {i}", f"test:{i}") for i in range(N_TEXTS)]
        store.add_texts(texts, labels.ids)
        return store.path


def test_nothing_acknowledged_is_lost_when_the_studio_is_killed(tmp_path: Path) -> None:
    path = prepared(tmp_path)
    assert all(kill_while_annotating(path, seed) > 0 for seed in range(2))


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_in_many_kills(tmp_path: Path) -> None:
    path = prepared(tmp_path)
    assert all(kill_while_annotating(path, seed) > 0 for seed in range(100, 100 + SLOW_KILLS))
