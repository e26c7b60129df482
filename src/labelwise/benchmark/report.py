"""A run's folder to its report: JSON, Markdown, plots, and one page that opens offline."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelwise.benchmark.cells import Cell, CellStore, cells_of
from labelwise.benchmark.document import (
    Block,
    Heading,
    Items,
    Paragraph,
    Plot,
    Table,
    insert_between,
    to_markdown,
    to_page,
)
from labelwise.benchmark.plots import Curve, curves, error_bars
from labelwise.benchmark.spec import VARIANTS, Spec
from labelwise.benchmark.stages import SourceStages
from labelwise.benchmark.summary import is_ours, summarise
from labelwise.benchmark.tables import (
    ResultRow,
    behind,
    cell_name,
    has_brackets,
    label_table,
    lead_table,
    machine_lines,
    main_table,
    method_name,
    method_style,
    overlap_table,
    paper_tables,
    short,
    shots_of,
    sizes_table,
    time_text,
    variant_name,
    variant_table,
)
from labelwise.errors import DataError
from labelwise.files import atomic_write_text

START = "<!-- benchmark: made by `labelwise benchmark --into`; do not edit -->"
END = "<!-- benchmark: end -->"
_BRACKETS = " In brackets the paper's numbers, made with another encoder and another source."


def report_blocks(summary: Mapping[str, Any]) -> tuple[list[Block], dict[str, str]]:
    """Compose a report.

    Args:
        summary: See ``summary.summarise``.

    Returns:
        Its blocks, and the SVG text of its plots by name.
    """
    rows: list[ResultRow] = summary["rows"]
    plots: dict[str, str] = {}
    sections: list[Block] = []
    for target, name in _section_names(rows).items():
        sections += _target(name, [r for r in rows if r["target"] == target], plots)
    of_paper = any(isinstance(block, Table) and has_brackets(block) for block in sections)
    blocks = [*_opening(summary, of_paper=of_paper), *sections]
    drawn = [r for r in rows if r["variant"] == "names"]
    if any(r["shots"] not in ("0", "full") for r in drawn):
        sizes = sizes_table(drawn)
        blocks += [Heading("Sentences in a support set"), sizes]
        if has_brackets(sizes):
            blocks.append(Paragraph("In brackets the paper's."))
    if summary["skipped"]:
        blocks.append(Heading("Skipped"))
        blocks.append(_skipped(summary["skipped"]))
    blocks += paper_tables()
    return blocks, plots


def _skipped(skipped: Sequence[Mapping[str, Any]]) -> Items:
    """List why cells have no number, a line a reason."""
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for entry in skipped:
        by_reason[entry["reason"]].append(cell_name(Cell(**entry["cell"])))
    lines = []
    for reason, names in by_reason.items():
        count = f"{len(names)} cells" if len(names) > 1 else "1 cell"
        others = "; ..." if len(names) > 3 else ""
        lines.append(f"{reason}: {count} ({'; '.join(names[:3])}{others})")
    return Items(lines)


def _opening(summary: Mapping[str, Any], *, of_paper: bool) -> Iterator[Block]:
    split, rows = summary["spec"]["split"], summary["rows"]
    yield Heading("Benchmark", 1)
    yield Paragraph(
        f"Strict micro-F1 in percent on whole {split} splits: mean and standard deviation over "
        "support sets; a number without a deviation is of one set. Differences, on the support "
        "sets that both methods had, have a 95 % interval from a paired bootstrap over the scored "
        "sentences." + (_BRACKETS if of_paper else "")
    )
    yield machine_lines(summary)
    if summary["seconds"]:
        yield Paragraph(time_text(summary["seconds"]))
    if summary["n_missing"]:
        yield Paragraph(f"The run is not finished: {summary['n_missing']} cells are missing.")
    for method in ("towers", "instant"):
        yield from behind(rows, method)


def _section_names(rows: Sequence[ResultRow]) -> dict[str, str]:
    """Name targets by their last folder, or by all where that is not enough."""
    targets = list(dict.fromkeys(r["target"] for r in rows))
    taken = Counter(short(t) for t in targets)
    return {t: short(t) if taken[short(t)] == 1 else re.sub(r"[/:]+", "-", t) for t in targets}


def _target(name: str, rows: Sequence[ResultRow], plots: dict[str, str]) -> Iterator[Block]:
    """Yield the section of a target."""
    named = [r for r in rows if r["variant"] == "names"]
    yield Heading(name)
    if named:
        plots[f"{name}-f1.svg"] = curves(f"{name}: F1 over shots", _by_method(named))
        yield Plot(f"{name}-f1.svg", f"F1 over shots on {name}, by method")
        yield main_table(named)
        yield from overlap_table(named)
        if any(r["lead_over"] for r in named):
            yield Heading(f"{name}: lead over rivals", 3)
            yield lead_table(named)
        yield from _errors(name, named, plots)
    yield from _ablations(name, rows, plots)


def _by_method(rows: Sequence[ResultRow]) -> list[Curve]:
    methods = dict.fromkeys(r["method"] for r in rows)
    return [
        _curve(method_name(m), [r for r in rows if r["method"] == m], method_style(m, i))
        for i, m in enumerate(methods)
    ]


def _curve(name: str, rows: Sequence[ResultRow], style: int) -> Curve:
    found = {r["shots"]: r for r in rows}
    return Curve(name, [(s, found[s]["f1"], found[s]["sd"]) for s in shots_of(rows)], style)


def _errors(name: str, rows: Sequence[ResultRow], plots: dict[str, str]) -> Iterator[Block]:
    """Yield kinds of errors and F1 by label, at the number of shots that most methods have."""
    shots = max(shots_of(rows), key=lambda s: (sum(r["shots"] == s for r in rows), s == "5"))
    own = [r for r in rows if r["shots"] == shots]
    plots[f"{name}-errors.svg"] = error_bars(
        f"{name}: errors at {shots} shots", {method_name(r["method"]): r["errors"] for r in own}
    )
    yield Heading(f"{name}: errors and labels at {shots} shots", 3)
    yield Plot(f"{name}-errors.svg", f"Kinds of errors on {name} at {shots} shots, by method")
    yield label_table(rows, shots)


def _ablations(name: str, rows: Sequence[ResultRow], plots: dict[str, str]) -> Iterator[Block]:
    """Yield curves and a table of what the label words do."""
    methods = {r["method"] for r in rows if r["variant"] != "names" and is_ours(r["method"])}
    own = _on_common_sets([r for r in rows if r["method"] in methods])
    if not own:
        return
    yield Heading(f"{name}: what the label words do", 3)
    for method in sorted({r["method"] for r in own}):
        lines = [
            _curve(variant_name(v), like, VARIANTS.index(v))
            for v in VARIANTS
            if (like := [r for r in own if (r["method"], r["variant"]) == (method, v)])
        ]
        file = f"{name}-labels-{method.replace('@', '-')}.svg"
        plots[file] = curves(f"{name}: {method_name(method)}, by what its labels read as", lines)
        yield Plot(file, f"F1 over shots on {name}, by what the labels read as")
    yield variant_table(own)


def _on_common_sets(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Average over the support sets that every variant of a method and shots has.

    Rows whose variants have no set in common are left out.
    """
    common: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        key, seeds = (row["method"], row["shots"]), {cell["seed"] for cell in row["cells"]}
        common[key] = common.get(key, seeds) & seeds
    result = []
    for row in rows:
        cells = [c for c in row["cells"] if c["seed"] in common[row["method"], row["shots"]]]
        if cells:
            f1 = [cell["scores"]["micro_f1"] for cell in cells]
            sd = statistics.stdev(f1) if len(f1) > 1 else 0.0
            result.append({**row, "f1": statistics.mean(f1), "sd": sd})
    return result


