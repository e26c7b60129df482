"""Label names into plain words: the tables of the paper, then rules.

The tables are data (``label_tables.toml``). This module knows names only, no label sets.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from labelwise.errors import LabelError, did_you_mean, some_of

LABEL_TABLES = (
    "conll2003",
    "ontonotes",
    "wnut17",
    "jnlpba",
    "ncbi_disease",
    "i2b2_2014",
    "few_nerd",
)
"""Names of the tables that ship with the package, in order of precedence."""

_UPPER, _LOWER = "A-ZÀ-ÖØ-Þ", "a-zß-öø-ÿ"
_LATIN_LETTER = re.compile("[A-Za-z\u00aa-\u024f\u1e00-\u1eff]")
_ALTERNATIVE = re.compile(r"[/\\|]+")
_SEPARATOR = re.compile(r"[_.:-]+")
_EDGES = "_.:-/\\|"
_CAMEL = re.compile(
    rf"(?<=[{_UPPER}{_LOWER}][{_LOWER}])(?=[{_UPPER}])"  # musical|Artist, but mRNA, iPhone
    rf"|(?<=[{_UPPER}])(?=[{_UPPER}](?!s(?![{_LOWER}]))[{_LOWER}])"  # HTTP|Server, but IDs
    rf"|(?<=[0-9])(?=[{_UPPER}][{_LOWER}])"  # Type2|Diabetes, but 3D
)
_VOWELLESS = re.compile("[B-DF-HJ-NP-TV-XZ]{2,5}")
_REPEATED_SERVICE = re.compile(r"^([^\W_]+?)s?_\d+\.(?=\1_)", re.IGNORECASE)
_SERVICE_NUMBER = re.compile(r"_\d+(?=\.)")


@cache
def _tables() -> dict[str, Any]:
    text = resources.files("labelwise").joinpath("label_tables.toml").read_text("utf-8")
    return tomllib.loads(text)


@cache
def _default_words() -> dict[str, str]:
    """Merge all tables; the plainer words come first, then the first table with the name."""
    data = _tables()
    merged: dict[str, str] = {}
    for table in (*(data["tables"][name] for name in LABEL_TABLES), data["short_names"]):
        merged = table | merged
    return merged | data["plainer"]


def label_table(name: str) -> dict[str, str]:
    """Return one of the tables that ship with the package, label to words.

    Args:
        name: One of ``LABEL_TABLES``.

    Raises:
        LabelError: There is no table of that name.

    >>> label_table("conll2003")["PER"]
    'person'
    """
    if name not in LABEL_TABLES:
        raise LabelError(
            f"Label table '{name}' does not exist. Expected one of "
            f"{some_of(LABEL_TABLES, limit=len(LABEL_TABLES))}.{did_you_mean(name, LABEL_TABLES)}"
        )
    return dict(_tables()["tables"][name])


def words_from_name(name: str) -> str:
    """Turn a label name into plain words.

    Names that a shipped table holds get the words of the table (the first one, in the order of
    ``LABEL_TABLES``). Others are split at ``_ - . :`` and at changes of case, ``/`` reads as
    "or", short names in a compound are spelled out, and capitals are lowered except in acronyms.
    A name that holds spaces is taken as written; only "Title Case" and "UPPER CASE" are lowered.
    Names without Latin letters lose nothing but underscores.

    >>> words_from_name("MusicalArtist"), words_from_name("fromloc.city_name")
    ('musical artist', 'from location city name')
    >>> words_from_name("CLICommand/CodeSnippet"), words_from_name("PER")
    ('CLI command or code snippet', 'person')
    """
    written = " ".join(name.split()).strip("_ ")
    if " " in written or not _LATIN_LETTER.search(written):
        return _as_written(written) or "unnamed"
    bare = written.strip(_EDGES)
    return _default_words().get(bare) or _by_rule(bare)


def _as_written(text: str) -> str:
    words = text.replace("_", " ").split()
    if all(word[0].isupper() or not word[0].isalpha() for word in words):
        words = [_in_plain_case(word, is_shouting=text.isupper()) for word in words]
    return " ".join(words)


def _by_rule(name: str) -> str:
    name = _SERVICE_NUMBER.sub("", _REPEATED_SERVICE.sub("", name))
    is_shouting = name.isupper()
    parts = (_words_of_part(part, is_shouting) for part in _ALTERNATIVE.split(name))
    return " or ".join(part for part in parts if part)


def _words_of_part(part: str, is_shouting: bool) -> str:
    pieces = (p for chunk in _SEPARATOR.split(part) for p in _CAMEL.split(chunk) if p)
    return " ".join(_spelled_out(piece, is_shouting) for piece in pieces)


def _spelled_out(piece: str, is_shouting: bool) -> str:
    full = _tables()["abbreviations"].get(piece.lower())
    if full is None and piece.isupper():
        full = _default_words().get(piece)
    return full or _in_plain_case(piece, is_shouting)


def _in_plain_case(word: str, is_shouting: bool) -> str:
    """Lower the capitals of a word that is neither an acronym nor outside the Latin script."""
    if word.islower():
        return word
    if not word.isascii() and any(c.isalpha() and not _LATIN_LETTER.match(c) for c in word):
        return word
    if is_shouting:
        is_kept = word in _tables()["acronyms"] or _VOWELLESS.fullmatch(word) is not None
    else:
        is_kept = word[1:] != word[1:].lower()
    return word if is_kept else word.lower()
