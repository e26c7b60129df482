"""What a cell is about: its target, the words of its labels, and its support set."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelwise.annotation import Sentence
from labelwise.benchmark.cells import Cell
from labelwise.benchmark.spec import Spec
from labelwise.data import has_split, labels_of, read_dataset, read_jsonl, read_label_set
from labelwise.errors import SamplingError
from labelwise.labels import LabelSet, meaningless, swapped
from labelwise.leaks import long_keys
from labelwise.sample_data import sample_path
from labelwise.sampling import sample_support_set


class SkipCell(Exception):
    """Why a cell cannot be run."""


def dataset_path(name: str, root: Path) -> Path:
    """Find a dataset: ``sample:NAME`` ships with the package, others lie under ``root``."""
    if name.startswith("sample:"):
        return sample_path(name.removeprefix("sample:"))
    return root / name


@dataclass(frozen=True)
class Target:
    """A dataset to measure on.

    Attributes:
        label_set: All labels that occur in it.
        scored: The sentences that are scored.
        train: What support sets are drawn from; None without a train split.
    """

    label_set: LabelSet
    scored: list[Sentence]
    train: list[Sentence] | None

    @functools.cached_property
    def digest(self) -> str:
        """Hash of all that a result depends on."""
        sha = hashlib.sha256(repr((self.label_set.digest, self.train is None)).encode())
        for split in (self.scored, self.train or ()):
            for s in split:
                mentions = [(m.start, m.end, m.label) for m in s.mentions]
                sha.update(repr((s.id, s.words, mentions)).encode())
            sha.update(b"end")
        return sha.hexdigest()

    @functools.cached_property
    def scored_keys(self) -> list[int]:
        """Hashes of the scored sentences, to find them in sources; short ones have none."""
        return list(long_keys(self.scored))

    @functools.cached_property
    def n_in_train(self) -> int:
        """Scored sentences that the target's own train split holds too."""
        own = set(long_keys(self.train or ()))
        return sum(key in own for key in self.scored_keys)


def read_target(path: Path, split: str) -> Target:
    """Read a target.

    Raises:
        DataError: A file of it is missing or damaged; only the train split may be missing.
    """
    scored = read_dataset(path, split)
    train = read_dataset(path, "train") if has_split(path, "train") else None
    names = labels_of([*scored, *(train or [])])
    known = read_label_set(path)
    if known and set(names) <= set(known.names):
        return Target(known.subset([n for n in known.names if n in names]), scored, train)
    return Target(LabelSet.parse(names), scored, train)


def variant_labels(target: Target, cell: Cell, spec: Spec) -> LabelSet:
    """Give labels the words of a variant.

    Raises:
        SkipCell: The variant needs what the target lacks.
    """
    plain = LabelSet(tuple(replace(x, description=None) for x in target.label_set))
    if cell.variant == "meaningless":
        return meaningless(plain)
    if cell.variant == "swapped":
        if len(plain) < 2:
            raise SkipCell("one label has no other to swap words with")
        return swapped(plain, spec.seed)
    if cell.variant == "renamed":
        if cell.target not in spec.renamed:
            raise SkipCell("the specification renames no label of this target")
        return plain.renamed(spec.renamed[cell.target])
    if cell.variant != "description":
        return plain
    if not all(x.description for x in target.label_set):
        raise SkipCell("not every label has a description")
    return plain.renamed({x.name: str(x.description) for x in target.label_set})


@dataclass(frozen=True)
class Support:
    """A support set.

    Attributes:
        sentences: Its sentences; none for zero-shot.
        digest: Of a drawn set, or of the published file.
    """

    sentences: list[Sentence]
    digest: str

    def facts(self, *, with_ids: bool) -> dict[str, Any]:
        """Return what is stored with a result."""
        counts = Counter(m.label for s in self.sentences for m in s.mentions)
        return {
            "ids": [s.id for s in self.sentences] if with_ids else [],
            "digest": self.digest,
            "n_sentences": len(self.sentences),
            "counts": dict(sorted(counts.items())),
        }


def support_set(spec: Spec, cell: Cell, target: Target, root: Path) -> Support:
    """Draw or read the support set of a cell.

    Raises:
        SkipCell: There is no train split, no such published set, or too few mentions.
    """
    if cell.shots == "0":
        return Support([], "")
    if cell.shots != "full" and cell.target in spec.published:
        return _published(root, spec.published[cell.target].format(k=cell.shots), cell, target)
    if target.train is None:
        raise SkipCell("no train split to draw support sets from")
    if cell.shots == "full":
        return Support(target.train, "")
    shots, seed = int(cell.shots), spec.seed + cell.support_set
    try:
        drawn = sample_support_set(target.train, shots, seed, allow_short=spec.allow_short)
    except SamplingError as err:
        raise SkipCell(f"{err.finding} (allow_short = true takes what there is)") from err
    return Support(list(drawn.sentences), drawn.digest)


def published_digest(spec: Spec, target: str, root: Path) -> str:
    """Hash the published support sets of a target."""
    sha, shots = hashlib.sha256(), sorted({str(k) for grid in spec.grids for k in grid.shots})
    for k in shots:
        for path in sorted((root / spec.published[target].format(k=k)).glob("*.jsonl")):
            sha.update(repr((k, path.name, path.read_bytes())).encode())
    return sha.hexdigest()


def _published(root: Path, folder: str, cell: Cell, target: Target) -> Support:
    path = root / folder / f"{cell.support_set}.jsonl"
    if not path.is_file():
        raise SkipCell(f"no published support set '{path.name}' in '{folder}'")
    sentences: Sequence[Sentence] = read_jsonl(path)
    if unknown := set(labels_of(sentences)) - set(target.label_set.names):
        raise SkipCell(f"the support set bears other labels: {', '.join(sorted(unknown))}")
    return Support(list(sentences), hashlib.sha256(path.read_bytes()).hexdigest())
