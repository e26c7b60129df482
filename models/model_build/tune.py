"""Fine-tuning both encoders on the support sets of ``measure``: takes hours, so only on request."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path
from typing import Any

from labelwise.config import FINETUNE
from labelwise.data import read_dataset
from labelwise.loading import load_model
from labelwise.metrics import score_mentions
from labelwise.sampling import sample_support_set
from labelwise.tagger import Tagger
from model_build.job import Job, say, target_label_set, weights_digest
from model_build.measure import SEEDS, SHOTS


def tune(job: Job, *, again: bool = False) -> None:
    """Fine-tune the package's model on every support set, storing each score at once.

    All targets and shots come once before any comes twice, so that a run that is stopped has
    said something about each.
    """
    weights = weights_digest(job.recipe.package_model)
    facts = job.results().get("tune", {})
    settings = FINETUNE.to_dict()
    if again or facts.get("weights") != weights or facts.get("settings") != settings:
        facts = {"weights": weights, "settings": settings, "targets": {}}
    for seed, k, folder in product(SEEDS, SHOTS, job.targets()):
        runs = facts["targets"].setdefault(folder.name, {}).setdefault(str(k), [])
        if any(run["seed"] == seed for run in runs):
            continue
        runs.append(tune_once(job.recipe.package_model, folder, k, seed))
        job.record("tune", facts)
        said = f"F1 {100 * runs[-1]['micro_f1']:.1f} after {runs[-1]['finetune_s']:.0f} s"
        say(f"tune: {folder.name}: {k}-shot, seed {seed}: {said}")
    say("tune: done")


def tune_once(model: Path, target: Path, k: int, seed: int) -> dict[str, Any]:
    """Fine-tune on one support set, labels with descriptions; score the whole test split."""
    test, pool = read_dataset(target, "test"), read_dataset(target, "train")
    label_set = target_label_set(target, [*test, *pool], described=True)
    support = sample_support_set(pool, k, seed, labels=label_set.names, allow_short=True)
    tagger = Tagger(load_model(model, engine="torch").backend)
    started = time.monotonic()
    progress = tagger.finetune(support.sentences, label_set)
    seconds = time.monotonic() - started
    found = list(tagger.tag(s.words for s in test))
    scores = score_mentions([s.mentions for s in test], found, label_set.names)
    return {
        "seed": seed,
        "micro_f1": scores.micro_f1,
        "n_examples": len(support.sentences),
        "updates": progress.step,
        "finetune_s": round(seconds, 1),
    }
