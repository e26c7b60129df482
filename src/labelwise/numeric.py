"""Numbers as users and files give them: numpy's count, and its arrays; ``True`` does not."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any, TypeGuard, cast

from labelwise.errors import RequestError


def whole_number(value: Any) -> int | None:
    """Return a whole number of any kind, such as numpy's, as an int; None for what is none.

    >>> whole_number(3), whole_number(3.0), whole_number(True)
    (3, None, None)
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def plain(value: Any, depth: int = 2) -> Any:
    """Turn arrays and numbers of numpy or torch, in lists too, into lists and numbers of Python.

    Args:
        value: Anything.
        depth: Levels of lists to look into; spans have two. What lies deeper stays as it is.

    >>> plain(("Ada", [1]))
    ['Ada', [1]]
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if not depth or not isinstance(value, list | tuple):
        return value
    return [plain(item, depth - 1) for item in cast("list[Any]", value)]


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number of any kind.

    >>> is_number(3), is_number(0.5), is_number(float("nan")), is_number(True)
    (True, True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return -math.inf < cast("float", value) < math.inf


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
