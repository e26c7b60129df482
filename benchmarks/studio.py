"""How soon the studio follows: from an accepted text to 50 texts with new highlights.

    python benchmarks/studio.py [--smoke] [--output benchmarks/results/studio.json]

The shipped model on the sample 'contracts', texts accepted one after the other in the order that
the studio proposes, with their gold marks. Seconds from the save to the suggestions for 50 other
texts, and F1 on all texts not accepted. Median and worst of the first twenty texts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from labelwise.annotation import Sentence
from labelwise.data import read_jsonl
from labelwise.labels import LabelSet
from labelwise.precision import Processor
from labelwise.sample_data import sample_path
from labelwise.studio.nouns import Mark, NewText
from labelwise.studio.project import Project
from labelwise.studio.store import Store
from labelwise.tagger import Tagger

N_VISIBLE = 50
AIM_S = 0.3


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="three texts, to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/studio.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Store(Path(folder, "p.db")), Tagger.from_pretrained)
        result = measure(project, 3 if arguments.smoke else 20)
        project.close()
    print(json.dumps(result, indent=1))
    if not arguments.smoke:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(project: Project, n_texts: int) -> dict[str, Any]:
    """Accept texts and time what follows."""
    folder = sample_path("contracts")
    gold = {s.text or "": s for p in ("train", "test") for s in read_jsonl(folder / f"{p}.jsonl")}
    project.import_texts([NewText(t, "sample") for t in gold], LabelSet.read(folder))
    label_ids = project.summary().labels.ids
    project.model.suggestions(project.order(("new",), useful_first=False)[:N_VISIBLE])
    seconds = [one(project, gold, label_ids) for _ in range(n_texts)]
    return {
        "visible_texts": N_VISIBLE,
        "accepted_texts": n_texts,
        "median_s": round(statistics.median(seconds), 4),
        "worst_s": round(max(seconds), 4),
        "aim_s": AIM_S,
        "seconds": [round(s, 4) for s in seconds],
        "machine": {
            "processor": Processor.here().name,
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
        },
    }


def one(project: Project, gold: dict[str, Sentence], label_ids: dict[str, int]) -> float:
    """Accept the next text; seconds until the others have followed."""
    ids = project.order(("new",), useful_first=True)
    text = project.store.text(ids[0])
    sentence = gold[text.text]
    marks = [Mark(*sentence.place(m), label_ids[m.label]) for m in sentence.mentions]
    while not project.summary().is_scored:
        time.sleep(0.01)
    started = time.perf_counter()
    project.save(text.id, text.version, "accepted", marks)
    project.model.suggestions(ids[1 : 1 + N_VISIBLE])
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
