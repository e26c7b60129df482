"""Training by stages, resumable; or the facts of a model that was trained elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console

from labelwise.apps.progress import training_progress
from labelwise.checkpoint import read_manifest, verify
from labelwise.config import TrainConfig
from labelwise.encoders import tokenizer_json
from labelwise.encoding import PieceTokenizer, batches_by_pieces
from labelwise.loading import load_model, new_model, save_model
from labelwise.sources import Source
from labelwise.strict_json import read_json
from labelwise.torch_backend import TorchBackend
from labelwise.training import pretrain
from model_build.corpora import members_of, source_folder, sources_of_stage
from model_build.job import Job, hardware, model_digest, say
from model_build.leaks import clean_sources
from model_build.recipe import DECODING, Blend

RECORD, SETTINGS = "training.json", "settings.json"  # as `labelwise pretrain` names them


def train(job: Job, *, again: bool = False) -> None:
    """Train all stages, or take the given model; record what it cost and what it was made of."""
    done = job.results().get("training", {})
    digest = job.recipe.digest(len(job.recipe.stages))
    if not again and done.get("recipe") == digest and _is_done(job, done):
        say("train: done already")
        return
    sources = clean_sources(job)
    stages = _given_stages(job) if job.given_model else _train_stages(job, sources)
    say("train: counting the pieces of every source")
    facts = {
        "recipe": digest,
        "trained": model_digest(job.trained),
        "is_given": job.given_model is not None,
        "model": _model_settings(job.trained),
        "stages": stages,
        "sources": source_facts(job, sources, stages),
    }
    job.record("training", facts)


def _is_done(job: Job, done: dict[str, Any]) -> bool:
    return job.trained.is_dir() and done.get("trained") == model_digest(job.trained)


def _train_stages(job: Job, sources: Mapping[str, Source]) -> list[dict[str, Any]]:
    """Train what is not trained yet; return the records of all stages."""
    records = []
    for number, stage in enumerate(job.recipe.stages, start=1):
        model, chosen = job.stage_folder(number) / "model", sources_of_stage(sources, stage)
        made_of = {"recipe": job.recipe.digest(number), "data": _digest(chosen.values())}
        record = _record(model) if model.is_dir() else {}
        if made_of.items() <= record.items():
            say(f"train: stage {number} done already")
        else:
            record = _train_stage(job, number, stage.train, list(chosen.values()), made_of)
        if stage.blend:
            _write_blend(job, number, stage.blend)
        records.append(record)
    return records


def _digest(sources: Iterable[Source]) -> str:
    return hashlib.sha256("".join(source.digest for source in sources).encode()).hexdigest()


def _train_stage(
    job: Job,
    number: int,
    config: TrainConfig,
    sources: Sequence[Source],
    made_of: Mapping[str, str],
) -> dict[str, Any]:
    say(f"train: stage {number} of {len(job.recipe.stages)}, {len(sources)} sources")
    folder = job.stage_folder(number)
    backend = _start(job, number)
    with training_progress(Console()) as show:
        progress = pretrain(
            backend,
            sources,
            config,
            output_dir=folder / "checkpoints",
            resume=True,
            on_progress=show,
        )
    record = {
        **made_of,
        "settings": config.to_dict(),
        "result": dataclasses.asdict(progress),
        "hardware": job.hardware or hardware(),
    }
    save_model(folder / "model", backend, extra_files={RECORD: json.dumps(record, indent=1)})
    return record


def _start(job: Job, number: int) -> TorchBackend:
    """The bare encoder, or the model of the stage that this one goes on from."""
    start = job.recipe.stages[number - 1].start
    if start == 0:
        return new_model(job.recipe.encoder, job.recipe.model)
    return cast("TorchBackend", load_model(job.stage_model(start), engine="torch").backend)


def _write_blend(job: Job, number: int, blend: Blend) -> None:
    """Mix the weights of two stages; models near each other on one path mix into a better one."""
    last, earlier = (
        cast("TorchBackend", load_model(folder, engine="torch").backend)
        for folder in (job.stage_folder(number) / "model", job.stage_model(blend.stage))
    )
    weights = dict(earlier.model.named_parameters())
    with torch.no_grad():
        for name, parameter in last.model.named_parameters():
            parameter.lerp_(weights[name], blend.share)
    last.changed()
    save_model(job.stage_model(number), last)
    say(f"train: {blend.share:.0%} of stage {blend.stage} blended into stage {number}")


def _record(model: Path) -> dict[str, Any]:
    manifest = read_manifest(model)
    return read_json(manifest.file(RECORD)) if RECORD in manifest.files else {}


def _model_settings(model: Path) -> dict[str, Any]:
    return read_json(read_manifest(model).file("config.json"))["model"]


def _given_stages(job: Job) -> list[dict[str, Any]]:
    """What the folder of a given model says about its training."""
    manifest = verify(job.trained)
    record = _record(job.trained)
    settings = read_json(manifest.file(SETTINGS)) if SETTINGS in manifest.files else {}
    expected, found = job.recipe.model.to_dict(), _model_settings(job.trained)
    ignored = {"max_pieces", *DECODING}  # the encoder lowers the first, the export sets the others
    changed = sorted(k for k in expected if k not in ignored and expected[k] != found.get(k))
    if changed:
        say(f"train: WARNING: the given model differs from the recipe in [model] {changed}")
    stage = {
        "settings": settings.get("train") or job.recipe.stages[-1].train.to_dict(),
        "result": record.get("result"),
        "hardware": job.hardware,
        "n_sentences": {s["name"]: s["n_sentences"] for s in record.get("sources", ())},
    }
    say("train: took the facts of the given model")
    return [stage]


def source_facts(
    job: Job, sources: Mapping[str, Source], records: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Describe every source for the card: size, share of the training pieces, licence."""
    tokenizer = PieceTokenizer.from_json(tokenizer_json(job.trained))
    n_pieces = {name: 0.0 for name in sources}
    recorded = job.recipe.stages[-len(records) :]  # a given model has one record
    for stage, record in zip(recorded, records, strict=True):
        chosen = sources_of_stage(sources, stage)
        shares = piece_shares(
            list(chosen.values()), tokenizer, stage.train, job.recipe.model.max_pieces
        )
        for name, share in zip(chosen, shares, strict=True):
            n_pieces[name] += share * _pieces(record)
    total = sum(n_pieces.values()) or 1.0
    return [
        _facts(name, [sources[m] for m in members], _meta(job, name))
        | {"share": round(sum(n_pieces[m] for m in members) / total, 4)}
        for name in job.recipe.sources
        if (members := members_of(sources, [name]))
    ]


