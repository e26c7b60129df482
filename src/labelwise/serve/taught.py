"""What projects of Label Studio have taught: annotations by project, and the fit to them.

Annotations stay as they were made when a project's labels change, so that nothing is lost by it.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
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


@dataclass
class TaughtProject:
    """What one project has taught.

    Attributes:
        examples: Its annotations by id, the newest last.
        entry: Fitted to them.
        revision: Counts the changes of the examples.
        fitted_revision: The one that ``entry`` is fitted to.
    """

    examples: OrderedDict[str, Taught] = field(default_factory=OrderedDict)
    entry: LabelEntry | None = None
    revision: int = 0
    fitted_revision: int = 0

    def remember(self, ids: Sequence[str], example: Taught | None, limits: ServeConfig) -> None:
        """Forget annotations, and remember one in place of the last; the oldest make room."""
        self.revision += 1
        for id in ids:
            self.examples.pop(id, None)
        if example is not None:
            self.examples[ids[-1]] = example
        while len(self.examples) > limits.max_examples or self._n_words() > limits.max_fit_words:
            self.examples.popitem(last=False)

    def _n_words(self) -> int:
        return n_words(example.sentence for example in self.examples.values())

    async def fit(self, label_set: LabelSet, service: Service, deadline: float) -> None:
        """Fit to the examples; a fit that a later one has overtaken is dropped."""
        revision, entry, names = self.revision, None, label_set.names
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
        label_set = LabelSet.parse(names)
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


def _key(id: object) -> str:
    return str(id).partition(".")[0]  # Label Studio appends the time of creation
