"""A text with its mentions marked in place, as in ``[Oslo](city)``, into a row of text and spans.

Splits no words.
"""

from __future__ import annotations

import re
from typing import Any

from labelwise.errors import DataError

_MARKED = re.compile(r"\[([^\[\]]+)\]\(([^()]+)\)")


def read_marks(text: str, place: str) -> dict[str, Any]:
    """Read a text with mentions marked as in ``[Oslo](city)`` as a row of text and entities.

    Args:
        text: The marked text.
        place: Where it is, for messages.

    Raises:
        DataError: A mark is not closed, has no text or no label, or is a link.
    """
    plain, at = "", 0
    entities: list[dict[str, Any]] = []
    for found in _MARKED.finditer(text):
        plain += text[at : found.start()]
        surface, label = found.groups()
        if "://" in label:
            raise DataError(
                f"A mark is a link ({place}): {found[0][:80]!r}. Expected a label, such as "
                "'[Oslo](city)'. For a text with links, give the text and its spans."
            )
        entities.append({"start": len(plain), "end": len(plain) + len(surface), "label": label})
        plain += surface
        at = found.end()
    plain += text[at:]
    if "](" in plain:
        raise DataError(
            f"A mark is not closed or is empty ({place}): {text[:80]!r}. Expected marks such as "
            "'[Oslo](city)'. Correct it; for a text that holds '](' itself, give the text and "
            "its spans."
        )
    return {"text": plain, "entities": entities}
