"""The tables and sentences of a report, made from a summary."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelwise.benchmark.cells import Cell
from labelwise.benchmark.document import Block, Heading, Items, Paragraph, Table
from labelwise.benchmark.plots import shots_order
from labelwise.benchmark.spec import base_method

_NAMES = {
    "towers": "label semantics",
    "towers_separate": "label semantics, separate",
    "towers_shared": "label semantics, shared",
    "towers_static": "label semantics, static",
    "towers_no_source": "label semantics, no source",
    "instant": "instant fit",
    "linear_head": "linear head",
    "double_town": "DoubleTown",
    "prototype": "ProtoNet",
    "nnshot": "NNShot",
    "structshot": "StructShot",
}
_STYLES = (
    "towers", "instant", "linear_head", "structshot", "nnshot", "prototype", "double_town", "",
    "towers_separate", "towers_static", "towers_no_source", "towers_shared",
)  # fmt: skip
_VARIANTS = {
    "names": "names",
    "renamed": "renamed",
    "meaningless": "meaningless",
    "swapped": "swapped",
    "no_marks": "no position words",
    "description": "description",
    "context": "in context",
}
ResultRow = Mapping[str, Any]


def method_name(method: str) -> str:
    """Return a method's name for readers, with that of its settings."""
    _, _, settings = method.partition("@")
    return _NAMES[base_method(method)] + (f" ({settings})" if settings else "")


def method_style(method: str, place: int) -> int:
    """Number a method's colour; settings to be compared have their place's."""
    return place if "@" in method else _STYLES.index(method)


def variant_name(variant: str) -> str:
    """Return a variant's name for readers."""
    return _VARIANTS[variant]


def cell_name(cell: Cell) -> str:
    """Return a cell's name for readers."""
    parts = [short(cell.target), method_name(cell.method), *_shots_header([cell.shots])]
    if cell.shots not in ("0", "full"):
        parts.append(f"set {cell.support_set}")
    return ", ".join(parts if cell.variant == "names" else [*parts, variant_name(cell.variant)])


def duration(seconds: float) -> str:
    """Write a time as people say it.

    >>> [duration(s) for s in (0.4, 95, 600, 9000)]
    ['1 s', '95 s', '10 min', '2.5 h']
    """
    if seconds < 99.5:
        return f"{math.ceil(seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def time_text(seconds: Mapping[str, float]) -> str:
    """Say what the source stages and the cells took."""
    parts = {name: duration(seconds[name]) for name in ("source stages", "cells")}
    return (
        f"Computed in {duration(sum(seconds.values()))}, summed over processes: "
        f"source stages {parts['source stages']}, cells {parts['cells']}."
    )


def short(target: str) -> str:
    """Drop the folders of a target's name."""
    return Path(target.replace(":", "/")).name


