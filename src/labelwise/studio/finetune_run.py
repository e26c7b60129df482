"""What runs in the process of a fine-tuning job: trains, compares, saves; JSON lines on stdout.

    python -m labelwise.studio.finetune_run JOB.json

Ends when its standard input closes, so that no training outlives the studio.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from labelwise.annotation import Sentence
from labelwise.config import FINETUNE
from labelwise.data import read_jsonl
from labelwise.errors import LabelwiseError, require
from labelwise.evaluation import check_export, evaluate
from labelwise.labels import LabelSet
from labelwise.loading import load_model, save_model
from labelwise.tagger import Tagger

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend
    from labelwise.training import Progress

HOLD_EVERY, HOLD_EVERY_OF_FEW, FEW = 5, 3, 15
MEASURE_EVERY = 0.1  # of the run


def split(sentences: Sequence[Sentence]) -> tuple[list[Sentence], list[Sentence]]:
    """Part examples into those to train on and every fifth, or third of few, to measure on."""
    every = HOLD_EVERY_OF_FEW if len(sentences) < FEW else HOLD_EVERY
    held = set(range(every - 1, len(sentences), every))
    train = [s for i, s in enumerate(sentences) if i not in held]
    return train, [sentences[i] for i in sorted(held)]


def run(job: dict[str, Any]) -> None:
    """Train on most examples, and compare before and after on the rest.

    Args:
        job: ``examples`` (JSONL file), ``labels`` (as ``LabelSet.to_dict``), ``model`` (folder or
            None) and ``output`` (folder).
    """
    require("torch", "train", "Fine-tuning")
    from labelwise.training import finetune  # noqa: PLC0415

    label_set = LabelSet.parse(job["labels"])
    train, held = split(read_jsonl(job["examples"]))
    emit("started", n_train=len(train), n_held=len(held))
    emit("before", f1=_fitted_f1(Tagger.from_pretrained(job["model"]), label_set, train, held))
    backend = cast("TorchBackend", load_model(job["model"], engine="torch").backend)
    progress = finetune(
        backend, train, label_set, FINETUNE, on_progress=_reporter(backend, label_set, held)
    )
    emit("saving", loss=progress.loss)
    graphs = _graphs(backend, label_set, held)
    save_model(job["output"], backend, label_set, extra_files=graphs)
    after = _fitted_f1(Tagger.from_pretrained(job["output"]), label_set, train, held)
    emit("done", f1=after, seconds=progress.elapsed_s)


def emit(event: str, **values: Any) -> None:
    """Tell the studio something, in one line."""
    sys.stdout.write(json.dumps({"event": event} | values) + "\n")
    sys.stdout.flush()


def _fitted_f1(
    tagger: Tagger, label_set: LabelSet, train: Sequence[Sentence], held: Sequence[Sentence]
) -> float:
    """Score as the studio uses a model: with the instant fit on top."""
    tagger.fit(train, label_set)
    return evaluate(tagger, held, label_set).scores.micro_f1


def _reporter(backend: TorchBackend, label_set: LabelSet, held: Sequence[Sentence]) -> Any:
    """Report every update, and the score on the held-back part now and then."""
    due = MEASURE_EVERY
    dev_f1: float | None = None

    def report(progress: Progress) -> None:
        nonlocal due, dev_f1
        if progress.done >= due:
            due += MEASURE_EVERY
            backend.changed()
            backend.model.eval()
            dev_f1 = evaluate(Tagger(backend), held, label_set).scores.micro_f1
        emit(
            "progress",
            step=progress.step,
            done=progress.done,
            loss=progress.loss,
            train_f1=progress.train_f1,
            held_f1=dev_f1,
            left_s=progress.left_s,
        )

    return report


def _graphs(
    backend: TorchBackend, label_set: LabelSet, held: Sequence[Sentence]
) -> dict[str, bytes]:
    """The small fast graphs if they lose next to nothing, else the exact ones."""
    from labelwise.onnx_export import export_towers  # noqa: PLC0415

    small = export_towers(backend, "int8")
    is_good = check_export(backend, small, held, label_set).is_passed
    return small if is_good else export_towers(backend, "fp32")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Run the job of the file that the first argument names."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)
    try:
        run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except LabelwiseError as err:
        emit("failed", message=str(err))
        sys.exit(2)


if __name__ == "__main__":
    main()
