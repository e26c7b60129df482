"""Where a text stands in an object or a table, and names from outside that fit into messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelwise.errors import DataError, some_of
from labelwise.words import without_surrogates

TEXT_KEYS = ("text", "sentence", "content", "body", "message", "comment", "description")
"""Names under which texts are found, the likeliest first."""


def shown(name: str) -> str:
    """Make a name fit for a message: short, and without what a terminal or a page would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name[:80]) or "text"


def plain_text(values: Mapping[str, Any], place: str) -> str:
    """Find the text in an object.

    Raises:
        DataError: There is none.
    """
    for key in TEXT_KEYS:
        if isinstance(values.get(key), str):
            return without_surrogates(values[key])
    words = values.get("tokens", values.get("tokenized_text"))
    if isinstance(words, list) and all(isinstance(w, str) for w in words):
        return without_surrogates(" ".join(words))
    raise DataError(
        f"The keys are {some_of(map(shown, values)) or 'missing'} ({place}). Expected 'text', a "
        "string. Rename the key."
    )