def published() -> dict[str, Any]:
    """Return the paper's numbers."""
    path = Path(__file__).with_name("paper.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def shots_of(rows: Sequence[ResultRow]) -> list[str]:
    """List the numbers of shots that occur, in order."""
    return sorted({r["shots"] for r in rows}, key=shots_order)


def percent(value: float) -> str:
    """Write a ratio in percent, with one decimal."""
    return f"{100 * value:.1f}"


def _with_spread(row: ResultRow | None) -> str:
    if row is None:
        return ""
    return percent(row["f1"]) + (f" ± {percent(row['sd'])}" if row["n_support_sets"] > 1 else "")


def _shots_header(shots: Sequence[str]) -> list[str]:
    return [f"{s} shot" + ("" if s == "1" else "s") if s != "full" else "full" for s in shots]


def main_table(rows: Sequence[ResultRow]) -> Table:
    """F1 of every method over shots, the paper's numbers in brackets."""
    shots, paper = shots_of(rows), published()["table1"]
    own = paper.get(short(rows[0]["target"]), {})
    found = {(r["method"], r["shots"]): r for r in rows}
    lines = []
    for method in dict.fromkeys(r["method"] for r in rows):
        known = dict(zip(paper["shots"], own.get(_row_of_paper(method, own), []), strict=False))
        texts = [_with_spread(found.get((method, s))) for s in shots]
        lines.append(
            [method_name(method)]
            + [f"{t} [{known[s]}]" if t and s in known else t
               for s, t in zip(shots, texts, strict=True)]
        )  # fmt: skip
    return Table(["method", *_shots_header(shots)], lines)


def _row_of_paper(method: str, own: Mapping[str, Any]) -> str:
    base = base_method(method)
    return "towers_separate" if base == "towers" and own else base


def overlap_table(rows: Sequence[ResultRow]) -> Iterator[Block]:
    """F1 on labels whose words the sources use too, and on new ones; what else they share."""
    if (shared := rows[0]["shared_sentences"]) is not None:
        yield Paragraph(_shared_text(shared, rows[0]["n_scored"]))
    if n_in_train := rows[0]["n_in_train"]:
        yield Paragraph(
            f"{n_in_train:,} of the {rows[0]['n_scored']:,} scored sentences are in the target's "
            "own train split too: support sets may hold some of them, and the whole split does."
        )
    known = rows[0]["label_overlap"]
    new = [name for name in rows[0]["label_words"] if name not in known]
    yield Paragraph(
        f"Labels whose words the sources use too: {', '.join(known) or 'none'}. "
        f"New: {', '.join(new) or 'none'}. F1 on either, known / new:"
    )
    shots, lines = shots_of(rows), []
    found = {(r["method"], r["shots"]): r for r in rows}
    for method in dict.fromkeys(r["method"] for r in rows):
        texts = [_known_and_new(found.get((method, s))) for s in shots]
        lines.append([method_name(method), *texts])
    yield Table(["method", *_shots_header(shots)], lines)


def _shared_text(shared: Mapping[str, int], n_scored: int) -> str:
    """Say which sources train on what is scored."""
    found = [f"{count:,} of {n_scored:,} ({source})" for source, count in shared.items()]
    text = f"Scored sentences that the sources train on too: {', '.join(found) or 'none'}."
    return f"{text} Numbers after a source stage are too high." if found else text


def _known_and_new(row: ResultRow | None) -> str:
    if row is None:
        return ""
    parts = [row["f1_known_labels"], row["f1_new_labels"]]
    return " / ".join("-" if p is None else percent(p) for p in parts)


def has_brackets(table: Table) -> bool:
    """Tell whether numbers of the paper stand in a table."""
    return any("[" in text for row in table.rows for text in row[1:])


def lead_table(rows: Sequence[ResultRow]) -> Table:
    """Differences of label semantics to its rivals, with bootstrap intervals."""
    rows = [r for r in rows if r["method"] in ("towers", "instant")]
    shots = [s for s in shots_of(rows) if any(r["lead_over"] for r in rows if r["shots"] == s)]
    found: dict[tuple[str, str], dict[str, str]] = {}
    for r in rows:
        for rival, lead in r["lead_over"].items():
            d, low, high = (100 * lead[k] for k in ("difference", "low", "high"))
            line = found.setdefault((r["method"], rival), {})
            line[r["shots"]] = f"{d:+.1f} ({low:+.1f} to {high:+.1f})"
    header = ["label semantics against its rival", *_shots_header(shots)]
    return Table(
        header,
        [
            [f"{method_name(own)} - {method_name(rival)}", *(line.get(s, "") for s in shots)]
            for (own, rival), line in found.items()
        ],
    )


def label_table(rows: Sequence[ResultRow], shots: str) -> Table:
    """F1 by label of every method at one number of shots."""
    own = [r for r in rows if r["shots"] == shots]
    labels = list(own[0]["per_label"])
    known = own[0]["label_overlap"]
    return Table(
        ["label (* known to the sources)", *(method_name(r["method"]) for r in own)],
        [
            [name + ("*" if name in known else ""), *(percent(r["per_label"][name]) for r in own)]
            for name in labels
        ],
    )


def variant_table(rows: Sequence[ResultRow]) -> Table:
    """F1 of every variant of the label words over shots."""
    shots = shots_of(rows)
    found = {(r["method"], r["variant"], r["shots"]): r for r in rows}
    keys = sorted({(m, v) for m, v, _ in found}, key=lambda k: (k[0], list(_VARIANTS).index(k[1])))
    return Table(
        ["method, and what its labels read as", *_shots_header(shots)],
        [
            [f"{method_name(m)}: {variant_name(v)}",
             *(percent(found[m, v, s]["f1"]) if (m, v, s) in found else "" for s in shots)]
            for m, v in keys
        ],
    )  # fmt: skip


def sizes_table(rows: Sequence[ResultRow]) -> Table:
    """Mean sentences of the support sets, the paper's in brackets."""
    rows = [r for r in rows if r["shots"] not in ("0", "full")]
    shots, paper = shots_of(rows), published()
    lines = []
    for target in dict.fromkeys(r["target"] for r in rows):
        sizes = paper["support_sentences"].get(short(target), [])
        known = dict(zip(paper["table1"]["shots"], sizes, strict=False))
        sets = {r["shots"]: r["n_sentences"] for r in rows if r["target"] == target}
        texts = [f"{sets[s]:.1f}" if s in sets else "" for s in shots]
        lines.append(
            [short(target)]
            + [f"{t} [{known[s]}]" if t and s in known else t
               for s, t in zip(shots, texts, strict=True)]
        )  # fmt: skip
    return Table(["target", *_shots_header(shots)], lines)


def behind(rows: Sequence[ResultRow], method: str) -> Iterator[Block]:
    """Where a method of ours does not lead a rival at 1 and 5 shots, or not surely."""
    rows = [r for r in rows if r["method"] == method and r["shots"] in ("1", "5")]
    compared = [r for r in rows if r["lead_over"]]
    if not compared:
        return
    *others, last = shots_of(compared)
    where = " and ".join([*others, *_shots_header([last])])
    yield Paragraph(f"Where {method_name(method)} does not surely lead at {where}:")
    texts = []
    for r in compared:
        for rival, lead in r["lead_over"].items():
            d, low, high = (100 * lead[k] for k in ("difference", "low", "high"))
            if low <= 0:
                verdict = "behind" if high < 0 else "no sure difference to"
                texts.append(
                    f"{short(r['target'])}, {r['shots']} shot: {verdict} {method_name(rival)}, "
                    f"{d:+.1f} ({low:+.1f} to {high:+.1f})"
                )
    yield Items(texts or ["nowhere"])


def paper_tables() -> Iterator[Block]:
    """The paper's own tables, for comparison."""
    paper = published()
    yield Heading("The paper's numbers")
    yield Paragraph(
        "From arXiv 2203.08985: another encoder (BERT-base), another source (OntoNotes), and "
        "support sets that are larger than its sampling procedure can give."
    )
    shots = paper["table1"]["shots"]
    yield Heading("Table 1: test F1", 3)
    yield Table(
        ["dataset and method", *_shots_header(shots)],
        [
            [f"{data}: {_NAMES[method]}", *map(str, values), *[""] * (len(shots) - len(values))]
            for data, methods in paper["table1"].items()
            if data != "shots"
            for method, values in methods.items()
        ],
    )
    yield Heading("Table 3: F1 by label, CoNLL dev", 3)
    yield Table(
        ["", *paper["table3"]["labels"]],
        [[k, *map(str, v)] for k, v in paper["table3"].items() if k != "labels"],
    )
    yield Heading("Table 4: 1 shot, with and without the source stage, dev F1", 3)
    yield Table(
        ["dataset", "linear head", "label semantics", "linear head, no source",
         "label semantics, no source"],
        [[k, *map(str, v)] for k, v in paper["table4"].items()],
    )  # fmt: skip


def machine_lines(summary: Mapping[str, Any]) -> Items:
    """Say what the numbers were made with."""
    texts = []
    for machine in summary["machines"]:
        packages = ", ".join(f"{k} {v}" for k, v in machine["packages"].items() if v)
        texts.append(
            f"labelwise {machine['labelwise']}, commit {machine['commit'] or 'unknown'}; Python "
            f"{machine['python']}, {packages}; {machine['processor']}, {machine['cores']} cores, "
            f"device {machine['device']}; sampler version {machine['sampler']}"
        )
    texts.append(f"specification {summary['digest'][:16]}, seed {summary['spec']['seed']}")
    return Items(texts)
