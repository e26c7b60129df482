"""From trained weights to the folder that ships, and whether it says the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from labelwise.annotation import Mention, Sentence
from labelwise.data import read_dataset
from labelwise.engine import Engine
from labelwise.errors import CheckpointError
from labelwise.evaluation import MAX_EXPORT_LOSS
from labelwise.labels import LabelSet
from labelwise.loading import load_model, save_model
from labelwise.metrics import score_mentions
from labelwise.onnx_export import export_towers
from labelwise.torch_backend import TorchBackend
from model_build.job import Job, model_digest, say, target_label_set

MAX_BYTES = 80_000_000


def export(job: Job, *, again: bool = False) -> None:
    """Write the package's model folder and compare its engine with torch on the dev splits."""
    trained = model_digest(job.trained)
    facts = job.results().get("export", {})
    wanted = {
        "trained": trained,
        "precision": job.recipe.precision,
        "dtype": job.recipe.dtype,
        "decoding": job.recipe.decoding,
    }
    if again or not wanted.items() <= facts.items() or not _is_current(job, facts):
        facts = wanted | _write(job)
        job.record("export", facts)
    missing = [t for t in job.targets() if t.name not in facts["agreement"]]
    if not missing:
        say("export: done already")
        return
    exact = Engine(_trained(job))
    shipped = Engine(load_model(job.recipe.package_model, engine="onnx").backend)
    for folder in missing:
        sentences = read_dataset(folder, "dev")
        label_set = target_label_set(folder, sentences, described=False)
        found = agreement(exact, shipped, sentences, label_set)
        facts["agreement"][folder.name] = found
        job.record("export", facts)
        change = found["micro_f1"] - found["torch_micro_f1"]
        warning = "  WARNING: more than allowed" if change < -MAX_EXPORT_LOSS else ""
        say(
            f"export: {folder.name}: {found['same']:.1%} of sentences alike, "
            f"F1 {100 * change:+.2f}{warning}"
        )


def _is_current(job: Job, facts: dict[str, Any]) -> bool:
    folder = job.recipe.package_model
    return folder.is_dir() and facts.get("model") == model_digest(folder)


def _trained(job: Job) -> TorchBackend:
    """The trained model, decoding as the recipe says now."""
    backend = cast("TorchBackend", load_model(job.trained, engine="torch").backend)
    backend.config = backend.config.replace(**job.recipe.decoding)
    return backend


def _write(job: Job) -> dict[str, Any]:
    say(f"export: {job.recipe.precision} graphs, {job.recipe.dtype} weights")
    backend = _trained(job)
    graphs = export_towers(backend, job.recipe.precision)
    folder = job.recipe.package_model
    save_model(folder, backend, dtype=job.recipe.dtype, extra_files=graphs)
    sizes = {p.name: p.stat().st_size for p in sorted(folder.iterdir())}
    _check_size(folder, sum(sizes.values()))
    say(f"export: wrote {sum(sizes.values()) / 1e6:.1f} MB to '{folder}'")
    return {"model": model_digest(folder), "bytes": sizes, "agreement": {}}


def _check_size(folder: Path, n_bytes: int) -> None:
    if n_bytes > MAX_BYTES:
        raise CheckpointError(
            f"'{folder}' has {n_bytes / 1e6:.1f} MB. Expected at most {MAX_BYTES / 1e6:.0f}, as it "
            'goes into git and a wheel. Set dtype = "float16" and precision = "int8" under '
            "[export], or start from a smaller encoder."
        )


def agreement(
    exact: Engine, shipped: Engine, sentences: Sequence[Sentence], label_set: LabelSet
) -> dict[str, Any]:
    """Compare two engines on annotated sentences.

    Returns:
        The share of sentences in which both find the same mentions, and the F1 of each.
    """
    words = [s.words for s in sentences]
    found: list[list[list[Mention]]] = [
        list(engine.tag(words, engine.tag_table(label_set))) for engine in (exact, shipped)
    ]
    gold = [s.mentions for s in sentences]
    same = sum(a == b for a, b in zip(*found, strict=True))
    exact_f1, shipped_f1 = (score_mentions(gold, f, label_set.names).micro_f1 for f in found)
    return {
        "n_sentences": len(sentences),
        "same": round(same / max(len(sentences), 1), 4),
        "micro_f1": round(shipped_f1, 4),
        "torch_micro_f1": round(exact_f1, 4),
    }
