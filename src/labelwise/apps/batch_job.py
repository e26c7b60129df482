"""``labelwise predict --output-dir``: a file of any size, in parts, resumable."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from labelwise.apps.inputs import labels_to_predict
from labelwise.apps.output import counted, json_line, note
from labelwise.apps.parquet import write_parquet
from labelwise.apps.progress import shown, time_left
from labelwise.apps.render import stderr
from labelwise.apps.results import result_row
from labelwise.apps.text_files import read_units
from labelwise.batch import Job, JobProgress, Reject, Result, Shard, describe_file, run_job
from labelwise.errors import RequestError, require
from labelwise.label import thresholds_of
from labelwise.loading import load_model
from labelwise.tagger import Tagger

if TYPE_CHECKING:
    from labelwise.loading import LoadedModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What the flags of a batch job say; see ``predict.predict``."""

    folder: Path
    model: str | None = None
    labels: str | None = None
    threshold: float | None = None
    column: str | None = None
    device: str = "cpu"
    engine: str = "auto"
    shard: str = "1/1"
    part_format: str = "jsonl"
    part_size: int = 10_000


def predict_file(file: str, options: BatchOptions) -> bool:
    """Run a batch job, or the rest of one, and say where it stands on stderr.

    Returns:
        Whether all lines could be read, in this run and in those before it.

    Raises:
        RequestError: The input is a stream, or the folder belongs to another job.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    path, shard = Path(file), Shard.parse(options.shard)
    if file == "-" or not (path.is_file() or path.is_dir()):  # a pipe is empty when read again
        found = "stdin" if file == "-" else f"'{file}', a pipe or device"
        raise RequestError(
            f"--output-dir was given {found}. Expected a file, which a run can go on with later. "
            "Save the texts to a file first."
        )
    if "parquet" in (options.part_format, path.suffix.removeprefix(".")):
        require("pyarrow", "parquet", "Parquet")
    described = describe_file(path)
    loaded = load_model(options.model, device=options.device, engine=options.engine)
    label_set = labels_to_predict(options.labels, loaded.label_set)
    job = Job(
        options.folder,
        {
            "input": described,
            "model": _model_facts(loaded),
            "options": {
                "labels": label_set.to_dict(),
                "threshold": options.threshold,
                "column": options.column,
            },
        },
        suffix=f".{options.part_format}",
        part_size=options.part_size,
        shard=shard,
    )
    write = write_parquet if options.part_format == "parquet" else write_jsonl_results
    units = read_units(path, described["bytes"], column=options.column)
    tagger = Tagger.of(loaded)
    tag = functools.partial(tagger.tag_texts, labels=label_set, threshold=options.threshold)
    with shown(stderr(), summary, summary, ends=False) as show:
        progress = run_job(job, units, tag, write, write_rejects, show)
    note(_outcome(job, progress))
    return not job.rejects()


def _model_facts(loaded: LoadedModel) -> dict[str, Any]:
    fit = hashlib.sha256()
    if loaded.fitted is not None:
        fit.update(loaded.fitted.matrix.tobytes() + loaded.fitted.bias.tobytes())
        limits = thresholds_of(loaded.fitted.label_set)
        fit.update(repr(limits).encode("utf-8", "replace") if limits else b"")
    return {"digest": loaded.backend.digest, "fit": fit.hexdigest() if loaded.fitted else None}


def write_jsonl_results(stream: BinaryIO, results: Iterable[Result]) -> None:
    """Write one object a text: ``id``, ``text``, ``entities``, and ``meta`` where it was given.

    A text without an id is named by its file and line.
    """
    for result in results:
        row = {"id": result[0].id} | result_row(result)
        stream.write(json_line(row).encode() + b"\n")


def write_rejects(stream: BinaryIO, rejects: Iterable[Reject]) -> None:
    """Write one object a rejected line: ``line`` and ``reason``."""
    for reject in rejects:
        row = {"line": reject.number, "reason": reject.reason}
        stream.write(json_line(row).encode() + b"\n")


def summary(progress: JobProgress) -> str:
    """Say where a job stands: speed, rejects and time left."""
    rejected = f"  {progress.n_rejected:,} rejected" if progress.n_rejected else ""
    return (
        f"{progress.texts_per_s:,.0f} texts/s  {progress.words_per_s:,.0f} words/s{rejected}  "
        f"{time_left(progress.left_s)}"
    )


def _outcome(job: Job, progress: JobProgress) -> str:
    kept = f", {progress.n_kept:,} {_were(progress.n_kept)} there" if progress.n_kept else ""
    n = progress.n_rejected
    rejected = f" {counted(n, 'line')} {_were(n)} rejected in this run." if n else ""
    if job.rejects():
        rejected += f" What was rejected, and why, is in '{job.folder / 'rejects-*.jsonl'}'."
    return (
        f"Wrote {counted(progress.n_parts, 'part')} to '{job.folder}'{kept}: "
        f"{counted(progress.n_texts, 'text')}, {progress.words_per_s:,.0f} words/s.{rejected}"
    )


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
