"""Training runs: folders checked first, progress shown on the way, a model at the end."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwise.apps.inputs import labels_to_score
from labelwise.apps.output import finite, note
from labelwise.apps.progress import both, tensorboard_scalars, training_progress
from labelwise.apps.render import stderr
from labelwise.checkpoint import check_replaceable
from labelwise.data import read_dataset
from labelwise.errors import CheckpointError, require
from labelwise.evaluation import evaluate
from labelwise.labels import LabelSet
from labelwise.loading import save_model
from labelwise.tagger import Tagger

if TYPE_CHECKING:
    from labelwise.config import ModelConfig, TrainConfig
    from labelwise.sources import Source
    from labelwise.torch_backend import TorchBackend
    from labelwise.training import OnProgress, Progress

Train = Callable[..., "Progress"]
SETTINGS_FILE, RECORD_FILE = "settings.json", "training.json"


@dataclass(frozen=True)
class Folders:
    """Where a run writes.

    Attributes:
        output: The model, at the end.
        checkpoints: State of the run, on the way.
        is_temporary: Whether the checkpoints go when the model is saved.
        scalars: TensorBoard events, or None.
    """

    output: Path
    checkpoints: Path
    is_temporary: bool
    scalars: Path | None


def prepare_folders(
    output: Path, checkpoints: Path | None, *, resume: bool, tensorboard: bool
) -> Folders:
    """Choose and check the folders of a run before hours go into it.

    Args:
        output: Folder of the model.
        checkpoints: Folder of the checkpoints; ``OUTPUT.run`` by default.
        resume: Whether checkpoints may be there already.
        tensorboard: Whether to log scalars, in ``OUTPUT.tensorboard``.

    Raises:
        CheckpointError: The output holds files that are not ours, or the checkpoints are those
            of another run.
        MissingExtraError: TensorBoard is asked for and not installed.
    """
    check_replaceable(output)
    folder = checkpoints or output.with_name(f"{output.name}.run")
    if not resume and any(folder.glob("step-*")):
        raise CheckpointError(
            f"'{folder}' holds the checkpoints of an earlier run. Expected an empty folder. "
            "Add --resume to go on with that run, name other --checkpoints, or remove the folder."
        )
    if tensorboard:
        require("tensorboard", "train", "Logging for TensorBoard")
    scalars = output.with_name(f"{output.name}.tensorboard") if tensorboard else None
    return Folders(output, folder, checkpoints is None, scalars)


def train_and_save(
    train: Train,
    backend: TorchBackend,
    folders: Folders,
    record: dict[str, Any],
    settings: dict[str, ModelConfig | TrainConfig],
    *,
    label_set: LabelSet | None = None,
    resume: bool = False,
    dev: Sequence[Path] = (),
    dev_labels: LabelSet | None = None,
) -> Progress:
    """Run a training stage and save its model.

    Args:
        train: ``pretrain`` or ``finetune`` with its data and settings bound.
        backend: The model it trains.
        folders: Where to write.
        record: JSON-able facts of the run, saved beside the model.
        settings: Resolved settings by section, saved as a file that ``--config`` reads.
        label_set: Saved as the model's own labels.
        resume: Go on from the newest checkpoint.
        dev: Datasets to measure on with every checkpoint.
        dev_labels: As for ``dev_f1``.

    Returns:
        The final progress.
    """
    resolved = {section: config.to_dict() for section, config in settings.items()}
    for section, values in resolved.items():
        shown = ", ".join(f"{k}={v}" for k, v in values.items() if v is not None)
        note(f"{section} settings: {shown}")
    tagger = Tagger(backend, label_set=label_set)
    evaluate_dev = dev_f1(tagger, dev, dev_labels) if dev else None
    with shown_progress(folders) as on_progress:
        progress = train(
            output_dir=folders.checkpoints,
            resume=resume,
            evaluate=evaluate_dev,
            on_progress=on_progress,
        )
    save_model(
        folders.output,
        backend,
        label_set,
        extra_files={
            SETTINGS_FILE: _json(resolved),
            RECORD_FILE: _json(record | {"result": asdict(progress)}),
        },
    )
    if folders.is_temporary:
        shutil.rmtree(folders.checkpoints, ignore_errors=True)
    return progress


@contextlib.contextmanager
def shown_progress(folders: Folders) -> Iterator[OnProgress]:
    """Show and log a run; say how to go on with one that is interrupted."""
    try:
        with (
            training_progress(stderr()) as show,
            tensorboard_scalars(folders.scalars) as log,
        ):
            yield both(show, log)
    except KeyboardInterrupt:
        if any(folders.checkpoints.glob("step-*")):
            note(f"The newest checkpoint is in '{folders.checkpoints}'; --resume goes on from it.")
        raise


def _json(value: Any) -> str:
    return json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def dev_f1(
    tagger: Tagger, datasets: Sequence[Path], labels: LabelSet | None = None
) -> Callable[[], float]:
    """Return a function that measures the mean micro-F1 on the dev splits of some datasets.

    Args:
        tagger: The model in training.
        datasets: Dataset folders, or files.
        labels: What to look for; by default as for ``labels_to_score``.
    """
    sets = [
        labels_to_score(labels, path, tagger.label_set, read_dataset(path, "dev"))
        for path in datasets
    ]

    def measure() -> float:
        return sum(evaluate(tagger, s, labels).scores.micro_f1 for labels, s in sets) / len(sets)

    return measure


def source_facts(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Describe training sources for the record: size, labels and share of the batches."""
    total = sum(s.sampling_weight for s in sources)
    return [
        {
            "name": s.name,
            "n_sentences": len(s.sentences),
            "n_labels": len(s.label_set),
            "share": round(s.sampling_weight / total, 4),
        }
        for s in sources
    ]
