"""What is left of a benchmark and about how long it takes; runs no cell and trains nothing.

Work is counted in word pieces that pass an encoder. What a piece takes is known from the parts of
the run that are there, or from a few sentences that are encoded for the purpose.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from labelwise.annotation import Sentence
from labelwise.benchmark.cells import Cell
from labelwise.benchmark.spec import BY_DISTANCE, base_method
from labelwise.benchmark.stages import LINEAR
from labelwise.benchmark.targets import SkipCell, Support, support_set, variant_labels
from labelwise.config import TrainConfig
from labelwise.engine import Engine
from labelwise.loading import new_model

if TYPE_CHECKING:
    from labelwise.benchmark.grid import Runner

_PIECES_A_WORD = 1.35
_SPECIAL = 2  # pieces around every sentence
_TRAINING = 3.0  # passes forward that an update is worth
_LOADING = 3000.0  # pieces that loading a model and scoring, or saving it, are worth
_PROBED = 64  # sentences


class Work(NamedTuple):
    """What a part of a run takes.

    Attributes:
        pieces: Word pieces that pass an encoder, those of training left out.
        training: Those of training; infinite where only the clock ends it.
        limit_s: When the clock ends it.
    """

    pieces: float = 0.0
    training: float = 0.0
    limit_s: float = math.inf

    def seconds(self, seconds_a_piece: float) -> float:
        """Guess how long it takes."""
        return seconds_a_piece * self.pieces + min(self.limit_s, seconds_a_piece * self.training)

    @property
    def counted(self) -> float:
        """Pieces that tell the speed from the time taken; 0 where the clock has a say in it."""
        return self.pieces + self.training if self.limit_s == math.inf else 0.0


@dataclass(frozen=True)
class Plan:
    """The parts of a run.

    Attributes:
        stages: Work of the source stages that are still to train, by name.
        cells: Work of the missing cells, in their order.
        skips: Why some of them will have no number.
        n_cells: Cells in all.
        seconds_a_piece: Of the parts that are there; None where there are none.
        remarks: What makes numbers of the whole run doubtful, in a line each.
    """

    stages: Mapping[str, Work]
    cells: Mapping[Cell, Work]
    skips: Mapping[Cell, str]
    n_cells: int
    seconds_a_piece: float | None
    remarks: Sequence[str] = ()

    def seconds(self, seconds_a_piece: float, jobs: int = 1) -> float:
        """Guess how long all of it takes; source stages are trained one after the other."""
        stages, cells = (
            sum(work.seconds(seconds_a_piece) for work in part.values())
            for part in (self.stages, self.cells)
        )
        return stages + cells / jobs


def make_plan(runner: Runner, cells: Sequence[Cell]) -> Plan:
    """Look at the data, the support sets and what is there; bad data show here.

    Args:
        runner: Of the benchmark.
        cells: All of it.

    Raises:
        DataError: A target is missing or damaged.
    """
    work = _PieceCounter(runner)
    missing = {c: work.of_cell(c) for c in cells if runner.store.read(c) is None}
    stages = runner.methods.stages
    needed = dict.fromkeys(stages.of_method(c.method) for c in missing if c not in work.skips)
    open_targets = {c.target for c in missing}  # no others are read
    there = [c for c in cells if c.target in open_targets and c not in missing]
    finished = dict.fromkeys(stages.of_method(c.method) for c in cells)
    known = [(runner.store.seconds(c), work.of_cell(c)) for c in there]
    known += [(stages.seconds(s), work.of_stage(s)) for s in finished if stages.seconds(s)]
    known = [(seconds, work.counted) for seconds, work in known if work.counted]
    pieces = sum(p for _, p in known)
    return Plan(
        stages={s: work.of_stage(s) for s in needed if not stages.is_ready(s)},
        cells=missing,
        skips={c: reason for c, reason in work.skips.items() if c in missing},
        n_cells=len(cells),
        seconds_a_piece=sum(s for s, _ in known) / pieces if pieces else None,
        remarks=[*_leaks(runner)],
    )


def _leaks(runner: Runner) -> Iterator[str]:
    """Say which sources train on what is scored."""
    for target in runner.spec.targets:
        n_scored = len(runner.target(target).scored)
        for source, count in runner.shared_sentences(target).items():
            yield (
                f"The source '{source}' has {count:,} of the {n_scored:,} sentences that "
                f"'{target}' is scored on. Expected none: numbers after a source stage are too "
                "high. Take them out of its train split."
            )


class _PieceCounter:
    """Counts pieces; cells that share the states of a split, or a training, pay for it once."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self.skips = runner, dict[Cell, str]()
        self._encoded: dict[str, str] = {}  # target whose states a stage holds
        self._trained = set[Hashable]()
        self._supports: dict[tuple[str, str, int], Support | str] = {}

    def of_cell(self, cell: Cell) -> Work:
        runner, method = self._runner, cell.method
        target = runner.target(cell.target)
        support = self._support(cell)
        try:
            variant_labels(target, cell, runner.spec)
        except SkipCell as err:
            support = str(err)
        if isinstance(support, str):
            self.skips[cell] = support
            return Work()
        scored = _pieces(target.scored)
        if runner.spec.is_frozen(method, has_support=bool(support.sentences)):
            stage = runner.methods.stages.of_method(method)
            is_there = self._encoded.get(stage) == cell.target
            self._encoded[stage] = cell.target
            return Work(_LOADING + _pieces(support.sentences) + (0.0 if is_there else scored))
        trained = runner.methods.training(method), cell.target, cell.shots, cell.support_set
        if base_method(method) in BY_DISTANCE and trained in self._trained:
            return Work(_LOADING)
        self._trained.add(trained)
        config = runner.spec.finetune_config(method, 0)
        return _with_training(_LOADING + scored, config, support.sentences)

    def of_stage(self, stage: str) -> Work:
        runner = self._runner
        sentences = [s for source in runner.methods.sources for s in source.sentences]
        return _with_training(_LOADING, runner.methods.stages.training(stage), sentences)

    def _support(self, cell: Cell) -> Support | str:
        """Draw a support set, or say why there is none."""
        key = cell.target, cell.shots, cell.support_set
        if key not in self._supports:
            runner = self._runner
            try:
                drawn = support_set(runner.spec, cell, runner.target(cell.target), runner.root)
            except SkipCell as err:
                drawn = str(err)
            self._supports[key] = drawn
        return self._supports[key]


