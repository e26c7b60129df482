"""What projects of Label Studio have taught: annotations by project, and the fit to them.

Annotations stay as they were made when a project's labels change, so that nothing is lost by it.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labelwise.annotation import Sentence
from labelwise.config import ServeConfig
from labelwise.labels import LabelSet
from labelwise.serve.label_sets import LabelEntry, encoded
from labelwise.serve.limits import n_words
from labelwise.serve.service import Service

MAX_PROJECTS = 64


@dataclass(frozen=True)
class Taught:
    """One annotation.

    Attributes:
        sentence: The text and what is marked in it.
        labels: Those that the project had then; about others it says nothing.
    """

    sentence: Sentence
    labels: frozenset[str]

    def about(self, names: Sequence[str]) -> tuple[Sentence, frozenset[str] | None]:
        """Return what it says of some labels, and which of them it speaks about; None for all."""
        mentions = tuple(m for m in self.sentence.mentions if m.label in names)
        spoken = None if self.labels.issuperset(names) else self.labels.intersection(names)
        return dataclasses.replace(self.sentence, mentions=mentions), spoken


@dataclass(eq=False)
class _Change:
    """What an event changes: annotations to forget, and one in place of the last of them."""

    ids: Sequence[str]
    example: Taught | None
    n_labels: int
    limits: ServeConfig
    is_settled: bool = False

    def apply(self, examples: OrderedDict[str, Taught]) -> None:
        """Change examples; the oldest make room."""
        for id in self.ids:
            examples.pop(id, None)
        if self.example is not None:
            examples[self.ids[-1]] = self.example
        limits = self.limits
        max_words = min(limits.max_fit_words, limits.max_fit_scores // self.n_labels)
        while len(examples) > limits.max_examples or _n_words(examples) > max_words:
            examples.popitem(last=False)


@dataclass
class TaughtProject:
    """What one project has taught.

    Attributes:
        examples: Its annotations by id, the newest last.
        entry: Fitted to them.
        revision: Counts the changes of the examples.
        fitted_revision: The one that ``entry`` is fitted to.
        undone_revision: The last that took a change back.
    """

    examples: OrderedDict[str, Taught] = field(default_factory=OrderedDict)
    entry: LabelEntry | None = None
    revision: int = 0
    fitted_revision: int = 0
    undone_revision: int = 0
    _settled: OrderedDict[str, Taught] = field(default_factory=OrderedDict)
    _changes: list[_Change] = field(default_factory=list)  # since the oldest that is not settled

    async def learn(
        self,
        ids: Sequence[str],
        example: Taught | None,
        label_set: LabelSet,
        service: Service,
        deadline: float,
    ) -> None:
        """Forget annotations, remember one in place of the last, and fit to what there is then.

        When the fit fails, all is as if nothing had been asked. A client that leaves before the
        end was not told so, and Label Studio, which soon does, never tells of anything twice: what
        it told stays, for the next fit.
        """
        change = _Change(ids, example, len(label_set), service.config)
        change.apply(self.examples)
        self._changes.append(change)
        self.revision += 1
        try:
            await self._fit(label_set, service, deadline)
        except Exception:
            self._take_back(change)
            raise
        finally:
            change.is_settled = True
            while self._changes and self._changes[0].is_settled:
                self._changes.pop(0).apply(self._settled)

    def _take_back(self, change: _Change) -> None:
        self._changes.remove(change)
        self.examples = self._settled.copy()
        for later in self._changes:
            later.apply(self.examples)
        self.revision += 1
        self.undone_revision = self.revision

    async def _fit(self, label_set: LabelSet, service: Service, deadline: float) -> None:
        """Fit to the examples; a fit that a later one has overtaken is dropped."""
        revision, names = -1, label_set.names
        entry: LabelEntry | None = None
        while revision < self.undone_revision:  # else it may be a fit to what was taken back since
            revision, entry = self.revision, None
            told = [x for x in self.examples.values() if not x.labels.isdisjoint(names)]
            if said := [example.about(names) for example in told]:
                sentences, spoken = zip(*said, strict=True)
                entry = await service.fit(sentences, label_set, deadline=deadline, spoken=spoken)
        if revision >= self.fitted_revision:
            self.entry, self.fitted_revision = entry, revision

    async def entry_for(
        self, names: Sequence[str], service: Service, deadline: float
    ) -> LabelEntry:
        """Return labels with what the fit has found of them, be they its own or others."""
        fitted = self.entry
        if fitted is None:
            return await service.encode(list(names), deadline)
        label_set = service.label_set(names)
        if label_set.digest == fitted.label_set.digest:
            return fitted
        learned = fitted.table
        return await service.learn(encoded, service.engine, label_set, learned, deadline=deadline)


class TaughtProjects:
    """Projects of Label Studio, the least recently used of which make room for others."""

    def __init__(self) -> None:
        """Start without any."""
        self._projects: OrderedDict[str, TaughtProject] = OrderedDict()

    def get(self, id: object) -> TaughtProject:
        """Return a project; one that is not known has taught nothing and is not remembered."""
        key = _key(id)
        if key in self._projects:
            self._projects.move_to_end(key)
        return self._projects.get(key) or TaughtProject()

    def open(self, id: object) -> TaughtProject:
        """Return a project, which is remembered from now on."""
        project = self._projects[_key(id)] = self.get(id)
        while len(self._projects) > MAX_PROJECTS:
            self._projects.popitem(last=False)
        return project


def _n_words(examples: Mapping[str, Taught]) -> int:
    return n_words(example.sentence for example in examples.values())


def _key(id: object) -> str:
    return str(id).partition(".")[0]  # Label Studio appends the time of creation
