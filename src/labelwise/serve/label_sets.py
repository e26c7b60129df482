"""Label sets by id: encoded or fitted once, remembered while there is room.

Ids name contents: the same labels, examples and model give the same id in every process.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any

from labelwise.annotation import Sentence
from labelwise.engine import Engine
from labelwise.errors import LabelwiseError
from labelwise.fit_report import FitReport
from labelwise.label_reading import read_in_part
from labelwise.labels import LabelSet
from labelwise.session import Session
from labelwise.tag_table import TagTable

DEFAULT_ID = "default"
_dumps = json.JSONEncoder(separators=(",", ":")).encode
_OVERHEAD_BYTES = 4096  # of an entry beside its arrays and strings


class UnknownLabelSetError(LabelwiseError):
    """No label set of that id is remembered."""


@dataclass(frozen=True)
class LabelEntry:
    """A label set that is ready to score.

    Attributes:
        id: Names it; ``ls-`` for words alone, ``fit-`` for learned ones.
        table: Its vectors.
        report: What the fit did, if there was one.
        is_fitted: Whether examples have moved any of its vectors, here or before.
        remark: Which labels the model reads in part only, if any.
    """

    id: str
    table: TagTable
    report: FitReport | None = None
    is_fitted: bool = False
    remark: str = ""

    @property
    def label_set(self) -> LabelSet:
        """The labels."""
        return self.table.label_set

    @cached_property
    def n_bytes(self) -> int:
        """Memory, about."""
        strings = sum(len(str(x.description)) + len(x.words) + len(x.name) for x in self.label_set)
        return self.table.matrix.nbytes + 4 * strings + _OVERHEAD_BYTES


class LabelRegistry:
    """Remembers label sets, the least recently used of which make room for others.

    Args:
        max_entries: How many.
        max_bytes: How much memory, about.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        """Start empty."""
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: OrderedDict[str, LabelEntry] = OrderedDict()
        self._ids: OrderedDict[bytes, str] = OrderedDict()  # by what callers sent
        self.n_bytes = 0

    def __len__(self) -> int:
        """Count the label sets."""
        return len(self._entries)

    def get(self, id: str) -> LabelEntry | None:
        """Find a label set, which counts as a use."""
        if id in self._entries:
            self._entries.move_to_end(id)
        return self._entries.get(id)

    def by_spec(self, key: bytes) -> LabelEntry | None:
        """Find the label set of a spec that was sent before; see ``spec_key``."""
        return self.get(self._ids.get(key, ""))

    def put(self, entry: LabelEntry, key: bytes | None = None) -> LabelEntry:
        """Remember a label set, and the spec that it came from; returns it."""
        if entry.id in self._entries:
            self.n_bytes -= self._entries.pop(entry.id).n_bytes
        self._entries[entry.id] = entry
        self.n_bytes += entry.n_bytes
        while len(self._entries) > 1 and (
            len(self._entries) > self._max_entries or self.n_bytes > self._max_bytes
        ):
            self.n_bytes -= self._entries.popitem(last=False)[1].n_bytes
        if key is not None:
            self._ids[key] = entry.id
            while len(self._ids) > 2 * self._max_entries:
                self._ids.popitem(last=False)
        return entry


def spec_key(spec: object) -> bytes:
    """Hash what a caller sent for a label set, so that known ones need no parsing."""
    return hashlib.sha256(_dumps(spec).encode()).digest()


def encoded(engine: Engine, label_set: LabelSet, learned: TagTable | None = None) -> LabelEntry:
    """Encode a label set; labels that the model was fitted to keep what was learned of them."""
    remark = _read_in_part(engine, label_set)
    if learned is None:
        id = _id("ls", engine, label_set)
        return LabelEntry(id, engine.tag_table(label_set), remark=remark)
    id = _id("ls", engine, label_set, _matrix_digest(learned))
    is_fitted = bool((learned.positions(label_set) >= 0).any())
    table = learned.for_labels(label_set, engine.tag_table)
    return LabelEntry(id, table, is_fitted=is_fitted, remark=remark)


def fitted(
    engine: Engine,
    label_set: LabelSet,
    examples: Sequence[Sentence],
    start: LabelEntry | None = None,
    spoken: Sequence[Collection[str] | None] | None = None,
) -> LabelEntry:
    """Fit a label set to examples.

    Args:
        engine: Encodes both.
        label_set: The labels.
        examples: Annotated sentences.
        start: A label set to go on from; one that was never fitted has nothing to go on from.
        spoken: For each example the only labels that it speaks about, if it does not of all.
    """
    start = start if start is not None and start.is_fitted else None
    session = Session(engine, label_set, start=start.table if start else None)
    told = zip(spoken or repeat(None), examples, strict=False)
    for names, group in groupby(told, itemgetter(0)):
        session.add((example for _, example in group), labels=names)
    report = session.fit()
    id = _id("fit", engine, label_set, session.digest, _origin(start))
    is_fitted, remark = session.fitted is not None, _read_in_part(engine, label_set)
    return LabelEntry(id, session.table, report, is_fitted, remark)


def _read_in_part(engine: Engine, label_set: LabelSet) -> str:
    return read_in_part(label_set, engine.backend.tokenizer, engine.backend.config)


def _origin(start: LabelEntry | None) -> str:
    """Name what a fit goes on from; every model has its own "default"."""
    if start is None:
        return ""
    return _matrix_digest(start.table) if start.id == DEFAULT_ID else start.id


def _matrix_digest(table: TagTable) -> str:
    return hashlib.sha256(table.matrix.tobytes()).hexdigest()


def _id(prefix: str, engine: Engine, label_set: LabelSet, *more: str) -> str:
    content: Sequence[str | Mapping[str, Any]] = [
        engine.backend.digest, label_set.to_dict(), *label_set.names, *more,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return f"{prefix}-{digest[:24]}"
