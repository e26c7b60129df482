"""Files that others may have tampered with, and folders that others may be writing.

Opens without surprises and keeps writers apart; knows nothing of the content.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from labelwise.errors import CheckpointError

if sys.platform != "win32":
    import fcntl

LOCK_WAIT_S = 60.0
_LOCK_POLL_S = 0.02
_READ_FLAGS = ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")  # NONBLOCK: a pipe must not hang us
_held = threading.local()
_logger = logging.getLogger(__name__)


def open_regular(path: str | Path, *, allow_link: bool = False) -> BufferedReader:
    """Open a file for reading, refusing links, pipes, devices and folders.

    Raises:
        CheckpointError: The file is missing, unreadable or not a regular file.
    """
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in _READ_FLAGS)
    try:
        descriptor = os.open(path, flags | (0 if allow_link else getattr(os, "O_NOFOLLOW", 0)))
    except FileNotFoundError as err:
        raise CheckpointError(f"'{path}' is missing. Copy the whole folder again.") from err
    except ValueError as err:
        raise CheckpointError(f"{str(path)!r} is not a file name: {err}.") from err
    except OSError as err:
        if err.errno == errno.ELOOP:
            raise _not_regular(path, "a symbolic link") from err
        raise CheckpointError(f"'{path}' cannot be opened: {err.strerror}.") from err
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path, "a folder, pipe or device")
    return os.fdopen(descriptor, "rb")


def _not_regular(path: str | Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"'{path}' is {found}. Expected a regular file. Put the file itself there."
    )


@contextlib.contextmanager
def folder_lock(path: str | Path, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Keep other writers out of a folder; they may be threads or processes.

    The thread that holds the lock may take it again, so a run can hold it from start to end
    while each save takes it too. The lock ends with the process, however that ends.

    Args:
        path: An existing folder. Nothing is written into it.
        wait_s: How long to wait for another holder.

    Raises:
        CheckpointError: Another writer held the lock all that time.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    status = os.fstat(descriptor)
    inode = (status.st_dev, status.st_ino)
    held: set[tuple[int, int]] = _held.__dict__.setdefault("folders", set())
    is_outermost = inode not in held
    try:
        if is_outermost:
            _acquire(descriptor, path, time.monotonic() + wait_s)
            held.add(inode)
        yield
    finally:
        if is_outermost:
            held.discard(inode)
        os.close(descriptor)


def _acquire(descriptor: int, path: str | Path, deadline: float) -> None:
    if sys.platform == "win32":
        return
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            if time.monotonic() >= deadline:
                raise CheckpointError(
                    f"'{path}' is being written by another process. "
                    "Wait for it to end, or choose another folder."
                ) from err
            time.sleep(_LOCK_POLL_S)
        except OSError as err:  # some network file systems cannot lock; writing matters more
            _logger.warning("'%s' cannot be locked (%s): write it from one process", path, err)
            return
