"""Batch jobs that survive a kill: units of input in, parts of output out, each whole or absent.

The output is the checkpoint: a part that exists is done. Knows neither the format of the input
nor what finds the mentions.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from labelwise.annotation import Mention, Sentence
from labelwise.errors import DataError, RequestError, some_of
from labelwise.files import atomic_file, read_errors, sync_folder
from labelwise.guarded import folder_lock
from labelwise.strict_json import dump_json, read_json

MANIFEST = "manifest.json"
PROGRESS_EVERY = 64
_READ_BYTES = 1 << 20
_FORMAT = 3  # of the parts: since 3, lines that a stray quotation mark took in are units

Result = tuple[Sentence, list[Mention]]
Find = Callable[[Iterator[Sentence]], Iterator[list[Mention]]]
Write = Callable[[BinaryIO, Iterable[Result]], None]
WriteRejects = Callable[[BinaryIO, Iterable["Reject"]], None]


@dataclass(frozen=True, slots=True)
class Unit:
    """One text of the input, not read yet.

    Attributes:
        number: Its line or row, from 1.
        done: Share of the input that ends with it.
        read: Gives the sentence, or raises ``DataError`` to say why it cannot.
    """

    number: int
    done: float
    read: Callable[[], Sentence]


@dataclass(frozen=True, slots=True)
class Reject:
    """A unit that could not be read: its line or row, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class Shard:
    """One of several processes that share a job: number ``index`` of ``count``, from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"2/8"``.

        Raises:
            RequestError: It is no such pair.

        >>> Shard.parse("2/8")
        Shard(index=2, count=8)
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise RequestError(
                f"'{text}' is no shard. Expected i/n with 1 <= i <= n, such as 1/4 to 4/4."
            )
        return cls(int(index), int(count))

    def owns(self, part: int) -> bool:
        """Whether a part, counted from 0, is this shard's work."""
        return part % self.count == self.index - 1


@dataclass(frozen=True)
class JobProgress:
    """Where a run stands.

    Attributes:
        done: Share of the input passed.
        n_texts, n_words, n_rejected: Of this run.
        n_parts, n_kept: Parts written by this run, and found from earlier ones.
        elapsed_s, left_s: Seconds.
    """

    done: float = 0.0
    n_texts: int = 0
    n_words: int = 0
    n_rejected: int = 0
    n_parts: int = 0
    n_kept: int = 0
    elapsed_s: float = 0.0
    left_s: float = 0.0

    @property
    def texts_per_s(self) -> float:
        """Speed of this run."""
        return self.n_texts / max(self.elapsed_s, 1e-9)

    @property
    def words_per_s(self) -> float:
        """Speed of this run."""
        return self.n_words / max(self.elapsed_s, 1e-9)


@dataclass(frozen=True)
class Job:
    """What a folder of parts holds, and this process's share of it.

    Attributes:
        folder: Where the parts go; made if missing.
        facts: JSON-able facts that make the output what it is: ``input`` with its ``sha256``,
            ``model`` and ``options``. A folder made from others is refused.
        suffix: Of the parts: ``".jsonl"`` or ``".parquet"``.
        part_size: Units in a part.
        shard: This process among others on the same folder.
    """

    folder: Path
    facts: Mapping[str, Any]
    suffix: str = ".jsonl"
    part_size: int = 10_000
    shard: Shard = field(default_factory=Shard)

    def path(self, kind: str, part: int, suffix: str) -> Path:
        """Name a file of the output by the input's digest and the part's number."""
        digest = str(self.facts["input"]["sha256"])[:12]
        return self.folder / f"{kind}-{digest}-{part:06d}{suffix}"

    def rejects(self) -> list[Path]:
        """List the files of rejects in this process's share, of this run and of earlier ones."""
        found = self.folder.glob(self.path("rejects", 0, ".jsonl").name.replace("000000", "*"))
        return [p for p in found if self.shard.owns(int(p.stem.rpartition("-")[2]))]


