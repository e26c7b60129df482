"""Draw ``docs/demo.svg`` with the default model: ``python scripts/demo_picture.py``.

Entities in sample sentences, found by the names of the labels alone and after five examples each.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rich.console import Console

from labelwise import LabelSet, Sentence, Tagger, read_dataset, sample_support_set
from labelwise.apps.inputs import records
from labelwise.apps.render import highlight
from labelwise.files import atomic_write_text
from labelwise.sample_data import sample_path

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "demo.svg"
N_SHOWN = 4


def main() -> None:
    """Predict, fit, predict again, and save what a terminal would show."""
    folder = sample_path("contracts")
    # Names only: a picture of what a list of words can do.
    labels = LabelSet.parse(list(LabelSet.read(folder).names))
    test = read_dataset(folder, "test")
    shown = sorted(test, key=lambda s: -len({m.label for m in s.mentions}))[:N_SHOWN]
    tagger = Tagger.from_pretrained()
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=100, force_terminal=True, file=nowhere)
        console.print("Zero-shot: eight label names and nothing else\n", style="bold")
        show(console, tagger, shown, labels)
        support = sample_support_set(read_dataset(folder, "train"), 5, 0, allow_short=True)
        report = tagger.fit(support.sentences, labels)
        console.print(
            f"\nAfter five examples a label: {report.n_examples} sentences, learned in "
            f"{report.seconds:.2f} s\n",
            style="bold",
        )
        show(console, tagger, shown, labels)
        picture = console.export_svg(title="labelwise")
    fonts_of_another_host = re.compile(r"@font-face \{.*?\}", re.DOTALL)
    atomic_write_text(PICTURE, fonts_of_another_host.sub("", picture))


def show(console: Console, tagger: Tagger, sentences: list[Sentence], labels: LabelSet) -> None:
    """Print sentences with their entities in colour."""
    found = tagger.tag_texts(sentences, labels)
    for sentence, mentions in zip(sentences, found, strict=True):
        entities = records(sentence, mentions)
        console.print(highlight(sentence.text or "", entities, labels.names, coloured=True))


if __name__ == "__main__":
    main()
