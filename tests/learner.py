"""A small training run that every process does alike; run as a script, it waits to be killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from builders import people_and_cities, sentence, tiny_backend
from labelwise.config import ModelConfig, TrainConfig
from labelwise.labels import LabelSet
from labelwise.sources import Source
from labelwise.torch_backend import TorchBackend
from labelwise.training import Progress, pretrain

MODEL = ModelConfig(max_pieces=64, temperature=True)
SETTINGS = TrainConfig(
    learning_rate=1e-3, max_steps=20, batch_sentences=2, dropout=0.2, max_labels=2,
    freeze_word_embeddings=False, paraphrase_prob=0.5, description_prob=0.5, resplit_prob=0.5,
    precision="fp32", checkpoint_every_s=0.0,
)  # fmt: skip


def two_sources() -> list[Source]:
    """Two sources with paraphrases and descriptions, so that every random choice is made."""
    people = LabelSet.parse({"person": "a bob", "city": "a place to live", "drug": None})
    drugs = LabelSet.parse(["drug", "disease"])
    notes = [
        sentence("aspirin/B-drug is not for fever/B-disease ."),
        sentence("fever/B-disease here"),
        sentence("aspirin/B-drug"),
    ]
    return [
        Source("people", people_and_cities(), people, {"person": ["human", "somebody"]}),
        Source("notes", notes, drugs),
    ]


def learn(
    backend: TorchBackend | None = None, settings: TrainConfig = SETTINGS, **options: Any
) -> tuple[TorchBackend, Progress]:
    """Train a new model, or the one given."""
    backend = backend or tiny_backend(MODEL, layers=1)
    return backend, pretrain(backend, two_sources(), settings, **options)


if __name__ == "__main__":
    learn(
        output_dir=Path(sys.argv[1]),
        on_progress=lambda progress: print(progress.step, flush=True),
    )
