"""Speed of the core: training overhead, import, fine-tuning, instant fit, and loading.

    python benchmarks/core.py [--smoke] [--output benchmarks/results/core.json]

Training is measured against a bare loop of forward, backward and step over the same batches,
in turns, so that both meet the same machine. Median of five; processor, load and versions are
recorded.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labelwise import LabelSet, Sentence, Tagger, read_dataset, sample_support_set
from labelwise.annotation import Mention
from labelwise.batches import BatchStream, TrainBatch
from labelwise.config import FINETUNE, RECOMMENDED_MODEL, TrainConfig
from labelwise.errors import MissingExtraError
from labelwise.loading import find_model, new_model
from labelwise.precision import Processor
from labelwise.sample_data import SAMPLES
from labelwise.session import Session
from labelwise.sources import Source, read_source
from labelwise.torch_backend import TorchBackend
from labelwise.training import pretrain
from labelwise.updates import batch_loss, make_optimizer, precision_for

ENCODER = "all-MiniLM-L6-v2"
CORPORA = ("support", "incidents", "contracts")
SPLITS = ("train", "dev", "test")


def main() -> None:
    """Measure everything and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/core.json"))
    arguments = parser.parse_args()
    rounds, steps = (1, 3) if arguments.smoke else (5, 30)
    results: dict[str, Any] = {"machine": machine()}
    results["training"] = training_overhead(rounds, steps)
    results["import_s"] = median_of(rounds, import_seconds)
    results["finetune_20_sentences_s"] = median_of(1 if arguments.smoke else 3, finetune_seconds)
    if default_model_installed():
        results["default_model"] = default_model_figures(rounds)
        results["solve"] = large_fit(rounds)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    sys.stdout.write(json.dumps(results, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Describe where and under what load the figures were taken."""
    return {
        "processor": Processor.here().name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def median_of(rounds: int, measure: Callable[[], float]) -> float:
    """Return the median of several measurements."""
    return round(statistics.median(measure() for _ in range(rounds)), 4)


def training_overhead(rounds: int, steps: int) -> dict[str, float]:
    """Compare the package's loop with a bare one over the same batches, in pieces a second."""
    sources = [read_source(SAMPLES / name) for name in CORPORA]
    sources = [Source(s.name, list(s.sentences) * 20, s.label_set) for s in sources]
    config = TrainConfig(max_steps=steps)
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(package_speed(sources, config))
        bare.append(bare_speed(sources, config))
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    return {
        "package_pieces_per_s": round(statistics.median(ours), 1),
        "bare_pieces_per_s": round(statistics.median(bare), 1),
        "ratio": round(ratio, 3),
    }


def package_speed(sources: list[Source], config: TrainConfig) -> float:
    """Pieces a second of ``pretrain``, batches made on the way."""
    backend = new_model(ENCODER, RECOMMENDED_MODEL)
    return pretrain(backend, sources, config).pieces_per_s


def bare_speed(sources: list[Source], config: TrainConfig) -> float:
    """Pieces a second of forward, backward, clip and step over batches made beforehand."""
    backend = new_model(ENCODER, RECOMMENDED_MODEL)
    stream = BatchStream(sources, backend.tokenizer, backend.config, config)
    batches = [next(stream) for _ in range(config.max_steps or 1)]
    step = bare_step(backend, config)
    started = time.perf_counter()
    for batch in batches:
        step(batch)
    return sum(b.n_pieces for b in batches) / (time.perf_counter() - started)


def bare_step(backend: TorchBackend, config: TrainConfig) -> Callable[[TrainBatch], None]:
    """Build one bare update of a model."""
    model = backend.model.train()
    model.set_dropout(config.dropout)
    model.freeze_word_embeddings(config.freeze_word_embeddings)
    optimizer = make_optimizer(model, config, backend.device)
    precision = precision_for(config, backend.device)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def step(batch: TrainBatch) -> None:
        loss, _ = batch_loss(model, batch, precision, backend.device)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def import_seconds() -> float:
    """Seconds of ``import labelwise`` in a fresh interpreter, its own start left out."""
    code = "import time; t = time.perf_counter(); import labelwise; print(time.perf_counter() - t)"
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )


def finetune_seconds() -> float:
    """Seconds of fine-tuning both encoders on 20 sentences."""
    folder = SAMPLES / "contracts"
    tagger = Tagger(new_model(ENCODER, RECOMMENDED_MODEL))
    started = time.perf_counter()
    tagger.finetune(read_dataset(folder, "train")[:20], LabelSet.read(folder), config=FINETUNE)
    return time.perf_counter() - started


def default_model_installed() -> bool:
    """Whether the default model can be loaded."""
    try:
        find_model(None)
    except MissingExtraError:
        return False
    return True


def default_model_figures(rounds: int) -> dict[str, float]:
    """Loading, an instant fit on 5 shots with encoding, and one more example after it."""
    folder = SAMPLES / "contracts"
    label_set = LabelSet.read(folder)
    train = read_dataset(folder, "train")
    support = sample_support_set(train, 5, 0, allow_short=True).sentences
    loads, fits, more = [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        tagger = Tagger.from_pretrained()
        loads.append(time.perf_counter() - started)
        tagger.engine.tag_table(label_set)
        started = time.perf_counter()
        tagger.fit(support, label_set)
        fits.append(time.perf_counter() - started)
        started = time.perf_counter()
        tagger.partial_fit(train[-1:])
        more.append(time.perf_counter() - started)
    return {
        "load_s": round(statistics.median(loads), 3),
        "fit_5_shot_s": round(statistics.median(fits), 3),
        "one_more_example_s": round(statistics.median(more), 3),
    }


def large_fit(rounds: int) -> dict[str, float]:
    """Solve for all labels of the samples, twice over, each sentence speaking of its own ones."""
    engine = Tagger.from_pretrained().engine
    corpora = [corpus(name, kind) for kind in ("old", "new") for name in CORPORA]
    label_set = LabelSet.parse([label for labels, _ in corpora for label in labels])
    seconds = []
    for _ in range(rounds):
        session = Session(engine, label_set)
        for labels, sentences in corpora:
            session.add(sentences, labels=labels)
        seconds.append(session.fit().seconds)
    examples = session.examples
    return {
        "labels": len(label_set),
        "sentences": len(examples),
        "words": sum(len(s.words) for s in examples),
        "solve_s": round(statistics.median(seconds), 3),
    }


def corpus(sample: str, kind: str) -> tuple[list[str], list[Sentence]]:
    """Return labels and sentences of a sample, the labels with words before them."""
    sentences = [s for split in SPLITS for s in read_dataset(SAMPLES / sample, split)]
    new = {name: f"{kind} {sample} {name}" for name in LabelSet.read(SAMPLES / sample).names}
    return list(new.values()), [
        dataclasses.replace(
            s, mentions=tuple(Mention(m.start, m.end, new[m.label]) for m in s.mentions)
        )
        for s in sentences
    ]


if __name__ == "__main__":
    main()
