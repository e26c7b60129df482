"""Values of a specification, each checked on its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelwise.errors import ConfigError, did_you_mean


def items(key: str, value: Any) -> tuple[Any, ...]:
    """Return the items of a list that is not empty.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, list | tuple) or not value:
        raise ConfigError(f"'{key}' is {value!r}. Expected a list, with one item at least.")
    return tuple(value)


def texts(key: str, value: Any) -> tuple[str, ...]:
    """Return the texts of a list that is not empty.

    Raises:
        ConfigError: It is something else.
    """
    for item in items(key, value):
        check_text(key, item)
    return tuple(value)


def table(key: str, value: Any) -> Mapping[str, Any]:
    """Return a value that has to be a table of settings.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"'{key}' is {value!r}. Expected a table of settings.")
    return value


def check_text(key: str, value: Any) -> None:
    """Refuse what is no text, or an empty one.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(f"'{key}' is or holds {value!r}. Expected a text.")


def is_count(value: Any, low: int) -> bool:
    """Tell whether a value is a whole number from ``low`` on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def check_name(kind: str, name: Any, known: tuple[str, ...] | list[str]) -> None:
    """Refuse a name that is not among the known ones.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(name, str):
        raise ConfigError(f"A benchmark has the {kind} {name!r}. Expected a text.")
    if name not in known:
        raise ConfigError(
            f"A benchmark has no {kind} '{name}'. Expected one of: {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )
