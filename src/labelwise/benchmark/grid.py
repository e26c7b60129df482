"""Runs the cells of a benchmark that are missing; a killed run goes on where it was."""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib.metadata
import multiprocessing
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labelwise.annotation import Mention, Sentence
from labelwise.benchmark.cells import Cell, CellStore, cells_of
from labelwise.benchmark.methods import Methods, family_of
from labelwise.benchmark.spec import Spec
from labelwise.data import labels_of, read_dataset, read_jsonl, read_label_set
from labelwise.errors import DataError, SamplingError
from labelwise.labels import LabelSet, meaningless, swapped
from labelwise.metrics import error_breakdown, score_mentions
from labelwise.sample_data import sample_path
from labelwise.sampling import SAMPLER_VERSION, sample_support_set
from labelwise.sources import read_source

OnCell = Callable[[int, int, Cell, dict[str, Any]], None]


class _Skip(Exception):
    """Why a cell cannot be run."""


def dataset_path(name: str, root: Path) -> Path:
    """Find a dataset: ``sample:NAME`` ships with the package, others lie under ``root``."""
    if name.startswith("sample:"):
        return sample_path(name.removeprefix("sample:"))
    return root / name


@dataclass(frozen=True)
class _Target:
    label_set: LabelSet
    test: list[Sentence]
    train: list[Sentence] | None


def _read_target(path: Path) -> _Target:
    test = read_dataset(path, "test")
    try:
        train = read_dataset(path, "train")
    except DataError:
        train = None
    names = labels_of([*test, *(train or [])])
    known = read_label_set(path)
    label_set = known.subset([n for n in known.names if n in names]) if known else None
    if label_set is None or set(label_set.names) != set(names):
        label_set = LabelSet.parse(names)
    return _Target(label_set, test, train)


def _variant(label_set: LabelSet, variant: str, seed: int) -> LabelSet:
    plain = LabelSet(tuple(replace(x, description=None) for x in label_set))
    if variant == "names":
        return plain
    if variant == "meaningless":
        return meaningless(plain)
    if variant == "swapped":
        if len(plain) < 2:
            raise _Skip("one label has no other to swap words with")
        return swapped(plain, seed)
    if not all(x.description for x in label_set):
        raise _Skip("not every label has a description")
    return plain.renamed({x.name: str(x.description) for x in label_set})


def _support(spec: Spec, cell: Cell, target: _Target, root: Path) -> tuple[list[Sentence], str]:
    """Sentences of the support set and their digest."""
    if cell.shots == "0":
        return [], ""
    if cell.shots != "full" and cell.target in spec.published:
        folder = root / spec.published[cell.target].format(k=cell.shots)
        path = folder / f"{cell.support_set}.jsonl"
        if not path.is_file():
            raise _Skip(f"no published support set '{path.name}' in '{folder.name}'")
        return read_jsonl(path), hashlib.sha256(path.read_bytes()).hexdigest()
    if target.train is None:
        raise _Skip("no train split")
    if cell.shots == "full":
        return target.train, ""
    names = labels_of(target.train)
    try:
        drawn = sample_support_set(
            target.train, int(cell.shots), spec.seed + cell.support_set, labels=names
        )
    except SamplingError as err:
        raise _Skip(str(err)) from err
    return list(drawn.sentences), drawn.digest


