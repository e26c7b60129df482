"""The annotated sample datasets that ship with the package."""

from __future__ import annotations

from pathlib import Path

from labelwise.errors import DataError, did_you_mean

SAMPLES = Path(__file__).parent / "samples"


def sample_path(name: str) -> Path:
    """Return the folder of a sample dataset.

    Args:
        name: ``"support"``, ``"incidents"`` or ``"contracts"``.

    Raises:
        DataError: There is no such dataset.

    >>> sample_path("contracts").name
    'contracts'
    """
    known = sorted(p.name for p in SAMPLES.iterdir() if p.is_dir())
    if name not in known:
        raise DataError(
            f"There is no sample dataset '{name}'. Expected one of: {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )
    return SAMPLES / name
