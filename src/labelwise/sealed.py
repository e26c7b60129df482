"""Folders that appear whole or not at all, sealed by a list of their files.

The seal is a JSON file, written last, with the size and sha256 of every other file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelwise.errors import CheckpointError, some_of
from labelwise.files import sync_folder
from labelwise.guarded import folder_lock, open_regular
from labelwise.strict_json import dump_json, read_json

Content = bytes | str | Callable[[Path], None]

FORMAT = 1
OLDEST_FORMAT = 1
MAX_FILES = 64
MAX_FILE_BYTES = 16 * 2**30
MAX_SEAL_BYTES = 2**20
_GENERATOR = "labelwise"
_FILE_NAME = re.compile(
    r"(?!(?:con|nul|aux|prn|com\d|lpt\d)(?:\.|$))[a-z0-9][a-z0-9._-]{0,127}", re.IGNORECASE
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """What a seal says of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a seal says of its folder.

    Attributes:
        folder: Where the files are.
        format: Version of the layout.
        files: Size and sha256 by name; files that are not listed are never opened.
        details: What the writer added, such as licences.
    """

    folder: Path
    format: int
    files: Mapping[str, FileEntry]
    details: Mapping[str, Any] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """Return the path of a listed file.

        Raises:
            CheckpointError: The file is not listed.
        """
        if name not in self.files:
            raise CheckpointError(
                f"'{self.folder}' has no '{name}'. It lists {some_of(self.files)}. "
                "Save it again with this version."
            )
        return self.folder / name


# A folder that is not empty cannot be renamed over, and only Linux can exchange two names, so
# the old folder steps aside first. Between the two renames nothing but '.old-NAME' exists: it is
# whole by construction, and whoever opens the folder next renames it back. '.tmp-NAME-PID' may
# hold anything; under the lock it can only be what a killed writer left.
def write_sealed(
    path: Path, files: Mapping[str, Content], seal: str, details: Mapping[str, Any]
) -> Manifest:
    """Write a folder and its seal; replace an older one of ours.

    Raises:
        CheckpointError: See ``checkpoint.write_folder``.
    """
    _check_names([*files, seal], path)
    target = Path(os.path.abspath(path))
    temporary = _temporary(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(target.parent):
            _recover_locked(target)
            remove_leftovers(target.parent, re.escape(target.name))
            refuse_foreign(path, seal)
            try:
                _fill(temporary, files, seal, details)
                _swap(temporary, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                _recover_locked(target)
    except OSError as err:
        raise CheckpointError(
            f"Cannot write '{path}': {err.strerror or err}. What was there is unchanged. "
            "Make room or choose another folder."
        ) from err
    return read_seal(path, seal)


def _fill(
    folder: Path, files: Mapping[str, Content], seal: str, details: Mapping[str, Any]
) -> None:
    folder.mkdir()
    entries: dict[str, dict[str, Any]] = {}
    for name, content in files.items():
        path = folder / name
        if isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            content(path)
        _sync_file(path)
        entries[name] = {"sha256": _sha256(path), "size": path.stat().st_size}
    listing = {"generator": _GENERATOR, "format": FORMAT, "files": entries, "details": {**details}}
    (folder / seal).write_bytes(dump_json(listing, seal))
    _sync_file(folder / seal)
    sync_folder(folder)


def _swap(temporary: Path, target: Path) -> None:
    aside = _aside(target)
    if target.exists():
        os.rename(target, aside)
    os.rename(temporary, target)
    sync_folder(target.parent)
    if aside.exists():
        discard(aside)


def discard(folder: Path) -> None:
    """Remove a folder so that a half-removed one never carries its name."""
    trash = _temporary(folder)
    os.rename(folder, trash)
    shutil.rmtree(trash, ignore_errors=True)


def recover(path: Path) -> None:
    """Give a folder back its name if a killed writer left it aside."""
    target = Path(os.path.abspath(path))
    if os.path.lexists(target) or not _aside(target).is_dir():
        return
    with folder_lock(target.parent):
        _recover_locked(target)


def _recover_locked(target: Path) -> None:
    aside = _aside(target)
    if not aside.is_dir():
        return
    if os.path.lexists(target):
        discard(aside)
    else:
        os.rename(aside, target)
        sync_folder(target.parent)


def remove_leftovers(parent: Path, name: str) -> None:
    """Remove what killed writers of folders with a name (a pattern) left; needs the lock."""
    pattern = re.compile(rf"\.tmp-(\.old-)?{name}-\d+")
    for entry in parent.iterdir():
        if pattern.fullmatch(entry.name):
            shutil.rmtree(entry, ignore_errors=True)


def _temporary(target: Path) -> Path:
    return target.with_name(f".tmp-{target.name}-{os.getpid()}")


def _aside(target: Path) -> Path:
    return target.with_name(f".old-{target.name}")


def refuse_foreign(path: Path, seal: str) -> None:
    """Refuse a folder that holds what we did not write.

    Raises:
        CheckpointError: See ``checkpoint.check_replaceable``.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        found = "is not a folder"
    elif strangers := {entry.name for entry in path.iterdir()} - _own_names(path, seal):
        found = f"holds files that labelwise did not write: {some_of(sorted(strangers))}"
    else:
        return
    raise CheckpointError(
        f"'{path}' {found}. Expected a new folder, or one that labelwise saved. "
        "Move it away, or choose another folder."
    )