def write_report(store: CellStore, spec: Spec, *, into: Path | None = None) -> dict[str, Any]:
    """Write the report of the cells that are finished.

    Args:
        store: The run's folder, where ``report.json``, ``.md``, ``.html`` and plots go.
        spec: The benchmark.
        into: A Markdown file that also gets the report, between its markers; its plots go to
            ``img/benchmark`` beside it.

    Returns:
        What ``report.json`` holds.

    Raises:
        DataError: ``into`` has no markers.
    """
    cells = list(cells_of(spec))
    results = {c: r for c in cells if (r := store.read(c)) is not None}
    stages = SourceStages(spec, [], store.folder / "models")
    seconds = {
        "source stages": sum(
            stages.seconds(s) for s in dict.fromkeys(stages.of_method(c.method) for c in results)
        ),
        "cells": sum(store.seconds(c) for c in results),
    }
    summary = summarise(spec, results, n_cells=len(cells), seconds=seconds)
    blocks, plots = report_blocks(summary)
    text = json.dumps(summary, indent=1, sort_keys=True) + "\n"
    atomic_write_text(store.folder / "report.json", text)
    for name, drawn in plots.items():
        atomic_write_text(store.folder / name, drawn)
    atomic_write_text(store.folder / "report.md", to_markdown(blocks))
    atomic_write_text(store.folder / "report.html", to_page(blocks, plots))
    if into is not None:
        _write_into(into, blocks, plots)
    return summary


def _write_into(path: Path, blocks: Sequence[Block], plots: Mapping[str, str]) -> None:
    below_title = [b for b in blocks if not (isinstance(b, Heading) and b.level == 1)]
    text = _with_section(path, to_markdown(below_title, images="img/benchmark", top=2))
    folder = path.parent / "img" / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawn in plots.items():
        atomic_write_text(folder / name, drawn)
    atomic_write_text(path, text)


def check_page(path: Path) -> None:
    """Refuse a page that cannot take a report, before anything is run for it.

    Raises:
        DataError: It cannot be read or has no markers.
    """
    _with_section(path, "")


def _with_section(path: Path, section: str) -> str:
    try:
        return "".join(insert_between(path.read_text(encoding="utf-8"), START, END, section))
    except (OSError, ValueError) as err:
        raise DataError(
            f"Cannot write the report into '{path}': {err}. Expected a Markdown file with the "
            f"lines '{START}' and '{END}'. Add them where the report is to stand."
        ) from err
