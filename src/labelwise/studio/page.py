"""The studio's page: static files of the wheel, read once and served under a strict policy."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No inline script or style, nothing from elsewhere, and no way from a string to markup."""

INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Read every file of the page.

    Returns:
        Content and media type by file name; there are no folders.
    """
    folder = files("labelwise.studio") / "static"
    return {
        file.name: (file.read_bytes(), _TYPES["." + file.name.rpartition(".")[2]])
        for file in folder.iterdir()
        if file.is_file() and "." + file.name.rpartition(".")[2] in _TYPES
    }
