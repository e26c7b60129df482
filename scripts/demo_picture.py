"""Draw ``docs/demo.svg`` with the default model: ``python scripts/demo_picture.py``.

Entities in sample sentences, found by the names of the labels alone and after five examples each;
first the sentences that the examples put right.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rich.console import Console

from labelwise import LabelSet, Mention, Sentence, Tagger, read_dataset, sample_support_set
from labelwise.apps.inputs import records
from labelwise.apps.render import highlight
from labelwise.files import atomic_write_text
from labelwise.sample_data import sample_path

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "demo.svg"
N_SHOWN = 4


def main() -> None:
    """Predict, fit, predict again, and save what a terminal would show."""
    folder = sample_path("support")
    # Names only: a picture of what a list of words can do.
    labels = LabelSet.parse(list(LabelSet.read(folder).names))
    test = read_dataset(folder, "test")
    tagger = Tagger.from_pretrained()
    before = list(tagger.tag_texts(test, labels))
    support = sample_support_set(read_dataset(folder, "train"), 5, 0, allow_short=True)
    report = tagger.fit(support.sentences, labels)
    after = list(tagger.tag_texts(test, labels))
    gold = [list(sentence.mentions) for sentence in test]
    helped = [before[i] != gold[i] == after[i] for i in range(len(test))]
    shown = sorted(range(len(test)), key=lambda i: (not helped[i], -len(gold[i])))
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=100, force_terminal=True, file=nowhere)
        title = "Zero-shot: eight label names and nothing else"
        show(console, title, [(test[i], before[i]) for i in shown[:N_SHOWN]], labels)
        title = f"\nAfter five examples a label: {report.n_examples} sentences, learned in "
        title += f"{report.seconds:.2f} s"
        show(console, title, [(test[i], after[i]) for i in shown[:N_SHOWN]], labels)
        picture = console.export_svg(title="labelwise")
    fonts_of_another_host = re.compile(r"@font-face \{.*?\}", re.DOTALL)
    atomic_write_text(PICTURE, fonts_of_another_host.sub("", picture))


def show(
    console: Console, title: str, found: list[tuple[Sentence, list[Mention]]], labels: LabelSet
) -> None:
    """Print sentences with their entities in colour."""
    console.print(f"{title}\n", style="bold")
    for sentence, mentions in found:
        entities = records(sentence, mentions)
        console.print(highlight(sentence.text or "", entities, labels.names, coloured=True))


if __name__ == "__main__":
    main()
