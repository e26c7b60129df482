"""Entities, labels and scores as people read them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labelwise.annotation import Record
from labelwise.apps.output import printable
from labelwise.evaluation import Evaluation
from labelwise.labels import LabelSet, verbalize
from labelwise.metrics import LabelScores, Scores

PALETTE = ("cyan", "yellow", "green", "magenta", "blue", "red")


def stdout() -> Console:
    """Return a console on the present stdout."""
    return Console(highlight=False, soft_wrap=True)


def stderr() -> Console:
    """Return a console on the present stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def highlight(
    text: str, records: Sequence[Record], labels: Sequence[str], *, coloured: bool = True
) -> Text:
    """Mark the entities of a text.

    Args:
        text: The text the records count in.
        records: Its entities, sorted and apart.
        labels: Label names; the place of a label chooses its colour.
        coloured: Whether colours will be seen; without them, entities stand in brackets.

    Returns:
        The text with each entity followed by its label.
    """
    colour_of = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(labels)}
    safe, result, done = printable(text), Text(), 0
    for record in records:
        label = printable(record["label"])
        colour = colour_of.get(record["label"], PALETTE[0])
        result.append(safe[done : record["start"]])
        entity = safe[record["start"] : record["end"]]
        if coloured:
            result.append(f" {entity} ", style=f"bold black on {colour}")
            result.append(f" {label} ", style=f"{colour} on grey15")
        else:
            result.append(f"[{entity}]({label})")
        done = record["end"]
    return result.append(safe[done:])


def score_table(scores: Scores) -> Table:
    """Show precision, recall and F1 of every label and of all together, in per cent."""
    table = Table("label", box=None, pad_edge=False)
    for column in ("precision", "recall", "F1", "gold", "found"):
        table.add_column(column, justify="right")
    for name, s in scores.per_label.items():
        table.add_row(printable(name), *_cells(s))
    total = LabelScores(scores.n_gold, scores.n_predicted, scores.n_correct)
    table.add_row("all", *_cells(total), style="bold")
    return table


def _cells(s: LabelScores) -> list[str]:
    ratios = [f"{100 * ratio:.1f}" for ratio in (s.precision, s.recall, s.f1)]
    return [*ratios, str(s.n_gold), str(s.n_predicted)]


def evaluation_lines(evaluation: Evaluation) -> str:
    """Sum up the errors and the speed of an evaluation in two lines."""
    errors = evaluation.errors
    return (
        f"Errors: {errors.boundary} wrong borders, {errors.type} wrong labels, "
        f"{errors.boundary_and_type} both, {errors.spurious} spurious, {errors.missed} missed\n"
        f"{evaluation.n_sentences:,} sentences, {evaluation.n_words:,} words in "
        f"{evaluation.seconds:.1f} s: {evaluation.words_per_s:,.0f} words/s"
    )


def label_table(label_set: LabelSet, scheme: str) -> Table:
    """Show what each tag of a label set reads as."""
    table = Table("tag", "reads as", "description", box=None, pad_edge=False)
    described: set[str] = set()
    for tag in label_set.tags(scheme):
        name = tag.partition("-")[2]
        is_new = bool(name) and name not in described
        described.add(name)
        text = (label_set[name].description or "") if is_new else ""
        table.add_row(*(printable(cell) for cell in (tag, verbalize(tag, label_set), text)))
    return table


def count_table(counts: dict[str, int]) -> Table:
    """Show how many mentions each label has."""
    table = Table("label", box=None, pad_edge=False)
    table.add_column("mentions", justify="right")
    for name, count in counts.items():
        table.add_row(printable(name), str(count))
    return table
