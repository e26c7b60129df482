"""Runs the cells of a benchmark that are missing; a killed run goes on where it was."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from labelwise.annotation import Mention, Sentence
from labelwise.benchmark.cells import Cell, CellStore, cells_of
from labelwise.benchmark.facts import machine_facts
from labelwise.benchmark.methods import Methods, Trial
from labelwise.benchmark.plan import Plan, make_plan
from labelwise.benchmark.spec import Spec
from labelwise.benchmark.targets import (
    SkipCell,
    Target,
    dataset_path,
    published_digest,
    read_target,
    support_set,
    variant_labels,
)
from labelwise.encoders import folder_digest
from labelwise.labels import LabelSet
from labelwise.leaks import long_keys
from labelwise.metrics import error_breakdown, score_mentions
from labelwise.precision import usable_cores
from labelwise.sources import read_source

if TYPE_CHECKING:
    from labelwise.training import Progress


class Watch(Protocol):
    """Sees a run as it goes."""

    def plan(self, plan: Plan) -> None:
        """Take what is missing, before it is run."""
        ...

    def stage(self, name: str, progress: Progress) -> None:
        """Take an update of a source stage."""
        ...

    def cell(
        self, done: int, total: int, cell: Cell, result: dict[str, Any], seconds: float
    ) -> None:
        """Take a finished cell, the cells done and in all, and what it took."""
        ...


class Runner:
    """Runs cells in one process.

    Args:
        spec: The benchmark.
        folder: Of the run.
        root: Where dataset folders lie.
        device: A torch device.
        create: Make the folder where there is none.
    """

    def __init__(
        self, spec: Spec, folder: Path, root: Path, device: str = "cpu", *, create: bool = True
    ) -> None:
        """Read the sources; targets are read when they are needed."""
        self.spec, self.root, self.device = spec, root, device
        self.store = CellStore(folder, spec, create=create)
        sources = [read_source(dataset_path(name, root)) for name in spec.sources]
        self.methods = Methods(spec, sources, folder / "models", device)
        self._targets: dict[str, Target] = {}
        self._facts = machine_facts(device)

    def target(self, name: str) -> Target:
        """Read a target, once."""
        if name not in self._targets:
            path = dataset_path(name, self.root)
            self._targets[name] = read_target(path, self.spec.split)
        return self._targets[name]

    @functools.cached_property
    def _source_keys(self) -> dict[str, set[int]]:
        """Hashes of the sentences that are trained on, by source."""
        sources = zip(self.spec.sources, self.methods.sources, strict=True)
        return {name: set(long_keys(source.sentences)) for name, source in sources}

    def shared_sentences(self, target: str) -> dict[str, int]:
        """Count the scored sentences of a target that sources train on, by source, if any."""
        keys = self.target(target).scored_keys
        counts = {name: sum(k in own for k in keys) for name, own in self._source_keys.items()}
        return {name: count for name, count in counts.items() if count}

    def check_data(self) -> None:
        """Read all data and a local encoder, and refuse others than the run began with.

        Raises:
            CheckpointError: They have changed.
            DataError: A target is missing or damaged.
        """
        spec = self.spec
        sources = zip(spec.sources, self.methods.sources, strict=True)
        digests = {f"source {name}": source.digest for name, source in sources}
        digests |= {f"target {name}": self.target(name).digest for name in spec.targets}
        digests |= {
            f"support sets of {name}": published_digest(spec, name, self.root)
            for name in spec.published
        }
        if encoder := folder_digest(spec.encoder):
            digests[f"encoder {spec.encoder}"] = encoder
        self.store.check_data(digests)

    def run(self, cell: Cell) -> tuple[dict[str, Any], float]:
        """Run one cell and store its result, or the reason why it has none.

        Returns:
            The result, and the seconds it took.
        """
        started = time.monotonic()
        try:
            result = self._result(cell)
        except SkipCell as reason:
            result = {"skipped": str(reason)}
        seconds = time.monotonic() - started
        self.store.write(cell, result, seconds)
        return result, seconds

    def _result(self, cell: Cell) -> dict[str, Any]:
        target, seed = self.target(cell.target), self.spec.seed + cell.support_set
        labels = variant_labels(target, cell, self.spec)
        support = support_set(self.spec, cell, target, self.root)
        trial = Trial(support.sentences, labels, cell.variant, target.scored, seed)
        predicted = self.methods.run(cell.method, trial)
        known = {x.words.casefold() for s in self.methods.sources for x in s.label_set}
        return _scores(target.scored, predicted, labels) | {
            "seed": seed,
            "support": support.facts(with_ids=cell.shots != "full"),
            "label_words": {x.name: x.words for x in labels},
            "label_overlap": [x.name for x in labels if x.words.casefold() in known],
            "shared_sentences": self.shared_sentences(cell.target),
            "n_in_train": target.n_in_train,
            "machine": self._facts,
        }


def _scores(
    scored: Sequence[Sentence], predicted: Sequence[Sequence[Mention]], labels: LabelSet
) -> dict[str, Any]:
    gold = [s.mentions for s in scored]
    spans = [[set(row) for row in side] for side in (gold, predicted)]
    return {
        "scores": score_mentions(gold, predicted, labels.names).to_dict(),
        "errors": asdict(error_breakdown(gold, predicted)),
        "counts": [[len(g & p), len(p), len(g)] for g, p in zip(*spans, strict=True)],
    }


def plan_benchmark(
    spec: Spec, folder: str | Path, *, root: str | Path = ".", device: str = "cpu"
) -> tuple[Runner, Plan]:
    """Look at what a run would do, and write nothing; arguments as for ``run_benchmark``."""
    runner = Runner(spec, Path(folder), Path(root), device.split(",")[0], create=False)
    runner.check_data()
    return runner, make_plan(runner, list(cells_of(spec)))


def run_benchmark(
    spec: Spec,
    folder: str | Path,
    *,
    root: str | Path = ".",
    device: str = "cpu",
    jobs: int = 1,
    watch: Watch | None = None,
) -> CellStore:
    """Run what is missing of a benchmark.

    Args:
        spec: The benchmark.
        folder: Of the run; finished cells in it are kept.
        root: Where dataset folders lie.
        device: A torch device, or several with commas between them, dealt out to the processes.
        jobs: Processes to spread the cells over.
        watch: Told of the plan, of every update of a source stage, and of every cell.

    Returns:
        The store of all cells.

    Raises:
        CheckpointError: The folder belongs to a run with another specification or other data.
        DataError: A source or target is missing or damaged.
    """
    path, where, devices = Path(folder), Path(root), device.split(",")
    runner, cells = Runner(spec, path, where, devices[0]), list(cells_of(spec))
    runner.check_data()
    if all(runner.store.read(c) is not None for c in cells):
        return runner.store
    plan = make_plan(runner, cells)
    if watch:
        watch.plan(plan)
    for stage in plan.stages:
        runner.methods.stages.prepare(stage, watch.stage if watch else None)
    rows = _in_rows(plan.cells, runner.methods)
    if jobs > 1:
        results = _spread(rows, (spec, path, where), devices, jobs)
    else:
        results = ((cell, *runner.run(cell)) for row in rows for cell in row)
    for done, (cell, result, seconds) in enumerate(results, len(cells) - len(plan.cells) + 1):
        if watch:
            watch.cell(done, len(cells), cell, result, seconds)
    return runner.store


def _in_rows(cells: Iterable[Cell], methods: Methods) -> list[list[Cell]]:
    """Put cells in a row that train the same encoder on the same support set."""
    rows: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        alike = cell.target, cell.shots, cell.support_set, cell.variant
        rows.setdefault((alike, methods.training(cell.method)), []).append(cell)
    return list(rows.values())


def _spread(
    rows: Sequence[list[Cell]],
    arguments: tuple[Spec, Path, Path],
    devices: Sequence[str],
    jobs: int,
) -> Iterator[tuple[Cell, dict[str, Any], float]]:
    """Run rows of cells in several processes, each with its own runner and share of the cores."""
    context = multiprocessing.get_context("spawn")
    dealt: Any = context.Queue()
    for i in range(jobs):
        dealt.put(devices[i % len(devices)])
    threads = max(1, usable_cores() // jobs)
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start, initargs=(arguments, dealt, threads)
    )
    with pool:
        waiting = [pool.submit(_run, row) for row in rows]
        try:
            for finished in concurrent.futures.as_completed(waiting):
                yield from finished.result()
        finally:
            pool.shutdown(cancel_futures=True)


_runners: list[Runner] = []  # the one of this worker process


def _start(arguments: tuple[Spec, Path, Path], dealt: Any, threads: int) -> None:
    end_with_parent()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # before torch is imported
    _runners[:] = [Runner(*arguments, dealt.get())]


def end_with_parent() -> None:
    """Let a worker process end as soon as the run is killed: it would work on for nobody."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _run(row: Sequence[Cell]) -> list[tuple[Cell, dict[str, Any], float]]:
    return [(cell, *_runners[0].run(cell)) for cell in row]