def _pieces(sentences: Iterable[Sentence]) -> float:
    return sum(_SPECIAL + _PIECES_A_WORD * len(s.words) for s in sentences)


def _with_training(others: float, config: TrainConfig, sentences: Sequence[Sentence]) -> Work:
    """Count the pieces of a training run as passes forward, beside others."""
    n_copies = 1 + config.replaced_copies
    pieces = n_copies * _pieces(sentences)
    batches = math.ceil(pieces / config.batch_pieces)
    if config.batch_sentences:
        batches = max(batches, math.ceil(n_copies * len(sentences) / config.batch_sentences))
    batches = max(batches, 1)
    updates = config.updates(batches)
    training = math.inf if updates is None else _TRAINING * updates * pieces / batches
    return Work(others, training, 60 * config.max_minutes if config.max_minutes else math.inf)


def probe(runner: Runner, cell: Cell) -> float:
    """Return the seconds that a piece takes, from encoding a few sentences of a target."""
    spec, sentences = runner.spec, runner.target(cell.target).scored[:_PROBED]
    model = runner.methods.stages.config(LINEAR)
    engine = Engine(new_model(spec.encoder, model, device=runner.device))
    seconds = 0.0
    for _ in range(2):  # the first time is slower
        started = time.monotonic()
        list(engine.states(s.words for s in sentences))
        seconds = time.monotonic() - started
    return seconds / max(_pieces(sentences), 1.0)