class Runner:
    """Runs cells in one process.

    Args:
        spec: The benchmark.
        folder: Of the run.
        root: Where dataset folders lie.
        device: A torch device.
    """

    def __init__(self, spec: Spec, folder: Path, root: Path, device: str = "cpu") -> None:
        """Read the sources; targets are read when they are needed."""
        self.spec, self.root, self.store = spec, root, CellStore(folder, spec)
        sources = [read_source(dataset_path(name, root)) for name in spec.sources]
        self.methods = Methods(spec, sources, folder / "models", device)
        self._targets: dict[str, _Target] = {}
        self._facts = {"device": device, "machine": machine_facts()}

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Run cells one by one; each is stored before it is yielded."""
        for cell in cells:
            try:
                result = self._result(cell)
            except _Skip as reason:
                result = {"skipped": str(reason)}
            self.store.write(cell, result)
            yield cell, result

    def _result(self, cell: Cell) -> dict[str, Any]:
        if cell.target not in self._targets:
            self._targets[cell.target] = _read_target(dataset_path(cell.target, self.root))
        target, seed = self._targets[cell.target], self.spec.seed + cell.support_set
        labels = _variant(target.label_set, cell.variant, self.spec.seed)
        support, digest = _support(self.spec, cell, target, self.root)
        if unknown := set(labels_of(support)) - set(labels.names):
            raise _Skip(f"the support set bears other labels: {', '.join(sorted(unknown))}")
        predicted = self.methods.run(cell.method, support, labels, target.test, seed)
        known = {x.words.casefold() for s in self.methods.sources for x in s.label_set}
        return _scores(target.test, predicted, labels) | {
            "seed": seed,
            "support": {
                "ids": [s.id for s in support] if cell.shots != "full" else [],
                "digest": digest,
                "n_sentences": len(support),
                "counts": dict(
                    sorted(Counter(m.label for s in support for m in s.mentions).items())
                ),
            },
            "label_words": {x.name: x.words for x in labels},
            "label_overlap": [x.name for x in labels if x.words.casefold() in known],
            **self._facts,
        }


def _scores(
    test: Sequence[Sentence], predicted: Sequence[Sequence[Mention]], labels: LabelSet
) -> dict[str, Any]:
    gold = [s.mentions for s in test]
    spans = [
        [{(m.start, m.end, m.label) for m in row} for row in side] for side in (gold, predicted)
    ]
    return {
        "scores": score_mentions(gold, predicted, labels.names).to_dict(),
        "errors": asdict(error_breakdown(gold, predicted)),
        "counts": [[len(g & p), len(p), len(g)] for g, p in zip(*spans, strict=True)],
    }


def machine_facts() -> dict[str, Any]:
    """Versions and hardware, stored with every number."""
    try:
        version = importlib.metadata.version("labelwise")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        version = "source tree"
    return {
        "labelwise": version,
        "sampler": SAMPLER_VERSION,
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def run_benchmark(
    spec: Spec,
    folder: str | Path,
    *,
    root: str | Path = ".",
    device: str = "cpu",
    jobs: int = 1,
    on_cell: OnCell | None = None,
) -> CellStore:
    """Run what is missing of a benchmark.

    Args:
        spec: The benchmark.
        folder: Of the run; finished cells in it are kept.
        root: Where dataset folders lie.
        device: A torch device.
        jobs: Processes to spread the cells over.
        on_cell: Called with cells done, cells in all, the cell and its result.

    Returns:
        The store of all cells.

    Raises:
        CheckpointError: The folder belongs to a run with another specification.
    """
    path, where = Path(folder), Path(root)
    store, cells = CellStore(path, spec), list(cells_of(spec))
    missing = [c for c in cells if store.read(c) is None]
    if not missing:
        return store
    runner = Runner(spec, path, where, device)
    for family in dict.fromkeys(family_of(c.method) for c in missing):
        runner.methods.prepare(family)
    done = len(cells) - len(missing)
    for cell, result in _spread(runner, missing, (spec, path, where, device), jobs):
        done += 1
        if on_cell:
            on_cell(done, len(cells), cell, result)
    return store


def _spread(
    runner: Runner, cells: list[Cell], arguments: tuple[Any, ...], jobs: int
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    if jobs <= 1:
        yield from runner.run(cells)
        return
    parts = [cells[i::jobs] for i in range(jobs) if cells[i::jobs]]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(len(parts), mp_context=context) as pool:
        for finished in concurrent.futures.as_completed(
            [pool.submit(_run_part, part, arguments) for part in parts]
        ):
            yield from finished.result()


def _run_part(cells: list[Cell], arguments: tuple[Any, ...]) -> list[tuple[Cell, dict[str, Any]]]:
    return list(Runner(*arguments).run(cells))
