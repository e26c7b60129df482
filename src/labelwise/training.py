"""One training loop for both stages: ``pretrain`` on sources, ``finetune`` on a target.

Loads torch when it is called, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.config import FINETUNE, TrainConfig
from labelwise.errors import require
from labelwise.fit_report import OnProgress, Progress
from labelwise.labels import Labels, LabelSet
from labelwise.rows import Example, to_sentences
from labelwise.sentences import one_by_one
from labelwise.sources import Source

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend
    from labelwise.training_run import Run

__all__ = ["OnProgress", "Progress", "finetune", "prepare_finetune", "pretrain"]


def pretrain(
    backend: TorchBackend,
    sources: Sequence[Source],
    config: TrainConfig | None = None,
    *,
    output_dir: str | Path | None = None,
    resume: bool = False,
    evaluate: Callable[[], float] | None = None,
    on_progress: OnProgress | None = None,
) -> Progress:
    """Train both towers on one or many sources (the paper's first stage).

    Args:
        backend: Model to train in place.
        sources: Annotated corpora, each with its own label set.
        config: Settings; ``TrainConfig()`` by default.
        output_dir: Where checkpoints go; none are written without it.
        resume: Continue from the newest checkpoint in ``output_dir``, to the same weights as an
            uninterrupted run.
        evaluate: Returns dev micro-F1; called with every checkpoint.
        on_progress: Called after every update.

    Returns:
        The final progress.

    Raises:
        DataError: The sources hold no sentence.
        CheckpointError: The checkpoint to resume from is of a run with other settings, there is
            one and ``resume`` is not asked for, or ``output_dir`` cannot be a folder.
        MissingExtraError: torch is not installed.
    """
    require("torch", "train", "Training")
    from labelwise.training_run import prepare  # noqa: PLC0415

    run = prepare(backend, sources, config or TrainConfig(), output_dir=output_dir, resume=resume)
    return run.train(evaluate, on_progress)


def finetune(  # noqa: PLR0913
    backend: TorchBackend,
    examples: Iterable[Example],
    label_set: Labels,
    config: TrainConfig | None = None,
    *,
    output_dir: str | Path | None = None,
    resume: bool = False,
    evaluate: Callable[[], float] | None = None,
    on_progress: OnProgress | None = None,
) -> Progress:
    """Train both towers on a support set or a whole train split (the paper's second stage).

    Args:
        backend: Model to train in place.
        examples: Of the target, annotated, in any form of ``to_sentences``.
        label_set: Its labels, in any form of ``LabelSet.parse``; all are scored in every batch.
        config: Settings; the preset "finetune" by default, "paper-finetune" for the paper's.
        output_dir: As for ``pretrain``.
        resume: As for ``pretrain``.
        evaluate: As for ``pretrain``.
        on_progress: As for ``pretrain``.

    Returns:
        The final progress.

    Raises:
        LabelwiseError: As for ``pretrain``.
    """
    run = prepare_finetune(
        backend, examples, label_set, config, output_dir=output_dir, resume=resume
    )
    return run.train(evaluate, on_progress)


def prepare_finetune(
    backend: TorchBackend,
    examples: Iterable[Example],
    label_set: Labels,
    config: TrainConfig | None = None,
    *,
    output_dir: str | Path | None = None,
    resume: bool = False,
) -> Run:
    """Check all that ``finetune`` needs, and train nothing yet; arguments as there.

    Texts are learned from sentence by sentence, as they are read.
    """
    require("torch", "train", "Fine-tuning")
    from labelwise.training_run import prepare  # noqa: PLC0415

    sentences = [s for example in to_sentences(examples) for s in one_by_one(example)]
    source = Source("target", sentences, LabelSet.parse(label_set))
    return prepare(backend, [source], config or FINETUNE, output_dir=output_dir, resume=resume)
