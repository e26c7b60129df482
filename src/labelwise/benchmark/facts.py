"""What is stored with every number: versions, commit and hardware."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from labelwise.precision import Processor, usable_cores
from labelwise.sampling import SAMPLER_VERSION

_PACKAGES = ("numpy", "scipy", "tokenizers", "torch", "transformers")


def machine_facts(device: str) -> dict[str, Any]:
    """Describe this machine and what runs on it.

    Args:
        device: A torch device, or several with commas between them.
    """
    return {
        "labelwise": _version("labelwise") or "source tree",
        "commit": _commit(),
        "sampler": SAMPLER_VERSION,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "processor": Processor.here().name,
        "cores": usable_cores(),
        "device": device,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the source tree; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
