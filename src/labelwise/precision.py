"""Which of a model's exports runs fastest here: by the processor's flags, else by a measurement.

The answer is kept in a small file of the user's. Knows of graphs their file names only: what
to time is given as functions.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from labelwise.errors import CheckpointError
from labelwise.files import atomic_write_text
from labelwise.strict_json import read_json

PRECISIONS = ("int8", "fp32")
WEIGHTS = "model.safetensors"
TEXT_GRAPH, LABEL_GRAPH = "text.onnx", "label.onnx"
EXACT = {TEXT_GRAPH: "text.fp32.onnx", LABEL_GRAPH: "label.fp32.onnx"}  # where those are int8
BARE = {TEXT_GRAPH: "text.graph.onnx", LABEL_GRAPH: "label.graph.onnx"}  # without weights
CACHE_VARIABLE = "LABELWISE_CACHE"

_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
_BF16_PRODUCTS = frozenset({"amx_bf16", "avx512_bf16"})
_WORTH_IT = 0.95  # of the time in full precision: int8 must take less, as it is less exact
_ROUNDS = 3
_MAX_ANSWERS = 64
_MAX_BYTES = 2**16
_logger = logging.getLogger(__name__)

Seconds = Mapping[str, float]


@dataclass(frozen=True)
class Processor:
    """What decides how fast integers are.

    Attributes:
        name: As it calls itself.
        flags: Its instruction sets, as Linux names them.
    """

    name: str
    flags: frozenset[str]

    @classmethod
    def here(cls) -> Processor:
        """Describe this machine's processor; where nothing is known, without flags."""
        if sys.platform == "darwin" and platform.machine() == "arm64":
            return cls("Apple", frozenset({"asimddp"}))  # since the first of them
        try:
            return cls.parse(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return cls(platform.processor() or platform.machine(), frozenset())

    @classmethod
    def parse(cls, cpuinfo: str) -> Processor:
        r"""Read Linux's ``/proc/cpuinfo``; the first core speaks for all.

        >>> Processor.parse("model name : Xeon\nflags : sse2 avx_vnni").flags >= {"avx_vnni"}
        True
        """
        fields = dict[str, str]()
        for key, value in re.findall(r"^([\w ]+?)\s*:[ \t]*(.*)$", cpuinfo, re.MULTILINE):
            fields.setdefault(key, value)
        flags = fields.get("flags") or fields.get("Features", "")
        name = fields.get("model name") or fields.get("CPU part") or platform.machine()
        return cls(name, frozenset(flags.split()))

    @property
    def multiplies_bytes(self) -> bool:
        """Whether it has an 8-bit dot product, which makes int8 fast beyond doubt."""
        return bool(self.flags & _DOT_PRODUCTS)

    @property
    def multiplies_bf16(self) -> bool:
        """Whether it has products of bf16."""
        return bool(self.flags & _BF16_PRODUCTS)


def usable_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the cores that this process may use; a container may grant the time of a few only.

    Args:
        groups: Where Linux shows the limits of a container.
    """
    is_known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if is_known else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _granted_cores(groups))))


def _granted_cores(groups: Path) -> float:
    """Processor time that a container may take, in cores; infinite where nothing limits it."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((groups / n).read_text() for n in names).split()
            return int(quota) / int(period) if int(quota) > 0 else math.inf
        except (OSError, ValueError, ZeroDivisionError):  # not there, or "max"
            continue
    return math.inf


def faster_precision(
    key: str,
    measured: Callable[[], Seconds],
    *,
    processor: Processor | None = None,
    answers: Path | None = None,
) -> str:
    """Choose between a model's exports.

    Args:
        key: What an answer holds for beside the processor: the model, and what runs it.
        measured: Times both; called only if neither the flags nor an earlier answer decide.
        processor: This machine's by default.
        answers: File of earlier answers; ``answers_path`` by default.

    Returns:
        ``"int8"`` or ``"fp32"``.
    """
    processor = processor or Processor.here()
    if processor.multiplies_bytes:
        return "int8"
    answers = answers or answers_path()
    known = _read_answers(answers)
    key = f"{processor.name}, {key}"
    if key not in known:
        seconds = measured()
        known[key] = "int8" if seconds["int8"] < _WORTH_IT * seconds["fp32"] else "fp32"
        _write_answers(answers, known)
    return known[key]


def measure_in_turns(
    runs: Mapping[str, Callable[[], object]], timer: Callable[[], float] = time.perf_counter
) -> Seconds:
    """Time some runs in turns, after one to warm up; the best of each, as load only adds.

    Args:
        runs: What to time, by name.
        timer: A clock in seconds.
    """
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            started = timer()
            run()
            best[name] = min(best[name], timer() - started)
    return best


def answers_path() -> Path:
    """Return where answers are kept: in ``LABELWISE_CACHE``, or below the user's ``.cache``."""
    folder = os.environ.get(CACHE_VARIABLE) or os.path.join("~", ".cache", "labelwise")
    return Path(os.path.expanduser(folder)) / "precision.json"


def _read_answers(path: Path) -> dict[str, str]:
    """Read earlier answers; a file that is none is as good as no file."""
    try:
        found = read_json(path, max_bytes=_MAX_BYTES)
    except CheckpointError as err:
        _logger.debug("No earlier choice of precision: %s", err)
        return {}
    if not isinstance(found, dict):
        return {}
    known = cast("dict[str, Any]", found)
    return {key: value for key, value in known.items() if value in PRECISIONS}


def _write_answers(path: Path, answers: Mapping[str, str]) -> None:
    newest = dict(list(answers.items())[-_MAX_ANSWERS:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps(newest, indent=1) + "\n")
    except OSError as err:
        _logger.debug("The choice of precision is not kept: %s", err)
