"""Fine-tuning in a process of its own: started, watched, cancelled. Trains nothing itself."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from labelwise.errors import CheckpointError, MissingExtraError, RequestError
from labelwise.files import atomic_write_text
from labelwise.strict_json import read_json

Stage = Literal["idle", "starting", "training", "saving", "done", "failed", "cancelled"]
MIN_TEXTS = 4
UNDECIDED = "undecided.json"
"""File of a finished job beside its model, until somebody uses that or turns it down."""

_FOLDER = re.compile(r"finetuned-\d+")
_RUNNING: tuple[Stage, ...] = ("starting", "training", "saving")
_MAX_POINTS = 200
_GRACE_S = 3.0
_NEEDS = ("torch", "transformers", "onnx", "onnxscript")


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands.

    Attributes:
        stage: What it does.
        done: Share of the training that is done.
        loss: Training loss so far, thinned out.
        held_f1: F1 on the held-back part over the share done, as pairs.
        left_s: Seconds of training left.
        before_f1: F1 on the held-back part before.
        after_f1: F1 on the held-back part at the end.
        n_train: Texts it trains on.
        n_held: Texts it is measured on.
        output: Folder of the new model, when done.
        message: What went wrong, if something did.
    """

    stage: Stage = "idle"
    done: float = 0.0
    loss: tuple[float, ...] = ()
    held_f1: tuple[tuple[float, float], ...] = ()
    left_s: float | None = None
    before_f1: float | None = None
    after_f1: float | None = None
    n_train: int = 0
    n_held: int = 0
    output: str | None = None
    message: str | None = None


def missing_for_training() -> str | None:
    """Say what fine-tuning lacks on this machine; None if nothing."""
    missing = next((m for m in _NEEDS if importlib.util.find_spec(m) is None), None)
    if missing is None:
        return None
    return (
        f"Fine-tuning needs '{missing}', which is not installed. "
        "Run: pip install 'labelwise[train]'."
    )


@dataclass
class FinetuneJob:
    """At most one training at a time; one that was finished before a restart is found again.

    Attributes:
        folder: Models go into folders inside it.
    """

    folder: Path
    _status: JobStatus = field(default_factory=JobStatus)
    _process: subprocess.Popen[bytes] | None = None
    _number: int = 0  # of the last folder
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Find a job that nobody has decided about."""
        self._status = _undecided(self.folder / UNDECIDED)

    @property
    def status(self) -> JobStatus:
        """Where the job stands now."""
        with self._lock:
            return self._status

    def start(
        self, examples: bytes, n_examples: int, labels: Mapping[str, Any], model: str | None
    ) -> None:
        """Start training.

        Args:
            examples: Accepted texts as JSONL.
            n_examples: How many.
            labels: As ``LabelSet.to_dict`` gives them.
            model: Folder to start from, or None for the default model.

        Raises:
            MissingExtraError: Training is not installed.
            RequestError: There are too few examples, a job runs already, or none can be started.
        """
        if problem := missing_for_training():
            raise MissingExtraError(problem)
        if n_examples < MIN_TEXTS:
            raise RequestError(
                f"There are {n_examples} accepted texts. Expected at least {MIN_TEXTS}, of which "
                "a part is held back to measure on. Accept some more."
            )
        with self._lock:
            if self._status.stage in _RUNNING:
                raise RequestError("A fine-tuning runs already. Cancel it, or wait for its end.")
            try:
                self._begin(examples, {"labels": labels, "model": model})
            except OSError as err:
                raise RequestError(
                    f"Cannot start a fine-tuning: {err}. Expected a disk with room, and a folder "
                    f"'{self.folder}' that can be written to. Make room, or move the project."
                ) from err
            self._status = JobStatus(stage="starting")

    def _begin(self, examples: bytes, job: Mapping[str, Any]) -> None:
        """Start the process, and a thread that watches it."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        output = self._new_folder()
        scratch = Path(tempfile.mkdtemp(prefix="labelwise-"))
        try:
            (scratch / "examples.jsonl").write_bytes(examples)
            paths = {"examples": str(scratch / "examples.jsonl"), "output": str(output)}
            (scratch / "job.json").write_text(json.dumps({**job, **paths}), encoding="utf-8")
            self._process = _spawn(scratch / "job.json", scratch / "errors.txt")
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        threading.Thread(
            target=self._watch, args=(self._process, scratch, output), daemon=True
        ).start()

    def cancel(self) -> None:
        """Stop the job, if one runs; what it has learned is dropped."""
        with self._lock:
            process = self._process
            if process is None or self._status.stage not in _RUNNING:
                return
            self._status = dataclasses.replace(self._status, stage="cancelled", left_s=None)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        process.kill()

    def dismiss(self) -> None:
        """Forget a job that has ended."""
        with self._lock:
            if self._status.stage not in _RUNNING:
                self._status = JobStatus()
                with contextlib.suppress(OSError):
                    (self.folder / UNDECIDED).unlink()

    def _new_folder(self) -> Path:
        """Name a folder that no job has had: that of a cancelled one is still to be deleted."""
        self._number += 1
        while (self.folder / f"finetuned-{self._number}").exists():
            self._number += 1
        return self.folder / f"finetuned-{self._number}"

    def _watch(self, process: subprocess.Popen[bytes], scratch: Path, output: Path) -> None:
        """Follow a process to its end; what it has saved stays if it is the job's result."""
        is_result = False
        with process:
            for line in process.stdout or ():
                is_result |= self._take(process, _said(line), output)
        reason = (scratch / "errors.txt").read_text(errors="replace").strip()[-300:]
        message = (
            f"The training process ended with code {process.returncode}: "
            f"{reason.rpartition(chr(10))[2] or 'it said nothing'}."
        )
        self._take(process, {"event": "failed", "message": message}, output)
        shutil.rmtree(scratch, ignore_errors=True)
        if not is_result:
            shutil.rmtree(output, ignore_errors=True)

    def _take(
        self, process: subprocess.Popen[bytes], event: Mapping[str, Any], output: Path
    ) -> bool:
        """Note what a process says while it is the job; tells whether the job is done by it."""
        with self._lock:
            if process is not self._process or self._status.stage not in _RUNNING:
                return False
            self._status = _after(self._status, event, output)
            is_done = self._status.stage == "done"
            if is_done:
                _remember(self._status, self.folder / UNDECIDED)
            return is_done


