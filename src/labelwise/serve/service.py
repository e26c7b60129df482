"""One model at work: loading, tagging, learning, and whether it is ready. Knows no HTTP.

Workers run the batches of the text tower, as many as there are cores for; one more thread encodes
labels and fits.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from labelwise.annotation import Sentence
from labelwise.config import ServeConfig
from labelwise.engine import Engine
from labelwise.errors import LabelwiseError, RequestError
from labelwise.labels import LabelSet
from labelwise.precision import usable_cores
from labelwise.serve.batcher import Batcher
from labelwise.serve.label_sets import (
    DEFAULT_ID,
    LabelEntry,
    LabelRegistry,
    UnknownLabelSetError,
    encoded,
    fitted,
    spec_key,
)
from labelwise.serve.metrics import Metrics
from labelwise.serve.texts import Answer, Part, TextTagger, run_parts
from labelwise.tag_table import TagTable
from labelwise.tagger import Tagger

T = TypeVar("T")
Status = Literal["loading", "ready", "draining", "failed"]
CACHED_LABEL_TEXTS = 8192  # callers choose the labels: some 12 MiB at most
log = logging.getLogger("labelwise.serve")


class NotReadyError(LabelwiseError):
    """The model is not loaded."""


class Service:
    """What the routes call.

    Args:
        source: A tagger, or what loads one.
        config: Limits.
        metrics: Counts.
    """

    def __init__(
        self, source: Tagger | Callable[[], Tagger], config: ServeConfig, metrics: Metrics
    ) -> None:
        """Take the parts; nothing is loaded yet, unless a tagger is given."""
        self.config, self.metrics = config, metrics
        self.label_sets = LabelRegistry(config.label_sets, config.label_set_mb << 20)
        self._workers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="labelwise-batches")
        self._learner = ThreadPoolExecutor(1, thread_name_prefix="labelwise-labels")
        self._batcher: Batcher[Part, list[Any]] = Batcher(
            self._run_parts,
            self._workers,
            metrics,
            max_requests=config.queue_requests,
            max_pieces=config.queue_pieces,
            batch_pieces=config.batch_pieces,
        )
        self._load: Callable[[], Tagger] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._default: LabelEntry | None = None
        self._learned: TagTable | None = None
        self._model: tuple[Tagger, TextTagger] | None = None
        self._is_draining = False
        self.failure: Exception | None = None
        self._add_gauges()
        if isinstance(source, Tagger):
            self._take(source)
        else:
            self._load = source

    def _add_gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("labelwise_queue_items", "Items that wait.", lambda: self._batcher.n_waiting)
        gauge("labelwise_queue_pieces", "Pieces that wait.", lambda: self._batcher.n_pieces)
        gauge("labelwise_requests_inside", "Requests inside.", lambda: self._batcher.n_requests)
        gauge("labelwise_label_sets", "Label sets remembered.", lambda: len(self.label_sets))
        gauge("labelwise_label_set_bytes", "Memory of label sets.", lambda: self.label_sets.n_bytes)
        gauge("labelwise_ready", "1 when ready.", lambda: float(self.status == "ready"))

    @property
    def status(self) -> Status:
        """Whether requests should come here."""
        if self.failure is not None:
            return "failed"
        if self._is_draining:
            return "draining"
        return "ready" if self._model is not None else "loading"

    @property
    def tagger(self) -> Tagger:
        """The model.

        Raises:
            NotReadyError: It is not loaded.
        """
        return self._ready()[0]

    def _ready(self) -> tuple[Tagger, TextTagger]:
        if self._model is None:
            raise NotReadyError("The model is being loaded. Expected a moment's patience. Wait.")
        return self._model

    @property
    def engine(self) -> Engine:
        """The model's engine; encode labels with it in ``learn`` only."""
        return self.tagger.engine

    @property
    def model_version(self) -> str:
        """Names the weights."""
        return f"labelwise-{self.engine.backend.digest[:12]}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the model in the background; end the threads at the end."""
        if self._load is not None:
            self._loading = asyncio.create_task(self._load_now(self._load))
        try:
            yield
        finally:
            if self._loading is not None:
                self._loading.cancel()
            self._workers.shutdown(wait=False, cancel_futures=True)
            self._learner.shutdown(wait=False, cancel_futures=True)

    async def _load_now(self, load: Callable[[], Tagger]) -> None:
        try:
            tagger = await asyncio.to_thread(load)
            await asyncio.to_thread(tagger.predict, "Ada Lovelace lived in London.", ["person"])
            await asyncio.to_thread(_keep_for_good)
            self._take(tagger)
        except LabelwiseError as err:
            self.failure = err  # says all: who runs the server raises it
        except Exception as err:
            self.failure = err
            log.error("the model could not be loaded", exc_info=err)

    def _take(self, tagger: Tagger) -> None:
        """Be ready with a model."""
        tagger.engine.cached_texts = CACHED_LABEL_TEXTS
        cores = usable_cores()
        self._batcher.n_workers = max(1, cores // (tagger.backend.threads or cores))
        self._learned = tagger.fitted
        if tagger.label_set is not None:
            is_fitted = self._learned is not None
            self._default = LabelEntry(DEFAULT_ID, tagger.table(), is_fitted=is_fitted)
        self._model = tagger, TextTagger(tagger.engine, self._batcher)

    def drain(self) -> None:
        """Tell from now on that requests should go elsewhere; those that come are answered."""
        self._is_draining = True

    def request(self) -> contextlib.AbstractContextManager[None]:
        """Let one request in for the length of a ``with`` block.

        Raises:
            QueueFullError: There are too many.
        """
        return self._batcher.request()

    async def tag(
        self, texts: Sequence[str], entry: LabelEntry, threshold: float | None, deadline: float
    ) -> list[Answer]:
        """Find the entities of texts; see ``TextTagger.tag``."""
        return await self._ready()[1].tag(texts, entry.table, threshold, deadline)

    async def learn(
        self, function: Callable[..., T], *arguments: Any, deadline: float = math.inf
    ) -> T:
        """Call a function in the thread that encodes labels and fits; one call at a time.

        Args:
            function: What to call; only here may anything encode labels.
            *arguments: Its arguments.
            deadline: Loop time from which nobody waits any more.

        Raises:
            TimeoutError: The deadline passed; a call that still waited is not made.
        """
        loop = asyncio.get_running_loop()

        def call() -> T:
            if loop.time() >= deadline:  # maybe even before it was asked for
                raise TimeoutError
            return function(*arguments)

        async with asyncio.timeout_at(deadline if deadline < math.inf else None):
            return await loop.run_in_executor(self._learner, call)

    def known(self, id: str | None) -> LabelEntry:
        """Find a label set by id; the model's own without one.

        Raises:
            UnknownLabelSetError: There is none of that id, or not any more.
            RequestError: No id is given and the model has no label set of its own.
            NotReadyError: It is not loaded.
        """
        self._ready()
        if id is None and self._default is None:
            raise RequestError(
                "No labels are given, and the model has none of its own. Expected 'labels' or "
                "'label_set'. Name what to look for."
            )
        is_default = id is None or id == DEFAULT_ID
        entry = self._default if is_default else self.label_sets.get(str(id))
        self.metrics.looked_up(found=entry is not None)
        if entry is None and is_default:
            raise UnknownLabelSetError(
                f"There is no label set '{id}': the model has no labels of its own. Expected an id "
                "that /v1/labels or /v1/fit returned, or labels. Send 'labels'."
            )
        if entry is None:
            raise UnknownLabelSetError(
                f"There is no label set '{id}', or it was forgotten since. Expected an id that "
                "/v1/labels or /v1/fit returned. Send the labels or examples again."
            )
        return entry

    def label_set(self, spec: object) -> LabelSet:
        """Read the labels that a caller describes; bare names of the model's own mean those.

        Raises:
            LabelError: The description is no label set.
            NotReadyError: The model is not loaded.
        """
        return LabelSet.parse(spec).with_known(self.tagger.label_set)

    async def encode(self, spec: object, deadline: float = math.inf) -> LabelEntry:
        """Return the label set that a caller describes, encoded now if it is not known.

        Raises:
            LabelError: The description is no label set.
        """
        engine, key = self.engine, spec_key(spec)
        entry = self.label_sets.by_spec(key)
        self.metrics.looked_up(found=entry is not None)
        if entry is not None:
            return entry
        label_set = self.label_set(spec)
        entry = await self.learn(self._encoded_once, engine, label_set, key, deadline=deadline)
        return self.label_sets.put(entry, key)

    def _encoded_once(self, engine: Engine, label_set: LabelSet, key: bytes) -> LabelEntry:
        """Encode, unless another caller has in the meantime."""
        return self.label_sets.by_spec(key) or encoded(engine, label_set, self._learned)

    async def fit(
        self,
        examples: Sequence[Sentence],
        label_set: LabelSet,
        start: LabelEntry | None = None,
        deadline: float = math.inf,
        spoken: Sequence[Collection[str] | None] | None = None,
    ) -> LabelEntry:
        """Fit a label set to examples and remember it; arguments as for ``label_sets.fitted``.

        Raises:
            LabelError: The examples bear labels that it lacks.
        """
        given = (self.engine, label_set, examples, start, spoken)
        return self.label_sets.put(await self.learn(fitted, *given, deadline=deadline))

    def _run_parts(self, parts: Sequence[Part]) -> list[list[Any]]:
        return run_parts(self.engine, parts, self.metrics.encoded)


def _keep_for_good() -> None:
    """Spare later garbage collections what is loaded: they would stop all for a quarter second."""
    gc.collect()
    gc.freeze()
