"""Numbers as users and files give them: numpy's count, ``True`` does not."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any, TypeGuard, cast


def whole_number(value: Any) -> int | None:
    """Return a whole number of any kind, such as numpy's, as an int; None for what is none.

    >>> whole_number(3), whole_number(3.0), whole_number(True)
    (3, None, None)
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number of any kind.

    >>> is_number(3), is_number(0.5), is_number(float("nan")), is_number(True)
    (True, True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return -math.inf < cast("float", value) < math.inf
