"""Cells of a benchmark as files: each is stored at once, whole, and checked when it is read."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labelwise.benchmark.spec import Grid, Spec, base_method
from labelwise.errors import CheckpointError, some_of
from labelwise.files import atomic_write_text

_ZERO_SHOT = ("towers", "towers_separate", "towers_shared", "towers_static")
_READS_LABELS = (*_ZERO_SHOT, "towers_no_source", "instant")


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One number to find.

    Attributes:
        target: As the specification names it.
        method: One of ``spec.METHODS``, with ``@NAME`` where it has settings of its own.
        shots: 0, k or "full", as text.
        support_set: Index of the support set.
        variant: One of ``spec.VARIANTS``.
    """

    target: str
    method: str
    shots: str
    support_set: int
    variant: str

    @property
    def key(self) -> str:
        """File name without ending: readable, and safe for any target name."""
        name = hashlib.sha256(self.target.encode()).hexdigest()[:8]
        tail = Path(self.target.replace(":", "/")).name
        return f"{tail}-{name}.{self.method}.{self.shots}.{self.support_set}.{self.variant}"


def cells_of(spec: Spec) -> Iterator[Cell]:
    """Yield the cells that make sense, those of one target and method together.

    Without examples only towers with a source stage can answer; only methods that read label
    words have variants; context needs examples. Without examples, and on the whole train split
    where nothing is drawn or trained, every support set would give the same number: there is one.
    """
    seen: set[Cell] = set()
    for grid in spec.grids:
        for cell in _cells_of_grid(spec, grid):
            if cell not in seen:
                seen.add(cell)
                yield cell


def _cells_of_grid(spec: Spec, grid: Grid) -> Iterator[Cell]:
    for target, method, variant in itertools.product(grid.targets, grid.methods, grid.variants):
        base = base_method(method)
        if variant != "names" and base not in _READS_LABELS:
            continue
        if variant == "context" and base == "towers_static":
            continue  # word embeddings have no context
        for shots in grid.shots:
            if shots == 0 and (base not in _ZERO_SHOT or variant == "context"):
                continue  # nothing to answer from
            draws = shots not in (0, "full") or variant == "context"  # which draws its sentences
            is_frozen = spec.is_frozen(method, has_support=shots != 0)
            for i in range(grid.support_sets if draws or not is_frozen else 1):
                yield Cell(target, method, str(shots), i, variant)


class CellStore:
    """The folder of a run.

    Args:
        folder: Created if absent.
        spec: What the run is; the folder of another is refused.
        create: Make the folder where there is none; without it nothing is written.
    """

    def __init__(self, folder: str | Path, spec: Spec, *, create: bool = True) -> None:
        """Open or create the folder.

        Raises:
            CheckpointError: It belongs to a run with another specification, or cannot be made.
        """
        self.folder, self._digest, self._create = Path(folder), spec.digest, create
        path, text = self.folder / "spec.json", json.dumps(spec.to_dict(), indent=1) + "\n"
        if create:
            _make(self.folder / "cells")
        if not path.exists():
            if create:
                atomic_write_text(path, text)
        elif path.read_text(encoding="utf-8") != text:
            raise CheckpointError(
                f"'{path}' differs from the specification given: it has changed since the run "
                "began. Expected the same one. Restore it, or choose another output folder."
            )

    def check_data(self, digests: Mapping[str, str]) -> None:
        """Refuse data that have changed since the run began, and remember those that are new.

        Args:
            digests: Of all data of the run, by what they are. Runs that began before one of them
                was looked at know of fewer.

        Raises:
            CheckpointError: Some differ from those of an earlier call.
        """
        path = self.folder / "data.json"
        try:
            known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            changed = [name for name in known if known[name] != digests.get(name)]
        except (ValueError, TypeError) as err:
            raise CheckpointError(
                f"'{path}' is damaged: {err}. Expected what the run wrote. Choose another folder."
            ) from err
        if changed:
            raise CheckpointError(
                f"The data have changed since the run in '{self.folder}' began: "
                f"{some_of(changed)}. Expected the same. Restore them, or choose another folder."
            )
        if self._create and known != digests:
            atomic_write_text(path, json.dumps(dict(digests), indent=1) + "\n")

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.key}.json"

    def write(self, cell: Cell, result: dict[str, Any], seconds: float = 0.0) -> None:
        """Store a finished cell and what it took, whole or not at all."""
        body = {"spec": self._digest, "cell": asdict(cell), "result": result}
        body["seconds"] = round(seconds, 2)
        atomic_write_text(self._path(cell), json.dumps(body | {"sha256": _sha256(body)}))

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """Return the result of a finished cell; None where it is missing or damaged."""
        body = self._body(cell)
        return body["result"] if body else None

    def seconds(self, cell: Cell) -> float:
        """Return what a finished cell took; 0 where it is missing or damaged."""
        body = self._body(cell)
        return float(body["seconds"]) if body else 0.0

    def _body(self, cell: Cell) -> dict[str, Any] | None:
        try:
            body = json.loads(self._path(cell).read_text(encoding="utf-8"))
            digest = body.pop("sha256")
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None
        right = digest == _sha256(body) and body.get("spec") == self._digest
        return body if right and body.get("cell") == asdict(cell) else None


def _sha256(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise CheckpointError(
            f"Cannot make '{folder}': {err.strerror}. Expected a new folder for the run, or that "
            "of a run to continue. Choose another output folder."
        ) from err
