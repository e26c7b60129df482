"""Finished cells to a report: JSON and Markdown, the same whenever the cells are the same."""

from __future__ import annotations

import json
import statistics
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.benchmark.cells import Cell, CellStore, cells_of
from labelwise.benchmark.plots import f1_over_shots, page
from labelwise.benchmark.spec import Spec
from labelwise.files import atomic_write_text

_DRAWS = 1000
Results = Mapping[Cell, dict[str, Any]]


def bootstrap_difference(
    ours: Sequence[Any], theirs: Sequence[Any], *, draws: int = _DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Return a 95 % interval of the difference in micro-F1, by redrawing test sentences.

    Args:
        ours: One array of correct, predicted and gold mentions of every sentence for each
            support set. Shapes ``(sentences, 3)``.
        theirs: Those of the rival on the same support sets and sentences.
        draws: How often sentences are drawn, with replacement.
        seed: Of the draws.

    Returns:
        Its ends.
    """
    one, other = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    n, rng = one.shape[1], np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        weights = np.bincount(rng.integers(0, n, n), minlength=n)
        found.append(float(np.mean(_f1(weights @ one) - _f1(weights @ other))))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _f1(counts: Any) -> Any:
    """Micro-F1 of rows of correct, predicted and gold. Shape ``(sets,)``."""
    return 2 * counts[:, 0] / np.maximum(counts[:, 1] + counts[:, 2], 1)


def summarise(spec: Spec, results: Results) -> dict[str, Any]:
    """Join the support sets of every target, method, number of shots and variant."""
    groups: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    skipped = []
    for cell, result in results.items():
        if "skipped" in result:
            skipped.append({"cell": cell.key, "reason": result["skipped"]})
        else:
            groups[cell.target, cell.method, cell.shots, cell.variant].append(result)
    rows = [_row(key, found) for key, found in groups.items()]
    for row in rows:
        row["lead_over"] = _leads(row, groups)
    return {"spec": spec.to_dict(), "digest": spec.digest, "rows": rows, "skipped": skipped}


def _row(key: tuple[str, ...], found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    f1 = [r["scores"]["micro_f1"] for r in found]
    errors = {k: statistics.mean(r["errors"][k] for r in found) for k in found[0]["errors"]}
    return {
        **dict(zip(("target", "method", "shots", "variant"), key, strict=True)),
        "f1": statistics.mean(f1),
        "sd": statistics.stdev(f1) if len(f1) > 1 else 0.0,
        "n_support_sets": len(f1),
        "n_sentences": statistics.mean(r["support"]["n_sentences"] for r in found),
        "errors": errors,
        "label_words": found[0]["label_words"],
        "label_overlap": found[0]["label_overlap"],
        "cells": [{k: v for k, v in r.items() if k != "counts"} for r in found],
    }


def _leads(row: dict[str, Any], groups: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Difference to every rival on the same support sets, with its interval."""
    target, method, shots = row["target"], row["method"], row["shots"]
    if not method.startswith(("towers", "instant")) or row["variant"] != "names":
        return {}
    own, leads = groups[target, method, shots, "names"], {}
    for (t, rival, s, v), theirs in groups.items():
        comparable = (t, s, v) == (target, shots, "names") and len(theirs) == len(own)
        if comparable and rival != method:
            sides = [[r["counts"] for r in side] for side in (own, theirs)]
            low, high = bootstrap_difference(*sides)
            difference = row["f1"] - statistics.mean(r["scores"]["micro_f1"] for r in theirs)
            leads[rival] = {"difference": difference, "low": low, "high": high}
    return leads


def _published() -> dict[str, Any]:
    path = Path(__file__).with_name("paper.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def markdown(summary: Mapping[str, Any]) -> str:
    """Write the tables of a summary as Markdown."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Mapping[str, Any]) -> Iterator[str]:
    yield "# Benchmark\n"
    yield "Test micro-F1 in percent, mean and standard deviation over support sets. Numbers of"
    yield "the paper stand in brackets: another encoder (BERT-base), another source (OntoNotes).\n"
    rows, published = summary["rows"], _published()
    for target in dict.fromkeys(r["target"] for r in rows):
        yield f"## {target}\n"
        own = [r for r in rows if r["target"] == target]
        shots = list(dict.fromkeys(r["shots"] for r in own))
        paper = published.get(Path(target).name, {})
        yield from _table(own, shots, paper, published["shots"])
        overlap = own[0]["label_overlap"]
        yield f"\nLabels whose words the sources use too: {', '.join(overlap) or 'none'}.\n"
        yield from _lead_table(own)
    if summary["skipped"]:
        yield "## Skipped\n"
        yield from (f"- `{s['cell']}`: {s['reason']}" for s in summary["skipped"])


def _table(
    rows: Sequence[dict[str, Any]], shots: Sequence[str], paper: Mapping[str, Any], at: list[str]
) -> Iterator[str]:
    yield "| method | labels | " + " | ".join(f"{s} shots" for s in shots) + " |"
    yield "|---|---|" + "---|" * len(shots)
    found = {(r["method"], r["variant"], r["shots"]): r for r in rows}
    for method, variant in dict.fromkeys((r["method"], r["variant"]) for r in rows):
        texts = []
        for s in shots:
            row = found.get((method, variant, s))
            text = f"{100 * row['f1']:.1f} ± {100 * row['sd']:.1f}" if row else "-"
            known = dict(zip(at, paper.get(method, []), strict=False)).get(s)
            texts.append(f"{text} [{known}]" if known and variant == "names" else text)
        yield f"| {method} | {variant} | " + " | ".join(texts) + " |"


def _lead_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| method | shots | rival | difference | 95 % interval |\n|---|---|---|---|---|"
    for r in rows:
        for rival, lead in r["lead_over"].items():
            d, low, high = (100 * lead[k] for k in ("difference", "low", "high"))
            interval = f"{low:+.1f} to {high:+.1f}"
            yield f"| {r['method']} | {r['shots']} | {rival} | {d:+.1f} | {interval} |"
    yield ""


def write_report(store: CellStore, spec: Spec) -> dict[str, Any]:
    """Write ``report.json``, ``.md``, ``.html`` and plots of the cells that are finished."""
    results = {c: r for c in cells_of(spec) if (r := store.read(c)) is not None}
    summary = summarise(spec, results)
    text = json.dumps(summary, indent=1, sort_keys=True) + "\n"
    atomic_write_text(store.folder / "report.json", text)
    tables, plots = markdown(summary), {}
    for i, target in enumerate(spec.targets):
        own = [r for r in summary["rows"] if (r["target"], r["variant"]) == (target, "names")]
        if own:
            plots[f"f1-{i}.svg"] = f1_over_shots(target, own)
    for name, drawn in plots.items():
        atomic_write_text(store.folder / name, drawn)
    atomic_write_text(store.folder / "report.md", tables)
    atomic_write_text(store.folder / "report.html", page(tables, plots))
    return summary