def _own_names(path: Path, seal: str) -> set[str]:
    try:
        return {seal, *_read_listing(path / seal)["files"]}
    except CheckpointError:
        return set()


def read_seal(folder: Path, seal: str) -> Manifest:
    """Read the seal of a folder; the other files are not looked at.

    Raises:
        CheckpointError: See ``checkpoint.read_manifest``.
    """
    if not os.path.lexists(folder / seal):
        found = f"has no '{seal}'" if folder.is_dir() else "is not a folder"
        raise CheckpointError(
            f"'{folder}' {found}. Expected a folder that labelwise saved. "
            "Check the path, or copy the whole folder again."
        )
    listing = _read_listing(folder / seal)
    number = listing.get("format")
    if type(number) is not int or not OLDEST_FORMAT <= number <= FORMAT:
        readable = str(FORMAT) if OLDEST_FORMAT == FORMAT else f"{OLDEST_FORMAT}-{FORMAT}"
        raise CheckpointError(
            f"'{folder}' has format {str(number)[:20]}, this version reads {readable}. "
            f"Upgrade labelwise, or save the model again as format {FORMAT}."
        )
    _check_names([*listing["files"], seal], folder)
    files = {name: _file_entry(raw, folder / name) for name, raw in listing["files"].items()}
    return Manifest(folder, number, files, listing["details"])


def _read_listing(path: Path) -> dict[str, Any]:
    listing = read_json(path, max_bytes=MAX_SEAL_BYTES)
    if (
        not isinstance(listing, dict)
        or listing.get("generator") != _GENERATOR
        or not isinstance(listing.setdefault("files", {}), dict)
        or not isinstance(listing.setdefault("details", {}), dict)
    ):
        raise CheckpointError(
            f"'{path}' was not written by labelwise, or is damaged. Expected a list of files. "
            "Check the path, or copy the whole folder again."
        )
    return listing


def _file_entry(raw: Any, path: Path) -> FileEntry:
    if isinstance(raw, dict) and raw.keys() == {"size", "sha256"}:
        size, sha256 = raw["size"], raw["sha256"]
        is_size = type(size) is int and 0 <= size <= MAX_FILE_BYTES
        if is_size and isinstance(sha256, str) and _SHA256.fullmatch(sha256):
            return FileEntry(size, sha256)
    raise CheckpointError(
        f"'{path}' is listed without a usable size and sha256. Expected at most "
        f"{MAX_FILE_BYTES} bytes and 64 hexadecimal digits. Copy the whole folder again."
    )


def _check_names(names: list[str], folder: Path) -> None:
    bad = [ascii(name[:64])[1:-1] for name in names if not _FILE_NAME.fullmatch(name)]
    if bad or len({name.casefold() for name in names}) < len(names) or len(names) > MAX_FILES + 1:
        raise CheckpointError(
            f"'{folder}' lists the file names {some_of(bad or names)}. Expected at most "
            f"{MAX_FILES} different plain names of letters, digits, '.', '_' and '-'. Rename them."
        )


def verify_files(manifest: Manifest) -> None:
    """Check size and sha256 of every listed file.

    Raises:
        CheckpointError: A file is missing, a link, or differs; all such files are named.
    """
    problems = [p for n, e in manifest.files.items() if (p := _file_problem(manifest.folder, n, e))]
    if problems:
        raise CheckpointError(
            f"'{manifest.folder}' is damaged: {'; '.join(problems[:5])}. Expected the files as "
            "they were saved. Copy the whole folder again."
        )


def _file_problem(folder: Path, name: str, entry: FileEntry) -> str | None:
    path = folder / name
    if not os.path.lexists(path):
        return f"'{name}' is missing"
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
    except CheckpointError as err:
        return str(err)
    if size != entry.size:
        found = "truncated" if size < entry.size else "too long"
        return f"'{name}' is {found}: {size} bytes, not {entry.size}"
    return None if _sha256(path) == entry.sha256 else f"'{name}' has another sha256 than when saved"


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