def describe_file(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file, read in pieces.

    Raises:
        DataError: The file cannot be read.
    """
    digest, n_bytes = hashlib.sha256(), 0
    with read_errors(path, "a file of texts"), path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
            n_bytes += len(block)
    return {"name": path.name, "bytes": n_bytes, "sha256": digest.hexdigest()}


def run_job(
    job: Job,
    units: Iterable[Unit],
    find: Find,
    write: Write,
    write_rejects: WriteRejects,
    on_progress: Callable[[JobProgress], None] = lambda _: None,
) -> JobProgress:
    """Write the parts that are missing; a killed run is taken up where it stopped.

    Args:
        job: Folder and share.
        units: The whole input, in the same order each time.
        find: Mentions of each sentence, in order; called once a part.
        write: Writes the results of one part to a stream.
        write_rejects: Writes what could not be read to a stream.
        on_progress: Called every few texts and at the end of a part.

    Returns:
        Where the run ended.

    Raises:
        RequestError: The folder belongs to another input, model or options.
        CheckpointError: Another process works on the same shard.
    """
    with _scratch_folder(job) as scratch:
        _check_manifest(job, scratch)
        run = _PartWriter(job, scratch, on_progress)
        parts = itertools.groupby(enumerate(units), key=lambda pair: pair[0] // job.part_size)
        for part, members in parts:
            part_units = (unit for _, unit in members)
            if not job.shard.owns(part):
                run.skip(part_units)
            elif job.path("part", part, job.suffix).exists():
                run.skip(part_units, is_ours=True)
            else:
                run.write_part(part, part_units, find, write, write_rejects)
        return run.report(done=1.0)


@contextlib.contextmanager
def _scratch_folder(job: Job) -> Iterator[Path]:
    """Folder for half-written files, cleared of those of a killed run; one process at a time."""
    scratch = job.folder / f".shard-{job.shard.index}-of-{job.shard.count}"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DataError(
            f"Cannot write into '{job.folder}': {err.strerror}. Expected a folder, or a place for "
            "one. Choose another."
        ) from err
    with folder_lock(scratch, wait_s=0.0):
        for leftover in scratch.iterdir():
            leftover.unlink()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            sync_folder(job.folder)


def _check_manifest(job: Job, scratch: Path) -> None:
    facts = {"format": _FORMAT, **job.facts, "part_size": job.part_size, "suffix": job.suffix}
    path = job.folder / MANIFEST
    if not path.exists():
        others = [p.name for p in job.folder.iterdir() if not p.name.startswith(".shard-")]
        if others and not path.exists():  # another shard may have written it just now
            raise RequestError(
                f"'{job.folder}' holds {some_of(sorted(others), 3)} but no manifest. Expected a "
                "new folder, or one of the same job. Choose another."
            )
        with atomic_file(path, scratch=scratch) as stream:
            stream.write(dump_json(facts, MANIFEST))
    found = read_json(path)
    found = found if isinstance(found, dict) else {}
    if differing := _differing(facts, found):
        raise RequestError(
            f"'{job.folder}' was begun with another {some_of(differing)} (see its {MANIFEST}). "
            "Expected the same input, model and options. Repeat those, or choose another folder."
        )


def _differing(facts: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Name the facts that are others than those found, options one by one."""
    names: list[str] = []
    for key, value in facts.items():
        had = found.get(key)
        if key == "options" and isinstance(had, dict) and had.keys() == value.keys():
            names += _differing(value, had)
        elif had != value:
            names.append(key)
    return names


class _PartWriter:
    """Writes parts and counts."""

    def __init__(self, job: Job, scratch: Path, on_progress: Callable[[JobProgress], None]) -> None:
        self.progress = JobProgress()
        self._job, self._scratch, self._on_progress = job, scratch, on_progress
        self._started = time.monotonic()
        self._n_texts = self._n_words = self._n_parts = self._n_kept = self._n_rejected = 0
        self._worked = self._read_to = 0.0  # shares of the input

    def skip(self, units: Iterable[Unit], *, is_ours: bool = False) -> None:
        """Pass over a part of another shard, or one that exists."""
        done = self.progress.done
        for unit in units:
            done = unit.done
        self._n_kept += is_ours
        self.report(done)

    def write_part(
        self,
        part: int,
        units: Iterator[Unit],
        find: Find,
        write: Write,
        write_rejects: WriteRejects,
    ) -> None:
        """Write one part; its rejects go first, so that a part never lacks them."""
        rejects: list[Reject] = []
        read, again = itertools.tee(self._read(units, rejects))
        results = self._counted(again, find(sentence for _, sentence in read))
        with self._file("part", part, self._job.suffix) as stream:
            write(stream, results)
            if rejects:
                with self._file("rejects", part, ".jsonl") as reject_stream:
                    write_rejects(reject_stream, rejects)
        self._n_parts += 1
        self.report(self._read_to, is_work=True)

    @contextlib.contextmanager
    def _file(self, kind: str, part: int, suffix: str) -> Iterator[BinaryIO]:
        path = self._job.path(kind, part, suffix)
        try:
            with atomic_file(path, scratch=self._scratch) as stream:
                yield stream
        except OSError as err:
            raise DataError(
                f"Cannot write '{path}': {err.strerror or err}. The parts before it are whole. "
                "Run the same command again when the disk can be written to."
            ) from err

    def _read(
        self, units: Iterable[Unit], rejects: list[Reject]
    ) -> Iterator[tuple[Unit, Sentence]]:
        for unit in units:
            self._read_to = unit.done
            try:
                yield unit, unit.read()
            except DataError as err:
                rejects.append(Reject(unit.number, str(err)))
                self._n_rejected += 1

    def _counted(
        self, read: Iterable[tuple[Unit, Sentence]], found: Iterable[list[Mention]]
    ) -> Iterator[Result]:
        for (unit, sentence), mentions in zip(read, found, strict=True):
            self._n_texts += 1
            self._n_words += len(sentence.words)
            yield sentence, mentions
            if self._n_texts % PROGRESS_EVERY == 0:
                self.report(unit.done, is_work=True)

    def report(self, done: float, *, is_work: bool = False) -> JobProgress:
        """Tell where the run stands; only work counts for the time left."""
        elapsed = time.monotonic() - self._started
        if is_work:
            self._worked += max(0.0, done - self.progress.done)
        to_do = max(0.0, 1.0 - done) / self._job.shard.count
        self.progress = JobProgress(
            done=done,
            n_texts=self._n_texts,
            n_words=self._n_words,
            n_rejected=self._n_rejected,
            n_parts=self._n_parts,
            n_kept=self._n_kept,
            elapsed_s=elapsed,
            left_s=elapsed * to_do / self._worked if self._worked else 0.0,
        )
        self._on_progress(self.progress)
        return self.progress
