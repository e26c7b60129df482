"""Folders of models and of training steps: written whole, verified before use, never a pickle.

Knows folders, not models: what a model puts into one is up to the caller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from labelwise.errors import CheckpointError, ConfigError, DataError
from labelwise.guarded import folder_lock
from labelwise.sealed import (
    Content,
    Manifest,
    discard,
    read_seal,
    recover,
    refuse_foreign,
    remove_leftovers,
    verify_files,
    write_sealed,
)
from labelwise.strict_json import dump_json, read_json
from labelwise.tensors import Schema, Tensors, load_tensors, save_tensors

_MANIFEST = "manifest.json"
_COMPLETE = "COMPLETE"
_STATE = "state.json"
_STEP = re.compile(r"step-(\d{6,12})")
_logger = logging.getLogger(__name__)


def write_folder(
    path: str | Path, files: Mapping[str, Content], *, details: Mapping[str, Any] | None = None
) -> Manifest:
    """Write a model folder so that a kill at any moment leaves the old or the new one whole.

    Args:
        path: The folder; one that labelwise saved before is replaced.
        files: Content by plain file name: bytes, text, or a function that writes the path it
            is given.
        details: JSON-able facts for the manifest, such as licences.

    Returns:
        The manifest as written.

    Raises:
        CheckpointError: The folder holds files that are not ours, another process writes it, a
            name is not plain, or the disk refuses. What was there is unchanged.
    """
    return write_sealed(Path(path), files, _MANIFEST, details or {})


def check_replaceable(path: str | Path) -> None:
    """Refuse a folder that ``write_folder`` would refuse, before hours of work go into it.

    Raises:
        CheckpointError: It holds files that are not ours, or is no folder.
    """
    recover(Path(path))
    refuse_foreign(Path(path), _MANIFEST)


def read_manifest(path: str | Path) -> Manifest:
    """Read the manifest of a model folder; the other files are not looked at.

    Raises:
        CheckpointError: There is no such folder, it is not ours or of another format, or its
            manifest is damaged or hostile.
    """
    recover(Path(path))
    return read_seal(Path(path), _MANIFEST)


def verify(path: str | Path) -> Manifest:
    """Check every file of a model folder against its manifest.

    Raises:
        CheckpointError: As ``read_manifest``, or a file is missing, a link, or differs.
    """
    manifest = read_manifest(path)
    verify_files(manifest)
    return manifest


@contextlib.contextmanager
def named_in_errors(path: Path) -> Generator[None, None, None]:
    """Turn errors of code that knows no files into ones that name the file."""
    try:
        yield
    except (DataError, CheckpointError) as err:
        raise CheckpointError(f"'{path}': {err}") from err


@dataclass(frozen=True)
class StepCheckpoint:
    """A verified training checkpoint.

    Attributes:
        path: Its folder.
        step: Updates done.
        state: What ``save_step`` was given; tuples have become lists.
        manifest: Its files.
    """

    path: Path
    step: int
    state: dict[str, Any]
    manifest: Manifest

    def load(self, name: str, schema: Schema | None = None) -> Tensors:
        """Load the tensors saved under a name, such as ``"model"`` or ``"optim"``."""
        return load_tensors(self.manifest.file(f"{name}.safetensors"), schema)


def save_step(
    root: str | Path,
    step: int,
    tensors: Mapping[str, Mapping[str, NDArray[Any]]],
    state: Mapping[str, Any],
    *,
    keep: int = 2,
) -> Path:
    """Save a training checkpoint as ``root/step-000120`` and prune older ones.

    Args:
        root: Folder of the run's checkpoints; made if missing.
        step: Updates done.
        tensors: Arrays by name, by file: ``{"model": {...}, "optim": {...}}``.
            Shapes ``(...)``, any.
        state: JSON-able rest: schedule, sampler, random states.
        keep: How many of the newest checkpoints stay.

    Returns:
        The folder written.

    Raises:
        CheckpointError: The root holds a newer checkpoint, so this is another run; or as
            ``write_folder``.
        ConfigError: ``step`` or ``keep`` is out of range.
    """
    if keep < 1 or not 0 <= step < 10**12:
        raise ConfigError(f"Cannot save step {step}, keep {keep}. Expected step >= 0, keep >= 1.")
    root = Path(root)
    path = root / f"step-{step:06d}"
    files: dict[str, Content] = {
        f"{name}.safetensors": partial(save_tensors, tensors=group)
        for name, group in tensors.items()
    }
    files[_STATE] = dump_json({**state}, _STATE).decode()
    root.mkdir(parents=True, exist_ok=True)
    with folder_lock(root):
        _refuse_newer(root, step)
        write_sealed(path, files, _COMPLETE, {})
        for old in _step_folders(root)[:-keep]:
            discard(old)
        remove_leftovers(root, r"step-\d+")
    return path


def begin_steps(root: str | Path, *, resume: bool = False) -> StepCheckpoint | None:
    """Make the folder of a run's checkpoints, or find where the run stands.

    Args:
        root: The folder.
        resume: Whether to go on from the newest checkpoint in it.

    Returns:
        That checkpoint; None where there is none.

    Raises:
        CheckpointError: It cannot be made or written to, or it holds a checkpoint and ``resume``
            is not asked for.
    """
    root = Path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        problem = "" if os.access(root, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as err:
        problem = err.strerror or str(err)
    if problem:
        raise CheckpointError(
            f"No checkpoints can be written to '{root}': {problem}. Expected a folder that can be "
            "written to, or the name of a new one. Choose another."
        )
    found = latest_step(root)
    if found and not resume:
        raise CheckpointError(
            f"'{root}' holds step {found.step} of an earlier run. Expected no checkpoints. "
            "Continue that run with resume=True, or choose another folder."
        )
    return found


def latest_step(root: str | Path) -> StepCheckpoint | None:
    """Return the newest whole checkpoint of a run; damaged ones are skipped with a warning."""
    root = Path(root)
    if not root.is_dir():
        return None
    for aside in root.glob(".old-step-*"):
        recover(root / aside.name.removeprefix(".old-"))
    for folder in reversed(_step_folders(root)):
        try:
            return _open_step(folder)
        except CheckpointError as err:
            _logger.warning("Skipped a damaged checkpoint: %s", err)
    return None


def _open_step(folder: Path) -> StepCheckpoint:
    manifest = read_seal(folder, _COMPLETE)
    verify_files(manifest)
    state = read_json(manifest.file(_STATE))
    return StepCheckpoint(folder, _step_number(folder), state, manifest)


def _step_folders(root: Path) -> list[Path]:
    return sorted(filter(_is_step, root.iterdir()), key=_step_number)


def _is_step(folder: Path) -> bool:
    return _STEP.fullmatch(folder.name) is not None and (folder / _COMPLETE).is_file()


def _step_number(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _refuse_newer(root: Path, step: int) -> None:
    """Refuse to mix two runs; remove damaged checkpoints that this run writes anew."""
    ahead = [folder for folder in _step_folders(root) if _step_number(folder) >= step]
    latest = latest_step(root) if ahead else None
    if latest is not None and latest.step > step:
        raise CheckpointError(
            f"'{root}' holds step {latest.step}, newer than step {step}. "
            "Resume that run, or choose another folder."
        )
    for folder in ahead:
        if latest is None or folder != latest.path:
            discard(folder)
