"""Files that are either the old one or the new one, never half of one; and text read from one.

Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from labelwise.errors import DataError


@contextlib.contextmanager
def atomic_file(path: str | Path, *, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """Open a stream whose bytes appear under ``path`` all at once, or not at all.

    The bytes go to a temporary file, reach the disk, and are then renamed.
    An error inside the ``with`` block leaves the old file as it was and no temporary file.
    What is no regular file, such as a pipe or ``/dev/null``, is written straight into.

    Args:
        path: The file to create or replace. A link is followed, not replaced.
        scratch: Folder of the temporary file, on the same disk; the file's own by default.

    Yields:
        A binary stream to write to.

    Raises:
        OSError: The folder is absent or cannot be written to.
    """
    given = Path(path)
    if given.exists() and not given.is_file():
        with given.open("wb") as stream:
            yield stream
        return
    target = given.resolve()
    temporary = (scratch or target.parent) / f".labelwise-{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file as a whole or not at all; see ``atomic_file``."""
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8"))


def sync_folder(path: str | Path) -> None:
    """Make renames inside a folder survive a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def read_errors(path: str | Path, expected: str = "a file") -> Iterator[None]:
    """Name a file that cannot be opened or read on, so that no writer is blamed for it.

    Args:
        path: The file.
        expected: What should be there.

    Raises:
        DataError: The system refuses.
    """
    try:
        yield
    except OSError as err:
        raise DataError(
            f"Cannot read '{path}': {err.strerror or err}. Expected {expected}. Check the path."
        ) from err


def read_text(path: Path) -> str:
    """Read a file in UTF-8; a ``DataError`` names the line that is not."""
    with read_errors(path):
        data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        raise not_utf8(err.object[err.start], f"{path}:{line}") from err


def not_utf8(byte: int, place: str) -> DataError:
    """Make the error of a byte that is not UTF-8, with what the text is likely to be in.

    Args:
        byte: The byte; UTF-16 begins with 0xff or 0xfe.
        place: Where it is, for the message.
    """
    likely = "UTF-16" if byte in (0xFE, 0xFF) else "WINDOWS-1252"
    return DataError(
        f"Byte 0x{byte:02x} ({place}) is not UTF-8. Expected UTF-8. Save the file as UTF-8 where "
        f"it was made, or convert it: if it is in {likely}, by 'iconv -f {likely} -t UTF-8'."
    )
