"""One build: where it reads and writes, and the results it has so far."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelwise.annotation import Sentence
from labelwise.checkpoint import read_manifest
from labelwise.data import labels_of, read_label_set
from labelwise.errors import DataError
from labelwise.files import atomic_write_text
from labelwise.labels import LabelSet
from labelwise.precision import Processor, usable_cores
from model_build.recipe import Recipe


@dataclass(frozen=True)
class Job:
    """A build of one recipe.

    Attributes:
        recipe: What to make.
        data: Folder with the sources that the recipe names, and with ``target/``.
        work: Folder for checkpoints and trained weights.
        given_model: A model folder trained elsewhere, to be used in place of training.
        hardware: What the training ran on, for the card; found out by default.
    """

    recipe: Recipe
    data: Path
    work: Path
    given_model: Path | None = None
    hardware: str | None = None

    @property
    def trained(self) -> Path:
        """Folder of the trained model in full precision."""
        return self.given_model or self.stage_model(len(self.recipe.stages))

    def stage_folder(self, number: int) -> Path:
        """Folder of a training stage, counted from 1."""
        return self.work / f"stage-{number}"

    def stage_model(self, number: int) -> Path:
        """Folder of the weights that a stage ends with."""
        name = "blended" if self.recipe.stages[number - 1].blend else "model"
        return self.stage_folder(number) / name

    @property
    def results_path(self) -> Path:
        """File of all results."""
        return self.recipe.project / "results.json"

    def results(self) -> dict[str, Any]:
        """Read what earlier steps have recorded, by step."""
        if not self.results_path.is_file():
            return {}
        return json.loads(self.results_path.read_text(encoding="utf-8"))

    def record(self, step: str, values: dict[str, Any]) -> None:
        """Write the results of a step, the whole file or nothing."""
        text = json.dumps(self.results() | {step: values}, indent=1, ensure_ascii=False)
        atomic_write_text(self.results_path, text + "\n")

    def targets(self) -> list[Path]:
        """List the dataset folders to measure on.

        Raises:
            DataError: There are none.
        """
        folder = self.data / "target"
        found = sorted(p for p in folder.glob("*") if any(p.glob("test.*")))
        if not found:
            raise DataError(
                f"'{folder}' has no datasets. Expected folders with a test split: every build is "
                "checked and measured on them. Check --data."
            )
        return found


def say(text: str) -> None:
    """Print a line of progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def model_digest(folder: Path) -> str:
    """Hash of all files of a model folder, as its manifest lists them."""
    files = read_manifest(folder).files
    listed = "".join(f"{name} {files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(listed.encode()).hexdigest()


def weights_digest(folder: Path) -> str:
    """Hash of the weights of a model folder, as its manifest lists it."""
    return read_manifest(folder).files["model.safetensors"].sha256


def hardware() -> str:
    """Name the processor and how many cores this process may use."""
    cores = usable_cores()
    return f"{Processor.here().name}, {cores} core{'s' if cores > 1 else ''}"


def target_label_set(folder: Path, sentences: list[Sentence], *, described: bool) -> LabelSet:
    """Return a target's labels as plain words, with or without their descriptions."""
    spec: dict[str, Any] = {
        label.name: {"words": label.words, "description": label.description if described else None}
        for label in read_label_set(folder) or ()
    }
    return LabelSet.parse(dict.fromkeys(labels_of(sentences)) | spec)
