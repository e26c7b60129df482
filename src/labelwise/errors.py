"""The exceptions of the package, one tree with one root.

    LabelwiseError
    ├── ConfigError          a setting is unknown or out of range      (ValueError)
    ├── DataError            a file or a sentence cannot be read       (ValueError)
    │   ├── SchemeError      a tag sequence breaks its scheme
    │   └── LabelError       a label is unknown, empty or given twice
    ├── SamplingError        the data cannot give the support set asked for (ValueError)
    ├── ShapeError           two arrays do not fit together            (ValueError)
    ├── CheckpointError      a model folder is damaged, foreign or hostile
    ├── MissingExtraError    an optional dependency is not installed   (ImportError)
    ├── RequestError         a call asks for something that cannot be answered (ValueError)
    └── CopyError            a loaded model is pickled or copied       (TypeError)

Every message says what was found and where, what was expected, and what to do.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class LabelwiseError(Exception):
    """Root of all errors that labelwise raises on purpose."""


class ConfigError(LabelwiseError, ValueError):
    """A setting is unknown or out of range."""


class DataError(LabelwiseError, ValueError):
    """A file, line or sentence cannot be read as annotated text."""


class SchemeError(DataError):
    """A tag sequence breaks the rules of its scheme."""


class LabelError(DataError):
    """A label is unknown, empty or given twice."""


class SamplingError(LabelwiseError, ValueError):
    """The data cannot give the support set that was asked for.

    Attributes:
        finding: The message without its advice, for who has another way out to offer.
    """

    def __init__(self, finding: str, advice: str = "") -> None:
        """Join what was found and what to do."""
        super().__init__(f"{finding} {advice}".rstrip())
        self.finding = finding


class ShapeError(LabelwiseError, ValueError):
    """Two arrays do not fit together."""


class CheckpointError(LabelwiseError):
    """A model folder is damaged, of another version, or unsafe to load."""


class MissingExtraError(LabelwiseError, ImportError):
    """An optional dependency is not installed."""


class RequestError(LabelwiseError, ValueError):
    """A call asks for something that cannot be answered."""


class CopyError(LabelwiseError, TypeError):
    """A loaded model is pickled or copied."""


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency or say how to install it.

    Args:
        module: Import name, such as ``"torch"``.
        extra: The extra of this package that brings it, such as ``"train"``.
        purpose: What needs it, as the subject of a sentence: ``"Fine-tuning"``.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        if err.name is not None and err.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"{purpose} needs '{module}', which is not installed. "
            f"Run: pip install 'labelwise[{extra}]'."
        ) from err


def some_of(items: Iterable[object], limit: int = 5) -> str:
    """Quote at most ``limit`` items for a message.

    >>> some_of(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    listed = [f"'{item}'" for item in items]
    if len(listed) <= limit:
        return ", ".join(listed)
    return f"{', '.join(listed[:limit])} and {len(listed) - limit} more"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for a near miss, else an empty string.

    >>> did_you_mean("PERS", ["LOC", "PER"])
    " Did you mean 'PER'?"
    """
    found = closest(name, known)
    return "" if found is None else f" Did you mean '{found}'?"


def closest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the name most like another, or None where none is so much alike, 0 to 1."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)), None)
