"""The shipped model on every target: zero-shot, few-shot, by label, and how honest its scores are.

Every sentence is encoded once; another label set or fit only scores the states anew.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelwise.annotation import Mention, Sentence
from labelwise.backend import EncoderBackend
from labelwise.data import read_dataset
from labelwise.labels import LabelSet
from labelwise.loading import load_model
from labelwise.metrics import error_breakdown, score_mentions
from labelwise.sampling import sample_support_set
from labelwise.studio.state_cache import StateCache
from labelwise.tagger import Tagger
from model_build.job import Job, model_digest, say, target_label_set, weights_digest

SHOTS = (1, 5, 20, 50)
CALIBRATED_SHOTS = 5
SEEDS = (0, 1, 2)
N_BUCKETS = 10
MAX_STATES = 8 << 30  # bytes: every sentence of a target is encoded once

Found = Sequence[Sequence[Mention]]


def measure(job: Job, *, again: bool = False) -> None:
    """Measure the package's model on every target, storing each at once."""
    digest = model_digest(job.recipe.package_model)
    facts = job.results().get("measure", {})
    if again or facts.get("model") != digest:
        weights = weights_digest(job.recipe.package_model)
        facts = {"model": digest, "weights": weights, "seeds": list(SEEDS), "targets": {}}
    missing = [t for t in job.targets() if t.name not in facts["targets"]]
    if not missing:
        say("measure: done already")
        return
    backend = load_model(job.recipe.package_model, engine="onnx").backend
    for folder in missing:
        started = time.monotonic()
        facts["targets"][folder.name] = measure_target(backend, folder)
        job.record("measure", facts)
        say(f"measure: {folder.name}: took {time.monotonic() - started:.0f} s")


def measure_target(backend: EncoderBackend, folder: Path) -> dict[str, Any]:
    """Measure on the whole test split of one target; support sets come from its train split."""
    test, pool = read_dataset(folder, "test"), read_dataset(folder, "train")
    label_set = target_label_set(folder, [*test, *pool], described=False)
    described = target_label_set(folder, [*test, *pool], described=True)
    tagger = Tagger(backend)
    tagger.engine = StateCache(backend, max_bytes=MAX_STATES)
    say(f"measure: {folder.name}: {len(test):,} sentences, {len(label_set)} labels")
    zero_shot = _zero_shot(tagger, test, label_set)
    with_descriptions = _tag(tagger, test, described)
    gold = [s.mentions for s in test]
    _say_f1(folder.name, "zero-shot", zero_shot["micro_f1"])
    few_shot: dict[str, dict[str, Any]] = {"few_shot": {}, "few_shot_described": {}}
    for k in SHOTS:
        for name, labels in zip(few_shot, (label_set, described), strict=True):
            few_shot[name][str(k)] = _few_shot(tagger, pool, test, labels, k)
            _say_f1(folder.name, f"{k}-shot", few_shot[name][str(k)]["micro_f1"])
    return {
        "n_sentences": len(test),
        "zero_shot": zero_shot,
        "zero_shot_described": {
            "micro_f1": score_mentions(gold, with_descriptions, label_set.names).micro_f1
        },
    } | few_shot


def _say_f1(target: str, what: str, f1: float) -> None:
    say(f"measure: {target}: {what} F1 {100 * f1:.1f}")


def _tag(tagger: Tagger, sentences: Sequence[Sentence], labels: LabelSet | None = None) -> Found:
    return list(tagger.tag((s.words for s in sentences), labels))


def _zero_shot(tagger: Tagger, test: Sequence[Sentence], label_set: LabelSet) -> dict[str, Any]:
    found, gold = _tag(tagger, test, label_set), [s.mentions for s in test]
    words = {label.name: label.words for label in label_set}
    return score_mentions(gold, found, label_set.names).to_dict() | {
        "words": words,
        "errors": dataclasses.asdict(error_breakdown(gold, found)),
        "confusions": confusions(gold, found),
        "calibration": calibration(gold, found),
    }


def _few_shot(
    tagger: Tagger,
    pool: Sequence[Sentence],
    test: Sequence[Sentence],
    label_set: LabelSet,
    k: int,
) -> dict[str, Any]:
    """Fit on three support sets and score the whole test split after each."""
    gold, runs, every, short = [s.mentions for s in test], [], [], set()
    for seed in SEEDS:
        support = sample_support_set(pool, k, seed, labels=label_set.names, allow_short=True)
        short |= {name for name, n in support.counts.items() if n < k}
        tagger.label_set = None  # a bare name would mean the label of the last fit, as described
        report = tagger.fit(support.sentences, label_set)
        found = _tag(tagger, test)
        every.append(found)
        runs.append(
            {
                "seed": seed,
                "micro_f1": score_mentions(gold, found, label_set.names).micro_f1,
                "n_examples": report.n_examples,
                "n_mentions": report.n_mentions,
                "strength": report.strength if math.isfinite(report.strength) else None,
                "fit_s": round(report.seconds, 3),
            }
        )
    scores = [run["micro_f1"] for run in runs]
    result = {
        "micro_f1": statistics.mean(scores),
        "std": statistics.stdev(scores),
        "short": sorted(short),
        "runs": runs,
    }
    if k == CALIBRATED_SHOTS:
        result["calibration"] = calibration(gold * len(SEEDS), [f for one in every for f in one])
    return result


def calibration(gold: Found, predicted: Found, n_buckets: int = N_BUCKETS) -> dict[str, Any]:
    """Compare the scores of predicted mentions with how often they are right.

    Returns:
        Expected calibration error over equally wide buckets of score, and every bucket's number
        of mentions, mean score and precision.
    """
    buckets: list[list[tuple[float, bool]]] = [[] for _ in range(n_buckets)]
    for wanted, found in zip(gold, predicted, strict=True):
        right = set(wanted)
        for mention in found:
            index = min(int(mention.score * n_buckets), n_buckets - 1)
            buckets[index].append((mention.score, mention in right))
    n_mentions = max(sum(map(len, buckets)), 1)
    rows, error = [], 0.0
    for bucket in buckets:
        score = sum(s for s, _ in bucket) / max(len(bucket), 1)
        precision = sum(r for _, r in bucket) / max(len(bucket), 1)
        error += len(bucket) / n_mentions * abs(score - precision)
        rows.append({"n": len(bucket), "score": round(score, 4), "precision": round(precision, 4)})
    return {"ece": round(error, 4), "buckets": rows}


def confusions(gold: Found, predicted: Found, limit: int = 5) -> list[list[Any]]:
    """List the labels most often mistaken for another on the right span: gold, predicted, count."""
    counts: Counter[tuple[str, str]] = Counter()
    for wanted, found in zip(gold, predicted, strict=True):
        label_of = {(m.start, m.end): m.label for m in wanted}
        for mention in found:
            label = label_of.get((mention.start, mention.end), mention.label)
            if label != mention.label:
                counts[label, mention.label] += 1
    return [[*pair, n] for pair, n in counts.most_common(limit)]
