"""Code to paste: how to use what was exported."""

from __future__ import annotations

import json
from collections.abc import Mapping

_MAX = 60  # characters of the example

_PYTHON = """\
from labelwise import Tagger

tagger = Tagger.from_pretrained("model")  # the unpacked folder
for entity in tagger.predict({text}):
    print(entity["start"], entity["end"], entity["label"], entity["text"])
"""

_CURL = """\
# labelwise serve --model model
curl -s http://127.0.0.1:8000/v1/predict \\
  -H 'Content-Type: application/json' \\
  -d {body}
"""

_SPACY = """\
import spacy
from spacy.tokens import Span
from labelwise import Tagger

tagger = Tagger.from_pretrained("model")
nlp = spacy.blank("xx")
doc = nlp({text})
found = tagger.predict(doc.text)
spans = [doc.char_span(e["start"], e["end"], e["label"], alignment_mode="expand") for e in found]
doc.ents = spacy.util.filter_spans(spans)
"""


def snippets(text: str) -> Mapping[str, str]:
    """Write the snippets.

    Args:
        text: A text to show them on.

    Returns:
        Code by ``"python"``, ``"curl"`` and ``"spacy"``; whatever the text holds stays a string.
    """
    quoted = repr(text[:_MAX])
    body = json.dumps({"texts": [text[:_MAX]]}).replace("'", "\\u0027")
    return {
        "python": _PYTHON.format(text=quoted),
        "curl": _CURL.format(body=f"'{body}'"),
        "spacy": _SPACY.format(text=quoted),
    }
