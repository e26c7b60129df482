"""Finished cells to the numbers of a report; the same whenever the cells are the same."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from labelwise.benchmark.cells import Cell
from labelwise.benchmark.spec import METHODS, VARIANTS, Spec, base_method

_DRAWS = 1000
_OURS = ("towers", "instant")
Results = Mapping[Cell, dict[str, Any]]
Group = dict[int, dict[str, Any]]  # results by support set
Groups = Mapping[tuple[str, ...], Group]


def is_ours(method: str) -> bool:
    """Tell label semantics from its rivals."""
    return base_method(method).startswith(_OURS)


def bootstrap_difference(
    ours: Sequence[Any], theirs: Sequence[Any], *, draws: int = _DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Return a 95 % interval of the difference in micro-F1, by redrawing scored sentences.

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


def summarise(
    spec: Spec,
    results: Results,
    *,
    n_cells: int | None = None,
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Join the support sets of every target, method, number of shots and variant.

    Args:
        spec: The benchmark.
        results: Of the finished cells.
        n_cells: Cells in all, if some are not finished.
        seconds: What the source stages and the cells took.
    """
    groups: defaultdict[tuple[str, ...], Group] = defaultdict(dict)
    skipped = []
    for cell, result in results.items():
        if "skipped" in result:
            skipped.append({"cell": asdict(cell), "reason": result["skipped"]})
        else:
            key = (cell.target, cell.method, cell.shots, cell.variant)
            groups[key][cell.support_set] = result
    rows = [_row(key, groups[key]) for key in sorted(groups, key=lambda k: _order(spec, k))]
    for row in rows:
        row["lead_over"] = _leads(row, groups)
    machines = [r["machine"] for group in groups.values() for r in group.values()]
    return {
        "spec": spec.to_dict(),
        "digest": spec.digest,
        "machines": [m for i, m in enumerate(machines) if m not in machines[:i]],
        "seconds": dict(seconds or {}),
        "n_missing": (n_cells or len(results)) - len(results),
        "rows": rows,
        "skipped": skipped,
    }


def _order(spec: Spec, key: tuple[str, ...]) -> tuple[Any, ...]:
    """Sort rows by target as given, then by method, variant and shots."""
    target, method, shots, variant = key
    places = spec.targets.index(target), METHODS.index(base_method(method)), method
    return (*places, VARIANTS.index(variant), float("inf") if shots == "full" else int(shots))


def _row(key: tuple[str, ...], group: Group) -> dict[str, Any]:
    found = [group[i] for i in sorted(group)]
    f1 = [r["scores"]["micro_f1"] for r in found]
    overlap = found[0]["label_overlap"]
    names = list(found[0]["label_words"])
    return {
        **dict(zip(("target", "method", "shots", "variant"), key, strict=True)),
        "f1": statistics.mean(f1),
        "sd": statistics.stdev(f1) if len(f1) > 1 else 0.0,
        "n_support_sets": len(f1),
        "n_sentences": statistics.mean(r["support"]["n_sentences"] for r in found),
        "errors": {k: statistics.mean(r["errors"][k] for r in found) for k in found[0]["errors"]},
        "per_label": {n: statistics.mean(_f1_of(r, [n]) for r in found) for n in names},
        "f1_known_labels": _mean_f1(found, [n for n in names if n in overlap]),
        "f1_new_labels": _mean_f1(found, [n for n in names if n not in overlap]),
        "label_words": found[0]["label_words"],
        "label_overlap": overlap,
        "n_scored": len(found[0]["counts"]),
        # None in cells of old versions
        "shared_sentences": found[0].get("shared_sentences"),
        "n_in_train": found[0].get("n_in_train"),
        "cells": [{k: v for k, v in r.items() if k not in ("counts", "machine")} for r in found],
    }


def _mean_f1(found: Sequence[dict[str, Any]], names: Sequence[str]) -> float | None:
    return statistics.mean(_f1_of(r, names) for r in found) if names else None


def _f1_of(result: Mapping[str, Any], names: Sequence[str]) -> float:
    """Micro-F1 over some labels."""
    own = [result["scores"]["per_label"][name] for name in names]
    gold_and_predicted = sum(s["n_gold"] + s["n_predicted"] for s in own)
    return 2 * sum(s["n_correct"] for s in own) / max(gold_and_predicted, 1)


def _leads(row: dict[str, Any], groups: Groups) -> dict[str, Any]:
    """Difference to every rival on the support sets that both had, with its interval."""
    target, method, shots = row["target"], row["method"], row["shots"]
    if not is_ours(method) or row["variant"] != "names":
        return {}
    own, leads = groups[target, method, shots, "names"], {}
    for (t, rival, s, v), theirs in groups.items():
        common = sorted(own.keys() & theirs.keys())
        if (t, s, v) == (target, shots, "names") and common and not is_ours(rival):
            f1 = [[g[i]["scores"]["micro_f1"] for i in common] for g in (own, theirs)]
            low, high = bootstrap_difference(
                *([g[i]["counts"] for i in common] for g in (own, theirs))
            )
            difference = statistics.mean(f1[0]) - statistics.mean(f1[1])
            leads[rival] = {"difference": difference, "low": low, "high": high}
    return leads
