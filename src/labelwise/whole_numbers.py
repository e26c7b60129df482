"""What counts as a whole number among the arguments of a call."""

from __future__ import annotations

import operator
from typing import Any

from labelwise.errors import RequestError


def whole_number(value: Any) -> int | None:
    """Return a whole number of any kind, such as numpy's, as an int; None for what is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def check_whole(value: object, name: str, advice: str) -> int:
    """Return a whole number from 0 on.

    Args:
        value: What was given.
        name: Of the argument.
        advice: What to do about another.

    Raises:
        RequestError: It is another value.

    >>> check_whole(3, "k", "Leave it out.")
    3
    """
    number = whole_number(value)
    if number is None or number < 0:
        raise RequestError(f"'{name}' is {value!r}. Expected a whole number from 0 on. {advice}")
    return number
