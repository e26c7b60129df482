"""JSON and TOML files into plain values, with the file and line in every error.

This module does not know what a file should hold.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from labelwise.errors import DataError, some_of


def read_document(path: str | Path) -> Any:
    """Read a TOML file (by its suffix ``.toml``) or a JSON file (any other suffix).

    Raises:
        DataError: The file cannot be read, is not UTF-8, is malformed, or gives a key twice.
    """
    path = Path(path)
    parse = tomllib.loads if path.suffix.lower() == ".toml" else _loads_json
    try:
        return parse(path.read_text("utf-8-sig"))
    except OSError as err:
        raise DataError(
            f"Cannot read '{path}': {err.strerror}. Expected a JSON or TOML file."
        ) from err
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: byte {err.start} is not UTF-8. Save the file as UTF-8.") from err
    except json.JSONDecodeError as err:
        raise DataError(
            f"{path}:{err.lineno}: {err.msg} (column {err.colno}). Expected JSON. Correct the file."
        ) from err
    except tomllib.TOMLDecodeError as err:
        line = re.search(r"at line (\d+)", str(err))
        where = f"{path}:{line[1]}" if line else str(path)
        raise DataError(f"{where}: {err}. Expected TOML. Correct the file.") from err
    except (ValueError, RecursionError) as err:  # a repeated key, endless digits, deep nesting
        raise DataError(f"{path}: {err}. Correct the file.") from err


def _loads_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    doubled = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if doubled:
        raise ValueError(f"Found more than once in one object: {some_of(doubled)}")
    return dict(pairs)