def _pieces(record: Mapping[str, Any]) -> float:
    """Text pieces that a stage has read; 1 where its record does not tell."""
    result = record.get("result") or {}
    return result.get("pieces_per_s", 1.0) * result.get("elapsed_s", 1.0)


def _meta(job: Job, name: str) -> dict[str, Any]:
    path = source_folder(job, name) / "meta.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _facts(name: str, members: Sequence[Source], meta: Mapping[str, Any]) -> dict[str, Any]:
    sentences = [s for source in members for s in source.sentences]
    return {
        "name": name.removeprefix("source/"),
        "n_sentences": len(sentences),
        "n_mentions": sum(len(s.mentions) for s in sentences),
        "n_labels": len({n for source in members for n in source.label_set.names}),
        "licence": meta.get("licence", "not stated"),
        "licence_class": meta.get("licence_class", "not stated"),
        "domain": meta.get("domain", "not stated"),
    }


def piece_shares(
    sources: Sequence[Source], tokenizer: PieceTokenizer, config: TrainConfig, max_pieces: int
) -> list[float]:
    """Return the share of the training pieces that comes from each source.

    Batches are drawn by weight, and how full they are depends on the sentences of the source.
    """
    drawn = []
    for source in sources:
        encoded = tokenizer.encode_words([s.words for s in source.sentences])
        lengths = [min(len(p.ids), max_pieces) for p in encoded]
        n_batches = len(batches_by_pieces(lengths, config.batch_pieces))
        n_batches = max(
            n_batches, -(-len(lengths) // (config.batch_sentences or len(lengths) or 1))
        )
        drawn.append(source.sampling_weight * sum(lengths) / n_batches if lengths else 0.0)
    return [pieces / max(sum(drawn), 1e-9) for pieces in drawn]
