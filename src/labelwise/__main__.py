"""``python -m labelwise`` is the same as the command ``labelwise``."""

from __future__ import annotations

from labelwise.apps.cli import main

if __name__ == "__main__":
    main()