def _remember(status: JobStatus, path: Path) -> None:
    """Keep a finished job over a restart; where the disk is full, only until then."""
    values = dataclasses.asdict(status)
    del values["stage"]
    values["output"] = Path(str(status.output)).name
    with contextlib.suppress(OSError):
        atomic_write_text(path, json.dumps(values))


def _undecided(path: Path) -> JobStatus:
    """Read what ``_remember`` has kept; a file that is damaged says nothing."""
    try:
        values = read_json(path)
        name = values.pop("output")
        values["loss"] = tuple(values["loss"])
        values["held_f1"] = tuple((done, f1) for done, f1 in values["held_f1"])
        if not _FOLDER.fullmatch(name) or not (path.parent / name).is_dir():
            return JobStatus()
        return JobStatus(**values, stage="done", output=str(path.parent / name))
    except (CheckpointError, AttributeError, KeyError, TypeError, ValueError):
        return JobStatus()


def _said(line: bytes) -> Mapping[str, Any]:
    """What a line of the process says; nothing, where a library has printed it."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _after(status: JobStatus, event: Mapping[str, Any], output: Path) -> JobStatus:
    """The status after what the training process said."""
    match event.get("event"):
        case "started":
            return dataclasses.replace(status, n_train=event["n_train"], n_held=event["n_held"])
        case "before":
            return dataclasses.replace(status, before_f1=event["f1"], held_f1=((0.0, event["f1"]),))
        case "progress":
            return _progressed(status, event)
        case "saving":
            return dataclasses.replace(status, stage="saving", done=1.0, left_s=None)
        case "done":
            return dataclasses.replace(
                status,
                stage="done",
                after_f1=event["f1"],
                held_f1=(*status.held_f1, (1.0, event["f1"])),
                output=str(output),
            )
        case "failed":
            return dataclasses.replace(status, stage="failed", message=event["message"])
        case _:
            return status


def _progressed(status: JobStatus, event: Mapping[str, Any]) -> JobStatus:
    loss = (*status.loss, event["loss"])
    held = status.held_f1
    if event["held_f1"] is not None and (not held or held[-1][1] != event["held_f1"]):
        held = (*held, (event["done"], event["held_f1"]))
    return dataclasses.replace(
        status,
        stage="training",
        done=event["done"],
        loss=loss[::2] if len(loss) > _MAX_POINTS else loss,
        held_f1=held,
        left_s=event["left_s"],
    )


def _spawn(job: Path, errors: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    with errors.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "labelwise.studio.finetune_run", str(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=environment,
            start_new_session=True,
        )
